"""Angles of configurations are degrees, those inside are radians."""

from __future__ import annotations

import math
from typing import Any

from racing.errors import is_number, require, require_number


def radians(name: str, degrees: Any) -> float:
    """Convert an angle from outside. Raises InputError if it is no number; who keeps the angle checks its range."""
    require(is_number(degrees), f"{name} must be a number of degrees, got {degrees!r}; see conf/env")
    return math.radians(degrees)


def require_degrees(name: str, angle: float, low: float, high: float, remedy: str) -> None:
    """Raise InputError unless `angle` [rad] lies in [low, high] degrees."""
    require_number(name, round(math.degrees(angle), 9), low, high, unit="degrees", remedy=remedy)
