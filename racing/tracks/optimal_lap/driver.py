"""The perfect driver: tracks a planned lap in the simulator, at any pace and from any start.

Plans for several paces share one line; a car that is slower than wanted is steered by the plan of the pace that it has.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.util import find_spec

import numpy as np
import numpy.typing as npt

from racing.errors import missing_package, require_number
from racing.sim.records import Ending
from racing.sim.track import Track
from racing.sim.vehicle import Vehicle
from racing.tracks.optimal_lap.lap import NotSolved, OptimalLap, known_optimal_lap, optimal_lap
from racing.tracks.optimal_lap.paces import FINER, PACES, PacePlans, pace_plans
from racing.tracks.optimal_lap.plan import plan
from racing.tracks.optimal_lap.simulation import OFFSET, SIZE, Cars, Simulation, actions_of, place
from racing.tracks.optimal_lap.smooth_line import line_through
from racing.tracks.optimal_lap.steering import SPEEDS, steered, tables_of, together
from racing.tracks.reference_lap import ReferenceLap, reference_lap, stations

Array = npt.NDArray[np.float64]

SETTLED = 1.1  # laps at the whole pace that prove a place to go on from
READY, READY_PACE = 0.05, 0.01  # [car's widths] off its plan, share of its pace: at most, when a car goes on from it
LOST, LOST_PACE = 0.5, 0.85  # [car's widths] off the line, and share of the calm pace, beyond which it settles again
SLOWER = 0.2  # share of the calm plan's pace that a student may lack for each width that it may be off it, see `advice`
ASIDE = 3  # points of the lap between a place to go on from and one that is none
OFTEN = 8  # circuits planned between two lines about how far that is; each takes a second or two
BY_REFERENCE = 0.95  # share of a reference lap's speed that can be driven: it leaves out what cornering costs


class LapDriver:
    """Drives cars of one track along `lap`. pace: share of its speed that is wanted, in [0.3, 1].

    Of an optimal lap all can be driven; of a reference lap, which leaves out what cornering costs, about 0.95. From any
    start a car settles at a calm pace first, at most 0.9; to a higher one it goes on from a place where that is known
    to end well. The driver remembers which cars have: it drives cars of one world. Raises InputError for a pace out of
    range.

    is_new: whether its plans had to be made, which takes a second or two; else they were kept.
    """

    def __init__(
        self, track: Track, vehicle: Vehicle, lap: OptimalLap | ReferenceLap, action_repeat: int, pace: float = 1.0
    ) -> None:
        require_number("pace", pace, PACES[0], 1.0, remedy="1 is the whole speed of the lap")
        self.track, self.vehicle, self.lap, self.pace = track, vehicle, lap, pace
        self._simulation = Simulation(track, vehicle, action_repeat, line_through(lap.points))
        plans, self.is_new = pace_plans(self._simulation, lap, pace)
        self.tables = tables_of(self._simulation, lap, plans)
        self.calm, self.attacks = plans.calm[-1].copy(), len(plans.whole) > 0
        self._attacking = np.zeros(0, bool)
        self._begin: npt.NDArray[np.bool_] | None = None

    @property
    def _safe(self) -> npt.NDArray[np.bool_]:
        """(S,) see `_tried`; once."""
        if self._begin is None:
            remembered = self._attacking  # of other cars, from `set_state`
            self._begin = np.zeros(len(self.calm), bool)
            self._begin = self._tried(self._simulation, stations(self.track, self.lap.points)[0])
            self._attacking = remembered
        return self._begin

    def _tried(self, simulation: Simulation, places: Array) -> npt.NDArray[np.bool_]:
        """(S,) whether a car that has settled at the calm pace comes to the whole one from here on, and keeps it a lap.

        Asked of cars that are READY beside their plan, to either side, and of all places within ASIDE points.
        """
        track, line, count = simulation.track, simulation.line, len(places)
        start = np.tile(np.arange(0, FINER * count, FINER), 2)
        states = self.calm[start, :SIZE].copy()
        states[:, OFFSET] += np.repeat([-READY, READY], count) * self.vehicle.reference_width
        world = simulation.world(len(start))
        world.reset()
        cars = world.cars.reshape(-1)
        place(cars, line, start * line.length / (FINER * count), states, self.vehicle)
        cars["nearest"] = np.tile(np.round(places / track.spacing).astype(int) % len(track.points), 2)
        cars["steps"] = 1
        self._attacking = np.ones(len(start), bool)
        safe = np.ones(len(start), bool)
        lap = float(np.sum(line.length / (FINER * count) / self.tables.along[:, SPEEDS])) / self.pace
        for _ in range(int(SETTLED * lap / world.step_dt)):
            world.step(actions_of(self.commands(cars), self.vehicle))
            safe &= (world.final_cars.reshape(-1)["ended"] == Ending.RUNNING) & self._attacking
        near = [np.roll(safe.reshape(2, count).all(axis=0), shift) for shift in range(-ASIDE, ASIDE + 1)]
        return np.repeat(np.all(near, axis=0), FINER)

    def commands(self, cars: Cars) -> Array:
        """Steering angle [rad] and acceleration [m/s^2] to ask for, (K, 2), of cars (K,)."""
        calm, whole, beside, s = steered(self.tables, np.zeros(len(cars), np.int64), cars)
        if not self.attacks:
            return calm
        safe = self._safe  # which drives other cars, the first time
        if len(self._attacking) != len(cars):
            self._attacking = np.zeros(len(cars), bool)
        off, pace = beside.T
        length, count = self._simulation.line.length, len(self.calm)
        row = (np.mod(s, length) * count / length).astype(np.intp) % count
        ready = (np.abs(pace - 1) < READY_PACE) & (off < READY) & safe[row]
        lost = (off > LOST) | (pace < LOST_PACE) | (cars["steps"] == 0)
        self._attacking = (self._attacking | ready) & ~lost
        return np.where(self._attacking[:, None], whole, calm)

    def settle(self, which: npt.NDArray[np.bool_]) -> None:
        """Drive those of the cars (K,) at the calm pace that something held up; they go on from there as any other."""
        if len(which) == len(self._attacking):
            self._attacking &= ~which

    def get_state(self) -> npt.NDArray[np.bool_]:
        """Which cars have gone on from the calm pace to the whole one, a copy."""
        return self._attacking.copy()

    def set_state(self, state: npt.NDArray[np.bool_]) -> None:
        """Continue from `get_state()`."""
        self._attacking = state.copy()


def driven_lap(track: Track, vehicle: Vehicle, lap: OptimalLap, action_repeat: int = 2) -> float | None:
    """Time [s] of a flying lap of the simulator's car; None if it leaves the road.

    It begins on the plan and drives two laps; what counts is the second one.
    """
    simulation = Simulation(track, vehicle, action_repeat, line_through(lap.points))
    line, count = simulation.line, FINER * len(lap.points)
    s = np.arange(count) * line.length / count
    rows = plan(simulation, lap, 1.0).at(s, line.length)
    tables = tables_of(simulation, lap, PacePlans(np.ones(1), rows[None], rows))
    world = simulation.world(1)
    world.reset()
    cars = world.cars.reshape(-1)
    first = [np.argmin(np.linalg.norm(line.spline(s) - track.points[0], axis=1))]
    place(cars, line, s[first], rows[first, :SIZE], vehicle)
    cars["nearest"] = 0
    for _ in range(int(3.2 * lap.time_s / world.step_dt)):
        world.step(actions_of(steered(tables, np.zeros(1, np.int64), cars)[1], vehicle))
        done = world.final_cars.reshape(-1)[0]
        if done["ended"] != Ending.RUNNING:
            return None
        if done["laps"] == 2:
            return float(done["lap_time"])
    return None


def best_driver(
    tracks: Sequence[Track],
    vehicle: Vehicle,
    action_repeat: int,
    pace: float,
    say: Callable[[str], None],
    *,
    solve: bool = True,
) -> OptimalDriver:
    """The driver of the optimal laps; of the reference lap where a track's optimal lap cannot be had.

    pace: share of the laps' speed, in [0.3, 1]; of a reference lap at most BY_REFERENCE.
    say: takes a line about each track whose lap takes a while, or that has no optimal lap, and now and then one about
    how far planning is, where plans are not kept yet.
    solve: whether to look for optimal laps at all; without, all are reference laps.
    Raises InputError for a pace out of range, and for a vehicle without tyres.
    """
    require_number("pace", pace, PACES[0], 1.0, remedy="1 is the whole speed of the lap")
    drivers: list[LapDriver] = []
    planned = 0
    for number, track in enumerate(tracks, 1):
        lap: OptimalLap | ReferenceLap
        try:
            lap = _optimal_lap(track, vehicle, say) if solve else reference_lap(track, vehicle)
        except (ModuleNotFoundError, NotSolved) as error:
            why = missing_package(error) or str(error)
            say(f"{track.name}: no optimal lap, {why}; drives its reference lap at up to {BY_REFERENCE:g} of its speed")
            lap = reference_lap(track, vehicle)
        most = BY_REFERENCE if isinstance(lap, ReferenceLap) else 1.0
        drivers.append(LapDriver(track, vehicle, lap, action_repeat, min(pace, most)))
        planned += drivers[-1].is_new
        if drivers[-1].is_new and planned % OFTEN == 0 and number < len(tracks):
            say(f"planning how to drive, {number} of {len(tracks)} circuits done; plans are kept")
    return OptimalDriver(drivers)


def _optimal_lap(track: Track, vehicle: Vehicle, say: Callable[[str], None]) -> OptimalLap:
    if known_optimal_lap(track, vehicle) is None and find_spec("casadi") is not None:
        say(f"{track.name}: solving for its optimal lap, which is kept; some seconds")
    return optimal_lap(track, vehicle)


class OptimalDriver:
    """Drives the cars of a world over several tracks, each with its own driver."""

    def __init__(self, drivers: Sequence[LapDriver]) -> None:
        self._drivers = list(drivers)
        self._tables = together([driver.tables for driver in drivers])

    def actions(self, cars: Cars) -> npt.NDArray[np.float32]:
        """Actions (N, 2) of all cars (N,) of the world."""
        out = np.zeros((len(cars), 2), np.float32)
        for number, driver in enumerate(self._drivers):
            mine = cars["track"] == number
            if mine.any():
                out[mine] = actions_of(driver.commands(cars[mine]), driver.vehicle)
        return out

    def settle(self, cars: Cars, which: npt.NDArray[np.bool_]) -> None:
        """Drive those of the cars (N,) at the calm pace that something held up."""
        for number, driver in enumerate(self._drivers):
            driver.settle(which[cars["track"] == number])

    def advice(self, cars: Cars, reach: float) -> npt.NDArray[np.float32]:
        """Actions (N, 2) by what cars (N,) do now alone: the whole pace where they are close to the calm plan.

        reach: [car's widths] how close, which lets them be SLOWER times that, too. A student that is often further off
        learns something between both paces.

        Followed, it leads some cars off the road, which `actions` would not have; a student learns from both.
        """
        calm, whole, beside, _ = steered(self._tables, cars["track"], cars)
        close = (beside[:, 0] < reach) & (beside[:, 1] > 1 - SLOWER * reach)
        close &= self._tables.tracks["attacks"][cars["track"]]
        return actions_of(np.where(close[:, None], whole, calm), self._drivers[0].vehicle)

    def get_state(self) -> list[npt.NDArray[np.bool_]]:
        """What the driver of each track remembers of its cars."""
        return [driver.get_state() for driver in self._drivers]

    def set_state(self, state: Sequence[npt.NDArray[np.bool_]]) -> None:
        """Continue from `get_state()`."""
        for driver, one in zip(self._drivers, state, strict=True):
            driver.set_state(one)

    @property
    def facts(self) -> dict[str, str]:
        """Which laps it drives, by track: those that other machines have may be others."""
        kinds = [(driver, "optimal" if isinstance(driver.lap, OptimalLap) else "reference") for driver in self._drivers]
        return {
            f"driver of {driver.track.name}": f"{driver.pace:g} of {kind} {driver.lap.time_s:.6f} s"
            for driver, kind in kinds
        }
