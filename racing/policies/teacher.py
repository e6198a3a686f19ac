"""`algo.teacher`: whom a student imitates, a policy that drives by sensors or a driver that its environment offers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from racing.envs.task import Driver, drivers_of, require_driver
from racing.errors import require, require_number
from racing.policies import DRIVER, is_driver
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
    """A driver that the student's environment offers (racing.envs.task.HasDrivers). It needs no training.

    spec: DRIVER, the first one of them, or DRIVER@NAME. pace, reach: see HasDrivers.
    """

    spec: str
    pace: float
    reach: tuple[float, float]

    def teach(self, env: Any) -> Any:
        """See Teacher."""
        known = drivers_of(env.task)
        rule = f"algo.teacher={self.spec} must have an env that offers drivers"
        require(known != (), f"{rule}; learn without: algo.teacher=null")
        _, at, named = self.spec.partition("@")
        name = named if at else known[0]
        require_driver(env.task, name, key=f"NAME in algo.teacher={DRIVER}@NAME")
        return Told(env.task.driver(name, pace=self.pace, reach=self.reach))


class Told:
    """What a driver would do in an environment as it stands. facts: that machines may differ in."""

    def __init__(self, driver: Driver) -> None:
        """driver: of the environment that it is called with."""
        self._driver, self.facts = driver, getattr(driver, "facts", {})

    def __call__(self, env: Any, taught: float) -> Any:
        """See racing.algos.distillation.Teacher."""
        return self._driver(taught)


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
        return lambda env, taught: np.asarray(model.predict(env.privileged, deterministic=True)[0], np.float32)


def _config_of(policy: Path) -> dict[str, Any]:
    """The configuration of the run that a policy.zip belongs to; empty for a file from elsewhere."""
    paths = RunPaths.of(policy)
    return RunDirectory(paths.folder).config if paths else {}


def find_teacher(
    algo: Mapping[str, Any], outputs: Path, uri: str | None, env: Mapping[str, Any], *, trust: bool = False
) -> Teacher:
    """Whom `algo.teacher` means: DRIVER, DRIVER@NAME, or a finished run or a policy.zip, as for init_from.

    algo: config group, with `teacher`, `teacher_pace` and `teacher_reach`.
    env: the student's config group.
    trust: see `load_model`.
    Raises InputError where the teacher is none or its sensors mean something else than the student's.
    """
    spec, pace, reach = algo["teacher"], algo.get("teacher_pace", 1.0), algo.get("teacher_reach", 0.15)
    ends = reach if isinstance(reach, Sequence) and not isinstance(reach, str) else (reach, reach)
    rule = f"algo.teacher_reach must be a number, or [at first, later], got {reach}"
    require(len(ends) == 2, f"{rule}; write [0.05,0.3]")
    require_number("algo.teacher_pace", pace, 0.3, 1.0, remedy="it is a share of the optimal lap's speed")
    for end in ends:
        require_number("algo.teacher_reach", end, 0.01, 1.0, remedy="it is so many car's widths off the driver's plan")
    if is_driver(spec):
        return DriverTeacher(spec=spec, pace=pace, reach=(ends[0], ends[1]))
    found = find_initial_weights(spec, outputs, uri, key="algo.teacher", trust=trust)
    rule = f"algo.teacher={spec} must be a finished run or a policy.zip"
    require(found.path.suffix == ".zip", f"{rule}, it is a checkpoint; name the run")
    theirs = _config_of(found.path).get("env", {})
    for key in MEANING if theirs else ():
        differs = f"its env.{key} is {theirs.get(key)}, not {env.get(key)}"
        rule = f"algo.teacher={spec} must observe what env's sensors give"
        require(theirs.get(key) == env.get(key), f"{rule}: {differs}; set env.{key} or take another teacher")
    return PolicyTeacher(spec=found.spec, path=found.path, observation=found.observation, trust=trust)
