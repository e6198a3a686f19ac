"""What of a car differs from its vehicle, in the kernels: drawn at an episode's start, between command and wheel, in
the equations of motion, and in what range finders measure. What changes while it drives comes on top.

Kernels that are given None in place of a Vary are compiled without any of it.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from racing.sim.conditions import kernels as conditions
from racing.sim.kernels.kernel import inlined, kernel, real
from racing.sim.kernels.lanes import lanes_of, put_lanes, where
from racing.sim.kernels.rng import GOLDEN, UNIT, Draw, key_of, scramble, stream, uniform
from racing.sim.kernels.trig import sincos

ZERO, HALF, ONE, TWO, PI, TWO_PI = real(0), real(0.5), real(1), real(2), real(math.pi), real(2 * math.pi)
MEGA = real(1e-6)
RAYS = 4096  # at most, of a car
DROPOUT_UNIT = real(1.0 / (1 << 16))
# Rows of a block of cars, a column each, after those of racing.sim.block: factors on what the vehicle has, the share of
# the last acceleration that is kept for a physics step, the steering's offset [rad], from which physics step of the
# environment step on the newer of two commands counts, what both ask for: [rad] and [m/s^2], and at the end of the step
# the work of the tyres on the ground over the car's weight [m/s] and the power of the drive [W].
FRICTION, STIFFNESS, DRIVE, BRAKE, DRAG, KEEP, OFFSET, SWITCH, OLD_STEER, NEW_STEER, OLD_DEMAND, NEW_DEMAND = range(12)
SLIDING, POWER = 12, 13
VARIED_ROWS = 14


class Vary(NamedTuple):
    """What the kernels need where cars differ from their vehicle.

    cars, final (N,) variation records (racing.sim.records): of the episode now, and before restarts.
    drawn (N, F): the first fields of `cars`, the drawn ones, as numbers; the same memory.
    commands (N, K, 2): steering and throttle of the last K steps, that of step n of the episode at n % K.
    low, high (F,): ranges of what is drawn.
    conditions, final_conditions (N,) condition records. living: what changes them, one record for all.
    """

    cars: Any
    final: Any
    drawn: Any
    commands: Any
    low: Any
    high: Any
    conditions: Any
    final_conditions: Any
    living: Any


class VariedVehicle(NamedTuple):
    """The parameters that the equations of motion read, as in a vehicle record, some of them Lanes."""

    model: Any
    front_axle: Any
    rear_axle: Any
    cg_height: Any
    mass: Any
    yaw_inertia: Any
    mass_per_length: Any
    inv_mass: Any
    inv_inertia: Any
    stiffness_front: Any
    stiffness_rear: Any
    pacejka_b_front: Any
    pacejka_b_rear: Any
    tyre_shape: Any
    max_steer: Any
    max_steer_rate: Any
    max_drive: Any
    max_brake: Any
    switch_speed: Any
    max_speed: Any
    min_speed: Any
    drag: Any
    rolling: Any
    drive_front: Any
    brake_front: Any
    kinematic_speed_threshold: Any


@kernel
def renew(chosen, cars, points, tracks, vary, rules):
    """Draw what of the cars `chosen` (n,) differs in the episode that they have begun, where they have begun one."""
    for i in chosen:
        if vary.cars[i].episode != cars[i].episode:
            draw(i, cars, points, tracks, vary, rules)


@kernel
def draw(i, cars, points, tracks, vary, rules):
    """Draw what of car i of the world differs in its episode, which begins; it forgets all commands."""
    own, episode = vary.cars[i], cars[i].episode
    for k in range(len(vary.low)):
        share = uniform(rules.seed, key_of(i, rules), episode, Draw.VARIATION + k)
        vary.drawn[i, k] = vary.low[k] + share * (vary.high[k] - vary.low[k])
    own.episode = episode
    own.acceleration = ZERO
    vary.commands[i] = ZERO
    if vary.living.on:
        conditions.begin(vary.conditions[i], cars[i], i, rules, vary.living)
        here = points[tracks[cars[i].track].point_start + cars[i].nearest]
        conditions.apply(vary.conditions[i], cars[i], here, rules, vary.living)


@inlined
def develop(i, cars, closing, points, tracks, vary, rules):
    """Carry the condition of car i of the world on over the step that it has driven.

    closing: [m/s] of its fastest contact in that step, 0: none.
    """
    if vary.living.on:
        here = points[tracks[cars[i].track].point_start + cars[i].nearest]
        conditions.develop(vary.conditions[i], cars[i], closing, here, rules, vary.living)


@inlined
def keep_last(i, vary):
    """Keep what car i of the world was before restarts."""
    vary.final[i] = vary.cars[i]
    if vary.living.on:
        vary.final_conditions[i] = vary.conditions[i]


@kernel
def fit(cars, actions, first, count, vehicle, rules, vary, rows):
    """Write what of cars first..first+count-1 differs, and what reaches their actuators in this environment step.

    actions (N, 2): steering, throttle/brake, clipped to [-1, 1]. rows (VARIED_ROWS, LANES): of a block.
    """
    for j in range(count):
        i, own, now, steps = first + j, vary.cars[first + j], vary.conditions[first + j], cars[first + j].steps
        past = vary.commands[i]
        for k in range(2):
            past[steps % len(past), k] = min(max(actions[i, k], -ONE), ONE)
        late = int(own.command_delay / rules.physics_dt + HALF)  # [physics steps]
        newer = (steps - late // rules.substeps) % len(past)
        older = (newer + len(past) - 1) % len(past)
        rows[FRICTION, j], rows[STIFFNESS, j] = own.friction * now.grip, own.stiffness
        mass, power, drag = own.mass * now.mass, own.power * now.drive, own.drag * now.drag
        rows[DRIVE, j], rows[BRAKE, j], rows[DRAG, j] = power / mass, ONE / mass, drag / mass
        rows[KEEP, j] = math.exp(-rules.physics_dt / own.throttle_lag) if own.throttle_lag > ZERO else ZERO
        offset = own.steering_offset + now.offset
        rows[OFFSET, j], rows[SWITCH, j] = offset, late % rules.substeps
        rows[OLD_STEER, j] = past[older, 0] * vehicle.max_steer + offset
        rows[NEW_STEER, j] = past[newer, 0] * vehicle.max_steer + offset
        rows[OLD_DEMAND, j] = acceleration(past[older, 1], vehicle, rows, j)
        rows[NEW_DEMAND, j] = acceleration(past[newer, 1], vehicle, rows, j)


@inlined
def acceleration(pedal, vehicle, rows, j):
    """Acceleration [m/s^2] that the force gives which a pedal in [-1, 1] asks for."""
    return pedal * (vehicle.max_drive * rows[DRIVE, j] if pedal >= ZERO else vehicle.max_brake * rows[BRAKE, j])


@kernel
def halt(vehicle, rows, j):
    """Let the car in column j brake with its wheels straight, whatever its driver wants."""
    rows[OLD_STEER, j] = rows[NEW_STEER, j] = rows[OFFSET, j]
    rows[OLD_DEMAND, j] = rows[NEW_DEMAND, j] = -vehicle.max_brake * rows[BRAKE, j]
    rows[KEEP, j] = ZERO


@kernel
def actuate(rows, number, steer, demand):
    """Move the actuators of a block by one physics step, the one called `number` of the environment step.

    steer, demand (LANES,): rows of the block, the road-wheel angle [rad] asked for and the acceleration [m/s^2].
    """
    early = real(number) < lanes_of(rows[SWITCH])
    put_lanes(steer, where(early, lanes_of(rows[OLD_STEER]), lanes_of(rows[NEW_STEER])))
    wanted = where(early, lanes_of(rows[OLD_DEMAND]), lanes_of(rows[NEW_DEMAND]))
    put_lanes(demand, wanted - lanes_of(rows[KEEP]) * (wanted - lanes_of(demand)))


@inlined
def varied(vehicle, rows):
    """The vehicle as the equations of motion see it in a block of cars.

    A factor on mass and yaw inertia is one on what forces do that don't grow with the load: drive, brakes and drag.
    """
    stiffness = lanes_of(rows[STIFFNESS])
    return VariedVehicle(
        vehicle.model,
        vehicle.front_axle,
        vehicle.rear_axle,
        vehicle.cg_height,
        vehicle.mass,
        vehicle.yaw_inertia,
        vehicle.mass_per_length,
        vehicle.inv_mass,
        vehicle.inv_inertia,
        vehicle.stiffness_front * stiffness,
        vehicle.stiffness_rear * stiffness,
        vehicle.pacejka_b_front * stiffness,
        vehicle.pacejka_b_rear * stiffness,
        vehicle.tyre_shape,
        vehicle.max_steer,
        vehicle.max_steer_rate,
        vehicle.max_drive * lanes_of(rows[DRIVE]),
        vehicle.max_brake * lanes_of(rows[BRAKE]),
        vehicle.switch_speed,
        vehicle.max_speed,
        vehicle.min_speed,
        vehicle.drag * lanes_of(rows[DRAG]),
        vehicle.rolling,
        vehicle.drive_front,
        vehicle.brake_front,
        vehicle.kinematic_speed_threshold,
    )


@kernel
def lightness(i, vary):
    """The vehicle's mass over that of car i of the world."""
    return ONE / (vary.cars[i].mass * vary.conditions[i].mass)


