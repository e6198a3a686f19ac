"""Cars side by side: LANES of them, from their records to a block's columns, through the physics, and back."""

from __future__ import annotations

import math

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
    wheel_work,
)
from racing.sim.grip import grip_at
from racing.sim.kernels.kernel import inlined, kernel, real
from racing.sim.kernels.lanes import lanes_of, put_lanes
from racing.sim.kernels.trig import arctan, sincos, wrap
from racing.sim.variation import kernels as variation

ZERO, ONE = real(0), real(1)
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


@kernel
def integrate(cars, actions, first, count, vehicle, rules, block, tracks, grip, vary):
    """Move cars first..first+count-1, count <= LANES, by one environment step.

    actions (N, 2): steering, throttle/brake, clipped to [-1, 1]. vary: as in racing.sim.step.step.
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
        rows = block[VARIED:]
        fitted = variation.varied(vehicle, rows)
        put_slope(block, fitted)
        if vary.living.on:
            demand, friction = lanes_of(block[DEMAND]), lanes_of(block[FRICTION])
            variation.put_work(rows, wheel_work(seven(block, STATE), demand, friction, fitted))
            for j in range(count):
                variation.take_work(vary.conditions[first + j], rows, j)
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
