"""The perfect driver: a controller that tracks a planned lap in the simulator, at any pace and from any start.

A linear-quadratic regulator around the plan, in environment steps: what a step does to a deviation is measured in the
simulator itself by finite differences, the gains follow from the periodic Riccati equation. Plans for several paces
share one line; a car that is slower than wanted is steered by the plan of the pace that it has.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.interpolate import CubicSpline

from racing.errors import require_number
from racing.sim.episodes import EpisodeConfig
from racing.sim.records import Ending
from racing.sim.track import Track, grip_along
from racing.sim.vehicle import GRAVITY, Vehicle
from racing.sim.world import RangeFinder, World
from racing.tracks.optimal_lap.equations import Motion
from racing.tracks.optimal_lap.lap import OptimalLap
from racing.tracks.optimal_lap.smooth_line import SmoothLine, line_through
from racing.tracks.reference_lap import ReferenceLap, stations

Array = npt.NDArray[np.float64]
Cars = npt.NDArray[np.void]
Missed = Callable[[Array, Array, Array], Array]  # states (K, 6), deviations from them, commands -> deviations after

PACES = (0.3, 0.5, 0.7, 0.85, 0.9)  # shares of the lap's speed for which there are plans, beside the pace wanted
SLOWER, NEAR = 0.92, 0.97  # shares of the pace wanted: below, the plan of the car's own pace steers; above, only it
# A state, and a deviation from one, in this order: offset to the left [m], heading of the car to the line's [rad],
# longitudinal velocity [m/s], w (as in racing.sim.dynamics), yaw rate [rad/s], steering angle [rad].
SIZE = 6
OFFSET, HEADING, SPEED, W, YAW_RATE, STEER = range(SIZE)
INWARDS = 0.12  # [car's widths] that a slower car keeps off the line, away from the edge
JOINING = 3.0  # times as far, while a car is slower than calm
WIDEST = 1.0  # [car's widths] of an offset that a slower car steers against at once
FOLLOWED = 0.5  # of `Plan.missed`: the fastest such plan is that of a calm car
SETTLED = 1.1  # laps at the whole pace that prove a place to go on from
READY = 0.05  # [car's widths] off its plan at most, when a car goes on from it
ASIDE = 3  # points of the lap between a place to go on from and one that is none
CATCH_UP = 0.15  # [1.5 g, for the kart] acceleration beyond that of its plan with which a slower car comes to its pace
REFINEMENTS = 20  # at most, of a plan, until the simulator's own steps lead from state to state
REFINED, TRUST = 0.05, 5.0  # deviations, in units of the regulator's: what a step may miss; largest change at once
SHORTER = 4  # tries of a shorter change, where one makes it worse
# Weights while a plan is refined, as shares of those of the regulator: place and speed hold, the rest is free.
FREE, EASY = np.array([1.0, 1e-3, 1.0, 1e-3, 1e-3, 1e-3]), 1e-3
RICCATI_LAPS = 3  # after which the gains repeat from lap to lap
PROJECTIONS = 6  # Newton steps towards the nearest point of the line
FINER = 4  # places at which the driver knows a plan, per point of the lap


class Simulation:
    """One environment step of many independent cars on one track, from any state."""

    def __init__(self, track: Track, vehicle: Vehicle, action_repeat: int, line: SmoothLine) -> None:
        self.track, self.vehicle, self.action_repeat, self.line = track, vehicle, action_repeat, line
        self._worlds: dict[int, World] = {}

    @property
    def step_dt(self) -> float:
        """Length of an environment step [s]."""
        return self.vehicle.control_period * self.action_repeat

    def world(self, count: int) -> World:
        """A world of `count` cars, the same for the same number."""
        if count not in self._worlds:
            self._worlds[count] = World(
                [self.track],
                self.vehicle,
                races=count,
                range_finder=RangeFinder(rays=1),
                action_repeat=self.action_repeat,
                episodes=EpisodeConfig(random_start=False),
            )
            self._worlds[count].reset()
        return self._worlds[count]

    def step(self, s: Array, states: Array, commands: Array) -> tuple[Array, Array]:
        """Arc lengths (K,) and states (K, 6) one step after `s` and `states` under `commands` (K, 2)."""
        world = self.world(len(s))
        place(world.cars.reshape(-1), self.line, s, states, self.vehicle)
        world.step(actions_of(commands, self.vehicle))
        return located(world.final_cars.reshape(-1), self.line, s + states[:, SPEED] * world.step_dt, self.vehicle)


def place(cars: Cars, line: SmoothLine, s: Array, states: Array, vehicle: Vehicle) -> None:
    """Put cars (K,) into states (K, 6) at arc lengths s (K,) of the line."""
    points, course, _ = line.frame(s)
    cars["x"] = points[:, 0] - states[:, OFFSET] * np.sin(course)
    cars["y"] = points[:, 1] + states[:, OFFSET] * np.cos(course)
    cars["yaw"] = turned(course + states[:, HEADING])
    cars["v"], cars["yaw_rate"], cars["steer"] = states[:, SPEED], states[:, YAW_RATE], states[:, STEER]
    cars["slip"] = states[:, W] if vehicle.model == "linear" else np.arctan2(states[:, W], states[:, SPEED])


def located(cars: Cars, line: SmoothLine, s: Array, vehicle: Vehicle) -> tuple[Array, Array]:
    """Arc lengths (K,) of the points of the line that are nearest to cars (K,), sought from s, and states (K, 6)."""
    x, y = cars["x"].astype(float), cars["y"].astype(float)
    s = np.array(s, float)
    for _ in range(PROJECTIONS):
        along, offset, _, bend = _beside(line, s, x, y)
        s += along / np.maximum(1 - bend * offset, 0.3)
    _, offset, course, _ = _beside(line, s, x, y)
    w = cars["slip"] if vehicle.model == "linear" else cars["v"] * np.tan(cars["slip"])
    columns = (offset, turned(cars["yaw"] - course), cars["v"], w, cars["yaw_rate"], cars["steer"])
    return s, np.stack(columns, axis=1).astype(float)


def _beside(line: SmoothLine, s: Array, x: Array, y: Array) -> tuple[Array, Array, Array, Array]:
    points, course, bend = line.frame(s)
    dx, dy = x - points[:, 0], y - points[:, 1]
    sin, cos = np.sin(course), np.cos(course)
    return dx * cos + dy * sin, dy * cos - dx * sin, course, bend


def turned(angle: Array) -> Array:
    """Angles [rad] brought into [-pi, pi)."""
    return np.asarray((angle + np.pi) % (2 * np.pi) - np.pi)


def actions_of(commands: Array, vehicle: Vehicle) -> npt.NDArray[np.float32]:
    """Actions (K, 2) that ask for a steering angle [rad] and an acceleration [m/s^2], clipped to [-1, 1]."""
    pedal = commands[:, 1] / np.where(commands[:, 1] >= 0, vehicle.max_drive, vehicle.max_brake)
    return np.clip(np.stack([commands[:, 0] / vehicle.max_steer, pedal], axis=1), -1, 1).astype(np.float32)


@dataclass(frozen=True, eq=False)
class Plan:
    """A pace along the line. All arrays (K, ...), evenly spaced in time over the lap.

    s: (K,) arc length [m]. states: (K, 6). commands: (K, 2) steering angle [rad] and acceleration [m/s^2] to ask for.
    gains: (K, 2, 6), deviation -> what is taken from the commands.
    missed: greatest deviation after one step from the plan, in units of the regulator's; large: it cannot be driven.
    """

    s: Array
    states: Array
    commands: Array
    gains: Array
    missed: float

    def at(self, s: Array, length: float) -> Array:
        """Rows (M, 6 + 2 + 12), states, commands and gains, at arc lengths s (M,) of a line of `length` [m]."""
        table = np.hstack([self.states, self.commands, self.gains.reshape(len(self.s), -1)])
        return np.asarray(periodic_spline(self.s, table, length)(s))


def periodic_spline(s: Array, table: Array, length: float) -> CubicSpline:
    """The periodic cubic spline through the rows of `table` (K, M) at s (K,)."""
    return CubicSpline(np.append(s, s[0] + length), np.vstack([table, table[:1]]), bc_type="periodic")


def plan(simulation: Simulation, lap: OptimalLap | ReferenceLap, pace: float, aside: Array | None = None) -> Plan:
    """The lap at `pace` times its speed, as the simulator drives it, and the regulator around it.

    aside: (N,) offset [m] from the lap's line that is wanted at each of its points; None: 0.
    """
    vehicle, line, step_dt = simulation.vehicle, simulation.line, simulation.step_dt
    table = np.arange(len(lap.points) + 1) * line.length / len(lap.points)
    slow = 1 / (pace * np.append(lap.speed, lap.speed[0]))
    time = np.concatenate([[0.0], np.cumsum(np.diff(table) * (slow[1:] + slow[:-1]) / 2)])
    count = round(time[-1] / step_dt)
    at = np.arange(count) * time[-1] / count

    def place_at(t: Array) -> Array:
        turns = np.floor(t / time[-1])
        return np.asarray(np.interp(t - turns * time[-1], time, table) + turns * line.length)

    def column(values: Array, t: Array) -> Array:
        return np.asarray(np.interp(place_at(t), table[:-1], values, period=line.length))

    s = place_at(at)
    states = states_of(lap, simulation, s, pace)
    if aside is not None:
        states[:, OFFSET] = np.interp(s, table[:-1], aside, period=line.length)
    commands = np.zeros((count, 2))
    commands[:, 0] = states_of(lap, simulation, place_at(at + step_dt / 2), pace)[:, STEER]
    speed, ahead = pace * column(lap.speed, at), pace * column(lap.speed, at + step_dt)
    commands[:, 1] = (ahead - speed) / step_dt + vehicle.drag / vehicle.mass * speed**2
    if isinstance(lap, OptimalLap) and pace == 1.0:
        commands[:, 1] = column(lap.demand, at + step_dt / 2)

    def missed(states: Array, deviations: Array, commands: Array) -> Array:
        after, moved = simulation.step(s, states + deviations, commands)
        difference = moved - periodic_spline(s, states, line.length)(after)
        difference[:, HEADING] = turned(difference[:, HEADING])
        return np.asarray(difference)

    return Plan(s, *_refined(missed, states, commands, vehicle))


def states_of(lap: OptimalLap | ReferenceLap, simulation: Simulation, s: Array, pace: float) -> Array:
    """States (K, 6) at arc lengths s (K,) and `pace` times the lap's speed, as far as the lap knows them."""
    line, motion = simulation.line, Motion(simulation.vehicle)
    table = np.arange(len(lap.points)) * line.length / len(lap.points)
    points, _, bend = line.frame(s)

    def of(column: Array) -> Array:
        return np.asarray(np.interp(s, table, column, period=line.length))

    if isinstance(lap, ReferenceLap):
        grip = grip_along(simulation.track, points)
        return np.asarray(motion.steady(pace * of(lap.speed), bend, np.ones(len(s)) if grip is None else grip).T)
    speed, slip = of(lap.speed), of(lap.slip)
    linear = motion.vehicle.model == "linear"
    u, w = (speed, slip) if linear else (speed * np.cos(slip), speed * np.sin(slip))
    full = np.stack([np.zeros(len(s)), -slip, u, w, of(lap.yaw_rate), of(lap.steer)])
    return np.asarray(motion.slower(full, pace).T)


