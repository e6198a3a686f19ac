"""A worker of a search: it takes trial after trial from the study that all workers share, and trains each here."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from optuna import Study, Trial, logging
from optuna.trial import FrozenTrial, TrialState

from racing.envs.task import NonFiniteAction
from racing.errors import InputError, Stopped
from racing.evaluation.evaluator import Result
from racing.runs.directory import RunDirectory
from racing.runs.lock import FileLock
from racing.training.observer import Observers, TrainingObserver
from racing.training.stop_flag import StopFlag
from racing.training.teacher import train_with_teacher
from racing.tuning.report import best_trial, report
from racing.tuning.score import value_of
from racing.tuning.search import Search, read_search
from racing.tuning.trials import (
    DONE,
    PRUNE,
    REASON,
    RUN,
    SUFFIX,
    WORKER,
    all_failed,
    first_duplicate,
    left_over,
    lock_path,
)


class TrialObserver(TrainingObserver):
    """Reports what a trial's policies are worth on the way, and gives it up when the study's pruner says so."""

    def __init__(self, stop: StopFlag, trial: Trial, study: str, metric: str, rules: Mapping[str, Any]) -> None:
        """study: its name. rules: the trial's config group eval."""
        self.stop, self.trial, self.metric, self.rules = stop, trial, metric, rules
        number = str(trial.number)
        shown = {"mlflow.runName": f"trial {number}"}  # of the runs below a sweep's
        super().__init__({"racing.study": study, "racing.trial": number, **shown})
        self.reported = set(trial.study.trials[trial.number].intermediate_values)

    def opened(self, run: RunDirectory) -> None:
        """See TrainingObserver."""
        self.trial.set_user_attr(RUN, run.name)

    def evaluated(self, step: int, evaluation: Result) -> None:
        """See TrainingObserver. An evaluation that a resumed run repeats is not reported again.

        Steps are reported as multiples of eval.every_steps, which all trials have in common: an evaluation waits for
        the end of a rollout, and trials may differ in how long these are.
        """
        every = self.rules["every_steps"]
        place = max(1, round(step / every)) * every
        if place not in self.reported:
            self.reported.add(place)
            self.trial.report(value_of(self.metric, evaluation.summary, self.rules["target_finish_rate"]), place)
        if self.trial.should_prune():
            self.trial.set_user_attr(PRUNE, step)  # before the run leaves: who continues it knows
            self.stop.pruned = True


