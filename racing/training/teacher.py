"""`algo.teacher`: a policy that drives by sensors, imitated by one that learns to drive by what it sees."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import OmegaConf

from racing.config import compose_run, key_of
from racing.errors import require
from racing.policies.init_from import find_ancestor
from racing.policies.loading import load_model
from racing.runs.directory import RunDirectory

SHARED = ("track", "vehicle", "seed", "paths", "tracking", "hardware", "checkpoint", "debug", "fresh")
# Keys of conf/env/mlp.yaml that say what the sensors' numbers mean.
MEANING = ("rays", "field_of_view", "range", "motion", "preview", "preview_spacing", "line", "action_repeat")


def train_teacher(settings: Sequence[str], typed: Sequence[str], train: Callable[..., RunDirectory]) -> str:
    """Train the run that `settings` describe, or continue it, or find it finished; returns its policy's name.

    typed: what was typed for the pupil; what of it concerns both goes to the teacher, too. train:
    racing.training.trainer.train.
    """
    own = {key_of(setting) for setting in settings}
    shared = [s for s in typed if key_of(s).partition(".")[0] in SHARED and key_of(s) not in own]
    both = [*settings, *shared]
    cfg = OmegaConf.create(compose_run(both))
    return f"{train(cfg, both).name}@policy"


def find_teacher(spec: str, outputs: Path, uri: str | None, env: Mapping[str, Any], size: int) -> tuple[str, Any]:
    """(the name of exactly these weights, (n, P) privileged observations -> (n, 2) actions in [-1, 1]).

    spec: a finished run or a policy.zip, as for init_from. env: the pupil's config group. size: P. Raises InputError
    where the teacher is none or senses something else than the pupil's environment offers.
    """
    found = find_ancestor(spec, outputs, uri, key="algo.teacher")
    rule = f"algo.teacher={spec} must be a finished run or a policy.zip"
    require(found.path.suffix == ".zip", f"{rule}, it is a checkpoint; name the run")
    rule = f"algo.teacher={spec} must observe what env's sensors give, shape ({size},)"
    require(found.observation == str((size,)), f"{rule}, it observes {found.observation}; train it with these sensors")
    theirs = RunDirectory(found.path.resolve().parents[1]).config.get("env", {})
    for key in MEANING if theirs else ():
        differs = f"its env.{key} is {theirs.get(key)}, not {env.get(key)}"
        require(theirs.get(key) == env.get(key), f"{rule}: {differs}; set env.{key} or take another teacher")
    model = load_model(found.path)

    def act(privileged: Any) -> Any:
        return np.asarray(model.predict(privileged, deterministic=True)[0], np.float32)

    return found.spec, act