def _refined(missed: Missed, states: Array, commands: Array, vehicle: Vehicle) -> tuple[Array, Array, Array, float]:
    """States and commands that lead from each to the next in the simulator, near the given; gains; what they miss."""
    cost, effort = _weights(vehicle)
    low, high = np.array([[-vehicle.max_steer, -vehicle.max_brake], [vehicle.max_steer, vehicle.max_drive]])
    share = 1.0
    a, b, error = _linearized(missed, states, commands, cost, effort)
    for _ in range(REFINEMENTS):
        misses = np.abs(error) * np.sqrt(cost)
        if float(misses.max()) < REFINED:
            break
        regulator = _regulator(a, b, error, FREE * cost, EASY * effort)
        deviations, changes = _settled(a, b, error, regulator, low - commands, high - commands)
        share = min(2 * share, 1.0, TRUST / float((np.abs(deviations) * np.sqrt(cost)).max()))
        for _ in range(SHORTER):
            tried = states + share * deviations, commands + share * changes
            missed_now = np.abs(missed(tried[0], 0 * error, tried[1])) * np.sqrt(cost)
            if float((missed_now**2).sum()) < float((misses**2).sum()):
                break
            share /= 4
        states, commands = tried
        a, b, error = _linearized(missed, states, commands, cost, effort)
    left = float((np.abs(error) * np.sqrt(cost)).max())
    return states, commands, _regulator(a, b, error, cost, effort)[0], left


