"""`make torture`: hundreds of kills, and what came of them. python -m tests.torture [KILLS]"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.support import fork_client
from tests.support.processes import Killer, run_of, train_command
from tests.training.test_resume import PPO, SAC, check_equal


def torture(name: str, arguments: list[str], total: int, kills: int) -> None:
    """Print how often a run was killed, where, and whether it ended as one that was not."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="racing-torture-", ignore_cleanup_errors=True) as folder:
        calm = Path(folder) / "calm"
        subprocess.run(train_command(calm, arguments), check=True, capture_output=True)
        killer = Killer(Path(folder) / "disturbed", arguments, total, kills, seed=2)
        killer.torment(say=True)
        check_equal(killer.run, run_of(calm, arguments), total)
    where = ", ".join(f"{kind} {number}" for kind, number in sorted(killer.killed.items()))
    print(f"{name}: {where}; {time.monotonic() - began:.0f} s; state, journal and MLflow equal the calm run's")


if __name__ == "__main__":
    fork_client.install(f"racing-torture-{os.getpid()}", start=True)
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    ppo = round(0.7 * count)
    torture("ppo", [*PPO, f"algo.total_timesteps={8192 * ppo}"], 8192 * ppo, ppo)
    torture("sac", [*SAC, f"algo.total_timesteps={480 * (count - ppo)}"], 480 * (count - ppo), count - ppo)
