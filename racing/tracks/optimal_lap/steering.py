"""What the driver asks for, of all cars of a world at once: the arithmetic of every step, compiled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from racing.sim.kernels.kernel import inlined, kernel
from racing.sim.vehicle import Vehicle
from racing.tracks.optimal_lap.calm_line import inwards_of
from racing.tracks.optimal_lap.equations import Motion
from racing.tracks.optimal_lap.lap import OptimalLap
from racing.tracks.optimal_lap.paces import FINER, PACES, PacePlans
from racing.tracks.optimal_lap.simulation import (
    HEADING,
    NEAREST,
    OFFSET,
    PROJECTIONS,
    SIZE,
    SPEED,
    STEER,
    YAW_RATE,
    Cars,
    Simulation,
    W,
)
from racing.tracks.reference_lap import ReferenceLap, stations

Array = npt.NDArray[np.float64]

SLOWER, NEAR = 0.92, 0.97  # shares of the calm pace: below, the plan of the car's own pace steers; above, only that one
JOINING = 3.0  # times as far again, while a car is slower than calm
WIDEST = 1.0  # [car's widths] of an offset that a slower car steers against at once
CATCH_UP = 0.15  # [of the grip] acceleration beyond that of its plan with which a slower car comes to its pace,
STRAIGHT = 0.25  # [of the drive] where the plan itself asks for as much or more,
TOP = 0.99  # [of the calm top speed] or is as fast as this, where it asks for none
COLUMNS = SIZE + 2 + 2 * SIZE  # of a plan: states, commands, gains
SPEEDS, INWARDS = range(2)  # columns of `Tables.along`

# A track's part of the tables: where it begins in each, and how long it is there.
TRACK = np.dtype(
    [
        ("length", np.float64),  # [m] of the line
        ("knots_start", np.int64),
        ("knots", np.int64),
        ("points_start", np.int64),
        ("places_start", np.int64),
        ("places", np.int64),
        ("rows_start", np.int64),
        ("paces", np.int64),  # how many there are plans for, the last one the calm one,
        ("pace", np.float64, (len(PACES) + 1,)),  # and these
        ("attacks", np.bool_),  # whether the plan of the whole pace follows
    ]
)
# Of the vehicle, SI units.
CAR = np.dtype(
    [
        ("linear", np.bool_),
        ("width", np.float64),
        ("max_speed", np.float64),
        ("max_drive", np.float64),
        ("max_lateral", np.float64),
        ("front_axle", np.float64),
        ("peak_slip", np.float64),  # of the front tyres
        ("rolls", np.float64),  # [m/s] speed below which they roll without slip
        ("drive", np.float64),  # [m/s^2] longitudinal acceleration at which an axle slides on a straight
        ("brake", np.float64),
    ]
)


@dataclass(frozen=True, eq=False)
class Tables:
    """All that `steered` looks up, one track after the other.

    tracks: (T,) TRACK records. car: one CAR record.
    spline: (K, 4, 2) cubic coefficients of the lines between their knots.
    near: (N,) arc length [m] of the line beside each centreline point.
    along: (S, 2) the lap's speed [m/s], and the offset [m] of a calm car, at places evenly along the line.
    rows: (R, 20) the plans of all paces, and of the whole one, at these places.
    """

    tracks: npt.NDArray[np.void]
    car: npt.NDArray[np.void]
    spline: Array
    near: Array
    along: Array
    rows: Array


def tables_of(simulation: Simulation, lap: OptimalLap | ReferenceLap, plans: PacePlans) -> Tables:
    """The tables of one track, for its `plans` of `lap`."""
    track, line, count = simulation.track, simulation.line, len(lap.points)
    row = np.zeros(1, TRACK)
    row["length"], row["knots"], row["places"] = line.length, line.spline.c.shape[1], FINER * count
    row["paces"], row["attacks"] = len(plans.paces), len(plans.whole) > 0
    row["pace"][0, : len(plans.paces)] = plans.paces
    s = np.arange(FINER * count) * line.length / (FINER * count)
    at = s[::FINER]
    columns = (lap.speed, inwards_of(simulation, lap))
    along = np.stack([np.interp(s, at, column, period=line.length) for column in columns], axis=1)
    places = stations(track, lap.points)[0] % track.length
    order, turns = np.argsort(places), np.array([[-1], [0], [1]])
    near = np.interp(
        np.arange(len(track.points)) * track.spacing,
        (places[order] + turns * track.length).ravel(),
        (np.unwrap(at[order], period=line.length) + turns * line.length).ravel(),
    )
    spline = np.ascontiguousarray(np.moveaxis(line.spline.c, 0, 1))
    return Tables(row, _car_of(simulation.vehicle), spline, near, along, np.concatenate([*plans.calm, plans.whole]))


def _car_of(vehicle: Vehicle) -> npt.NDArray[np.void]:
    car = np.zeros(1, CAR)
    for name in ("max_speed", "max_drive", "max_lateral", "front_axle"):
        car[name] = getattr(vehicle, name)
    car["linear"], car["width"] = vehicle.model == "linear", vehicle.reference_width
    car["peak_slip"], car["rolls"] = Motion(vehicle).peak_slip()[0], max(vehicle.kinematic_speed_threshold, 1e-3)
    load = vehicle.rear_axle / vehicle.wheelbase  # share of the weight on the front axle
    for pedal, front in (("drive", vehicle.drive_front), ("brake", vehicle.brake_front)):
        car[pedal] = vehicle.max_lateral * min(_share(load, front), _share(1 - load, 1 - front))
    return car


def _share(load: float, force: float) -> float:
    """How much of the car's grip the pedal can use before an axle with so much of load and force slides."""
    return load / force if force else np.inf


