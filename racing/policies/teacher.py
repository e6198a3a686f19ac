"""`algo.teacher`: a policy that drives by sensors, imitated by a student that learns to drive by what it sees."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from racing.errors import require
from racing.policies.init_from import find_initial_weights
from racing.policies.loading import load_model
from racing.runs.directory import RunDirectory
from racing.runs.paths import RunPaths

# Keys of conf/env/mlp.yaml that say what the sensors' numbers mean.
MEANING = ("rays", "field_of_view", "range", "motion", "preview", "preview_spacing", "line", "action_repeat")


@dataclass(frozen=True, kw_only=True)
class Teacher:
    """A policy to imitate.

    spec: names exactly these weights. path: its policy.zip. observation: shape of what it observes, as text.
    trust: see `load_model`.
    """

    spec: str
    path: Path
    observation: str
    trust: bool = False

    def policy(self, size: int) -> Any:
        """Load it: (N, P) privileged observations -> (N, 2) actions in [-1, 1].

        size: P of the student's environment. Raises InputError where the teacher observes something else.
        """
        rule = f"algo.teacher={self.spec} must observe what env's sensors give, shape ({size},)"
        remedy = f"it observes {self.observation}; train it with these sensors"
        require(self.observation == str((size,)), f"{rule}, {remedy}")
        model = load_model(self.path, trust=self.trust)

        def act(privileged: Any) -> Any:
            return np.asarray(model.predict(privileged, deterministic=True)[0], np.float32)

        return act


def _config_of(policy: Path) -> dict[str, Any]:
    """The configuration of the run that a policy.zip belongs to; empty for a file from elsewhere."""
    paths = RunPaths.of(policy)
    return RunDirectory(paths.folder).config if paths else {}


def find_teacher(spec: Any, outputs: Path, uri: str | None, env: Mapping[str, Any], *, trust: bool = False) -> Teacher:
    """The teacher that `algo.teacher=<spec>` means.

    spec: a finished run or a policy.zip, as for init_from.
    env: the student's config group.
    trust: see `load_model`.
    Raises InputError where the teacher is none or its sensors mean something else than the student's.
    """
    found = find_initial_weights(spec, outputs, uri, key="algo.teacher", trust=trust)
    rule = f"algo.teacher={spec} must be a finished run or a policy.zip"
    require(found.path.suffix == ".zip", f"{rule}, it is a checkpoint; name the run")
    theirs = _config_of(found.path).get("env", {})
    for key in MEANING if theirs else ():
        differs = f"its env.{key} is {theirs.get(key)}, not {env.get(key)}"
        rule = f"algo.teacher={spec} must observe what env's sensors give"
        require(theirs.get(key) == env.get(key), f"{rule}: {differs}; set env.{key} or take another teacher")
    return Teacher(spec=found.spec, path=found.path, observation=found.observation, trust=trust)
