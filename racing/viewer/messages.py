"""What a page may say, and what it is told. Whatever else comes is no command, whoever sends it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from racing.errors import is_number
from racing.viewer.car import Senses
from racing.viewer.lap_trace import LapTrace
from racing.viewer.session import RATES, Session

F = npt.NDArray[np.float32]
MOST_BYTES = 512  # of a command; the longest has about a hundred
STATE_KIND, SENSES_KIND = 1.0, 2.0  # first number of a binary message
FAR = 1e7  # [m] no track is as long

Check = Callable[[Any], bool]


def _in(low: float, high: float) -> Check:
    return lambda value: is_number(value) and low <= value <= high


def _is_truth(value: Any) -> bool:
    return isinstance(value, bool)


def _is_car(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1000


COMMANDS: dict[str, dict[str, Check]] = {  # name -> its values, all of which must be there
    "pause": {"on": _is_truth},
    "rate": {"rate": _in(RATES[0], RATES[-1])},
    "restart": {"along": lambda value: value is None or _in(0, FAR)(value)},  # [m]
    "drive": {"on": _is_truth},
    "hands": {"steer": _in(-1, 1), "throttle": _in(-1, 1), "keys": _is_truth},
    "watch": {"car": _is_car, "senses": _is_truth},
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


def state_message(session: Session, ghosts: Sequence[LapTrace], watched: int) -> bytes:
    """Header, numbers of all cars (racing.viewer.car.STATE), and x, y, yaw, v, steer of the ghosts, float32.

    ghosts: they are where they were as long after the gate at which the watched car's lap began; there are none before.
    Header: kind, time [s], rate, share, paused, driving, cars, numbers of each, ghosts.
    """
    rows = session.state()
    numbers = [car.number for car in session.active]
    car = session.cars[watched] if watched in numbers else None
    poses = []
    if car is not None and car.timing.since is not None and not math.isnan(car.timing.clock):
        poses = [trace.pose(car.timing.since, car.timing.clock) for trace in ghosts]
    head = [STATE_KIND, session.time, session.rate, session.share, session.paused, session.driving]
    head += [rows.shape[0], rows.shape[1], len(poses)]
    parts = [head, numbers, rows.ravel(), np.ravel(poses)]
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