def together(parts: Sequence[Tables]) -> Tables:
    """The tables of several tracks, in this order."""
    if len(parts) == 1:
        return parts[0]
    tracks = np.concatenate([part.tracks for part in parts])
    for start, table in (("knots", "spline"), ("points", "near"), ("places", "along"), ("rows", "rows")):
        sizes = [len(getattr(part, table)) for part in parts]
        tracks[f"{start}_start"] = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    joined = (np.concatenate([getattr(part, table) for part in parts]) for table in ("spline", "near", "along", "rows"))
    return Tables(tracks, parts[0].car, *joined)


def steered(tables: Tables, which: npt.NDArray[np.integer], cars: Cars) -> tuple[Array, Array, Array, Array]:
    """What is asked of cars (K,) on the tracks `which` (K,), counted as in `tables`.

    (K, 2) steering angle [rad] and acceleration [m/s^2] that bring them to the calm pace and keep them there; (K, 2)
    those of the whole pace, where there is one; (K, 2) how far they are off the calm plan [car's widths], and their
    pace as a share of the calm one; (K,) their arc length on the line [m].
    """
    (calm, whole, beside), s = np.empty((3, len(cars), 2)), np.empty(len(cars))
    args = tables.tracks, tables.car[0], tables.spline, tables.near, tables.along, tables.rows
    _steer(cars, np.asarray(which, np.int64), *args, calm, whole, beside, s)
    return calm, whole, beside, s


@kernel
def _steer(
    cars: Any,
    which: Any,
    tracks: Any,
    vehicle: Any,
    spline: Any,
    near: Any,
    along: Any,
    rows: Any,
    calm: Any,
    whole: Any,
    beside: Any,
    arc: Any,
) -> None:
    """Fill calm (K, 2), whole (K, 2), beside (K, 2) and arc (K,), see `steered`."""
    state = np.empty(SIZE)
    wanted, here, faster, asked = np.empty(COLUMNS), np.empty(COLUMNS), np.empty(COLUMNS), np.empty(2)
    for k in range(len(cars)):
        car, track = cars[k], tracks[which[k]]
        arc[k] = s = _locate(car, track, vehicle, spline, near, state)
        count, first, places = track.places, track.rows_start, track.places_start
        at = s % track.length * count / track.length
        left = int(at) % count
        share = at - np.floor(at)
        right = (left + 1) % count
        speed = along[places + left, SPEEDS] * (1 - share) + along[places + right, SPEEDS] * share
        inwards = along[places + left, INWARDS] * (1 - share) + along[places + right, INWARDS] * share
        pace, last = state[SPEED] / speed, track.paces - 1
        calm_pace = track.pace[last]
        _row(rows, first + last * count, left, right, share, wanted)
        # The plan of the car's own pace: it lies between two.
        own, low = min(max(pace, track.pace[0]), SLOWER * calm_pace), 0
        while low < last - 1 and track.pace[low + 1] <= own:
            low += 1
        high = min(low + 1, last)
        rise = (own - track.pace[low]) / (track.pace[high] - track.pace[low]) if high > low else 0.0
        rise = min(max(rise, 0.0), 1.0)
        _row(rows, first + low * count, left, right, share, here)
        _row(rows, first + high * count, left, right, share, faster)
        for c in range(COLUMNS):
            here[c] = here[c] * (1 - rise) + faster[c] * rise
        widest = WIDEST * vehicle.width
        here[OFFSET] = min(max(here[OFFSET] + JOINING * inwards, state[OFFSET] - widest), state[OFFSET] + widest)
        behind = wanted[SPEED] - here[SPEED]
        _answer(here, state, asked)
        _answer(wanted, state, calm[k])
        straight = min(max(wanted[SIZE + 1] / (STRAIGHT * vehicle.max_drive), 0.0), 1.0)
        if wanted[SPEED] > TOP * calm_pace * vehicle.max_speed:
            straight = 1.0
        asked[1] += straight * min(wanted[COLUMNS - SIZE + SPEED] * behind, CATCH_UP * vehicle.max_lateral)
        _hold(asked, state, vehicle)
        sure = min(max((pace / calm_pace - SLOWER) / (NEAR - SLOWER), 0.0), 1.0)
        for n in range(2):
            calm[k, n] = sure * calm[k, n] + (1 - sure) * asked[n]
        beside[k, 0] = abs(state[OFFSET] - rows[first + last * count + left, OFFSET]) / vehicle.width
        beside[k, 1] = pace / calm_pace
        if track.attacks:
            _row(rows, first + (last + 1) * count, left, right, share, wanted)
            _answer(wanted, state, whole[k])


