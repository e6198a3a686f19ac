"""What training and the vector environments know of a task: observations in groups, rewards by named terms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
from gymnasium import spaces

from racing.errors import require

F = npt.NDArray[np.float32]
B = npt.NDArray[np.bool_]


class NonFiniteAction(ValueError):
    """An action is NaN or infinite: mostly, the training of the policy that gave it has diverged."""


def require_finite(actions: npt.NDArray[Any]) -> None:
    """Raise NonFiniteAction unless all actions (N, A) are numbers: the car would drive on, on whatever comes of it.

    For actions from outside, where Gymnasium's and Stable-Baselines3's interfaces take them. What drives for racing
    itself, evaluation and the learners' rollouts, looks once per evaluation (`racing.evaluation.evaluate`).
    """
    if np.isfinite(actions).all():
        return
    car, index = (int(i) for i in np.argwhere(~np.isfinite(actions))[0])
    value = float(actions[car, index])
    rule = f"actions must be finite numbers in [-1, 1], car {car} got {value} as number {index}"
    raise NonFiniteAction(f"{rule}; the policy has diverged, or its inputs are NaN")


@dataclass(frozen=True, kw_only=True)
class StepResult:
    """What one environment step of N cars gave. All arrays are copies with one row per car.

    Where an episode ended, observation and privileged are those of the next episode's start, and the final ones are the
    ended episode's last.
    """

    observation: Any  # (N, ...), or a dict of (N, ...): the group "observation"
    reward: F  # (N,), terms @ weights
    terms: F  # (N, T) unweighted reward terms
    terminated: B  # (N,) the episode ended by what the car did
    truncated: B  # (N,) the episode was cut: the value of what would follow is bootstrapped
    final_observation: Any  # as observation; valid where an episode ended
    privileged: F | None = None  # (N, P): the group "privileged"; None: the task has none
    final_privileged: F | None = None  # as privileged; valid where an episode ended


@runtime_checkable
class DrivingTask(Protocol):
    """N cars that are stepped together; a car whose episode ended starts its next one in the same step.

    Observations come in two groups, one row per car:
      observation  what the policy sees: (N, ...) as `observation_space` says, or a dict of such arrays where it is a
                   Dict. This is all that an exported policy gets.
      privileged   (N, P) float32 or None: what only a critic or a teacher sees while training.
    """

    @property
    def num_cars(self) -> int:
        """Number of cars N."""
        ...

    @property
    def observation_space(self) -> spaces.Space[Any]:
        """Space of one car's observation: a Box, or a Dict of them."""
        ...

    @property
    def action_space(self) -> spaces.Box:
        """Space of one car's action: Box(-1, 1, (A,), float32)."""
        ...

    @property
    def privileged_size(self) -> int | None:
        """Length P of a car's privileged observation; None: there is none."""
        ...

    @property
    def frame_stack(self) -> int:
        """Frames in an observation of a camera; 1 without one."""
        ...

    @property
    def reward_terms(self) -> tuple[str, ...]:
        """Names of the T reward terms."""
        ...

    @property
    def weights(self) -> F:
        """(T,) their weights in the reward."""
        ...

    def reseed(self, seed: int) -> None:
        """Take another seed; the next `reset` starts every car's first episode."""
        ...

    def reset(self) -> tuple[Any, F | None]:
        """Start every car's next episode; returns (observation, privileged)."""
        ...

    def step_batch(self, actions: npt.NDArray[Any]) -> StepResult:
        """Advance all cars by one environment step under actions (N, A)."""
        ...

    def last_episode(self, i: int) -> dict[str, Any]:
        """Facts of the episode that car i ended in the last step: at least steps, and how it ended."""
        ...

    def render(self) -> npt.NDArray[np.uint8]:
        """Draw the first car's surroundings, (H, W, 3) uint8."""
        ...

    def get_state(self) -> dict[str, Any]:
        """Everything that changes while the task runs, as copies."""
        ...

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Continue from `get_state()` of a task with the same settings. Raises ValueError if it does not fit."""
        ...


class Driver(Protocol):
    """Whoever drives the cars of a task without having learnt.

    It may have `facts`, texts by name, of what machines may differ in.
    """

    def __call__(self, taught: float = 0.0) -> F:
        """Actions (N, A) in the present state. taught: share of a student's imitation that is over, [0, 1]."""
        ...


