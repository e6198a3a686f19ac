"""Optimal laps: known from earlier, shipped with the circuits, or solved for."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from racing.sim.track import Track, resample_closed
from racing.sim.vehicle import Vehicle
from racing.tracks.lap_files import lap_path, read_lap, write_lap
from racing.tracks.optimal_lap.equations import STATES, STEER, Motion, N, R
from racing.tracks.optimal_lap.errors import NotSolved

__all__ = ["NotSolved", "OptimalLap", "known_optimal_lap", "limits", "optimal_lap"]

Array = npt.NDArray[np.float64]

ALGORITHM = 3  # part of the cache's key: raise it when the same track and vehicle would give another lap
RESERVE = 0.05  # [widths of the car] that the lap to be driven keeps from the edge beyond what the rule demands
SLIDE = 1.2  # [slip angles at which the rear tyres carry most] greatest slip angle of the lap to be driven
SPACING = 0.5  # [intervals of the finest mesh] between two points of a lap
SHIPPED = Path(__file__).parent / "shipped"  # of the circuits in tracks/, with the kart


@dataclass(frozen=True, eq=False)
class OptimalLap:
    """The least lap time on a track by the simulator's physics, and a lap to drive that is hardly slower.

    limit_s: least lap time [s] with the car's centre half a car's width from the edge, where the simulator's rule ends
    an episode. time_s: lap time [s] of the lap to drive, which keeps RESERVE more and does not drift.
    length_m: length of its line [m].
    points: (N, 2) [m] of the car's centre of gravity, evenly spaced, in driving order.
    speed: (N,) [m/s]. slip: (N,) [rad] slip angle of the car's body, course minus heading.
    yaw_rate: (N,) [rad/s]. steer: (N,) [rad] road-wheel angle. demand: (N,) [m/s^2] acceleration asked for.
    step_m: length of the intervals of the finest mesh [m]. iterations: of IPOPT, in all.
    """

    limit_s: float
    time_s: float
    length_m: float
    points: Array
    speed: Array
    slip: Array
    yaw_rate: Array
    steer: Array
    demand: Array
    step_m: float
    iterations: float


_known: WeakKeyDictionary[Track, dict[Vehicle, OptimalLap]] = WeakKeyDictionary()


def known_optimal_lap(track: Track, vehicle: Vehicle) -> OptimalLap | None:
    """The optimal lap if it was computed before, on this machine or for the shipped circuits; else None."""
    laps = _known.setdefault(track, {})
    if vehicle not in laps:
        path = cache_path(track, vehicle)
        lap = read_lap(OptimalLap, path) or read_lap(OptimalLap, SHIPPED / path.name)
        if lap is None:
            return None
        laps[vehicle] = lap
    return laps[vehicle]


def limits(tracks: Sequence[Track], vehicle: Vehicle) -> list[float | None]:
    """Least lap time [s] of each track, None where it is not known."""
    laps = [known_optimal_lap(track, vehicle) for track in tracks]
    return [None if lap is None else lap.limit_s for lap in laps]


def optimal_lap(track: Track, vehicle: Vehicle) -> OptimalLap:
    """The optimal lap, solved for (in seconds) and kept on disk where it is not known yet.

    Raises NotSolved, InputError for a vehicle without tyres, ModuleNotFoundError without CasADi (extra `limit`).
    """
    lap = known_optimal_lap(track, vehicle)
    if lap is None:
        lap = compute_optimal_lap(track, vehicle)
        with contextlib.suppress(OSError):
            write_lap(cache_path(track, vehicle), lap)
        _known[track][vehicle] = lap
    return lap


def compute_optimal_lap(track: Track, vehicle: Vehicle) -> OptimalLap:
    """Solve for the optimal lap, without any cache; raises as `optimal_lap`."""
    from racing.tracks.optimal_lap.solve import solve

    half, motion = vehicle.width / 2, Motion(vehicle)
    limit = solve(track, vehicle, half)
    found = solve(track, vehicle, half + RESERVE * vehicle.width, limit, SLIDE * motion.peak_slip()[1])
    base, trajectory = found.base, found.trajectory
    states = trajectory.states.reshape(-1, len(STATES))
    line = base.beside(trajectory.s.ravel(), states[:, N])
    speed, slip = motion.course(states.T)
    demand = np.repeat(trajectory.controls[:, 1], len(states) // len(trajectory.controls))
    points, *columns = resample_closed(line, SPACING * found.step, speed, slip, states[:, R], states[:, STEER], demand)
    length = float(np.linalg.norm(np.roll(points, -1, axis=0) - points, axis=1).sum())
    names = ("speed", "slip", "yaw_rate", "steer", "demand")
    return OptimalLap(
        limit_s=limit.trajectory.time_s,
        time_s=trajectory.time_s,
        length_m=length,
        points=points,
        step_m=found.step,
        iterations=limit.iterations + found.iterations,
        **dict(zip(names, columns, strict=True)),
    )


def cache_path(track: Track, vehicle: Vehicle) -> Path:
    """Return the cache file of this geometry, this vehicle and this version of the algorithm."""
    values = [getattr(vehicle, field.name) for field in fields(vehicle) if field.name != "name"]
    return lap_path("optimal", ALGORITHM, track, values)
