"""Whether a recorded configuration names code that is not racing's own; imports nothing that takes long."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from racing.errors import require

GROUPS = ("env", "track", "vehicle")  # of a configuration, that an ONNX file remembers
# What a recorded configuration may name, group by group, and nothing else: Hydra calls whatever _target_ says.
TARGETS = {
    "env": r"racing\.envs(\.[a-z_]\w*)+\.[A-Z]\w*",
    "track": r"racing\.tracks\.catalog\.(load_tracks|generated_tracks)",
    "vehicle": r"racing\.sim\.vehicle\.Vehicle",
    "algo": r"racing\.algos\.[a-z_]\w*\.make_\w+",
    "launcher": r"racing_launchers(\.[a-z_]\w*)+\.[A-Z]\w*",
}
HOW_TO_BUILD = {"_partial_", "_convert_", "_recursive_"}  # of Hydra, beside _target_


def refuse_foreign_code(config: Mapping[str, Any], name: str, groups: Sequence[str] = GROUPS) -> None:
    """Raise InputError if a recorded configuration names code that is not racing's own, or is not resolved.

    groups: of it, that are going to be built.
    """
    for group in groups:
        node = config.get(group)
        if node is not None:
            foreign = _foreign(node, group, TARGETS.get(group))
            remedy = "do not trust this file; trust=true runs what it names, where it is your own"
            require(foreign is None, f"{name} must name racing's own {group} only, it has {foreign}; {remedy}")


def _foreign(node: Any, where: str, target: str | None) -> str | None:
    """The first place below `where` that would have code run, None if there is none. target: what it may name."""
    if isinstance(node, str):
        return f"{where}={node[:60]!r}" if "${" in node else None
    if isinstance(node, Mapping):
        for key, value in node.items():
            own = key == "_target_" and target is not None and re.fullmatch(target, str(value))
            if str(key).startswith("_") and not own and (key not in HOW_TO_BUILD or target is None):
                return f"{where}.{key}={str(value)[:60]!r}"
        parts: Iterable[tuple[Any, Any]] = node.items()
    else:
        parts = enumerate(node) if isinstance(node, list | tuple) else ()
    found = (_foreign(value, f"{where}.{key}", None) for key, value in parts)
    return next((place for place in found if place), None)
