"""Equations of motion of one car: kinematic, linear single-track, saturated single-track; RK4.

All models share one state tuple (x, y, steer, v, yaw, yaw_rate, w):
  kinematic  x, y of the REAR axle, v along the car, yaw_rate and w unused
  linear     x, y of the centre of gravity, v its speed, w the slip angle beta [rad]
  saturated  x, y of the centre of gravity, v longitudinal and w lateral body velocity [m/s]
SI units; steering and yaw counter-clockwise. `car` is a record of racing.sim.records.VEHICLE.

Sources: kinematic and linear single-track, constraints: Althoff, CommonRoad vehicle models 2020 (as f1tenth_gym).
Tyre curve: Pacejka's magic formula with its slip argument tan(alpha), B = C_S / C so that the slope at zero equals the
linear model's. Axle loads: quasi-static longitudinal load transfer.
"""

from __future__ import annotations

import math

from racing.sim.kernels.kernel import inlined, kernel, real
from racing.sim.kernels.trig import HALF_PI, arctan_unit, sincos, sincos_small, sine

KINEMATIC, LINEAR, SATURATED = 0, 1, 2  # index in racing.sim.vehicle.MODELS
G = real(9.81)
ZERO, HALF, ONE, TWO, SIX = real(0), real(0.5), real(1), real(2), real(6)
TINY = real(1e-6)
ROLLING_SPEED = real(0.5)  # [m/s] rolling resistance fades out below it


@inlined
def limit_steer_rate(rate, steer, car):
    """Steering rate [rad/s] after its limit and the stops."""
    if (steer <= -car.max_steer and rate <= ZERO) or (steer >= car.max_steer and rate >= ZERO):
        return ZERO
    return min(max(rate, -car.max_steer_rate), car.max_steer_rate)


@inlined
def limit_acceleration(a, v, car):
    """Longitudinal acceleration [m/s^2] after brake, drive, power and speed limits."""
    if (v <= car.min_speed and a <= ZERO) or (v >= car.max_speed and a >= ZERO):
        return ZERO
    drive = car.max_drive * car.switch_speed / v if v > car.switch_speed else car.max_drive
    return min(max(a, -car.max_brake), drive)


@inlined
def kinematic_rhs(state, rate, a, grip, car):
    """Derivative of the rolling car. grip in (0, 1] scales curvature and acceleration (1: rolls whatever it costs)."""
    _, _, steer, v, yaw, _, _ = state
    turn = v / (car.front_axle + car.rear_axle) * math.tan(steer) * grip
    a = limit_acceleration(a, v, car) * grip
    return v * math.cos(yaw), v * math.sin(yaw), limit_steer_rate(rate, steer, car), a, turn, ZERO, ZERO


@inlined
def kinematic_grip(state, a, mu, car):
    """Factor that brings lateral and longitudinal demand together onto the friction circle."""
    _, _, steer, v, _, _, _ = state
    lateral = v * v * math.tan(steer) / (car.front_axle + car.rear_axle)
    a = limit_acceleration(a, v, car)
    demand = math.sqrt(lateral * lateral + a * a)
    limit = mu * G
    return limit / demand if demand > limit else ONE


@inlined
def linear_rhs(state, rate, a, mu, car):
    """Derivative of the linear single-track; below car.kinematic_below and in reverse the car rolls."""
    _, _, steer, v, yaw, r, beta = state
    lf, lr, h, g = car.front_axle, car.rear_axle, car.cg_height, G
    length = lf + lr
    rate = limit_steer_rate(rate, steer, car)
    a = limit_acceleration(a, v, car)
    if v < car.kinematic_below:
        tan = math.tan(steer)
        cos2 = ONE / (ONE + tan * tan)
        roll = math.atan(tan * lr / length)
        roll_rate = lr * rate / (length * cos2 * (ONE + (tan * lr / length) * (tan * lr / length)))
        turn = v * math.cos(roll) * tan / length
        turn_rate = (
            a * math.cos(roll) * tan - v * math.sin(roll) * tan * roll_rate + v * math.cos(roll) * rate / cos2
        ) / length
        return v * math.cos(roll + yaw), v * math.sin(roll + yaw), rate, a, turn, turn_rate, roll_rate
    front = car.stiffness_front * (g * lr - a * h)  # [m^2/s^2/rad] = mu-free axle stiffness * length / mass
    rear = car.stiffness_rear * (g * lf + a * h)
    slip_f = steer - beta - lf * r / v
    slip_r = lr * r / v - beta
    turn_rate = mu * car.mass / (car.yaw_inertia * length) * (lf * front * slip_f - lr * rear * slip_r)
    beta_rate = mu / (v * length) * (front * slip_f + rear * slip_r) - r
    return v * math.cos(beta + yaw), v * math.sin(beta + yaw), rate, a, r, turn_rate, beta_rate


@inlined
def axle_force(along, sideways, push, load, bend, mu, car):
    """Force of one axle in the wheel's frame (longitudinal, lateral) [N].

    along, sideways: velocity of the wheel in its own frame [m/s]. push: demanded longitudinal force [N]. bend:
    Pacejka's B, normalised stiffness / shape [1/rad]. The two demands are scaled together onto the friction circle: a
    driver who steers keeps his brakes.
    """
    limit = mu * load
    rolling = max(abs(along), car.kinematic_below)
    sliding = abs(sideways) * bend
    steep = sliding > rolling
    angle = arctan_unit(rolling / sliding if steep else sliding / rolling)
    angle = HALF_PI - angle if steep else angle
    side = limit * sine(car.tyre_shape * angle)
    side = -side if sideways > ZERO else side
    demand = push * push + side * side
    scale = ONE
    if demand > limit * limit:
        scale = limit / math.sqrt(demand)
    return push * scale, side * scale


