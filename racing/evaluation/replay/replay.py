"""Write `replay.html`: cars on their track from above and their channels, in one file that needs nothing else."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from racing.evaluation.plots import speed_unit
from racing.files import write_atomic
from racing.sim.track import Track

Array = npt.NDArray[Any]

REPLAY = "replay.html"
CHANNELS = ("time_s", "s", "x", "y", "yaw", "v", "steer", "throttle_command")
LEVELS = 65535  # that a value is rounded to: a millimetre of 65 m, a millisecond of a minute
MOST_ROWS = 12_000  # of all cars: beyond, every second, third, ... row; 200 kB
MOST_POINTS = 600  # of an edge
NEAR = 10  # [widths of the road] that are seen when a car is followed


@dataclass(frozen=True, kw_only=True)
class ReplayCar:
    """How a car drove. name, note: what stands in the table. colour: as #rrggbb.

    columns: (T,) each, of CHANNELS; time_s [s] from 0 and s [m], where there is one, ascending. steer and
    throttle_command may be missing. dashed: nobody drove it.
    """

    name: str
    colour: str
    columns: Mapping[str, Array]
    note: str = ""
    dashed: bool = False


def write_replay(path: Path, track: Track, cars: Sequence[ReplayCar], title: str, facts: Sequence[str] = ()) -> Path:
    """Write the page; returns `path`. The same arguments give the same bytes.

    cars: at least one; channels are drawn over distance where all have `s`, else over time. facts: short texts under
    the title.
    """
    numbers = _Numbers()
    every = -(-sum(len(car.columns["time_s"]) for car in cars) // MOST_ROWS)
    scale, unit = speed_unit(np.concatenate([car.columns["v"] for car in cars]))
    edges = [edge[:: -(-len(edge) // MOST_POINTS)] for edge in (track.left_edge, track.right_edge)]
    width = float(np.mean(track.left + track.right))
    content = {
        "title": title,
        "facts": list(facts),
        "axis": "s" if all("s" in car.columns for car in cars) else "time_s",
        "speed_scale": scale,
        "speed_unit": unit,
        "near": NEAR * width,
        "car": width / 4,  # [m] half of its length on the map
        "edges": [[numbers.add(edge[:, k]) for k in (0, 1)] for edge in edges],
        "cars": [
            {
                "name": car.name,
                "note": car.note,
                "colour": car.colour,
                "dashed": car.dashed,
                "columns": {
                    name: numbers.add(_thinned(car.columns[name], every)) for name in CHANNELS if name in car.columns
                },
            }
            for car in cars
        ],
    }
    content["numbers"] = numbers.text()
    text = json.dumps(content, sort_keys=True, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
    write_atomic(path, _template().replace("{{data}}", text))
    return path


class _Numbers:
    """Columns as 16-bit numbers behind each other."""

    def __init__(self) -> None:
        self._parts: list[npt.NDArray[np.uint16]] = []
        self._count = 0

    def add(self, values: Array) -> dict[str, Any]:
        """Append a column; returns what the page needs to read it."""
        low, high = float(values.min()), float(values.max())
        unit = (high - low) / LEVELS
        levels = np.round((values - low) / unit) if unit > 0 else np.zeros(len(values))
        place = {"begin": self._count, "count": len(values), "low": low, "unit": unit}
        self._parts.append(levels.astype("<u2"))
        self._count += len(values)
        return place

    def text(self) -> str:
        """All of them, as base64."""
        return base64.b64encode(np.concatenate(self._parts).tobytes()).decode()


def _thinned(values: Array, every: int) -> Array:
    """Every n-th row, and the last one."""
    chosen = np.append(np.arange(0, len(values) - 1, every), len(values) - 1)
    return np.asarray(values[chosen], np.float64)


@cache
def _template() -> str:
    return files("racing.evaluation.replay").joinpath("page.html").read_text(encoding="utf-8")
