"""Reference laps: the quasi-steady-state lap of the near-optimal line, the baseline of every `lap_ratio`.

The reference is the fastest of several near-optimal lines (racing.tracks.racing_line) at the speed that grip, drive and
brakes allow (racing.sim.speed_profile). It is a flying lap of a point mass: near-optimal, not a proven optimum.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from racing.sim.speed_profile import lap_time, speed_profile
from racing.sim.track import Raceline, Track, grip_along, resample_closed
from racing.sim.vehicle import Vehicle
from racing.tracks.lap_files import lap_path, read_lap, write_lap
from racing.tracks.racing_line import Line, closed_line, half_width, settle

Array = npt.NDArray[np.float64]

ALGORITHM = 2  # part of the cache's key: raise it when the same track and vehicle would give another lap
# Weights of length to try, in units of (least curvature that limits the speed)^2. 0 is the minimum-curvature line.
SHORTNESS = (0.0, 0.3, 1.0, 3.0, 10.0, 100.0)
FIRST_ROUNDS, NEXT_ROUNDS = 25, 6  # iterations from the centreline; from the line of the previous weight
_PARAMETERS = (
    "max_lateral",
    "max_drive",
    "max_brake",
    "switch_speed",
    "max_speed",
    "mass",
    "drag",
    "rolling",
    "reference_width",
)


@dataclass(frozen=True, eq=False)
class ReferenceLap:
    """A flying lap on the near-optimal line.

    time_s: lap time [s]. length_m: length of the line [m].
    points: (N, 2) [m], evenly spaced, in driving order; point 0 is near the start line.
    curvature: (N,) [1/m], left positive. speed: (N,) [m/s].
    clearance_min_m: least distance from the line to the edge [m]; about reference_width / 2, less on narrow roads.
    shortness: weight of length [1/m^2] of the fastest line; 0 is minimum curvature.
    """

    time_s: float
    length_m: float
    points: Array
    curvature: Array
    speed: Array
    clearance_min_m: float
    shortness: float


_known: WeakKeyDictionary[Track, dict[Vehicle, ReferenceLap]] = WeakKeyDictionary()


def reference_lap(track: Track, vehicle: Vehicle) -> ReferenceLap:
    """Return the reference lap of `vehicle` on `track`: from memory, else from disk, else computed (about 1 s per km).

    The tyre model does not matter: a linear-tyre car has the lap of the same car with tyres that saturate. The disk
    cache is the folder `reference` beside the compiled kernels (racing.sim.kernels.kernel.cache_directory); a damaged
    file is computed again, and a read-only folder costs only time.
    """
    laps = _known.setdefault(track, {})
    if vehicle not in laps:
        path = cache_path(track, vehicle)
        lap = read_lap(ReferenceLap, path)
        if lap is None:
            lap = compute_reference_lap(track, vehicle)
            with contextlib.suppress(OSError):
                write_lap(path, lap)
        laps[vehicle] = lap
    return laps[vehicle]


def compute_reference_lap(track: Track, vehicle: Vehicle) -> ReferenceLap:
    """Compute the reference lap, without any cache."""
    margin = vehicle.reference_width / 2
    # The spacing must resolve tight lines of small cars and narrow roads alike.
    line = closed_line(track.points, min(half_width(track) / 3, 0.7 * vehicle.reference_width))
    unit = (vehicle.max_lateral / vehicle.max_speed**2) ** 2
    candidates: list[tuple[float, float, Line]] = []
    for weight in SHORTNESS:
        line = settle(line, track, margin, weight * unit, NEXT_ROUNDS if candidates else FIRST_ROUNDS)
        time = lap_time(_speeds(line, track, vehicle), line.spacing)
        candidates.append((time, weight * unit, line))
    time, shortness, line = min(candidates, key=lambda candidate: candidate[0])
    return ReferenceLap(
        time_s=time,
        length_m=line.spacing * len(line.points),
        points=line.points,
        curvature=line.curvature,
        speed=_speeds(line, track, vehicle),
        clearance_min_m=float(track.clearance.at(resample_closed(line.points, line.spacing / 4)[0]).min()),
        shortness=shortness,
    )


def _speeds(line: Line, track: Track, vehicle: Vehicle) -> Array:
    return speed_profile(line.curvature, line.spacing, vehicle, grip_along(track, line.points))


def cache_path(track: Track, vehicle: Vehicle) -> Path:
    """Return the cache file of this geometry, these parameters and this version of the algorithm."""
    return lap_path("reference", ALGORITHM, track, [float(getattr(vehicle, name)) for name in _PARAMETERS])


def stations(track: Track, line: Array) -> tuple[Array, Array]:
    """Return (arc length on the centreline [m], lateral offset [m], left positive) of each point of a line (N, 2).

    The nearest centreline point is searched near the previous one, since a track may cross itself.
    """
    count = len(track.points)
    window = np.arange(-8, max(16, 4 * count // len(line)))
    at = int(np.argmin(np.sum((track.points - line[0]) ** 2, axis=1)))
    places, offsets = np.empty(len(line)), np.empty(len(line))
    for n, point in enumerate(line):
        near = (at + window) % count
        at = int(near[np.argmin(np.sum((track.points[near] - point) ** 2, axis=1))])
        away = point - track.points[at]
        offsets[n] = away @ track.normals[at]
        places[n] = at * track.spacing + away @ [np.cos(track.heading[at]), np.sin(track.heading[at])]
    return places, offsets


def raceline_of(track: Track, points: Array, speed: Array) -> Raceline:
    """Return a lap, points (N, 2) [m] and speed (N,) [m/s], as offset and speed at each centreline point."""
    places, offsets = stations(track, points)
    order = np.argsort(places % track.length)
    arc = np.arange(len(track.points)) * track.spacing
    at = (places % track.length)[order]
    return Raceline(
        np.interp(arc, at, offsets[order], period=track.length),
        np.interp(arc, at, speed[order], period=track.length),
    )