@inlined
def put_work(rows, work):
    """Write what the tyres and the drive do at the end of a step (racing.sim.dynamics.wheel_work) to a block's rows."""
    put_lanes(rows[SLIDING], work[0])
    put_lanes(rows[POWER], work[1])


@kernel
def take_work(own, rows, j):
    """Read it from column j to a car's condition record; a heavier car needs as much more power for the same drive."""
    own.sliding, own.power = rows[SLIDING, j], MEGA * rows[POWER, j] / rows[BRAKE, j]


@kernel
def disturb(chosen, cars, vary, rules, ranges):
    """Let the rays of the cars `chosen` (n,) read what their range finders make of the distances. ranges (N, R) [m]."""
    for i in chosen:
        own = vary.cars[i]
        if own.ray_bias == ZERO and own.ray_noise == ZERO and own.ray_dropout == ZERO:
            continue
        words = stream(rules.seed, key_of(i, rules), own.episode)
        first = Draw.RAY + np.int64(cars[i].steps) * RAYS
        for k in range(ranges.shape[1]):
            word = scramble(words + np.uint64(first + k) * GOLDEN)
            distance = ranges[i, k] * (ONE + own.ray_bias)
            if own.ray_noise > ZERO:
                distance += own.ray_noise * gaussian(word)
            if real(word & np.uint64(0xFFFF)) * DROPOUT_UNIT < own.ray_dropout:
                distance = rules.range
            ranges[i, k] = min(max(distance, ZERO), rules.range)


@kernel
def gaussian(word):
    """Number of a standard normal distribution, up to 5.8, from the upper 48 of 64 random bits (Box, Muller 1958)."""
    radius = real((word >> np.uint64(40)) + np.uint64(1)) * UNIT
    turn = real((word >> np.uint64(16)) & np.uint64(0xFFFFFF)) * UNIT
    _, cos = sincos(TWO_PI * turn)
    return math.sqrt(-TWO * math.log(radius)) * cos
