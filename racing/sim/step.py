"""One environment step of many cars: physics, progress, gates, end of episode, new start, rays. Races share nothing."""

from __future__ import annotations

import math

import numpy as np

from racing.sim.dynamics import (
    KINEMATIC,
    LINEAR,
    SATURATED,
    STATE_SIZE,
    STEER,
    YAW,
    YAW_RATE,
    V,
    W,
    X,
    Y,
    derivative,
    rk4,
    settle,
)
from racing.sim.grip import grip_at
from racing.sim.kernels.kernel import inlined, kernel, real
from racing.sim.kernels.lanes import LANES, lanes_of, put_lanes
from racing.sim.kernels.rng import Draw, uniform
from racing.sim.kernels.trig import arctan, sincos, wrap
from racing.sim.localisation import gate_crossing, heading_error, locate, shortest
from racing.sim.rays import clearance, field_of, scan
from racing.sim.records import Ending
from racing.sim.variation import kernels as variation

ZERO, ONE, TWO = real(0), real(1), real(2)
SLOW = real(0.1)  # [m/s] below it the slip angle is not resolved
# Rows of a block's work space, a column for each of LANES cars: the state vector (racing.sim.dynamics), its derivative
# at the end of the step, what the driver asks for, and where the car was. Friction is that of the tyres on the ground
# where the car is. Columns without a car hold zeros or what a car of the block before left; nobody reads them.
STATE = 0  # and the STATE_SIZE - 1 rows after it
SLOPE = STATE + STATE_SIZE  # likewise
DEMAND = SLOPE + STATE_SIZE  # [m/s^2] acceleration, brake negative
STEER_TARGET = DEMAND + 1  # [rad] road-wheel angle
X_BEFORE = STEER_TARGET + 1  # [m] before the environment step
Y_BEFORE = X_BEFORE + 1
FRICTION = Y_BEFORE + 1  # [-]
VARIED = FRICTION + 1  # and the rows after it: what of the cars differs (racing.sim.variation.kernels)
BLOCK_ROWS = VARIED + variation.VARIED_ROWS
GATES_PER_STEP = 4
BACKWARDS = real(20.0)  # [m] or a tenth of the lap: so much progress lost is the wrong way


@kernel
def integrate(cars, actions, first, count, vehicle, rules, block, tracks, grip, vary):
    """Move cars first..first+count-1, count <= LANES, by one environment step.

    actions (N, 2): steering, throttle/brake, clipped to [-1, 1]. vary: as in `step`.
    block (BLOCK_ROWS, LANES): work space; afterwards its rows X_BEFORE and Y_BEFORE hold where the cars were.
    """
    load(cars, actions, first, count, vehicle, rules, block, vary)
    for number in range(rules.substeps):
        move(cars, first, count, vehicle, rules, block, tracks, grip, vary, number)
    store(cars, actions, first, count, vehicle, block, vary)


@kernel
def load(cars, actions, first, count, vehicle, rules, block, vary):
    """Write cars first..first+count-1, and what their drivers ask for, to the columns of a block."""
    for j in range(count):
        car = cars[first + j]
        unpack(car, vehicle, block, j)
        block[STEER_TARGET, j] = min(max(actions[first + j, 0], -ONE), ONE) * vehicle.max_steer
        pedal = min(max(actions[first + j, 1], -ONE), ONE)
        block[DEMAND, j] = pedal * (vehicle.max_drive if pedal >= ZERO else vehicle.max_brake)
        block[X_BEFORE, j], block[Y_BEFORE, j] = car.x, car.y
    if vary is not None:
        rows = block[VARIED:]
        variation.fit(cars, actions, first, count, vehicle, rules, vary, rows)
        for j in range(count):
            block[STEER, j] += rows[variation.OFFSET, j]  # of the wheels; the car's own is what its steering says
            block[DEMAND, j] = vary.cars[first + j].acceleration


@kernel
def move(cars, first, count, vehicle, rules, block, tracks, grip, vary, number):
    """Move the columns of a block, cars first..first+count-1, by physics step `number` of an environment step."""
    for j in range(count):
        here = grip_at(grip, tracks[cars[first + j].track], block[X, j], block[Y, j])
        block[FRICTION, j] = vehicle.friction * here
        if vary is not None:
            block[FRICTION, j] *= block[VARIED + variation.FRICTION, j]
    if vary is not None:
        variation.actuate(block[VARIED:], number, block[STEER_TARGET], block[DEMAND])
    drive(block, vehicle, rules.physics_dt, vary)


