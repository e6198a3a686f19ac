"""What a car observes of the others of its race: a block of numbers for each of the nearest ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from racing.errors import require, require_number
from racing.sim.kernels.kernel import kernel
from racing.sim.localisation import shortest
from racing.sim.race.config import MOST_CARS
from racing.sim.race.traffic import is_met
from racing.sim.world import World

VALUES = ("gap", "ahead", "left", "speed_ahead", "speed_left", "lateral", "present")
MOTION = ("acceleration", "speed_error")  # how it will go on, with `motion`
PLAIN = len(VALUES)
BEHIND = 0.5  # of the window: so far back others are observed


@dataclass(frozen=True, kw_only=True)
class ObservedOpponents:
    """How many of the nearest opponents a car observes, and what of each.

    ahead, behind: at most so many in front of it, within the race's window, and behind it, within half of that.
    motion: whether VALUES are followed by MOTION: acceleration along the car / greatest braking; speed / that of the
    line where the opponent is, less 1.
    Raises InputError for values out of range.
    """

    ahead: int = 0
    behind: int = 0
    motion: bool = False

    def __post_init__(self) -> None:
        """Refuse more than there can be."""
        for name in ("ahead", "behind"):
            require_number(
                name, getattr(self, name), 0, MOST_CARS - 1, whole=True, remedy="2 ahead and 1 behind are usual"
            )
        rule = f"motion must be true or false, got {self.motion!r}; choose one"
        require(isinstance(self.motion, bool), rule)

    @property
    def names(self) -> list[str]:
        """Names of the observation values, in order."""
        who = [f"ahead_{k + 1}" for k in range(self.ahead)] + [f"behind_{k + 1}" for k in range(self.behind)]
        return [f"{opponent}_{value}" for opponent in who for value in self.values]

    @property
    def values(self) -> tuple[str, ...]:
        """Names of the values of each opponent."""
        return (*VALUES, *MOTION) if self.motion else VALUES


def observe_opponents(world: World, observed: ObservedOpponents, chosen: Any, final: bool, out: Any) -> None:
    """Fill out (n, V * (ahead + behind)), a view, for the cars `chosen` (n,) of the world; V values of each opponent.

    final: as it was before restarts, not as it is now. An opponent that is not there is zeros.
    """
    if world.cars_per_race == 1:
        out[:] = 0
        return
    cars, traffic = (world.final_cars, world.final_traffic) if final else (world.cars, world.traffic)
    window, car = np.float32(world.window), world.vehicle
    scale = (window, BEHIND * window, 4 / car.max_speed, 1 / (2 * car.reference_width), 1 / car.max_brake)
    size = (world.cars_per_race, observed.ahead, observed.behind, len(observed.values))
    args = (*size, np.array(scale, np.float32), world.track_table)
    _block(np.asarray(chosen, np.int64), cars.reshape(-1), traffic.reshape(-1), *args, out)


@kernel
def _block(
    chosen: Any,
    cars: Any,
    traffic: Any,
    count: int,
    ahead: int,
    behind: int,
    width: int,
    scale: Any,
    tracks: Any,
    out: Any,
) -> None:
    """Fill out (n, width * (ahead + behind)).

    scale: windows ahead, behind [m]; for relative speeds, lateral gaps, accelerations.
    """
    gaps = np.empty(count, np.float32)
    order = np.empty(count, np.int64)
    for row in range(len(chosen)):
        i = chosen[row]
        car = cars[i]
        out[row] = 0
        met = _nearest(i, count, cars, traffic, tracks[car.track].length, gaps, order)
        cos, sin = np.cos(car.yaw), np.sin(car.yaw)
        before, after = 0, 0
        for n in range(met):
            gap, other = gaps[n], cars[order[n]]
            if gap >= 0 and before < ahead and gap <= scale[0]:
                column = width * before
                before += 1
            elif gap < 0 and after < behind and -gap <= scale[1]:
                column = width * (ahead + after)
                after += 1
            else:
                continue
            _describe(car, other, gap, cos, sin, scale, out[row, column : column + width])


@kernel
def _nearest(i: Any, count: int, cars: Any, traffic: Any, length: Any, gaps: Any, order: Any) -> int:
    """Fill gaps [m] and order with the cars that car i meets, the nearest first; returns how many they are."""
    first, met = i - i % count, 0
    if not is_met(traffic[i]):
        return met
    for k in range(first, first + count):
        if k == i or not is_met(traffic[k]):
            continue
        gap = shortest(cars[k].s - cars[i].s, length)
        at = met
        while at > 0 and abs(gaps[at - 1]) > abs(gap):
            gaps[at], order[at] = gaps[at - 1], order[at - 1]
            at -= 1
        gaps[at], order[at] = gap, k
        met += 1
    return met


@kernel
def _describe(car: Any, other: Any, gap: Any, cos: Any, sin: Any, scale: Any, values: Any) -> None:
    """Fill the values (V,) that a car has of another one. cos, sin: of its yaw. scale: see `_block`."""
    dx, dy = other.x - car.x, other.y - car.y
    course, own = other.yaw + other.slip, car.yaw + car.slip
    vx = other.v * np.cos(course) - car.v * np.cos(own)
    vy = other.v * np.sin(course) - car.v * np.sin(own)
    values[0] = gap / scale[0]
    values[1] = (dx * cos + dy * sin) / scale[0]
    values[2] = (dy * cos - dx * sin) / scale[0]
    values[3] = (vx * cos + vy * sin) * scale[2]
    values[4] = (vy * cos - vx * sin) * scale[2]
    values[5] = (other.lateral - car.lateral) * scale[3]
    values[6] = 1
    if len(values) > PLAIN:
        values[7] = other.ax * scale[4]
        values[8] = other.v / other.line_speed - np.float32(1)
