"""What a car has to do with the others of its race: gaps, places won, what its rays see of them."""

from __future__ import annotations

import math

from racing.sim.kernels.kernel import inlined, kernel, real
from racing.sim.kernels.trig import arctan, sincos

ZERO, HALF, ONE = real(0), real(0.5), real(1)
PI, TWO_PI = real(math.pi), real(2 * math.pi)
BESIDE = 1.2  # [car widths] from middle to middle: who is further aside is passed, not run into
CLOSE = real(0.1)  # [m] between bumpers, at least
RACING, STOPPED, GONE = 0, 1, 2  # values of a traffic record's `state`


@inlined
def is_met(here):
    """Whether a car is there for others: to be seen, touched and passed. here: its traffic record."""
    return here.state != GONE and here.alone == 0


@inlined
def need_braking(here, car, other, gap, vehicle, window):
    """Note at a car, whose traffic record is `here`, how hard it has to brake for another one, `gap` [m] ahead.

    The deceleration rate to avoid a crash (DRAC): closing speed^2 / (2 gap between bumpers).
    """
    closing = car.v - other.v
    beside = abs(other.lateral - car.lateral) > real(BESIDE) * vehicle.width
    if ZERO < gap <= window and closing > ZERO and not beside:
        free = max(gap - vehicle.length, CLOSE)
        here.braking_needed = max(here.braking_needed, HALF * closing * closing / free)


@kernel
def look_around(first, count, cars, traffic, tracks, vehicle, window):
    """Bring gaps, ranks, what was won on others and the braking they ask for up to date.

    Of cars first..first+count-1, a race.
    """
    length = tracks[cars[first].track].length
    for i in range(first, first + count):
        here = traffic[i]
        here.gap_ahead = here.gap_behind = length
        here.won = here.braking_needed = ZERO
        here.rank = 1
    for i in range(first, first + count):
        car, here = cars[i], traffic[i]
        for k in range(i + 1, first + count):
            other, there = cars[k], traffic[k]
            if there.distance > here.distance:
                here.rank += 1
            elif there.distance < here.distance:
                there.rank += 1
            if not (is_met(here) and is_met(there)):
                continue
            gap = other.s - car.s
            gap = gap - length if gap > HALF * length else (gap + length if gap < -HALF * length else gap)
            if gap > ZERO:
                here.gap_ahead, there.gap_behind = min(here.gap_ahead, gap), min(there.gap_behind, gap)
                need_braking(here, car, other, gap, vehicle, window)
            else:
                here.gap_behind, there.gap_ahead = min(here.gap_behind, -gap), min(there.gap_ahead, -gap)
                need_braking(there, other, car, -gap, vehicle, window)
            if abs(gap) <= window:
                won = car.progress_delta - other.progress_delta
                here.won += won
                there.won -= won


@kernel
def see_cars(i, first, count, cars, traffic, vehicle, field_of_view, far, ranges):
    """Shorten the rays of car i to the bodywork of the others of its race, cars first..first+count-1.

    far: longest distance [m]. ranges (N, R) [m].
    """
    if not is_met(traffic[i]):
        return
    car = cars[i]
    a, b = HALF * vehicle.length, HALF * vehicle.width
    radius = math.sqrt(a * a + b * b)
    sin, cos = sincos(car.yaw)
    for k in range(first, first + count):
        other = cars[k]
        if k == i or not is_met(traffic[k]):
            continue
        dx, dy = other.x - car.x, other.y - car.y
        ahead, left = dx * cos + dy * sin, dy * cos - dx * sin
        away = dx * dx + dy * dy
        if away > (far + radius) * (far + radius) or (field_of_view <= PI and ahead < -radius):
            continue
        middle, half = ZERO, PI  # of the angles [rad] at which it may be seen
        if away > radius * radius:
            middle, half = bearing(ahead, left), arctan(radius / math.sqrt(away - radius * radius))
        look_at(i, car, other, middle, half, a, b, field_of_view, far, ranges)
        if abs(middle) + half > PI:  # seen across the direction straight behind
            turn = -TWO_PI if middle > ZERO else TWO_PI
            look_at(i, car, other, middle + turn, half, a, b, field_of_view, far, ranges)


@kernel
def look_at(i, car, other, middle, half, a, b, field_of_view, far, ranges):
    """Shorten those rays of car i to another car that lie within `half` of `middle` [rad], left of straight ahead."""
    rays = ranges.shape[1]
    between = field_of_view / real(rays - 1) if rays > 1 else ONE
    left = HALF * field_of_view if rays > 1 else ZERO
    begin = max(math.ceil((left - middle - half) / between), 0)
    end = min(math.floor((left - middle + half) / between), rays - 1)
    if begin > end:
        return
    sin, cos = sincos(other.yaw)
    dx, dy = car.x - other.x, car.y - other.y
    x, y = dx * cos + dy * sin, dy * cos - dx * sin
    for ray in range(begin, end + 1):
        sin, cos = sincos((car.yaw + left) - real(ray) * between - other.yaw)
        ranges[i, ray] = min(ranges[i, ray], to_box(x, y, cos, sin, a, b, far))


@kernel
def bearing(ahead, left):
    """Angle [rad] of a point in the car's frame, in [-pi, pi], positive to the left."""
    if abs(left) <= abs(ahead):
        angle = arctan(left / ahead)
        return angle if ahead > ZERO else (angle + PI if left >= ZERO else angle - PI)
    angle = arctan(ahead / left)
    return HALF * PI - angle if left > ZERO else -HALF * PI - angle


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
