"""A teacher that is trained for its student: `algo.teacher` as a list of overrides."""

from __future__ import annotations

from collections.abc import Sequence

from omegaconf import DictConfig, ListConfig, OmegaConf

from racing.config import compose_run
from racing.naming import SEARCH_PATH
from racing.renamed_keys import key_of
from racing.runs.directory import RunDirectory
from racing.training.build import check_buildable
from racing.training.observer import TrainingObserver
from racing.training.stop_flag import StopFlag
from racing.training.trainer import train

# Groups of which the student's overrides are the teacher's, too.
SHARED = ("track", "vehicle", "seed", "paths", "tracking", "hardware", "checkpoint", "debug", "fresh", "trust")
PLACE = ("paths", "tracking", "hardware", "launcher")  # groups that say where a run is and who records it


def train_with_teacher(
    cfg: DictConfig,
    overrides: Sequence[str] = (),
    *,
    observer: TrainingObserver | None = None,
    stop: StopFlag | None = None,
    suffix: str = "",
) -> RunDirectory:
    """Train what `cfg` describes; before it, where `algo.teacher` is a list of overrides, the run that they describe.

    Arguments and errors as in `racing.training.trainer.train`.
    """
    if isinstance(cfg.algo.get("teacher"), ListConfig):
        check_buildable(cfg, teacher=None)  # what is wrong with the student shows before its teacher learns
        taught = cfg.copy()
        taught.algo.teacher = train_teacher(cfg, overrides)
        cfg = taught
    return train(cfg, overrides, observer=observer, stop=stop, suffix=suffix)


def in_place_of(cfg: DictConfig, main: DictConfig, own: Sequence[str]) -> DictConfig:
    """Put a run that belongs to `main` where that one is, whose launcher may have moved it; returns `cfg`.

    own: overrides of this run alone; groups that they name stay as they are.
    """
    named = {key_of(override).partition(".")[0] for override in own}
    for group in PLACE:
        if group not in named:
            cfg[group] = main[group]
    return cfg


def train_teacher(cfg: DictConfig, overrides: Sequence[str]) -> str:
    """Train the teacher of a student, or resume it, or find it finished; returns the name of its policy.

    Nobody observes it: what a search or a sweep wants to know is how the student does.

    overrides: the student's; what of them concerns both goes to the teacher, too.
    """
    own = [str(override) for override in cfg.algo.teacher]
    keys = {key_of(override) for override in own}
    shared = [o for o in overrides if key_of(o).partition(".")[0] in SHARED and key_of(o) not in keys]
    shared += [o for o in overrides if key_of(o) == SEARCH_PATH]  # where its choices may be
    teacher = in_place_of(OmegaConf.create(compose_run([*own, *shared])), cfg, own)
    return f"{train(teacher, [*own, *shared]).name}@policy"
