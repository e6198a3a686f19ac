"""Who drives without learning: the driver of the optimal lap; followers of its line and policies, as opponents."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar, Protocol

import numpy as np
import numpy.typing as npt

from racing.envs.task import require_driver
from racing.errors import require
from racing.observations import rows_of
from racing.sim.kernels.kernel import kernel
from racing.sim.localisation import shortest
from racing.sim.race.traffic import BESIDE, is_met
from racing.sim.world import World

Array = npt.NDArray[Any]
F = npt.NDArray[np.float32]
MOST_PACES = 6  # different ones of line followers: each is planned
MOST_SOLVED = 3  # circuits whose optimal laps are solved for; each may take a minute, once
LEAST_PACE = 0.3  # of the optimal lap's speed
CALM = 0.1  # share of an imitation in which the driver's first reach holds: students finish laps after seconds
# Of the intelligent driver model (Treiber, Hennecke and Helbing 2000, doi 10.1103/PhysRevE.62.1805).
HEADWAY = 0.25  # [s] to the car ahead
STANDSTILL = 0.5  # [car lengths] to it, when both stand
COMFORTABLE = 0.25  # [of the grip] braking
HELD_UP = 0.1  # [of the throttle] at least, by which a car that is held up drives less than it would


class OptimalDriving:
    """The driver of the optimal lap (racing.tracks.optimal_lap.driver) of a task's cars; a racing.envs.task.Driver.

    Where a track's optimal lap cannot be had, it drives the reference lap; as a teacher also where there are more than
    MOST_SOLVED tracks. facts: which laps it drives.
    """

    def __init__(self, task: Any, pace: float, reach: tuple[float, float] | None) -> None:
        """pace: share of the lap's speed. reach: see HasDrivers; [car's widths].

        Raises InputError for vehicles without tyres.
        """
        from racing.tracks.optimal_lap.driver import best_driver  # solvers, only where somebody drives

        vehicle, teaches = task.vehicle, reach is not None
        key, remedy = ("algo.teacher=driver", "algo=ppo_scratch learns without") if teaches else ("driver=optimal", "")
        rule = f"{key} must drive a vehicle with tyres, saturated or linear, got {vehicle.model}"
        require(vehicle.model in ("saturated", "linear"), f"{rule}; {remedy or 'choose another vehicle'}")
        repeat = round(task.world.step_dt / vehicle.control_period)
        margin = task.world.episodes.edge_margin  # the driver keeps clear of the edge as a student must
        vehicle = replace(vehicle, width=vehicle.width + 2 * margin)
        say, solve = partial(print, file=sys.stderr), not teaches or len(task.tracks) <= MOST_SOLVED
        driver = best_driver(task.tracks, vehicle, repeat, pace, say, solve=solve)
        self.facts: Mapping[str, str] = driver.facts
        self._task, self._driver, self._reach = task, driver, reach

    def __call__(self, taught: float = 0.0) -> F:
        """See Driver; (N, 2)."""
        if self._reach is None:
            return self._driver.actions(self._task.cars)
        return self._driver.advice(self._task.cars, self._reach[taught >= CALM])


class HasOptimalDriver:
    """What tasks of cars on tracks offer of drivers; a racing.envs.task.HasDrivers."""

    driver_names: ClassVar[tuple[str, ...]] = ("optimal",)
    driver_settings: ClassVar[Mapping[str, Any]] = {}

    def driver(self, name: str, *, pace: float = 1.0, reach: tuple[float, float] | None = None) -> OptimalDriving:
        """See HasDrivers."""
        require_driver(self, name)
        return OptimalDriving(self, pace, reach)


class Drivers(Protocol):
    """Whoever drives some cars of a task. cars: (K,) their numbers. looks: whether by what they observe."""

    cars: Array
    looks: bool

    def actions(self, world: World, observation: Any) -> F:
        """(K, 2) actions. observation: of all cars of the task (N, ...), or a dict of them."""

    def get_state(self) -> Any:
        """What changes while they drive."""

    def set_state(self, state: Any) -> None:
        """Continue from `get_state()`."""


class PolicyDrivers:
    """A policy that does not learn. predict: observations (K, D), or a dict of (K, ...) -> actions (K, 2)."""

    looks = True

    def __init__(self, cars: Array, predict: Callable[[Any], Array], size: int | None = None) -> None:
        """size: how many of the observation's values it reads, the first ones; None: all."""
        self.cars, self._predict, self._size = cars, predict, size

    def actions(self, world: World, observation: Any) -> F:
        """See Drivers."""
        seen = rows_of(observation, self.cars)
        return np.clip(self._predict(seen if self._size is None else seen[:, : self._size]), -1, 1)

    def get_state(self) -> None:
        """None."""

    def set_state(self, state: Any) -> None:
        """Nothing changes."""