class Worker:
    """One of the workers of a search."""

    def __init__(self, search: Search, study: Study, stop: StopFlag, observer: TrainingObserver) -> None:
        """stop: entered; looked at after each trial, and by each training. observer: follows every trial."""
        self.search, self.study, self.stop, self.observer = search, study, stop, observer

    def work(self) -> None:
        """Continue what was left over, then take new trials until the study has enough of them.

        Raises Stopped after a signal, and what a trial raised if the first ones, or many in a row, came to nothing.
        """
        for left in left_over(self.study, self.search.worker, self.search.workers, self.search.folder):
            self.study.sampler = self.search.sampler(0)
            self._run(Trial(self.study, left._trial_id), again=True)
        while len(self.study.get_trials(deepcopy=False, states=DONE)) < self.search.n_trials:
            trial = self._ask()
            duplicate = first_duplicate(self.study, trial)
            if duplicate is not None and duplicate.state.is_finished():
                self._copy(duplicate, trial)
                continue
            if duplicate is not None:
                trial.set_user_attr(SUFFIX, f".trial{trial.number}")
            self._run(trial, again=False)

    def _ask(self) -> Trial:
        own = [t for t in self.study.get_trials(deepcopy=False) if t.user_attrs.get(WORKER) == self.search.worker]
        self.study.sampler = self.search.sampler(len(own))
        trial = self.study.ask(self.search.space)
        trial.set_user_attr(WORKER, self.search.worker)
        return trial

    def _copy(self, duplicate: FrozenTrial, trial: Trial) -> None:
        """Take over the result of an earlier trial with the same values: training again would give the same."""
        if duplicate.state == TrialState.FAIL:
            self._failed(trial, InputError(duplicate.user_attrs.get(REASON, f"as trial {duplicate.number}")))
            return
        for name in (RUN, REASON):
            if name in duplicate.user_attrs:
                trial.set_user_attr(name, duplicate.user_attrs[name])
        for step, value in duplicate.intermediate_values.items():
            trial.report(value, step)
        values = duplicate.values if duplicate.state == TrialState.COMPLETE else None
        self.study.tell(trial, values, state=duplicate.state)

    def _run(self, trial: Trial, *, again: bool) -> None:
        """Train a trial to its end and report it to the study. again: another process has begun with it."""
        search, overrides = self.search, self.search.trial_overrides(trial.params)
        best = best_trial(self.study)
        so_far = "" if best is None else f", best so far {best.value:.4g} of trial {best.number}"
        print(f"{search.name}: trial {trial.number}, of {search.n_trials}{so_far}", file=sys.stderr, flush=True)
        self.stop.pruned = PRUNE in trial.user_attrs
        try:
            cfg = search.compose(overrides)
            cfg.fresh = search.cfg.fresh and not again
            own = TrialObserver(self.stop, trial, search.name, search.metric, cfg.eval)
            suffix = trial.user_attrs.get(SUFFIX, "")
            run = train_with_teacher(
                cfg, overrides, observer=Observers(self.observer, own), stop=self.stop, suffix=suffix
            )
            value = value_of(search.metric, run.summary, cfg.eval.target_finish_rate)
        except Stopped:
            if not self.stop.pruned:
                raise
            self.study.tell(trial, state=TrialState.PRUNED)
        except NonFiniteAction as error:  # as pruned: samplers avoid such values, but forget those of failed trials
            trial.set_user_attr(REASON, str(error))
            self.study.tell(trial, state=TrialState.PRUNED)
        except Exception as error:
            self._failed(trial, error)
        else:
            self.study.tell(trial, value)
        if self.stop.signal:
            raise Stopped(f"{search.name} stopped on {self.stop.signal}; run the same command to resume")

    def _failed(self, trial: Trial, error: Exception) -> None:
        """Record why a trial came to nothing; raises `error` if that is no matter of this trial."""
        if not isinstance(error, InputError):
            traceback.print_exc()
        reason = " ".join(str(error).split()) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"
        trial.set_user_attr(REASON, reason[:1000])
        self.study.tell(trial, state=TrialState.FAIL)
        print(f"trial {trial.number} failed: {reason}", file=sys.stderr, flush=True)
        if all_failed(self.study):
            raise error


def work(
    cfg: DictConfig, overrides: Sequence[str], place: Path | None, observer: TrainingObserver | None = None
) -> float | None:
    """Work on the search that `cfg` describes until it has enough trials; returns the best value so far.

    overrides: all that were typed.
    place: the sweep's folder; None outside one.
    observer: follows every trial.
    Raises InputError for what is wrong with it, Stopped after a signal.
    """
    logging.set_verbosity(logging.WARNING)
    search = read_search(cfg, overrides, place)
    search.check()
    try:
        search.folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(lock_path(search.folder, search.worker))
        free = lock.acquire()
    except OSError as error:
        problem = f"{error.filename or search.folder}: {error.strerror}"
        raise InputError(f"{problem}; paths.outputs must be a writable folder: set paths.outputs=FOLDER") from error
    if not free:
        rule = f"worker {search.worker} of {search.name} is at work already ({lock.owner})"
        raise InputError(f"{rule}; wait for it, stop it, or set tuning.study to begin another study")
    try:
        study = search.open()
        with StopFlag() as stop:
            Worker(search, study, stop, observer or TrainingObserver()).work()
        return report(study, search)
    finally:
        lock.release()
