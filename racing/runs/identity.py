"""Identity of a run: which keys of its configuration say what is computed, and how two configurations differ.

Configurations that earlier versions recorded are compared with today's names of their keys.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from racing.renamed_keys import upgraded

# What may differ between two processes of one run: where it runs and who watches, not what it computes.
NOT_IDENTITY = (
    "hardware",
    "launcher",
    "tracking",
    "checkpoint",
    "paths",
    "phases",
    "hydra",
    "fresh",
    "trust",
    "debug",
    "run",
    "tuning",
    "sweep",  # what earlier versions called tuning
)


def config_hash(config: Mapping[str, Any]) -> str:
    """Return the sha256 of what is computed: canonical JSON of `config` without the keys in NOT_IDENTITY."""
    return _hash(identity(config))


def recorded_hash(config: Mapping[str, Any]) -> str:
    """Return `config_hash` as it was when `config` was recorded: with the names that its keys have there."""
    return _hash(_identity(config))


def identity(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of `config` that says what is computed."""
    return _identity(upgraded(config))


def _identity(config: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in config.items() if key not in NOT_IDENTITY}


def _hash(identity: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(identity, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def differing_keys(recorded: Mapping[str, Any], present: Mapping[str, Any]) -> list[str]:
    """Name each key that differs in two identities, as `algo.gamma is 0.9, not 0.99`: `recorded`, then `present`."""
    before, now = flatten(identity(recorded)), flatten(identity(present))

    def shown(config: Mapping[str, Any], key: str) -> str:
        return repr(config[key]) if key in config else "absent"

    keys = [key for key in now | before if shown(before, key) != shown(now, key)]
    return [f"{key} is {shown(before, key)}, not {shown(now, key)}" for key in keys]


def listing(parts: Sequence[str]) -> str:
    """Return the first three of `parts` as text, and how many more there are."""
    return "; ".join(parts[:3]) + (f"; and {len(parts) - 3} more" if len(parts) > 3 else "")


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten nested mappings: {"algo": {"gamma": 0.99}} gives {"algo.gamma": 0.99}; lists stay values."""
    return dict(_leaves(config, prefix))


def _leaves(config: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
