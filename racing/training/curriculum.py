"""Progressive training: runs one after another, each from the weights of the one before."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf

from racing.config import compose, key_of
from racing.errors import require
from racing.policies.init_from import require_fit, shape_text
from racing.runs.directory import RunDirectory
from racing.training.build import build_parts
from racing.training.checks import checked
from racing.training.trainer import train


def train_phases(cfg: DictConfig, settings: Sequence[str]) -> RunDirectory:
    """Train every phase of `cfg.phases`; returns the run of the last one.

    A phase is a list of settings on top of the configuration; what was typed (`settings`) stands above them. It begins
    with the weights of the phase before. Each is a run of its own, `<name>-<phase>`: repeating the command skips those
    that are finished and continues the one that is not. Raises InputError if phases are no lists of settings by name,
    or one of these is wrong.
    """
    last: RunDirectory | None = None
    for own in check_phases(cfg, settings):
        begin = [f"init_from='{last.name}@policy'"] if last is not None else []
        last = train(compose("train", [*own, *begin]), [*own, *begin])
    assert last is not None
    return last


def check_phases(cfg: DictConfig, settings: Sequence[str]) -> list[list[str]]:
    """The settings of every phase, without where it begins. Raises InputError as `train_phases`."""
    phases: Any = OmegaConf.to_container(cfg.phases) if OmegaConf.is_config(cfg.phases) else cfg.phases
    rule = f"phases must be lists of settings by name, got {phases!r}; e.g. {{first: [track=oval], second: [seed=1]}}"
    require(isinstance(phases, dict) and len(phases) > 0, rule)
    for phase in phases.values():
        require(isinstance(phase, list) and all(isinstance(s, str) and "=" in s for s in phase), rule)
    first = next(iter(phases))
    several = [_settings(phase, settings, f"{cfg.name}-{name}", name == first) for name, phase in phases.items()]
    _check(several)
    return several


def _check(several: Sequence[Sequence[str]]) -> None:
    """Raise InputError if a phase is wrong or cannot begin from the one before: now, not when that one is trained."""
    before = None
    for own in several:
        alone = compose("train", own)
        config = checked(alone) | {"init_from": None}  # what it begins from may not be there yet
        if isinstance(config["algo"].get("teacher"), list):
            config["algo"]["teacher"] = None  # nor the teacher that is trained for it
        model = build_parts(alone, config).model
        if before is not None:
            shapes = (shape_text(before.observation_space), shape_text(before.action_space))
            require_fit(model, "the phase before", *shapes, before.policy.state_dict())
        before = model


def _settings(phase: Sequence[str], typed: Sequence[str], name: str, first: bool) -> list[str]:
    """The settings of one phase, without where it begins: its own, but for the keys that were typed, then those."""
    keys = {key_of(setting) for setting in typed}
    own = [setting for setting in phase if key_of(setting) not in keys]
    without = ("name",) if first else ("name", "init_from")
    return [*own, *(setting for setting in typed if key_of(setting) not in without), f"name={name}"]
