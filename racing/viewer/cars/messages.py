"""What the page is told of cars, many times a second: binary messages, float32."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from racing.viewer.cars.dashboard import Senses

F = npt.NDArray[np.float32]
STATE_KIND, SENSES_KIND = 1.0, 2.0  # first number of a message


def state_message(head: Sequence[float], numbers: Sequence[int], rows: F, ghosts: Sequence[tuple[float, ...]]) -> bytes:
    """Header, numbers of the cars, their rows (racing.viewer.cars.dashboard.STATE), and the poses of the ghosts.

    head: racing.viewer.session.Session.head. rows: (A, len(STATE)). ghosts: x, y, yaw, v, steer of each.
    Header: kind, head, cars, numbers of each, ghosts.
    """
    first = [STATE_KIND, *head, rows.shape[0], rows.shape[1], len(ghosts)]
    parts: list[Any] = [first, numbers, rows.ravel(), np.ravel(ghosts)]
    return np.concatenate([np.asarray(part, np.float32) for part in parts]).tobytes()


def senses_message(number: int, senses: Senses) -> bytes:
    """Header, ends of rays, preview points, float32; the picture's bytes.

    Header: kind, number of the car, rays, preview points, height, width and channels of the picture, 0 without one.
    """
    picture = senses.picture
    shape = (0, 0, 0) if picture is None else picture.shape
    head = [SENSES_KIND, number, len(senses.rays), len(senses.preview), *shape]
    parts = [head, senses.rays.ravel(), senses.preview.ravel()]
    numbers = np.concatenate([np.asarray(part, np.float32) for part in parts]).tobytes()
    return numbers + (b"" if picture is None else np.ascontiguousarray(picture).tobytes())
