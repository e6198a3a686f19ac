"""Reference laps: how fast a track can be driven with a vehicle, the yardstick of every lap time.

The reference is the best of several near-optimal lines (racing.tracks.racing_line) at the greatest speed that grip,
drive and brakes allow (racing.sim.speed_profile). It is a flying lap of a point that corners perfectly: good, not a
proven optimum.
"""

from __future__ import annotations

import contextlib
import hashlib
import zipfile
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from racing.files import atomic_path
from racing.sim.kernels.kernel import cache_directory
from racing.sim.speed_profile import lap_time, speed_profile
from racing.sim.track import Track, grip_along, resample_closed
from racing.sim.vehicle import Vehicle
from racing.sim.world import Raceline
from racing.tracks.racing_line import Line, closed_line, half_width, settle

Array = npt.NDArray[np.float64]

ALGORITHM = 1  # part of the cache's key: raise it when the same track and vehicle would give another lap
# Prices of length that are tried, in units of (least bend that slows the car)^2. 0 is the line of least curvature.
SHORTNESS = (0.0, 0.3, 1.0, 3.0, 10.0, 100.0)
FIRST_ROUNDS, NEXT_ROUNDS = 25, 6  # from the centreline; from the line of the price before
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
    clearance_min_m: least distance from the line to the edge [m]; reference_width / 2 or a little less where the road
        allows, else what the road allows.
    shortness: the price of length [1/m^2] that gave the fastest line; 0 is least curvature.
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
    """The reference lap of `vehicle` on `track`: from memory, else from disk, else computed (about 1 s per km).

    The tyre model does not matter: a linear-tyre car has the lap of the same car with tyres that saturate. The files
    live in the folder `reference` beside the compiled kernels (racing.sim.kernels.kernel.cache_directory); a damaged
    one is computed anew, and a folder that cannot be written costs only time.
    """
    laps = _known.setdefault(track, {})
    if vehicle not in laps:
        path = cache_path(track, vehicle)
        lap = _read(path)
        if lap is None:
            lap = compute_reference_lap(track, vehicle)
            with contextlib.suppress(OSError):
                _write(path, lap)
        laps[vehicle] = lap
    return laps[vehicle]


def compute_reference_lap(track: Track, vehicle: Vehicle) -> ReferenceLap:
    """The reference lap without any cache."""
    margin = vehicle.reference_width / 2
    # Bends must be resolved for tight lines of small cars and for narrow roads alike.
    line = closed_line(track.points, min(half_width(track) / 3, 0.7 * vehicle.reference_width))
    unit = (vehicle.max_lateral / vehicle.max_speed**2) ** 2
    candidates: list[tuple[float, float, Line]] = []
    for price in SHORTNESS:
        line = settle(line, track, margin, price * unit, NEXT_ROUNDS if candidates else FIRST_ROUNDS)
        time = lap_time(_speeds(line, track, vehicle), line.spacing)
        candidates.append((time, price * unit, line))
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
    """The file that keeps the lap of exactly this geometry, these parameters and this algorithm."""
    digest = hashlib.sha256(f"reference lap {ALGORITHM}".encode())
    grid = track.clearance
    for array in (track.points, track.left, track.right, grid.values):
        digest.update(f"{array.shape}{array.dtype}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    parameters = [float(getattr(vehicle, name)) for name in _PARAMETERS]
    digest.update(repr((grid.origin, grid.resolution, parameters)).encode())
    if track.grip is not None:
        digest.update(track.grip.values.tobytes())
        digest.update(repr((track.grip.values.shape, track.grip.origin, track.grip.resolution)).encode())
    return cache_directory().parent / "reference" / f"{digest.hexdigest()[:32]}.npz"


def _read(path: Path) -> ReferenceLap | None:
    """The lap in `path`; None if there is none or it is damaged."""
    values: dict[str, Any] = {}
    try:
        with np.load(path, allow_pickle=False) as stored:
            for field in fields(ReferenceLap):
                value = stored[field.name]
                values[field.name] = value if value.ndim else float(value)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
    return ReferenceLap(**values)


def _write(path: Path, lap: ReferenceLap) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path, sync=False) as temporary:  # a damaged one is computed anew
        np.savez(temporary, **{f.name: getattr(lap, f.name) for f in fields(lap)})


def stations(track: Track, reference: ReferenceLap) -> tuple[Array, Array]:
    """(arc length on the centreline [m], lateral offset [m], left positive) of every point of the reference line.

    The nearest centreline point is sought from the one before, so that a track may cross itself.
    """
    count = len(track.points)
    window = np.arange(-8, max(16, 4 * count // len(reference.points)))
    at = int(np.argmin(np.sum((track.points - reference.points[0]) ** 2, axis=1)))
    places, offsets = np.empty(len(reference.points)), np.empty(len(reference.points))
    for n, point in enumerate(reference.points):
        near = (at + window) % count
        at = int(near[np.argmin(np.sum((track.points[near] - point) ** 2, axis=1))])
        away = point - track.points[at]
        offsets[n] = away @ track.normals[at]
        places[n] = at * track.spacing + away @ [np.cos(track.heading[at]), np.sin(track.heading[at])]
    return places, offsets


def reference_line(track: Track, vehicle: Vehicle) -> Raceline:
    """The reference lap as offset and speed at every centreline point of the track."""
    lap = reference_lap(track, vehicle)
    places, offsets = stations(track, lap)
    order = np.argsort(places % track.length)
    arc = np.arange(len(track.points)) * track.spacing
    at = (places % track.length)[order]
    return Raceline(
        np.interp(arc, at, offsets[order], period=track.length),
        np.interp(arc, at, lap.speed[order], period=track.length),
    )