def _linearized(
    missed: Missed, states: Array, commands: Array, cost: Array, effort: Array
) -> tuple[Array, Array, Array]:
    """What a step makes of deviations (K, 6, 6), of changes of the commands (K, 6, 2), and of neither (K, 6)."""
    count = len(commands)
    nothing = np.zeros((count, SIZE))
    a, b = np.empty((count, SIZE, SIZE)), np.empty((count, SIZE, 2))
    for index, size in enumerate(0.1 / np.sqrt(cost)):
        by = nothing + size * np.eye(SIZE)[index]
        a[..., index] = (missed(states, by, commands) - missed(states, -by, commands)) / (2 * size)
    for index, size in enumerate(0.1 / np.sqrt(effort)):
        by = size * np.eye(2)[index]
        b[..., index] = (missed(states, nothing, commands + by) - missed(states, nothing, commands - by)) / (2 * size)
    return a, b, missed(states, nothing, commands)


def _regulator(a: Array, b: Array, error: Array, cost: Array, effort: Array) -> tuple[Array, Array]:
    """Gains (K, 2, 6) and constants (K, 2) of the periodic linear-quadratic regulator of x' = a x + b u + error.

    u = -(gain x + constant). cost (6,), effort (2,): weights of the squares of x and u.
    """
    count = len(a)
    gains, constants = np.empty((count, 2, SIZE)), np.empty((count, 2))
    value, slope = np.diag(10 * cost), np.zeros(SIZE)
    for _ in range(RICCATI_LAPS):
        for k in range(count - 1, -1, -1):
            ahead = value @ error[k] + slope
            square, mixed = np.diag(effort) + b[k].T @ value @ b[k], b[k].T @ value @ a[k]
            solved = np.linalg.solve(square, np.column_stack([mixed, b[k].T @ ahead]))
            gains[k], constants[k] = solved[:, :SIZE], solved[:, SIZE]
            slope = a[k].T @ ahead - mixed.T @ constants[k]
            value = np.diag(cost) + a[k].T @ value @ a[k] - mixed.T @ gains[k]
            value = (value + value.T) / 2
    return gains, constants


