"""Progressive training: runs one after another, each from the weights of the one before."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf

from racing.config import compose
from racing.errors import require
from racing.policies.init_from import require_fit, shape_text
from racing.renamed_keys import key_of
from racing.runs.directory import RunDirectory
from racing.training.build import check_buildable
from racing.training.observer import TrainingObserver
from racing.training.teacher import in_place_of, train_with_teacher


def train_phases(
    cfg: DictConfig, overrides: Sequence[str], *, observer: TrainingObserver | None = None
) -> RunDirectory:
    """Train every phase of `cfg.phases`; returns the run of the last one.

    A phase is a list of overrides on top of the configuration; what was typed (`overrides`) stands above them. It
    begins with the weights of the phase before. Each is a run of its own, `<name>-<phase>`: repeating the command skips
    those that are finished and resumes the one that is not.
    Raises InputError if phases are no lists of overrides by name, or one of these is wrong.
    """
    last: RunDirectory | None = None
    for name, own in check_phases(cfg, overrides).items():
        begin = [f"init_from='{last.name}@policy'"] if last is not None else []
        phase = in_place_of(compose("train", [*own, *begin]), cfg, cfg.phases[name])
        last = train_with_teacher(phase, [*own, *begin], observer=observer)
    assert last is not None
    return last


def check_phases(cfg: DictConfig, overrides: Sequence[str]) -> dict[str, list[str]]:
    """The overrides of every phase by name, without where it begins. Raises InputError as `train_phases`."""
    phases: Any = OmegaConf.to_container(cfg.phases) if OmegaConf.is_config(cfg.phases) else cfg.phases
    rule = f"phases must be lists of settings by name, got {phases!r}; e.g. {{first: [track=oval], second: [seed=1]}}"
    require(isinstance(phases, dict) and len(phases) > 0, rule)
    for phase in phases.values():
        require(isinstance(phase, list) and all(isinstance(s, str) and "=" in s for s in phase), rule)
    first = next(iter(phases))
    own = {name: _overrides(phase, overrides, f"{cfg.name}-{name}", name == first) for name, phase in phases.items()}
    before = None
    for name in own:
        # It must be buildable and fit the one before: now, not when that one is trained.
        model = _model_of(in_place_of(compose("train", own[name]), cfg, phases[name]))
        if before is not None:
            shapes = (shape_text(before.observation_space), shape_text(before.action_space))
            require_fit(model, "the phase before", *shapes, before.policy.state_dict())
        before = model
    return own


def _model_of(phase: DictConfig) -> Any:
    """The model of a phase, without weights and a teacher that may not be there yet."""
    taught = OmegaConf.is_list(phase.algo.get("teacher"))
    return check_buildable(phase, init_from=None, **({"teacher": None} if taught else {}))


def _overrides(phase: Sequence[str], typed: Sequence[str], name: str, first: bool) -> list[str]:
    """The overrides of one phase, without where it begins: its own, but for the keys that were typed, then those."""
    keys = {key_of(override) for override in typed}
    own = [override for override in phase if key_of(override) not in keys]
    without = ("name",) if first else ("name", "init_from")
    return [*own, *(override for override in typed if key_of(override) not in without), f"name={name}"]
