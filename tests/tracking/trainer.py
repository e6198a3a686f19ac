"""python -m tests.tracking.trainer OUTPUTS SEED STEPS END: writes a journal, with a sender beside it.

END: finish; or hang, after the sender's process id was printed.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from racing.runs.directory import open_run
from racing.tracking.sender import Sender


def main(outputs: Path, seed: int, steps: int, end: str) -> int:
    run = open_run(outputs, "demo", {"name": "demo", "seed": seed}, [], {})
    sender = Sender.start(run, {"enabled": True, "uri": None, "experiment": "racing"})
    for step in range(steps):
        run.journal.metrics(step, {"loss": float(step)})
    if end == "hang":
        process = sender.processes["mlflow"]
        assert process is not None
        print(process.pid, flush=True)
        time.sleep(600)
    run.finish({"seed": seed})
    return 0 if sender.close(120) else 5


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]))