def _settled(
    a: Array, b: Array, error: Array, regulator: tuple[Array, Array], low: Array, high: Array
) -> tuple[Array, Array]:
    """Deviations (K, 6) and changes of the commands (K, 2), in [low, high], of the lap on which the car settles."""
    gains, constants = regulator
    deviations, changes = np.empty((len(a), SIZE)), np.empty((len(a), 2))
    x = np.zeros(SIZE)
    for _ in range(RICCATI_LAPS):
        for k in range(len(a)):
            deviations[k], changes[k] = x, np.clip(-(gains[k] @ x + constants[k]), low[k], high[k])
            x = a[k] @ x + b[k] @ changes[k] + error[k]
    return deviations, changes


def _weights(vehicle: Vehicle) -> tuple[Array, Array]:
    """1 / (deviation that weighs as much as another)^2: (6,) of the states, (2,) of the commands."""
    half = vehicle.max_speed / 2
    quick = GRAVITY / half  # [rad/s] yaw rate of 1 g at half the top speed
    across = 0.1 if vehicle.model == "linear" else 0.025 * half
    states = np.array([0.055 * vehicle.reference_width, 0.03, 0.03 * half, across, 0.35 * quick, 0.2])
    commands = np.array([0.05 * quick + 0.01, 0.15 * GRAVITY])
    return 1 / states**2, 1 / commands**2


