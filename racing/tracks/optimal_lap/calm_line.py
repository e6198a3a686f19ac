"""How far beside a lap's line a slower car drives: off the edge, and no more tightly than it can steer."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import sparse

from racing.tracks.optimal_lap.lap import OptimalLap
from racing.tracks.optimal_lap.simulation import Simulation
from racing.tracks.racing_line import bending, free_offsets, least, steps_of
from racing.tracks.reference_lap import ReferenceLap, stations

Array = npt.NDArray[np.float64]

INWARDS = 0.12  # [car's widths] that a calm car keeps off the line, away from the edge
LOCK = 0.9  # share of the curvature of a car that rolls at the steering's lock; the rest is for keeping to the line
TIGHTER = 30.0  # how much worse it is to bend more tightly than that than to leave the line by a car's width
ROUNDS = 4  # of quadratic programs; the third changes the offsets by less than 1e-4 m
NORMALS = 0.3  # least 1 - curvature * offset for which a program is linearized: there the normals nearly meet


def inwards_of(simulation: Simulation, lap: OptimalLap | ReferenceLap) -> Array:
    """(N,) offset [m] from the lap's line at each of its points that a calm car keeps from the edge."""
    width = simulation.vehicle.reference_width
    return np.asarray(-INWARDS * width * np.tanh(stations(simulation.track, lap.points)[1] / width))


def wider_of(simulation: Simulation, lap: OptimalLap | ReferenceLap) -> Array:
    """(N,) offset [m] from the lap's line at each of its points with which it bends no more than the steering allows.

    A car that slides at its limit turns more tightly than one that rolls. 0 where the lap does not; else the offsets
    are small against the car's width, and their lateral acceleration against the grip, as far as the road allows.
    """
    line, vehicle, count = simulation.line, simulation.vehicle, len(lap.points)
    most = LOCK * np.tan(vehicle.max_steer) / vehicle.wheelbase
    spacing = line.length / count
    s: Array = np.arange(count, dtype=float) * spacing
    bend = line.frame(s)[2]
    offset = np.zeros(count)
    if np.abs(bend).max() <= most:
        return offset
    low, high = free_offsets(line.spline(s), line.normals(s), simulation.track, vehicle.reference_width / 2)
    low, high = np.minimum(low, 0.0), np.maximum(high, 0.0)
    unit, bends = sparse.identity(count, format="csc"), bending(bend, spacing)
    pull = sparse.diags(lap.speed**2 / vehicle.max_lateral) @ bends
    near = unit / vehicle.reference_width**2 + pull.T @ pull
    hessian = sparse.block_diag([near, unit * (TIGHTER / most) ** 2], format="csc")  # of offsets and of what is tighter
    for _ in range(ROUNDS):
        change = sparse.diags(1 / np.maximum(1 - bend * offset, NORMALS) ** 2) @ bends
        rest = steps_of(line.beside(s, offset))[1] - change @ offset
        rows = sparse.bmat([[change, -unit], [-change, -unit], [unit, None], [-unit, None]], format="csc")
        limits = np.concatenate([most - rest, most + rest, high, -low])
        found = least(hessian, np.zeros(2 * count), rows, limits)
        if found is None:
            break
        offset = np.clip(found[:count], low, high)
    return offset