class HasDrivers(Protocol):
    """A task that offers drivers, to compare policies with (driver=NAME) and to be imitated (algo.teacher=driver@NAME).

    driver_names: the first one is imitated where none is named. driver_settings: keys of its config group
    `env` that must differ for drivers to drive as they would, where no student is to imitate them.
    """

    driver_names: ClassVar[tuple[str, ...]]
    driver_settings: ClassVar[Mapping[str, Any]]

    def driver(self, name: str, *, pace: float = 1.0, reach: tuple[float, float] | None = None) -> Driver:
        """One of `driver_names`, asked for before the first `reset`.

        pace: share of what it can drive, where it knows of one. reach: None where it drives; else it says what a
        student is to do that drives, by what the cars do now alone, and this is how far from its plan that one may be
        to be told the whole pace, where it knows of one: at first, and later.
        Raises InputError for other names, and where it cannot drive.
        """
        ...


def drivers_of(kind: Any) -> tuple[str, ...]:
    """Names of the drivers that a task, or a class of tasks, offers."""
    names: tuple[str, ...] = getattr(kind, "driver_names", ())
    return names


def require_driver(kind: Any, name: Any, others: Sequence[str] = (), key: str = "driver") -> None:
    """Raise InputError unless a task or class of tasks offers that driver. others: what `key` may be, too."""
    known = (*others, *drivers_of(kind))
    require(name in known, f"{key} must be one of {', '.join(known) or '(there are none)'}, got {name!r}; choose one")


class Part(StrEnum):
    """What episodes are for: no route, start or noise is in two of them."""

    TRAINING = "training"
    VALIDATION = "validation"  # chooses the best policy
    TEST = "test"  # is reported


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What an episode's facts (`DrivingTask.last_episode`) hold under `name`: the less, the better."""

    name: str
    digits: int  # that tables show


class ScoredTask(DrivingTask, Protocol):
    """A task whose episodes say themselves what they cost: policies are evaluated by that, not by laps on tracks.

    Its constructor takes `part`, a Part, beside races, seed and threads; no tracks and no vehicle. The first episodes
    of the parts that are not TRAINING are fixed: the same whenever they are driven.

    It may also be one of HasDrivers, and have `export_formats`, name -> function that writes beside a policy's ONNX
    file what other programs need, and returns the paths.

    costs: what is reported of episodes; by the mean of the first one policies are ranked. reference_names: of what
    policies are compared with. telemetry_units: of the columns of `telemetry`, by name. episode_name: of the fact that
    says which episode it was. panels: columns of `telemetry` that are drawn in one panel, for each. ahead: steps of the
    plan that a driver sees. observation_names, action_names, units (of both, by name): what an exported policy says of
    itself. world: has step_dt [s], and restart_all(), after which the next `reset` starts every car's first episode.
    """

    costs: ClassVar[tuple[Cost, ...]]
    reference_names: ClassVar[tuple[str, ...]]
    telemetry_units: ClassVar[Mapping[str, str]]
    episode_name: ClassVar[str]
    panels: ClassVar[tuple[tuple[str, ...], ...]]
    ahead: ClassVar[int]
    observation_names: ClassVar[tuple[str, ...]]
    action_names: ClassVar[tuple[str, ...]]
    units: ClassVar[Mapping[str, str]]
    world: Any

    @property
    def episode_names(self) -> Sequence[str]:
        """Of the fixed episodes, in their order."""
        ...

    def begin(self, number: int) -> Any:
        """Start the fixed episode of that number, with every car; returns the observation (N, ...)."""
        ...

    def planned(self, i: int) -> dict[str, npt.NDArray[Any]]:
        """Columns of `telemetry` that are known from the start on, (steps + ahead,): of the episode of car i."""
        ...

    def so_far(self, i: int) -> dict[str, npt.NDArray[Any]]:
        """The other columns, of the steps that car i has driven in its episode."""
        ...

    def costs_so_far(self, i: int) -> dict[str, float]:
        """What these steps cost, by cost: what the episode would if it ended here; empty where that has no meaning."""
        ...

    def facts(self) -> dict[str, str]:
        """What is driven, by name: parts of the summary, and tags of the run."""
        ...

    def references(self) -> dict[str, list[dict[str, float]]]:
        """Costs of the cars' first episodes, by cost, when each of `reference_names` drives them."""
        ...

    def telemetry(self, i: int) -> dict[str, npt.NDArray[Any]]:
        """Columns (steps,) of the episode that car i ended in the last step; the first one is time_s [s]."""
        ...

    @staticmethod
    def draw(tables: Any, labels: Any, title: str, facts: Any, path: Path) -> Path:
        """Draw episodes below each other. tables: of `telemetry`. labels: of each. facts: texts. Returns `path`."""
        ...


def is_scored(kind: Any) -> bool:
    """Whether a task, or a class of tasks, is a ScoredTask."""
    return hasattr(kind, "costs")
