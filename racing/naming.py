"""Names of runs and sweeps, made of what was chosen: the same choices have the same name, wherever they run."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from racing.renamed_keys import key_of

# Hydra's overrides that say where a configuration is composed from. They are part of a run's recorded overrides.
SOURCES = SEARCH_PATH, CONFIG_NAME = "hydra.searchpath", "hydra.job.config_name"
# Overrides that make no other sweep: where and how its jobs run, and how many of the same kind.
NOT_SWEEP = ("hardware", "launcher", "tracking", "paths", "checkpoint", "fresh", "trust", "hydra")
MORE = ("tuning.n_trials", "tuning.workers", "tuning.worker")
MAX_DEFAULT_NAME = 100  # characters of a run's name that was made up


def sweep_name(overrides: Sequence[str], hydra: Sequence[str] = (), params: Mapping[Any, Any] | None = None) -> str:
    """Name of a sweep's folder, `<name>-<hash8>`: the same where the same is swept, wherever its jobs run.

    overrides: of the task, as typed. hydra: those of Hydra itself, of which the sources of the configuration count.
    params: axes that a file names, or `hydra.sweeper.params` on the command line.
    """
    axes = [f"{key}={value}" for key, value in (params or {}).items()]
    sources = [str(override) for override in hydra if key_of(str(override)) in SOURCES]
    defining = [override for override in what_counts([*overrides, *axes]) if key_of(override) not in MORE]
    given = {key_of(override): override.partition("=")[2].strip("'\"") for override in defining}
    name = slug(given.get("name") or given.get("experiment") or "")
    defining += sorted(sources)
    return f"{name[:40] or 'sweep'}-{hashlib.sha256(chr(0).join(defining).encode()).hexdigest()[:8]}"


def slug(text: str) -> str:
    """`text` as a part of a file's name: letters, digits and _-. only, no dot or dash at its beginning."""
    return re.sub(r"[^A-Za-z0-9_.\-]+", "_", text).lstrip("._-")


def what_counts(overrides: Sequence[str]) -> list[str]:
    """The overrides, sorted, that say what a job computes, not where and how it runs."""
    return sorted(str(override) for override in overrides if key_of(str(override)).split(".")[0] not in NOT_SWEEP)


def run_name(cfg: DictConfig, chosen: Any) -> Any:
    """The name of a run: the one it was given, else its experiment, or its environment, track and algorithm.

    chosen: what Hydra chose, group -> name. What was given is not checked here; a number or truth value is its text.
    """
    given = cfg.get("name")
    if given is not None:
        return word(given)
    track = chosen.get("track")
    if track == "file":
        track = slug(Path(str(cfg.track.file)).stem).strip("._-") or "track"
    parts = [part for part in (chosen.get("env"), track, chosen.get("algo")) if part != "_none"]
    return slug(str(chosen.get("experiment") or "-".join(map(str, parts))))[:MAX_DEFAULT_NAME]


def word(value: Any) -> Any:
    """The text of a number or truth value, as YAML writes it; anything else as it is."""
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, int | float) else value
