"""One lap as time against place: what other laps are compared with, and what a ghost car follows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from racing.sim.track import Track
from racing.tracks.reference_lap import ReferenceLap, stations

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class LapTrace:
    """A flying lap, closed: it may be entered anywhere.

    time_s: lap time [s]. start: arc length [m] of the timing line that it began at. length: of the track's lap [m].
    along: (T,) arc length since the start [m], rising from 0 to `length`. clock: (T,) [s] since the start, 0 to time_s.
    x, y, yaw, speed, steer: (T,) of the car there [m, m, rad, m/s, rad]; yaw without jumps.
    """

    time_s: float
    start: float
    length: float
    along: Array
    clock: Array
    x: Array
    y: Array
    yaw: Array
    speed: Array
    steer: Array

    def at(self, s: float) -> float:
        """Time [s] from its start to arc length `s` [m]."""
        return float(np.interp((s - self.start) % self.length, self.along, self.clock))

    def duration(self, since: float, s: float) -> float:
        """Time [s] that this lap takes from arc length `since` [m] on to `s`."""
        return (self.at(s) - self.at(since)) % self.time_s

    def pose(self, since: float, clock: float) -> tuple[float, ...]:
        """x, y, yaw, speed, steer of its car, `clock` seconds after it passed arc length `since` [m]."""
        moment = (self.at(since) + clock) % self.time_s
        return tuple(
            float(np.interp(moment, self.clock, column))
            for column in (self.x, self.y, self.yaw, self.speed, self.steer)
        )


def trace_of_lap(table: Mapping[str, Any], time_s: float, length: float, gate: float) -> LapTrace | None:
    """A lap that was driven, from its telemetry; None where the rows are too few, or do not go round.

    table: columns of racing.evaluation.telemetry and time_s, from the last row before the lap's timing line to the
    first one after it. gate: arc length [m] of that line.
    """
    distance, clock = (np.asarray(table[name], np.float64) for name in ("distance", "time_s"))
    first = float(distance[0]) + (gate - float(table["s"][0]) + length / 2) % length - length / 2
    along = np.maximum.accumulate(distance - first)  # a car that spins goes back, too
    keep = np.concatenate([[True], np.diff(along) > 0])
    if keep.sum() < 8 or along[0] > 1e-3 * length or along[-1] < 0.999 * length:
        return None
    grid = np.concatenate([[0.0], along[keep & (along > 0) & (along < length)], [length]])

    def column(values: Any) -> Array:
        return np.asarray(np.interp(grid, along[keep], np.asarray(values, np.float64)[keep]))

    moments = column(clock)
    moments = (moments - moments[0]) * (time_s / (moments[-1] - moments[0]))
    return LapTrace(
        time_s=time_s,
        start=gate % length,
        length=length,
        along=grid,
        clock=moments,
        x=column(table["x"]),
        y=column(table["y"]),
        yaw=column(np.unwrap(np.asarray(table["yaw"], np.float64))),
        speed=column(table["v"]),
        steer=column(table["steer"]),
    )


def trace_of_reference(track: Track, lap: ReferenceLap) -> LapTrace:
    """The reference lap; the wheels of its car stand straight."""
    count, spacing = len(lap.points), lap.length_m / len(lap.points)
    places = stations(track, lap.points)[0]
    along = np.append(places - places[0], track.length)
    clock = np.concatenate([[0.0], np.cumsum(2 * spacing / (lap.speed + np.roll(lap.speed, -1)))])
    ahead = np.roll(lap.points, -1, axis=0) - np.roll(lap.points, 1, axis=0)
    order = np.arange(count + 1) % count
    yaw = np.unwrap(np.arctan2(ahead[:, 1], ahead[:, 0])[order])
    return LapTrace(
        time_s=lap.time_s,
        start=float(places[0] % track.length),
        length=track.length,
        along=np.maximum.accumulate(along),
        clock=clock * (lap.time_s / clock[-1]),
        x=lap.points[order, 0],
        y=lap.points[order, 1],
        yaw=yaw,
        speed=lap.speed[order],
        steer=np.zeros(count + 1),
    )