class LapDriver:
    """Drives cars of one track along `lap`. pace: share of its speed that is wanted, in [0.3, 1].

    Of an optimal lap all can be driven; of a reference lap, which leaves out what cornering costs, about 0.95. From any
    start a car settles at a calm pace first, at most 0.9; to a higher one it goes on from a place where that is known
    to end well. The driver remembers which cars have: it drives cars of one world. Raises InputError for a pace out of
    range.
    """

    def __init__(
        self, track: Track, vehicle: Vehicle, lap: OptimalLap | ReferenceLap, action_repeat: int, pace: float = 1.0
    ) -> None:
        require_number("pace", pace, PACES[0], 1.0, remedy="1 is the whole speed of the lap")
        self.vehicle, self.pace = vehicle, pace
        self.line = line_through(lap.points)
        length, count = self.line.length, FINER * len(lap.points)
        self._s = np.arange(count) * length / count
        self._speed = np.interp(self._s, self._s[::FINER], lap.speed, period=length)
        simulation = Simulation(track, vehicle, action_repeat, self.line)
        places, aside = stations(track, lap.points)
        inwards = -INWARDS * vehicle.reference_width * np.tanh(aside / vehicle.reference_width)
        self._inwards = np.interp(self._s, self._s[::FINER], inwards, period=length)
        plans = {p: plan(simulation, lap, p, inwards) for p in [p for p in PACES if p < pace] + [min(pace, PACES[-1])]}
        good = [p for p, found in plans.items() if found.missed < FOLLOWED]
        paces = [p for p in plans if p <= max(good, default=PACES[0])]
        self._paces, self._calm = np.array(paces), paces[-1]
        self._plans = np.stack([plans[p].at(self._s, length) for p in paces])
        self._peak = Motion(vehicle).peak_slip()[0]
        order = np.argsort(places % track.length)
        at, line_s = (places % track.length)[order], np.unwrap(self._s[::FINER][order], period=length)
        turns = np.array([-1, 0, 1])
        self._near = np.interp(
            np.arange(len(track.points)) * track.spacing,
            (at + turns[:, None] * track.length).ravel(),
            (line_s + turns[:, None] * length).ravel(),
        )
        self._attacking = np.zeros(0, bool)
        self._attacks = pace > PACES[-1]
        if self._attacks:
            self._attack = plan(simulation, lap, pace).at(self._s, length)
            self._begin = np.zeros(count, bool)
            self._begin = self._safe(simulation, places)

    def _safe(self, simulation: Simulation, places: Array) -> npt.NDArray[np.bool_]:
        """(S,) whether a car that has settled at the calm pace comes to the whole one from here on, and keeps it a lap.

        Asked of cars that are READY beside their plan, to either side, and of all places within ASIDE points.
        """
        track, count = simulation.track, len(self._s) // FINER
        start = np.tile(np.arange(0, len(self._s), FINER), 2)
        states = self._plans[-1, start, :SIZE].copy()
        states[:, OFFSET] += np.repeat([-READY, READY], count) * self.vehicle.reference_width
        world = simulation.world(len(start))
        world.reset()
        cars = world.cars.reshape(-1)
        place(cars, self.line, self._s[start], states, self.vehicle)
        cars["nearest"] = np.tile(np.round(places / track.spacing).astype(int) % len(track.points), 2)
        cars["steps"] = 1
        self._attacking = np.ones(len(start), bool)
        safe = np.ones(len(start), bool)
        lap = float(np.sum(np.diff(self._s, append=self.line.length) / self._speed)) / self.pace
        for _ in range(int(SETTLED * lap / world.step_dt)):
            world.step(actions_of(self.commands(cars), self.vehicle))
            safe &= (world.final_cars.reshape(-1)["ended"] == Ending.RUNNING) & self._attacking
        self._attacking = np.zeros(0, bool)
        near = [np.roll(safe.reshape(2, count).all(axis=0), shift) for shift in range(-ASIDE, ASIDE + 1)]
        return np.repeat(np.all(near, axis=0), FINER)

    def commands(self, cars: Cars) -> Array:
        """Steering angle [rad] and acceleration [m/s^2] to ask for, (K, 2), of cars (K,)."""
        s, states = located(cars, self.line, self._near[cars["nearest"]], self.vehicle)
        pace = states[:, SPEED] / np.interp(s, self._s, self._speed, period=self.line.length)
        calm = self._follow(s, states, pace)
        if not self._attacks:
            return calm
        if len(self._attacking) != len(cars):
            self._attacking = np.zeros(len(cars), bool)
        row = self._row(s)
        off = np.abs(states[:, OFFSET] - self._plans[-1, row, OFFSET]) / self.vehicle.reference_width
        ready = (np.abs(pace / self._calm - 1) < 0.01) & (off < READY) & self._begin[row]
        lost = (off > 0.5) | (pace < 0.85 * self._calm) | (cars["steps"] == 0)
        self._attacking = (self._attacking | ready) & ~lost
        full = _answer(between(self._attack, s, self.line.length), states)
        return np.where(self._attacking[:, None], full, calm)

    def _follow(self, s: Array, states: Array, pace: Array) -> Array:
        """Commands (K, 2) that bring cars to the calm pace and keep them there."""
        wanted = between(self._plans[-1], s, self.line.length)
        here = self._at(s, np.clip(pace, self._paces[0], SLOWER * self._calm))
        widest = WIDEST * self.vehicle.reference_width
        aim = here[:, OFFSET] + JOINING * np.interp(s, self._s, self._inwards, period=self.line.length)
        here[:, OFFSET] = np.clip(aim, states[:, OFFSET] - widest, states[:, OFFSET] + widest)
        slow, full = _answer(here, states), _answer(wanted, states)
        behind = wanted[:, -SIZE + SPEED] * (wanted[:, SPEED] - here[:, SPEED])
        straight = np.clip(wanted[:, SIZE + 1] / (0.25 * self.vehicle.max_drive), 0, 1)
        slow[:, 1] += straight * np.minimum(behind, CATCH_UP * self.vehicle.max_lateral)
        slow = self._held(slow, states)
        share = np.clip((pace / self._calm - SLOWER) / (NEAR - SLOWER), 0, 1)[:, None]
        return np.asarray(share * full + (1 - share) * slow)

    def _held(self, commands: Array, states: Array) -> Array:
        """Commands (K, 2) without what the tyres cannot hold: steering past their best slip, pedals beside the bend."""
        car = self.vehicle
        if car.model == "linear":
            return commands
        forward = np.maximum(states[:, SPEED], 1.0)
        front = np.arctan2(states[:, W] + car.front_axle * states[:, YAW_RATE], forward)
        slip = np.clip(commands[:, 0] - front, -self._peak, self._peak)
        used = np.maximum(np.abs(slip) / self._peak, np.abs(forward * states[:, YAW_RATE]) / car.max_lateral)
        left = car.max_lateral * np.sqrt(1 - np.minimum(used, 1.0) ** 2)
        load = car.rear_axle / car.wheelbase  # share of the weight on the front axle
        drive = min(_share(load, car.drive_front), _share(1 - load, 1 - car.drive_front))
        brake = min(_share(load, car.brake_front), _share(1 - load, 1 - car.brake_front))
        return np.stack([front + slip, np.clip(commands[:, 1], -brake * left, drive * left)], axis=1)

    def _row(self, s: Array) -> npt.NDArray[np.int64]:
        return np.asarray((np.mod(s, self.line.length) * len(self._s) / self.line.length).astype(int) % len(self._s))

    def _at(self, s: Array, pace: Array) -> Array:
        """Rows (K, 20) at arc lengths s (K,) between the plans of the paces."""
        level = np.interp(pace, self._paces, np.arange(len(self._paces)))
        low = np.minimum(level.astype(int), max(len(self._paces) - 2, 0))
        rise = level - low
        out = np.zeros((len(s), self._plans.shape[2]))
        for number, rows in enumerate(self._plans):
            weight = np.where(low == number, 1 - rise, np.where(low + 1 == number, rise, 0.0))
            out += weight[:, None] * between(rows, s, self.line.length)
        return out