class LineFollowers:
    """Cars that follow the line of the optimal lap, each at a pace of its own, and brake behind whoever is slower.

    Who was held up goes on as after a start: what steers a car at the limit would lead a slower one off the road.

    Where grip may be lost (racing.sim.conditions) they are slower by the root of it, as bends are, from the start.

    Where a track's optimal lap cannot be had, and on more than MOST_SOLVED tracks, it is the line of the reference lap.
    """

    looks = False

    def __init__(self, cars: Array, world: World, paces: Array) -> None:
        """paces: (K,) share of the lap's speed, [0.3, 1]. Raises InputError for others, and for cars without tyres."""
        from racing.tracks.optimal_lap.driver import best_driver  # solvers, only where somebody follows

        grip = world.condition_rules.least_grip
        paces = np.maximum(paces * np.sqrt(grip), LEAST_PACE) if grip < 1 else paces
        self.cars, self._paces = cars, np.round(paces, 3)
        repeat = round(world.step_dt / world.vehicle.control_period)
        say, solve = partial(print, file=sys.stderr), len(world.tracks) <= MOST_SOLVED
        drive = partial(best_driver, world.tracks, world.vehicle, repeat, say=say, solve=solve)
        self._known = np.unique(self._paces)
        self._groups = [(np.flatnonzero(self._paces == pace), drive(pace)) for pace in self._known.tolist()]

    def actions(self, world: World, observation: Any = None) -> F:
        """See Drivers."""
        cars, out = world.cars.reshape(-1), np.empty((len(self.cars), 2), np.float32)
        for mine, driver in self._groups:
            out[mine] = driver.actions(cars[self.cars[mine]])
        traffic, car, asked = world.traffic.reshape(-1), world.vehicle, out[:, 1].copy()
        limits = np.array([HEADWAY, STANDSTILL * car.length, COMFORTABLE * car.max_lateral, BESIDE * car.width])
        rates = (np.float32(rate) for rate in (car.max_drive, car.max_brake, car.max_lateral, car.length))
        _keep_distance(
            self.cars, cars, traffic, world.cars_per_race, world.track_table, limits.astype(np.float32), *rates, out
        )
        for mine, driver in self._groups:
            driver.settle(cars[self.cars[mine]], out[mine, 1] < asked[mine] - HELD_UP)
        return out

    def deal(self, numbers: Array) -> None:
        """Let car k have the numbers[k]-th of the paces from now on, which go round; all are about to start anew."""
        level = numbers % len(self._groups)
        self._paces = self._known[level]
        self._groups = [(np.flatnonzero(level == number), driver) for number, (_, driver) in enumerate(self._groups)]

    def get_state(self) -> list[Any]:
        """What each driver remembers of its cars."""
        return [driver.get_state() for _, driver in self._groups]

    def set_state(self, state: Sequence[Any]) -> None:
        """See Drivers."""
        for (_, driver), one in zip(self._groups, state, strict=True):
            driver.set_state(one)


def spread_paces(pace: Sequence[float], count: int) -> Array:
    """(count,) paces between the two of `pace`, MOST_PACES different ones at most, in turn."""
    low, high = pace
    levels = np.linspace(low, high, MOST_PACES if high > low else 1)
    return np.resize(levels, count)


@kernel
def _keep_distance(
    chosen: Any,
    cars: Any,
    traffic: Any,
    count: int,
    tracks: Any,
    limits: Any,
    drive: Any,
    brake: Any,
    grip: Any,
    length: Any,
    actions: Any,
) -> None:
    """Lower the throttle of `actions` (K, 2) to what the car ahead on the own path leaves.

    In a bend it brakes no harder than with what cornering leaves of the grip: it would spin.

    limits: headway [s], gap at a standstill [m], braking [m/s^2], lateral distance of those who are in the way [m].
    drive, brake, grip: greatest accelerations [m/s^2]. length: of a car [m].
    """
    for row in range(len(chosen)):
        i = chosen[row]
        car, first = cars[i], i - i % count
        lap = tracks[car.track].length
        left = max(grip - abs(car.v * car.yaw_rate), np.float32(0))
        hardest = -min(left / brake, np.float32(1))
        for k in range(first, first + count):
            other = cars[k]
            if k == i or not (is_met(traffic[i]) and is_met(traffic[k])):
                continue
            gap = shortest(other.s - car.s, lap)
            if gap < 0 or abs(other.lateral - car.lateral) > limits[3]:
                continue
            closing = car.v - other.v
            wanted = car.v * limits[0] + car.v * closing / (np.float32(2) * np.sqrt(drive * limits[2]))
            wanted = limits[1] + max(wanted, np.float32(0))
            share = wanted / max(gap - length, np.float32(0.1))
            rate = drive * (np.float32(1) - share * share)
            throttle = rate / drive if rate > 0 else max(rate / brake, hardest)
            actions[row, 1] = min(actions[row, 1], throttle)
