"""Where a run's journal goes beside MLflow: TensorBoard, Weights & Biases.

Each sink is fed by a sender process of its own (racing/tracking/sender.py), so that none of them can hold back another.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from racing.errors import require
from racing.runs.directory import RunDirectory
from racing.runs.provenance import version
from racing.tracking.errors import Refused, Unreachable
from racing.tracking.sinks.journal_sink import JournalSink
from racing.tracking.sinks.tensorboard_sink import TensorBoardSink
from racing.tracking.sinks.wandb_sink import MODES, WandbSink

SINKS: dict[str, type[JournalSink]] = {"tensorboard": TensorBoardSink, "wandb": WandbSink}  # key of tracking -> class


def wanted_sinks(tracking: Mapping[str, Any]) -> list[str]:
    """Name the sinks that `tracking` turns on."""
    return [name for name in SINKS if tracking.get(name)]


def check_sinks(tracking: Mapping[str, Any]) -> None:
    """Raise InputError unless the keys of the sinks are truth values and what they turn on is installed."""
    for name in SINKS:
        value = tracking.get(name, False)
        require(isinstance(value, bool), f"tracking.{name} must be true or false, got {value!r}; choose one")
    for name in wanted_sinks(tracking):
        needs = f"tracking.{name}=true needs the package {name}, which is not installed"
        require(version(name) is not None, f"{needs}; pip install 'racing[{name}]', in a checkout '.[{name}]'")
    mode = os.environ.get("WANDB_MODE")
    known = not tracking.get("wandb") or mode is None or mode in MODES
    require(known, f"WANDB_MODE={mode!r} must be one of {', '.join(MODES)}; correct it or unset it")


def sync_sinks(run: RunDirectory) -> dict[str, str]:
    """Bring the sinks that the run has (configured, or begun later) up to date with its journal, in the foreground.

    Returns what hinders each by name, '' for one that is complete.
    """
    tracking = run.config.get("tracking") or {}
    names = [name for name in SINKS if tracking.get(name) or run.paths.sink(name).is_dir()]
    return {name: _sync(SINKS[name](run)) for name in names}


def _sync(sink: JournalSink) -> str:
    if version(sink.name) is None:
        return f"the package {sink.name} is not installed: pip install 'racing[{sink.name}]'"
    if not sink.lock.acquire():
        return f"being written by {sink.lock.owner}"
    try:
        while sink.deliver():
            pass
        sink.close()
    except (Unreachable, Refused) as error:
        return str(error)
    finally:
        sink.lock.release()
    return ""