@kernel
def store(cars, actions, first, count, vehicle, block, vary):
    """Read cars first..first+count-1 from the columns of a block, where they are after an environment step."""
    if vary is None:
        put_slope(block, vehicle)
    else:
        put_slope(block, variation.varied(vehicle, block[VARIED:]))
    for j in range(count):
        car = cars[first + j]
        pack(car, vehicle, block, j)
        car.steering_change = abs(actions[first + j, 0] - car.steering_command)
        car.steering_command, car.throttle_command = actions[first + j, 0], actions[first + j, 1]
        if vary is not None:
            car.steer -= block[VARIED + variation.OFFSET, j]
            vary.cars[first + j].acceleration = block[DEMAND, j]


@kernel
def drive(block, vehicle, dt, vary):
    """Move all columns of a block by one physics step of dt [s]."""
    if vary is None:
        advance(block, vehicle, dt)
    else:
        advance(block, variation.varied(vehicle, block[VARIED:]), dt)


@inlined
def put_slope(block, vehicle):
    """Write the derivatives of the columns of a block, whose wheels are held."""
    demand, friction = lanes_of(block[DEMAND]), lanes_of(block[FRICTION])
    put_seven(block, SLOPE, derivative(seven(block, STATE), ZERO, demand, friction, vehicle))


@inlined
def advance(block, vehicle, dt):
    """Move all columns of a block by one physics step of dt [s]. vehicle: a record, or a VariedVehicle."""
    state = seven(block, STATE)
    rate = (lanes_of(block[STEER_TARGET]) - state[STEER]) / dt
    after = rk4(state, rate, lanes_of(block[DEMAND]), lanes_of(block[FRICTION]), dt, vehicle)
    put_seven(block, STATE, settle(after, state[V], vehicle))


@inlined
def seven(block, first):
    """Rows first..first+6 of a block, such as the state vectors of its cars."""
    return (
        lanes_of(block[first]),
        lanes_of(block[first + 1]),
        lanes_of(block[first + 2]),
        lanes_of(block[first + 3]),
        lanes_of(block[first + 4]),
        lanes_of(block[first + 5]),
        lanes_of(block[first + 6]),
    )


@inlined
def put_seven(block, first, rows):
    """Write rows first..first+6 of a block."""
    for k in range(STATE_SIZE):
        put_lanes(block[first + k], rows[k])


@kernel
def unpack(car, vehicle, block, j):
    """Write the car's state to column j as the vehicle's model sees it (table in racing.sim.dynamics)."""
    x, y, w = car.x, car.y, car.slip
    if vehicle.model == SATURATED:
        w = car.v * math.tan(car.slip)
    if vehicle.model == KINEMATIC:
        sin, cos = sincos(car.yaw)
        x, y, w = x - vehicle.rear_axle * cos, y - vehicle.rear_axle * sin, ZERO
    block[X, j], block[Y, j], block[STEER, j], block[V, j] = x, y, car.steer, car.v
    block[YAW, j], block[YAW_RATE, j], block[W, j] = car.yaw, car.yaw_rate, w


@kernel
def pack(car, vehicle, block, j):
    """Read the car and its accelerations from the state and the derivative in column j."""
    x, y, w = block[X, j], block[Y, j], block[W, j]
    v_slope, w_slope = block[SLOPE + V, j], block[SLOPE + W, j]
    car.steer, car.v, car.yaw, car.yaw_rate = block[STEER, j], block[V, j], wrap(block[YAW, j]), block[YAW_RATE, j]
    if vehicle.model == SATURATED:
        car.slip = arctan(w / max(abs(car.v), SLOW))
        car.ax, car.ay = v_slope - car.yaw_rate * w, w_slope + car.yaw_rate * car.v
    elif vehicle.model == LINEAR:
        car.slip = w
        car.ax, car.ay = v_slope, car.v * (w_slope + car.yaw_rate)
    else:
        car.yaw_rate = block[SLOPE + YAW, j]
        sin, cos = sincos(car.yaw)
        x, y = x + vehicle.rear_axle * cos, y + vehicle.rear_axle * sin
        car.slip = arctan(vehicle.rear_axle * car.yaw_rate / max(abs(car.v), SLOW))
        car.ax, car.ay = v_slope, car.v * car.yaw_rate
    car.x, car.y = x, y


@kernel
def locate_car(car, points, track):
    """Bring the car's track coordinates up to date with x, y, yaw; returns its arc length [m]."""
    index, s, lateral, heading = locate(points, track, car.x, car.y, car.nearest)
    car.nearest = index
    car.lateral = lateral
    car.heading_error = heading_error(car.yaw, heading)
    here = points[track.point_start + index]
    car.line_speed = here.line_speed
    car.half_width = here.left if lateral >= ZERO else here.right
    return s


