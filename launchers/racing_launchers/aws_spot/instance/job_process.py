"""The process on an instance that does the job.

python -m racing_launchers.aws_spot.instance.job_process FOLDER ATTEMPT [STOPPED]

STOPPED: name of the file that tells that it was stopped, in place of result.json: another instance goes on.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from racing.files import read_json
from racing.processes import print_any_text
from racing_launchers.job import JobFolder, JobStatus
from racing_launchers.payload import Payload
from racing_launchers.remote.tracks import provide
from racing_launchers.worker import PAYLOAD, load_payload, run


class InstancePayload:
    """A payload that finds its tracks and its folders on an instance. See racing_launchers.payload.Payload."""

    def __init__(self, payload: Payload, folder: JobFolder) -> None:
        """payload: as it was made on another machine. folder: of the job."""
        self.payload, self.folder = payload, folder
        self.sweep = folder.path.parents[1]
        self.outputs = self.sweep.parents[1]

    def move(self, outputs: Path, sweep: Path) -> None:
        """See Payload."""
        self.payload.move(outputs, sweep)

    def call(self, job: Path) -> Any:
        """See Payload."""
        provide(read_json(job / "tracks.json")["tracks"], self.outputs.parent / "tracks")
        self.move(self.outputs, self.sweep)
        return self.payload.call(job)


def main() -> int:
    """The process; returns its exit code."""
    print_any_text()
    folder, attempt = JobFolder(Path(sys.argv[1])), int(sys.argv[2])

    def read() -> InstancePayload:
        path = folder.path / PAYLOAD  # whose sha256 the worker has compared with what was submitted
        return InstancePayload(load_payload(path.read_bytes(), path, paths=False), folder)

    result = run(folder, attempt, read)
    stopped = sys.argv[3:] if result["status"] == JobStatus.STOPPED else []
    folder.write(stopped[0] if stopped else "result", attempt, result)
    return int(result["exit_code"])


if __name__ == "__main__":
    sys.exit(main())
