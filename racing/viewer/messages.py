"""What a page may say. Whatever else comes is no command, whoever sends it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from racing.errors import is_number
from racing.viewer.session import RATES

MOST_BYTES = 512  # of a command; the longest has about a hundred
FAR = 1e7  # [m] no track is as long
MOST_EPISODES = 1_000_000

Check = Callable[[Any], bool]


def _in(low: float, high: float) -> Check:
    return lambda value: is_number(value) and low <= value <= high


def _is_truth(value: Any) -> bool:
    return isinstance(value, bool)


def _below(most: int) -> Check:
    return lambda value: isinstance(value, int) and not isinstance(value, bool) and 0 <= value < most


COMMANDS: dict[str, dict[str, Check]] = {  # name -> its values, all of which must be there
    "pause": {"on": _is_truth},
    "rate": {"rate": _in(RATES[0], RATES[-1])},
    "restart": {"along": lambda value: value is None or _in(0, FAR)(value)},  # [m]
    "drive": {"on": _is_truth},
    "hands": {"steer": _in(-1, 1), "throttle": _in(-1, 1), "keys": _is_truth},
    "watch": {"car": _below(1000), "senses": _is_truth},
    "episode": {"number": _below(MOST_EPISODES)},
}


def command_of(text: str | bytes | None) -> tuple[str, dict[str, Any]] | None:
    """The command and its values that a message of a page is; None for anything else."""
    if not isinstance(text, str) or len(text) > MOST_BYTES:
        return None
    try:
        said = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(said, dict) or not isinstance(said.get("do"), str):
        return None
    name = said.pop("do")
    checks = COMMANDS.get(name)
    if checks is None or said.keys() != checks.keys() or not all(checks[key](said[key]) for key in checks):
        return None
    return name, said
