"""Checks a job of racing train before it is submitted."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from racing.naming import run_name
from racing.training.build import check_buildable
from racing.training.checks import checked
from racing.training.sizes import on_machine_with

LARGEST = 1 << 40  # [bytes] of memory of any machine


def check_job(
    cfg: DictConfig,
    overrides: Sequence[str],
    chosen: Any,
    *,
    here: bool,
    build: bool,
    place: Path | None = None,
    memory: int = LARGEST,
) -> None:
    """Raise InputError if `train` would refuse `cfg`, which is a copy that may be changed; nothing is written.

    overrides: of the job.
    chosen: what Hydra chose, group -> name.
    here: it will run on this machine, with its hardware.
    build: also build the experiment, which takes a second.
    place: the sweep's folder.
    memory: [bytes] of the machine that it will run on, if not `here`.
    """
    if not here:
        cfg.hardware.update(prefer=["cpu"], fallback=True)
    with contextlib.nullcontext() if here else on_machine_with(memory):
        _check(cfg, overrides, chosen, build=build, place=place)


def _check(cfg: DictConfig, overrides: Sequence[str], chosen: Any, *, build: bool, place: Path | None) -> None:
    from racing.training.curriculum import check_phases

    cfg.name = run_name(cfg, chosen)
    checked(cfg)
    if not build:
        return
    if "tuning" in cfg:
        from racing.tuning.search import read_search

        read_search(cfg, overrides, place).check()
    if cfg.phases is not None:
        check_phases(cfg, overrides)
        return
    taught = OmegaConf.is_list(cfg.algo.get("teacher"))
    check_buildable(cfg, **({"teacher": None} if taught else {}))
