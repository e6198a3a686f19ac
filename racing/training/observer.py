"""Who follows a training: the job of a sweep, the trial of a search, a video of the best laps."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from racing.evaluation.evaluator import Result
    from racing.runs.directory import RunDirectory


class TrainingObserver:
    """Follows a training that knows nothing of it. Each method does nothing here; override what is of interest.

    Steps are environment steps of this run, without those of the run whose weights it began with.
    """

    def __init__(self, tags: Mapping[str, str] | None = None) -> None:
        """tags: of the run in MLflow."""
        self._tags = dict(tags or {})
        self.notes: list[str] = []  # lines for people, printed when the training begins

    def tags(self) -> Mapping[str, str]:
        """Tags that the run gets in MLflow, beside its own."""
        return self._tags

    def resumes(self, path: Path) -> bool:
        """Whether the run directory `path` was opened before by what is repeated now: `fresh` then leaves it alone."""
        return False

    def opened(self, run: RunDirectory) -> None:
        """The training begins, or resumes, in this directory; or it was finished there before."""

    def best(self, step: int, evaluation: Result) -> None:
        """The policy after `step` steps is the best so far. Not called for the last evaluation."""

    def evaluated(self, step: int, evaluation: Result) -> None:
        """The policy was evaluated on the validation starts after `step` steps. Not called for the last evaluation."""


class Observers(TrainingObserver):
    """Several observers as one, in this order."""

    def __init__(self, *observers: TrainingObserver) -> None:
        """observers: in the order in which they are called."""
        super().__init__()
        self._observers = observers

    def tags(self) -> Mapping[str, str]:
        """See TrainingObserver; later observers win."""
        return {name: text for observer in self._observers for name, text in observer.tags().items()}

    def resumes(self, path: Path) -> bool:
        """See TrainingObserver."""
        return any(observer.resumes(path) for observer in self._observers)

    def opened(self, run: RunDirectory) -> None:
        """See TrainingObserver."""
        for observer in self._observers:
            observer.opened(run)

    def best(self, step: int, evaluation: Result) -> None:
        """See TrainingObserver."""
        for observer in self._observers:
            observer.best(step, evaluation)

    def evaluated(self, step: int, evaluation: Result) -> None:
        """See TrainingObserver."""
        for observer in self._observers:
            observer.evaluated(step, evaluation)
