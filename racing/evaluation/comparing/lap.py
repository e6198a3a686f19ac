"""Complete laps in telemetry, as if they had begun on the start line, so that laps can be laid on each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.interpolate import PchipInterpolator

from racing.sim.track import Track

Array = npt.NDArray[Any]

ASIDE = 0.5  # of a gate's width: a car that passes it so far beside its end has passed it
ROUNDING = 1e-3  # [m] that telemetry's float32 may have moved a car that stops on a gate
CLOSES = 0.05  # share of the centreline by which the way between two passes of a gate may differ from it


@dataclass(frozen=True, kw_only=True)
class Lap:
    """A complete lap over distance. It may have begun at any gate: what was driven before the start line comes last.

    number: of the lap, from 1. time_s: lap time [s]. seam: where it began [m from the start line]: the car that comes
    there again is not quite where it was, so all but time may jump.
    s: (T,) [m] along the centreline, ascending, from 0 to the track's length. columns: (T,) float64 each, as
    racing.evaluation.telemetry has them, but s, distance and lap; time_s counts from the start line, and yaw does not
    jump by a turn.
    """

    number: int
    time_s: float
    seam: float
    s: npt.NDArray[np.float64]
    columns: dict[str, npt.NDArray[np.float64]]

    def elapsed(self, s: Array) -> npt.NDArray[np.float64]:
        """Time [s] since the start line at places `s` [m] in [0, length]; exact at both ends."""
        return np.asarray(PchipInterpolator(self.s, self.columns["time_s"])(s))

    def at(self, name: str, s: Array) -> npt.NDArray[np.float64]:
        """A column at places `s` [m] in [0, length]."""
        return np.asarray(np.interp(s, self.s, self.columns[name]))


def best_lap(table: Mapping[str, Array], track: Track) -> Lap | None:
    """The fastest complete lap of an episode that is not its first; of one lap alone, that one. None without any."""
    found = laps_of(table, track)
    flying = [lap for lap in found if lap.number > 1] or found
    return min(flying, key=lambda lap: lap.time_s, default=None)


def laps_of(table: Mapping[str, Array], track: Track) -> list[Lap]:
    """All complete laps of an episode. table: its telemetry from the start on, columns (T,) with time_s."""
    last = int(table["lap"].max(initial=0))
    found = [lap_of(table, number, track) for number in range(1, last + 1)]
    return [lap for lap in found if lap is not None]


def lap_of(table: Mapping[str, Array], number: int, track: Track) -> Lap | None:
    """Lap `number` of an episode; None where it is not there as a whole. Arguments as in `laps_of`.

    Its time is that of the simulator, which divides the step in which a gate is passed by the way in it (keep_up in
    racing.sim.step), but for rounding.
    """
    rows = np.flatnonzero(table["lap"] == number)
    if len(rows) == 0 or rows[0] == 0 or len(table["lap"]) <= rows[-1] + 1:
        return None
    first, after = int(rows[0]), int(rows[-1]) + 1
    begins, ends = _passed(table, first, track), _passed(table, after, track)
    gate = next((gate for gate in begins if gate in ends), None)
    if gate is None:
        return None
    begin, end = begins[gate], ends[gate]
    window = {name: np.asarray(values[first - 1 : after + 1], np.float64) for name, values in table.items()}
    window["yaw"] = np.unwrap(window["yaw"])
    # Rows at both passes of the gate, and what lies between them.
    place = np.array([begin, *range(1, after - first + 1), after - first + end])
    columns = {name: np.interp(place, np.arange(len(values)), values) for name, values in window.items()}
    arc = np.interp(begin, [0, 1], [window["s"][0], window["s"][0] + _shortest(np.diff(window["s"][:2])[0], track)])
    way = columns["distance"] - columns["distance"][0]
    if abs(way[-1] - track.length) > CLOSES * track.length:
        return None
    ahead = np.concatenate([[True], np.diff(np.maximum.accumulate(way)) > 0])  # a car may roll back
    columns = {name: values[ahead] for name, values in columns.items() if name not in ("s", "distance", "lap")}
    way = way[ahead]
    return _from_start_line(number, float(arc % track.length), way / way[-1], columns, track)


def _from_start_line(number: int, seam: float, share: Array, columns: dict[str, Array], track: Track) -> Lap:
    """Put what was driven before the start line behind the rest. share: (T,) of the lap, from 0 at the seam to 1."""
    clock = columns["time_s"] - columns["time_s"][0]
    whole, line = float(clock[-1]), 1 - seam / track.length
    if not 0 < line < 1:
        return Lap(number=number, time_s=whole, seam=0.0, s=share * track.length, columns=columns | {"time_s": clock})
    crossed = float(PchipInterpolator(share, clock)(line))
    before, after = share < line, share > line
    out = {}
    for name, values in columns.items():
        there = np.interp(line, share, values)
        turn = 2 * np.pi * round((values[-1] - values[0]) / (2 * np.pi)) if name == "yaw" else 0.0
        head = values[before][1:] + turn  # without the row at the seam: its place has one
        out[name] = np.concatenate([[there], values[after], head, [there + turn]])
    tail = clock[before][1:] + whole - crossed
    out["time_s"] = np.concatenate([[0.0], clock[after] - crossed, tail, [whole]])
    shares = np.concatenate([[0.0], share[after] - line, share[before][1:] + 1 - line, [1.0]])
    return Lap(number=number, time_s=whole, seam=seam, s=shares * track.length, columns=out)


def _passed(table: Mapping[str, Array], row: int, track: Track) -> dict[int, float]:
    """Gates that the step to `row` has passed forwards, and at what share of it."""
    way = np.stack([table["x"], table["y"]], axis=1)[row - 1 : row + 1].astype(np.float64)
    left, right = track.gates[:, 0], track.gates[:, 1]
    along = right - left
    width = np.linalg.norm(along, axis=1)
    forwards = np.stack([-along[:, 1], along[:, 0]], axis=1) / width[:, None]
    before, after = (np.sum((point - left) * forwards, axis=1) for point in way)
    passed = (before < ROUNDING) & (after > -ROUNDING) & (before < after)
    share = np.clip(np.where(passed, before / np.where(passed, before - after, 1.0), 0.0), 0.0, 1.0)
    point = way[0] + share[:, None] * (way[1] - way[0])
    across = np.sum((point - left) * along, axis=1) / width**2
    passed &= (across > -ASIDE) & (across < 1 + ASIDE)
    return {int(gate): float(share[gate]) for gate in np.flatnonzero(passed)}


def _shortest(difference: float, track: Track) -> float:
    return float(difference - track.length * round(difference / track.length))
