"""Arrays of several things as one, which a kernel reads from where each begins."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


class Joined:
    """Arrays that become one, and how long it is so far."""

    def __init__(self, *parts: Array) -> None:
        """Begin with `parts`."""
        self._parts: list[Array] = []
        self._length = 0
        for part in parts:
            self.add(part)

    def add(self, part: Array) -> int:
        """Put `part` (K, ...) at the end; return where it begins."""
        start = self._length
        self._parts.append(part)
        self._length += len(part)
        return start

    def whole(self) -> Array:
        """Return the one array."""
        return np.concatenate(self._parts)
