"""`algo.teacher`: whom a student imitates, a policy that drives by sensors or the driver of a computed lap."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from racing.envs.drivers import MOST_SOLVED
from racing.errors import require, require_number
from racing.policies import DRIVER
from racing.policies.init_from import find_initial_weights
from racing.policies.loading import load_model
from racing.runs.directory import RunDirectory
from racing.runs.paths import RunPaths

# Keys of conf/env/mlp.yaml that say what the numbers of sensors and actions mean.
MEANING = ("rays", "field_of_view", "range", "motion", "preview", "preview_spacing", "line", "action_repeat")


class Teacher(Protocol):
    """Whom a student imitates."""

    @property
    def spec(self) -> str:
        """Names exactly this teacher."""

    def teach(self, env: Any) -> Any:
        """A racing.algos.distillation.Teacher for students in `env`, a racing.envs.vec_env.RacingVecEnv.

        Raises InputError where it can't drive there.
        """


@dataclass(frozen=True, kw_only=True)
class DriverTeacher:
    """The driver of the optimal lap (racing.tracks.optimal_lap.driver), of each track that is learnt on.

    Where a track's optimal lap cannot be had, and where there are more than MOST_SOLVED, it drives the reference lap.
    It needs no training. pace: share of the lap's speed. action_repeat: the environment's.
    """

    pace: float
    action_repeat: int
    spec = DRIVER

    def teach(self, env: Any) -> Any:
        """See Teacher. An environment that has a driver of its own is taught by that one."""
        own = getattr(env.task, "own_driver", None)
        if own is not None:
            drive = own()
            return lambda env: drive()
        from racing.tracks.optimal_lap.driver import best_driver

        tracks, vehicle = env.task.tracks, env.task.vehicle
        margin = env.task.world.episodes.edge_margin  # the driver keeps clear of the edge as the student must
        vehicle = replace(vehicle, width=vehicle.width + 2 * margin)
        rule = f"algo.teacher={DRIVER} must drive a vehicle with tyres, saturated or linear, got {vehicle.model}"
        require(vehicle.model in ("saturated", "linear"), f"{rule}; learn without a teacher: algo=ppo_scratch")
        say, solve = partial(print, file=sys.stderr), len(tracks) <= MOST_SOLVED
        return Advice(best_driver(tracks, vehicle, self.action_repeat, self.pace, say, solve=solve))


class Advice:
    """What a driver would do in an environment as it stands. facts: that machines may differ in."""

    def __init__(self, driver: Any) -> None:
        """driver: a racing.tracks.optimal_lap.driver.OptimalDriver."""
        self._driver, self.facts = driver, driver.facts

    def __call__(self, env: Any) -> Any:
        """(N, 2) actions."""
        return self._driver.advice(env.task.cars)


@dataclass(frozen=True, kw_only=True)
class PolicyTeacher:
    """A policy to imitate.

    spec: names exactly these weights. path: its policy.zip. observation: shape of what it observes, as text.
    trust: see `load_model`.
    """

    spec: str
    path: Path
    observation: str
    trust: bool = False

    def teach(self, env: Any) -> Any:
        """See Teacher. It drives by the privileged observation."""
        rule = f"algo.teacher={self.spec} needs an environment that has sensors beside what is observed"
        require(env.privileged is not None, f"{rule}; choose env=vision, algo.teacher={DRIVER} or null")
        size = env.privileged.shape[1]
        rule = f"algo.teacher={self.spec} must observe what env's sensors give, shape ({size},)"
        remedy = f"it observes {self.observation}; train it with these sensors"
        require(self.observation == str((size,)), f"{rule}, {remedy}")
        model = load_model(self.path, trust=self.trust)
        return lambda env: np.asarray(model.predict(env.privileged, deterministic=True)[0], np.float32)


def _config_of(policy: Path) -> dict[str, Any]:
    """The configuration of the run that a policy.zip belongs to; empty for a file from elsewhere."""
    paths = RunPaths.of(policy)
    return RunDirectory(paths.folder).config if paths else {}


def find_teacher(
    algo: Mapping[str, Any], outputs: Path, uri: str | None, env: Mapping[str, Any], *, trust: bool = False
) -> Teacher:
    """Whom `algo.teacher` means: DRIVER, or a finished run or a policy.zip, as for init_from.

    algo: config group, with `teacher` and `teacher_pace`.
    env: the student's config group.
    trust: see `load_model`.
    Raises InputError where the teacher is none or its sensors mean something else than the student's.
    """
    spec, pace = algo["teacher"], algo.get("teacher_pace", 1.0)
    require_number("algo.teacher_pace", pace, 0.3, 1.0, remedy="it is a share of the optimal lap's speed")
    if spec == DRIVER:
        return DriverTeacher(pace=pace, action_repeat=env.get("action_repeat", 1))
    found = find_initial_weights(spec, outputs, uri, key="algo.teacher", trust=trust)
    rule = f"algo.teacher={spec} must be a finished run or a policy.zip"
    require(found.path.suffix == ".zip", f"{rule}, it is a checkpoint; name the run")
    theirs = _config_of(found.path).get("env", {})
    for key in MEANING if theirs else ():
        differs = f"its env.{key} is {theirs.get(key)}, not {env.get(key)}"
        rule = f"algo.teacher={spec} must observe what env's sensors give"
        require(theirs.get(key) == env.get(key), f"{rule}: {differs}; set env.{key} or take another teacher")
    return PolicyTeacher(spec=found.spec, path=found.path, observation=found.observation, trust=trust)
