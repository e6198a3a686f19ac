"""What the trials of a study record beside what Optuna does, and which of them a worker resumes."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

from optuna import Study, Trial
from optuna.trial import FrozenTrial, TrialState

from racing.runs.lock import FileLock

# Names of attributes of a trial.
WORKER = "worker"  # number of the worker that tries it
RUN = "run"  # name of its run directory
SUFFIX = "suffix"  # of that directory, where another worker trains the same values at the same time
PRUNE = "prune"  # step at which it was given up
REASON = "reason"  # why it came to nothing

DONE = (TrialState.COMPLETE, TrialState.PRUNED)  # what counts for n_trials
NEVER_BEGUN = timedelta(minutes=1)  # a trial without a worker that is older lost its worker in that very moment
FIRST, ROW = 3, 10  # so many failures at the beginning, or one after another, are no matter of single trials


def left_over(study: Study, worker: int, workers: int, folder: Path) -> list[FrozenTrial]:
    """Find the trials that this worker resumes: its own, and those of numbers that have no worker now, shared evenly.

    folder: with the locks of workers. Trials that nobody has begun are marked as failed.
    """
    found = []
    for trial in study.get_trials(states=(TrialState.RUNNING,)):
        owner = trial.user_attrs.get(WORKER)
        if owner is None:
            if trial.datetime_start and datetime.now() - trial.datetime_start > NEVER_BEGUN:
                study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)
        elif owner == worker or (
            owner >= workers and owner % workers == worker and not FileLock(lock_path(folder, owner)).held
        ):
            found.append(trial)
    return found


def lock_path(folder: Path, worker: int) -> Path:
    """The lock that a worker holds while it works."""
    return folder / f"worker-{worker}.lock"


def first_duplicate(study: Study, trial: Trial) -> FrozenTrial | None:
    """Find an earlier trial with the same values, a finished one if there is any; None if there is none."""
    same = [t for t in study.get_trials(deepcopy=False) if t.number < trial.number and t.params == trial.params]
    return next((t for t in same if t.state.is_finished()), next(iter(same), None))


def all_failed(study: Study) -> bool:
    """Whether the first trials that ended, or the last ones in a row, all failed."""
    ended = [t for t in study.get_trials(deepcopy=False) if t.state.is_finished() and t.datetime_complete]
    last = sorted(ended, key=lambda t: t.datetime_complete)[-ROW:]
    return len(last) >= (ROW if len(ended) >= ROW else FIRST) and all(t.state == TrialState.FAIL for t in last)