@inlined
def saturated_rhs(state, rate, a, mu, car):
    """Derivative of the single-track with saturating tyres, load transfer, drag and rolling resistance."""
    _, _, steer, vx, yaw, r, vy = state
    lf, lr = car.front_axle, car.rear_axle
    rate = limit_steer_rate(rate, steer, car)
    a = limit_acceleration(a, vx, car)
    if a >= ZERO:
        push_f, push_r = a * car.mass * car.drive_front, a * car.mass * (ONE - car.drive_front)
    else:
        push_f, push_r = a * car.mass * car.brake_front, a * car.mass * (ONE - car.brake_front)
    shift = min(max(a, -mu * G), mu * G) * car.cg_height
    load_f = car.mass_per_length * (G * lr - shift)
    load_r = car.mass_per_length * (G * lf + shift)
    sin_s, cos_s = sincos_small(steer)
    sin_y, cos_y = sincos(yaw)
    front = vy + lf * r
    long_f, side_f = axle_force(
        vx * cos_s + front * sin_s, front * cos_s - vx * sin_s, push_f, load_f, car.bend_front, mu, car
    )
    long_r, side_r = axle_force(vx, vy - lr * r, push_r, load_r, car.bend_rear, mu, car)
    across = side_f * cos_s + long_f * sin_s
    speed = math.sqrt(vx * vx + vy * vy)
    resist = car.drag * speed + car.rolling * car.mass * G / max(speed, ROLLING_SPEED)  # [N s/m] along the velocity
    ax = (long_f * cos_s - side_f * sin_s + long_r - resist * vx) * car.per_mass
    ay = (across + side_r - resist * vy) * car.per_mass
    return (
        vx * cos_y - vy * sin_y,
        vx * sin_y + vy * cos_y,
        rate,
        ax + r * vy,
        r,
        (lf * across - lr * side_r) * car.per_inertia,
        ay - r * vx,
    )


@inlined
def derivative(state, rate, a, mu, car):
    """Derivative of `state` under steering rate [rad/s] and demanded acceleration [m/s^2], by the car's model.

    mu: peak friction coefficient of the tyres on the ground where they are [-].
    """
    if car.model == SATURATED:
        return saturated_rhs(state, rate, a, mu, car)
    if car.model == LINEAR:
        return linear_rhs(state, rate, a, mu, car)
    return kinematic_rhs(state, rate, a, kinematic_grip(state, a, mu, car), car)


@kernel
def rk4(states, work, rates, pushes, mus, step, car, count):
    """Move the first `count` columns of states (7, B) by one classical Runge-Kutta step [s] with constant commands.

    rates, pushes, mus (B,): steering rate [rad/s], demanded acceleration [m/s^2], friction coefficient.
    work (2, 7, B): trial states, sums.
    Stage by stage over all cars: one car's equations are a chain in which each number waits for the one before, and
    the processor fills the waits with the next car's.
    """
    trial, total = work[0], work[1]
    for c in range(7):
        for j in range(count):
            trial[c, j] = total[c, j] = states[c, j]
    for stage in range(4):
        reach = step * HALF if stage < 2 else step
        weight = step / SIX if stage == 0 or stage == 3 else step / (SIX * HALF)
        for j in range(count):
            state = trial[0, j], trial[1, j], trial[2, j], trial[3, j], trial[4, j], trial[5, j], trial[6, j]
            k0, k1, k2, k3, k4, k5, k6 = derivative(state, rates[j], pushes[j], mus[j], car)
            total[0, j] += weight * k0
            total[1, j] += weight * k1
            total[2, j] += weight * k2
            total[3, j] += weight * k3
            total[4, j] += weight * k4
            total[5, j] += weight * k5
            total[6, j] += weight * k6
            trial[0, j] = states[0, j] + reach * k0
            trial[1, j] = states[1, j] + reach * k1
            trial[2, j] = states[2, j] + reach * k2
            trial[3, j] = states[3, j] + reach * k3
            trial[4, j] = states[4, j] + reach * k4
            trial[5, j] = states[5, j] + reach * k5
            trial[6, j] = states[6, j] + reach * k6
    for c in range(7):
        for j in range(count):
            states[c, j] = total[c, j]


@kernel
def settle(states, j, before, car):
    """Mend column j: steering at its stops, no creep through zero speed, rolling at walking pace and in reverse.

    before: longitudinal speed before the step [m/s].
    """
    steer = min(max(states[2, j], -car.max_steer), car.max_steer)
    v, r, w = states[3, j], states[5, j], states[6, j]
    if before >= car.min_speed and v < car.min_speed:
        v = car.min_speed
    length = car.front_axle + car.rear_axle
    if car.model == SATURATED and v < TWO * car.kinematic_below:
        # Blend towards rolling: at 2 * kinematic_below the tyres decide, at kinematic_below and less the geometry does.
        share = min(max((TWO * car.kinematic_below - v) / car.kinematic_below, ZERO), ONE)
        rolling = v * math.tan(steer) / length
        r += share * (rolling - r)
        w += share * (rolling * car.rear_axle - w)
    if car.model == LINEAR and v < car.kinematic_below:
        w = math.atan(math.tan(steer) * car.rear_axle / length)
        r = v * math.cos(w) * math.tan(steer) / length
    states[2, j], states[3, j], states[5, j], states[6, j] = steer, v, r, w
