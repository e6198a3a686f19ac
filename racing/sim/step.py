"""One environment step of many cars: physics, progress, gates, end of episode, new start, rays. Races share nothing."""

from __future__ import annotations

import math

import numpy as np

from racing.sim.block import BLOCK_ROWS, X_BEFORE, Y_BEFORE, integrate
from racing.sim.kernels.kernel import kernel, real
from racing.sim.kernels.lanes import LANES
from racing.sim.kernels.rng import Draw, key_of, uniform
from racing.sim.kernels.trig import sincos, wrap
from racing.sim.localisation import gate_crossing, heading_error, locate, shortest
from racing.sim.rays import clearance, field_of, scan
from racing.sim.records import Ending
from racing.sim.variation import kernels as variation

ZERO, ONE, TWO = real(0), real(1), real(2)
GATES_PER_STEP = 4
BACKWARDS = real(20.0)  # [m] or a tenth of the lap: so much progress lost is the wrong way


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
    return key_of(i, rules) // rules.cars_per_race


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
    key, seed, episode = key_of(i, rules), rules.seed, car.episode + 1
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
    key, seed, episode = key_of(i, rules), rules.seed, car.episode + 1
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
    sense(np.arange(first, last), cars, points, grid, tracks, rules, ranges, vary)


@kernel
def sense(chosen, cars, points, grid, tracks, rules, ranges, vary):
    """Measure the rays of the cars `chosen` (n,), after what differs of those that begin an episode is drawn."""
    scan(cars, chosen, grid, tracks, rules.field_of_view, rules.range, ranges)
    if vary is not None:
        variation.renew(chosen, cars, points, tracks, vary, rules)
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
        if vary is not None:
            variation.develop(i, cars, ZERO, points, tracks, vary, rules)
    chosen = np.arange(first, last)
    sense(chosen, cars, points, grid, tracks, rules, ranges, vary)
    restarts = 0
    for i in range(first, last):
        car = cars[i]
        final_cars[i] = car
        if vary is not None:
            variation.keep_last(i, vary)
        if car.ended != Ending.RUNNING:
            final_ranges[i] = ranges[i]
            start_episode(car, i, points, gates, tracks, rules)
            chosen[restarts] = i
            restarts += 1
    sense(chosen[:restarts], cars, points, grid, tracks, rules, ranges, vary)
