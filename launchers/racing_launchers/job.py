"""The folder of one job of a sweep: what its launcher tells the process that does it, and what that one answers.

    job.json       number, overrides, label, tags, steps: what the job is; written when the sweep is made
    job.pkl        what is to be called (launchers/racing_launchers/payload.py)
    attempt.json   number, launcher, handle: the last time that it was submitted
    started.json   attempt, pid, created, host: a process has begun with it
    exit.json      attempt, exit_code, reason: that process has ended; written by who started it
    runs.txt       run directories that the attempts have opened, relative to the outputs folder, the newest last
    value.json     value: what a verb of the command line, run as a job, wants to be known of its result
    result.json    attempt, status, error, value, ...: how the attempt ended
    log.txt        the output of the attempts

Every file is written whole (`write_atomic`) by one side only, and `attempt` tells which submission it belongs to. So
both sides may die at any instant, and whoever looks later finds out how far the job is.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any

from racing.errors import InputError
from racing.files import is_inside, read_json, write_atomic, write_json
from racing.runs.directory import MOST_DOCUMENT, RunDirectory
from racing.training.observer import TrainingObserver

WRITTEN_THERE = ("started.json", "exit.json", "value.json", "result.json", "runs.txt")  # by the side that does the job
VARIABLE = "RACING_JOB"  # in the environment of the process that does a job: its folder


class JobStatus(StrEnum):
    """How far a job is; the values from DONE on are how an attempt ended, as result.json says it."""

    NEW = "NEW"  # never submitted
    WAITING = "WAITING"
    RUNNING = "RUNNING"
    DONE = "DONE"
    FAILED = "FAILED"  # it raised
    REFUSED = "REFUSED"  # its input is wrong
    STOPPED = "STOPPED"  # left on request, state saved
    LOST = "LOST"  # disappeared without a result

    @property
    def ended(self) -> bool:
        """Whether the attempt is over."""
        return self not in (JobStatus.NEW, JobStatus.WAITING, JobStatus.RUNNING)

    @classmethod
    def _missing_(cls, value: object) -> JobStatus | None:
        return cls.LOST if value == "DEAD" else None  # as earlier versions wrote it


class JobFolder:
    """A view of the folder; nothing is created."""

    def __init__(self, path: Path) -> None:
        """path: of the folder."""
        self.path = path

    @classmethod
    def current(cls) -> JobFolder | None:
        """The job that this process does, or that the process does which has started it; None outside sweeps."""
        path = os.environ.get(VARIABLE)
        return cls(Path(path)) if path else None

    @contextlib.contextmanager
    def as_current(self) -> Iterator[None]:
        """While entered this is the current job, here and in the processes that are started."""
        before = os.environ.get(VARIABLE)
        os.environ[VARIABLE] = str(self.path.resolve())
        try:
            yield
        finally:
            if before is None:
                del os.environ[VARIABLE]
            else:
                os.environ[VARIABLE] = before

    @property
    def spec(self) -> dict[str, Any]:
        """job.json; empty where there is none."""
        return self._read("job.json")

    @property
    def tags(self) -> dict[str, str]:
        """Tags that the runs of this job get."""
        return dict(self.spec.get("tags", {}))

    @property
    def attempt(self) -> dict[str, Any]:
        """The last submission; empty before the first."""
        return self._read("attempt.json")

    @property
    def attempts(self) -> int:
        """How often the job was submitted."""
        return int(self.attempt.get("number", 0))

    @property
    def started(self) -> dict[str, Any]:
        """Who began with the last submission; empty before somebody did."""
        return self._of_attempt("started.json")

    @property
    def exit_status(self) -> dict[str, Any]:
        """How the process of the last submission ended; empty where nobody saw it."""
        return self._of_attempt("exit.json")

    @property
    def result(self) -> dict[str, Any]:
        """How the last submission ended; empty before."""
        return self._of_attempt("result.json")

    @property
    def log(self) -> Path:
        """Output of the job."""
        return self.path / "log.txt"

    @property
    def runs(self) -> list[str]:
        """Run directories that the job has opened, relative to the outputs folder, the newest last."""
        path = self.path / "runs.txt"
        lines = path.read_text().splitlines() if path.exists() else []
        return [line for line in lines if line and is_inside(line)]  # it may come from a volume that others write to

    def write(self, name: str, attempt: int, content: Mapping[str, Any]) -> None:
        """Write <name>.json of an attempt, unless it is not the last any more."""
        if attempt == self.attempts:
            write_json(self.path / f"{name}.json", {**content, "attempt": attempt})

    def note(self, run: str) -> None:
        """Remember that the job has opened this run directory; see `runs`."""
        order = [*(path for path in self.runs if path != run), run]
        write_atomic(self.path / "runs.txt", "".join(f"{path}\n" for path in order))

    def leave(self, value: Any) -> None:
        """Have this, as JSON can hold it, become the value of the result."""
        write_json(self.path / "value.json", {"value": value})

    @property
    def left(self) -> Any:
        """What `leave` was given last; None without."""
        return self._read("value.json").get("value")

    def forget(self) -> None:
        """Forget the runs: what earlier attempts have opened no longer counts."""
        (self.path / "runs.txt").unlink(missing_ok=True)

    def _read(self, name: str) -> dict[str, Any]:
        """Read a file of the folder. Raises InputError where it is damaged."""
        try:
            return read_json(self.path / name, MOST_DOCUMENT)
        except (OSError, ValueError) as error:
            problem = getattr(error, "strerror", None) or error
            raise InputError(
                f"{self.path / name} is damaged, {problem}; restore it, or submit the job again"
            ) from error

    def _of_attempt(self, name: str) -> dict[str, Any]:
        content = self._read(name)
        return content if content.get("attempt") == self.attempts and self.attempts else {}


class JobObserver(TrainingObserver):
    """Follows a training for the sweep whose job it is."""

    def __init__(self, job: JobFolder, outputs: Path) -> None:
        """outputs: the folder of everything that the training writes."""
        super().__init__(job.tags)
        self.job, self.outputs = job, outputs.resolve()

    def opened(self, run: RunDirectory) -> None:
        """The training begins, or goes on, in this run directory: note that it belongs to the job."""
        self.job.note(self._place(run.path))

    def resumes(self, path: Path) -> bool:
        """Whether an earlier attempt of the job has opened this run directory: `fresh=true` has been obeyed then."""
        return self._place(path) in self.job.runs

    def _place(self, path: Path) -> str:
        return path.resolve().relative_to(self.outputs).as_posix()