def between(rows: Array, s: Array, length: float) -> Array:
    """Rows (K, M) at arc lengths s (K,) of a table whose rows (N, M) lie evenly along a line of `length` [m]."""
    at = np.mod(s, length) * len(rows) / length
    left, share = at.astype(int) % len(rows), (at - np.floor(at))[:, None]
    return np.asarray(rows[left] * (1 - share) + rows[(left + 1) % len(rows)] * share)


def driven_lap(track: Track, vehicle: Vehicle, lap: OptimalLap, action_repeat: int = 2) -> float | None:
    """Time [s] of a flying lap of the simulator's car; None if it leaves the road.

    It begins on the plan and drives two laps; what counts is the second one.
    """
    line = line_through(lap.points)
    simulation = Simulation(track, vehicle, action_repeat, line)
    found = plan(simulation, lap, 1.0)
    s = np.arange(FINER * len(lap.points)) * line.length / (FINER * len(lap.points))
    rows = found.at(s, line.length)
    world = simulation.world(1)
    world.reset()
    cars = world.cars.reshape(-1)
    gap = np.linalg.norm(line.spline(s) - track.points[0], axis=1)
    first = int(np.argmin(gap))
    place(cars, line, s[first : first + 1], rows[first : first + 1, :SIZE], vehicle)
    cars["nearest"] = 0
    here = s[first : first + 1]
    for _ in range(int(3.2 * lap.time_s / world.step_dt)):
        here, states = located(cars, line, here, vehicle)
        world.step(actions_of(_answer(between(rows, here, line.length), states), vehicle))
        done = world.final_cars.reshape(-1)[0]
        if done["ended"] != Ending.RUNNING:
            return None
        if done["laps"] == 2:
            return float(done["lap_time"])
        here = here + states[:, SPEED] * world.step_dt
    return None


def _share(load: float, force: float) -> float:
    """How much of the car's grip the pedal can use before an axle with so much of load and force slides."""
    return load / force if force else np.inf


def _answer(rows: Array, states: Array) -> Array:
    """Commands (K, 2) of a plan's rows to cars in `states` (K, 6)."""
    deviations = states - rows[:, :SIZE]
    deviations[:, HEADING] = turned(deviations[:, HEADING])
    gains = rows[:, SIZE + 2 :].reshape(-1, 2, SIZE)
    return np.asarray(rows[:, SIZE : SIZE + 2] - np.einsum("kij,kj->ki", gains, deviations))