@inlined
def _locate(car: Any, track: Any, vehicle: Any, spline: Any, near: Any, state: Any) -> Any:
    """Arc length [m] of the line's point that is nearest to the car; fills its state (6,), see `located`."""
    s = near[track.points_start + car.nearest]
    x, y = np.float64(car.x), np.float64(car.y)
    spacing = track.length / track.knots
    for _ in range(PROJECTIONS):
        on = s % track.length
        number = min(int(on / spacing), track.knots - 1)
        t, c = on - number * spacing, spline[track.knots_start + number]
        dx = x - (((c[0, 0] * t + c[1, 0]) * t + c[2, 0]) * t + c[3, 0])
        dy = y - (((c[0, 1] * t + c[1, 1]) * t + c[2, 1]) * t + c[3, 1])
        vx, vy = (3 * c[0, 0] * t + 2 * c[1, 0]) * t + c[2, 0], (3 * c[0, 1] * t + 2 * c[1, 1]) * t + c[2, 1]
        bend = (vx * (6 * c[0, 1] * t + 2 * c[1, 1]) - vy * (6 * c[0, 0] * t + 2 * c[1, 0])) / np.hypot(vx, vy) ** 3
        course = np.arctan2(vy, vx)
        cos, sin = np.cos(course), np.sin(course)
        ahead, offset = dx * cos + dy * sin, dy * cos - dx * sin
        if abs(ahead) < NEAREST:
            break
        s += ahead / max(1 - bend * offset, 0.3)
    state[OFFSET], state[HEADING], state[SPEED] = offset, _turned(car.yaw - course), car.v
    state[W] = car.slip if vehicle.linear else car.v * np.tan(np.float64(car.slip))
    state[YAW_RATE], state[STEER] = car.yaw_rate, car.steer
    return s


@inlined
def _turned(angle: Any) -> Any:
    """An angle [rad] brought into [-pi, pi)."""
    return (angle + np.pi) % (2 * np.pi) - np.pi


@inlined
def _row(rows: Any, first: Any, left: Any, right: Any, share: Any, out: Any) -> None:
    """Fill `out` (20,) with the row between two places of the plan that begins at row `first`."""
    for c in range(COLUMNS):
        out[c] = rows[first + left, c] * (1 - share) + rows[first + right, c] * share


@inlined
def _answer(row: Any, state: Any, out: Any) -> None:
    """Fill `out` (2,) with the commands of a plan's row (20,) to a car in `state` (6,)."""
    for n in range(2):
        out[n] = row[SIZE + n]
        for c in range(SIZE):
            away = state[c] - row[c]
            out[n] -= row[SIZE + 2 + n * SIZE + c] * (_turned(away) if c == HEADING else away)


@inlined
def _hold(asked: Any, state: Any, vehicle: Any) -> None:
    """Take from commands (2,) what the tyres cannot hold: steering past their best slip, pedals beside the bend.

    Turned wheels of a car that stands take no grip: else it would stand for good.
    """
    if vehicle.linear:
        return
    forward = max(state[SPEED], 1.0)
    front = np.arctan2(state[W] + vehicle.front_axle * state[YAW_RATE], forward)
    slip = min(max(asked[0] - front, -vehicle.peak_slip), vehicle.peak_slip)
    used = min(max(state[SPEED], 0.0) / vehicle.rolls, 1.0) * abs(slip) / vehicle.peak_slip
    used = max(used, abs(forward * state[YAW_RATE]) / vehicle.max_lateral)
    left = np.sqrt(1 - min(used, 1.0) ** 2)
    asked[0] = front + slip
    asked[1] = min(max(asked[1], -vehicle.brake * left), vehicle.drive * left)
