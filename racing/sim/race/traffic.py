"""What a car has to do with the others of its race: gaps, places won, what its rays see of them."""

from __future__ import annotations

import math

from racing.sim.kernels.kernel import kernel, real
from racing.sim.kernels.trig import sincos
from racing.sim.localisation import shortest
from racing.sim.race.config import Wreck

ZERO, HALF, ONE = real(0), real(0.5), real(1)
RACING, STOPPED, GONE = 0, 1, 2  # values of a traffic record's `state`
OBSTACLE = int(Wreck.OBSTACLE)


@kernel
def look_around(first, count, cars, traffic, tracks, window):
    """Bring gaps, ranks and what was won on others up to date for cars first..first+count-1, a race."""
    for i in range(first, first + count):
        car, here = cars[i], traffic[i]
        length = tracks[car.track].length
        here.gap_ahead = here.gap_behind = length
        here.won = ZERO
        here.rank = 1
        for k in range(first, first + count):
            other = cars[k]
            if k == i:
                continue
            if traffic[k].distance > here.distance:
                here.rank += 1
            if traffic[k].state == GONE or here.state == GONE:
                continue
            gap = shortest(other.s - car.s, length)
            if gap > ZERO:
                here.gap_ahead = min(here.gap_ahead, gap)
            else:
                here.gap_behind = min(here.gap_behind, -gap)
            if abs(gap) <= window:
                here.won += car.progress_delta - other.progress_delta


@kernel
def see_cars(i, first, count, cars, traffic, vehicle, field_of_view, far, ranges):
    """Shorten the rays of car i to the bodywork of the others of its race, cars first..first+count-1.

    far: longest distance [m]. ranges (N, R) [m].
    """
    car = cars[i]
    rays = ranges.shape[1]
    between = field_of_view / real(rays - 1) if rays > 1 else ZERO
    left = HALF * field_of_view if rays > 1 else ZERO
    a, b = HALF * vehicle.length, HALF * vehicle.width
    reach = far + math.sqrt(a * a + b * b)
    for k in range(first, first + count):
        other = cars[k]
        if k == i or traffic[k].state == GONE:
            continue
        dx, dy = car.x - other.x, car.y - other.y
        if dx * dx + dy * dy > reach * reach:
            continue
        sin, cos = sincos(other.yaw)
        x, y = dx * cos + dy * sin, dy * cos - dx * sin
        for ray in range(rays):
            sin, cos = sincos((car.yaw + left) - real(ray) * between - other.yaw)
            ranges[i, ray] = min(ranges[i, ray], to_box(x, y, cos, sin, a, b, far))


@kernel
def to_box(x, y, dx, dy, a, b, far):
    """Distance [m] from (x, y) along (dx, dy) to the box |x| <= a, |y| <= b, `far` where it is missed; 0 inside."""
    near, end = ZERO, far
    for axis in range(2):
        at, step, half = (x, dx, a) if axis == 0 else (y, dy, b)
        if abs(step) < real(1e-9):
            if abs(at) > half:
                return far
            continue
        one, two = (-half - at) / step, (half - at) / step
        near, end = max(near, min(one, two)), min(end, max(one, two))
    return near if near <= end else far