@kernel
def count_gates(car, gates, track, x0, y0, step_dt, margin):
    """Count the gates that the way from (x0, y0) crossed. A lap runs from the first gate passed to that gate again.

    step_dt: [s] of an environment step. margin: how far [m] beyond a gate's end still counts.
    """
    for _ in range(GATES_PER_STEP):
        gate = gates[track.gate_start + car.next_gate]
        share = gate_crossing(gate, x0, y0, car.x, car.y, margin)
        if share < ZERO:
            return
        now = (real(car.steps - 1) + share) * step_dt
        if car.gates > 0 and car.gates % track.gate_count == 0:
            car.laps += 1
            car.lap_time = now - car.lap_started
            if car.best_lap == ZERO or car.lap_time < car.best_lap:
                car.best_lap = car.lap_time
        if car.gates % track.gate_count == 0:
            car.lap_started = now
        car.gates += 1
        car.next_gate = (car.next_gate + 1) % track.gate_count


@kernel
def ending(car, grid, track, rules):
    """How the episode ends now, or RUNNING. Off the road: a wheel's width beyond the edge, by picture or corridor."""
    if (
        clearance(grid, field_of(track), car.x, car.y) < rules.margin
        or abs(car.lateral) > car.half_width + TWO * rules.margin
        or not math.isfinite(car.x + car.y + car.yaw)
    ):
        return Ending.OFF_TRACK
    if rules.laps > 0 and car.laps >= rules.laps:
        return Ending.LAPS_DONE
    if rules.stall_steps > 0 and car.slow_steps >= rules.stall_steps:
        return Ending.STALLED
    if car.progress < car.furthest - min(BACKWARDS, real(0.1) * track.length):
        return Ending.WRONG_WAY
    if car.max_steps > 0 and car.steps >= car.max_steps:
        return Ending.TIME_LIMIT
    return Ending.RUNNING


@kernel
def keep_up(car, points, gates, grid, tracks, rules, x0, y0):
    """Bring a car's place, progress, gates and ending up to date after it moved here from (x0, y0)."""
    track = tracks[car.track]
    s0 = car.s
    car.steps += 1
    car.s = locate_car(car, points, track)
    car.progress_delta = shortest(car.s - s0, track.length)
    car.progress += car.progress_delta
    car.furthest = max(car.furthest, car.progress)
    car.slow_steps = car.slow_steps + 1 if car.v < rules.stall_speed else 0
    count_gates(car, gates, track, x0, y0, rules.physics_dt * real(rules.substeps), rules.margin)
    car.ended = ending(car, grid, track, rules)


@kernel
def race_of(i, rules):
    """Number of the race of car i of the world, counted over all worlds that are parts of a larger one."""
    return rules.first_car // rules.cars_per_race + i // rules.cars_per_race


@kernel
def start_episode(car, i, points, gates, tracks, rules):
    """Put car i of the world, of a race of its own, at the start of its next episode."""
    race = race_of(i, rules)
    track = tracks[race % len(tracks)]
    place = real(0)
    if rules.random_start:
        place = uniform(rules.seed, race, car.episode + 1, Draw.START_PLACE)
    start_at(car, i, place * track.length, points, gates, tracks, rules)


@kernel
def start_at(car, i, along, points, gates, tracks, rules):
    """Let the next episode of car i of the world start at arc length `along` [m], in [0, length], as the rules say."""
    key, seed, episode = i + rules.first_car, rules.seed, car.episode + 1
    track = tracks[race_of(i, rules) % len(tracks)]
    here = points[track.point_start + int(along / track.spacing) % track.point_count]
    side = TWO * uniform(seed, key, episode, Draw.START_LATERAL_OFFSET) - ONE
    room = (here.left if side >= ZERO else here.right) - rules.margin
    lateral = side * max(room, ZERO) * rules.start_lateral_offset
    twist = (TWO * uniform(seed, key, episode, Draw.START_HEADING_ERROR) - ONE) * rules.start_heading_error
    spread = rules.start_speed_high - rules.start_speed_low
    pace = rules.start_speed_low + spread * uniform(seed, key, episode, Draw.START_SPEED)
    if uniform(seed, key, episode, Draw.STANDING_START) < rules.standing_start_prob:
        pace = ZERO
    put_at(car, i, along, lateral, twist, pace, points, gates, tracks, rules)


