"""How the policies of an environment are evaluated: what is driven, which is best, what is told, written and shown."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy.typing as npt

from racing.sim.track import Track

Policy = Callable[[Any], npt.NDArray[Any]]  # observations (N, D), or a dict of (N, ...) -> (N, A) actions


class Result(Protocol):
    """What an evaluation measured."""

    @property
    def episodes(self) -> list[dict[str, Any]]:
        """One dict each: plain values, lists and dicts of them by name."""

    @property
    def summary(self) -> dict[str, Any]:
        """Averages over the episodes by name, and what was driven; plain values, lists and dicts of them."""

    def key(self, target_finish_rate: float = 1.0) -> tuple[float, ...]:
        """What sorts policies; the better one is greater. target_finish_rate: what `eval` says."""


class Evaluator(ABC):
    """Evaluates the policies of one environment; it is made once for a training, or for a policy that is loaded.

    place: what the environment's constructor is told of where is driven, beside cars, seed and threads.
    tracks: all that are driven, in training and evaluations.
    validation: names in the summary of what is recorded of the evaluations on the way.
    confirming: seeds of the starts that a policy which would be the best one has to drive, too.
    milestones: names of what a training can reach for the first time.
    shown: files that a summary names, with their names there, in the order in which they are printed.
    """

    place: Mapping[str, Any]
    tracks: Sequence[Track]
    validation: Sequence[str]
    confirming: Sequence[int] = ()
    milestones: Sequence[str]
    shown: ClassVar[dict[str, str]]

    @abstractmethod
    def tags(self) -> dict[str, str]:
        """What a run is found by in MLflow, beside what holds for all runs."""

    @abstractmethod
    def evaluate(self, policy: Policy, seeds: int, *, telemetry: bool) -> Result:
        """Drive a policy from starts that training never has.

        seeds: VALIDATION_SEEDS or TEST_SEEDS of racing.evaluation.seeds, or one of `confirming`.
        telemetry: keep what is drawn and written.
        """

    @abstractmethod
    def metrics(self, result: Any, prefix: str = "eval/") -> dict[str, float]:
        """The numbers of a result's summary by name, for the journal."""

    @abstractmethod
    def reached(self, result: Any) -> list[str]:
        """Milestones that the policy of a result is at."""

    @abstractmethod
    def reached_by(self, episodes: Sequence[Mapping[str, Any]]) -> list[str]:
        """Milestones that training episodes are at."""

    @abstractmethod
    def rollout(self, episodes: Sequence[Mapping[str, Any]]) -> dict[str, float]:
        """Averages over training episodes, at least one, by metric name, beside those of their rewards."""

    @abstractmethod
    def note(self, values: Mapping[str, float]) -> str:
        """What the progress bar says of `rollout`; '': nothing."""

    @abstractmethod
    def write(self, result: Any, folder: Path, policy: str, task: Any = None) -> list[Path]:
        """Write tables and pictures. policy: its name. task: what is driven, for a video; None: none."""

    @abstractmethod
    def write_video(self, result: Any, folder: Path, policy: str, task: Any) -> list[Path]:
        """Write a video of the best episode alone, where there is one."""

    @abstractmethod
    def lines(self, summary: Mapping[str, Any]) -> list[tuple[str, str]]:
        """Rows of the short table of a finished run: what, and the text."""
