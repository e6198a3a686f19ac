"""How far a job is, from the journal of the run that it has opened last."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from racing.runs.journal import newest_metrics
from racing.runs.paths import RunPaths
from racing_launchers.sweep import Job

TAIL = 1 << 15  # [bytes] of the journal that are read: some seconds of training


@dataclass(frozen=True)
class Progress:
    """How far a job's training is; None: not known yet.

    run: its directory, relative to the outputs folder.
    step, total: steps of all cars together.
    rate: [steps/s]
    lap: [s] of the last laps in training.
    """

    run: str = ""
    step: int | None = None
    total: int | None = None
    rate: float | None = None
    lap: float | None = None

    @property
    def remaining_s(self) -> float | None:
        """How long the training will go on [s]."""
        known = self.step is not None and self.total and self.rate
        return max(0.0, (self.total - self.step) / self.rate) if known else None  # type: ignore[operator]


def progress_of(job: Job, outputs: Path) -> Progress:
    """How far the job is."""
    total = job.folder.spec.get("steps")
    run = next(reversed(job.folder.runs), "")
    journal = RunPaths(outputs / run).journal
    if not run or not journal.is_file():
        return Progress(run=run, total=total)
    step, values = newest_metrics(journal, TAIL)
    return Progress(run, step, total, values.get("time/fps"), values.get("rollout/lap_time_s"))