@kernel
def put_at(car, i, along, lateral, twist, pace, points, gates, tracks, rules):
    """Begin the next episode of car i of the world with the car at a place, its wheels straight, without slip.

    along: arc length [m], in [0, length].
    lateral: offset from the centreline [m], positive to the left.
    twist: from the track's direction [rad].
    pace: share of the start speed there.
    """
    key, seed, episode = i + rules.first_car, rules.seed, car.episode + 1
    number = race_of(i, rules) % len(tracks)
    track = tracks[number]
    index = int(along / track.spacing) % track.point_count
    here = points[track.point_start + index]
    sin, cos = sincos(here.heading)
    car.x, car.y = here.x - lateral * sin, here.y + lateral * cos
    car.yaw = wrap(here.heading + twist)
    car.v = pace * here.speed
    car.steer = car.yaw_rate = car.slip = car.ax = car.ay = ZERO
    car.steering_command = car.throttle_command = car.steering_change = ZERO
    car.progress_delta = car.progress = car.furthest = ZERO
    car.lap_started = car.lap_time = car.best_lap = ZERO
    car.track, car.nearest, car.episode = number, index, episode
    car.max_steps = rules.max_steps
    if rules.min_steps > 0:
        share = uniform(seed, key, episode, Draw.TIME_LIMIT)
        car.max_steps = rules.min_steps + int(share * real(rules.max_steps - rules.min_steps + 1))
    car.gates = car.laps = car.steps = car.slow_steps = 0
    car.ended = Ending.RUNNING
    car.s = locate_car(car, points, track)
    find_next_gate(car, gates, track)


@kernel
def find_next_gate(car, gates, track):
    """Set next_gate to the first gate ahead of the car."""
    best = track.length * TWO
    for g in range(track.gate_count):
        ahead = gates[track.gate_start + g].s - car.s
        ahead = ahead - track.length * real(math.floor(ahead / track.length))
        if real(0.01) < ahead < best:
            best, car.next_gate = ahead, g


@kernel
def begin(first, last, cars, points, gates, grid, tracks, rules, ranges, vary):
    """Start a new episode of cars first..last-1 and measure their rays; arguments as in `step`."""
    for i in range(first, last):
        start_episode(cars[i], i, points, gates, tracks, rules)
    sense(np.arange(first, last), cars, grid, tracks, rules, ranges, vary)


@kernel
def sense(chosen, cars, grid, tracks, rules, ranges, vary):
    """Measure the rays of the cars `chosen` (n,), after what differs of those that begin an episode is drawn."""
    scan(cars, chosen, grid, tracks, rules.field_of_view, rules.range, ranges)
    if vary is not None:
        for i in chosen:
            variation.renew(i, cars, vary, rules)
        variation.disturb(chosen, cars, vary, rules, ranges)


@kernel
def step(
    first,
    last,
    actions,
    cars,
    final_cars,
    points,
    gates,
    grid,
    grip,
    tracks,
    vehicle,
    rules,
    ranges,
    final_ranges,
    vary,
):
    """Advance cars first..last-1 by one environment step. Records: racing.sim.records.

    actions (N, 2): steering, throttle/brake.
    cars (N,) car records: the state after the step; where an episode ended, that of the next episode's start.
    final_cars (N,) car records: the state after the step; where an episode ended, its last one.
    points (P,), gates (G,): point and gate records of all tracks, one track after another.
    grid, grip: cells of the tracks' clearance grids and grip maps, flat.
    tracks (K,) track records: where each track lies in points, gates, grid and grip.
    vehicle, rules: one record each, the same for all cars.
    ranges (N, R) [m]: rays of `cars`. final_ranges (N, R) [m]: rays of `final_cars`, written where an episode ended.
    vary: racing.sim.variation.kernels.Vary, or None: all cars are as the vehicle.
    """
    block = np.zeros((BLOCK_ROWS, LANES), ranges.dtype)
    for i in range(first, last):
        j = (i - first) % LANES
        if j == 0:
            integrate(cars, actions, i, min(LANES, last - i), vehicle, rules, block, tracks, grip, vary)
        keep_up(cars[i], points, gates, grid, tracks, rules, block[X_BEFORE, j], block[Y_BEFORE, j])
    chosen = np.arange(first, last)
    sense(chosen, cars, grid, tracks, rules, ranges, vary)
    restarts = 0
    for i in range(first, last):
        car = cars[i]
        final_cars[i] = car
        if vary is not None:
            vary.final[i] = vary.cars[i]
        if car.ended != Ending.RUNNING:
            final_ranges[i] = ranges[i]
            start_episode(car, i, points, gates, tracks, rules)
            chosen[restarts] = i
            restarts += 1
    sense(chosen[:restarts], cars, grid, tracks, rules, ranges, vary)
