"""Equations of motion of one car: kinematic, linear single-track, saturated single-track; RK4.

All models share one state vector of seven numbers:

             kinematic               linear                    saturated
0  X         [m] rear axle           [m] centre of gravity     [m] centre of gravity
1  Y         [m] rear axle           [m] centre of gravity     [m] centre of gravity
2  STEER     [rad] road-wheel angle  [rad] road-wheel angle    [rad] road-wheel angle
3  V         [m/s] rear axle         [m/s] centre of gravity   [m/s] centre of gravity, along the car: v_x
4  YAW       [rad]                   [rad]                     [rad]
5  YAW_RATE  unused: see (3)         [rad/s]                   [rad/s]
6  W         unused                  [rad] slip angle beta     [m/s] centre of gravity, to the left: v_y

SI units; angles counter-clockwise. Inputs: the steering rate [rad/s] and the acceleration a [m/s^2] that the driver
asks for. `car` is a record of racing.sim.records.vehicle; l_f, l_r: its front_axle and rear_axle; L = l_f + l_r.

Sources of the equations that are numbered beside the code:
  (1)-(11)   M. Althoff, CommonRoad: Vehicle Models, 2020, section 5 (kinematic single-track) and section 7
             (single-track), with their constraints on steering and acceleration; f1tenth_gym has the same. (4)-(6) are
             also the kinematic bicycle of Kong et al., Kinematic and Dynamic Vehicle Models for Autonomous Driving
             Control Design, IV 2015.
  (12)       H. Pacejka, Tire and Vehicle Dynamics, 2012: the magic formula with D = mu F_z, E = 0 and the slip argument
             tan(alpha); B = C_S / C, so that the slope at zero equals the linear model's.
  (13)       friction circle: both demands are scaled together.
  (14)-(19)  rigid single-track with quasi-static longitudinal load transfer, drag and rolling resistance.
"""

from __future__ import annotations

import math

from racing.sim.kernels.kernel import inlined, kernel, real
from racing.sim.kernels.trig import HALF_PI, arctan_unit, sincos, sincos_small, sine

KINEMATIC, LINEAR, SATURATED = 0, 1, 2  # index in racing.sim.vehicle.MODELS
STATE_SIZE = 7
X, Y, STEER, V, YAW, YAW_RATE, W = range(STATE_SIZE)
G = real(9.81)
ZERO, HALF, ONE, TWO, SIX = real(0), real(0.5), real(1), real(2), real(6)
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
    """Derivative of the rolling car. grip in (0, 1] scales curvature and acceleration (1: rolls whatever it costs).

    (1) x' = v cos(yaw), y' = v sin(yaw)   (2) v' = a   (3) yaw' = v tan(steer) / L
    """
    _, _, steer, v, yaw, _, _ = state
    turn = v / (car.front_axle + car.rear_axle) * math.tan(steer) * grip  # (3)
    a = limit_acceleration(a, v, car) * grip  # (2)
    return v * math.cos(yaw), v * math.sin(yaw), limit_steer_rate(rate, steer, car), a, turn, ZERO, ZERO  # (1)


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
    """Derivative of the linear single-track; below car.kinematic_speed_threshold and in reverse the car rolls.

    Rolling: (4) x' = v cos(beta + yaw), y' = v sin(beta + yaw)   (5) beta = arctan(l_r tan(steer) / L)
             (6) yaw' = v cos(beta) tan(steer) / L   (7) the derivatives of (5) and (6) by time
    Else:    (8) alpha_f = steer - beta - l_f r / v, alpha_r = l_r r / v - beta   (9) F_y = mu C_S F_z alpha
             (10) r' = (l_f F_yf - l_r F_yr) / I   (11) beta' = (F_yf + F_yr) / (m v) - r; r: yaw rate
    """
    _, _, steer, v, yaw, r, beta = state
    lf, lr, h, g = car.front_axle, car.rear_axle, car.cg_height, G
    length = lf + lr
    rate = limit_steer_rate(rate, steer, car)
    a = limit_acceleration(a, v, car)
    if v < car.kinematic_speed_threshold:
        tan = math.tan(steer)
        cos2 = ONE / (ONE + tan * tan)
        roll = math.atan(tan * lr / length)  # (5)
        roll_rate = lr * rate / (length * cos2 * (ONE + (tan * lr / length) * (tan * lr / length)))  # (7)
        turn = v * math.cos(roll) * tan / length  # (6)
        turn_rate = (  # (7)
            a * math.cos(roll) * tan - v * math.sin(roll) * tan * roll_rate + v * math.cos(roll) * rate / cos2
        ) / length
        return v * math.cos(roll + yaw), v * math.sin(roll + yaw), rate, a, turn, turn_rate, roll_rate  # (4)
    front = car.stiffness_front * (g * lr - a * h)  # C_S F_z L / m [m^2/s^2/rad], the axle's load after transfer
    rear = car.stiffness_rear * (g * lf + a * h)
    slip_f = steer - beta - lf * r / v  # (8)
    slip_r = lr * r / v - beta
    turn_rate = mu * car.mass / (car.yaw_inertia * length) * (lf * front * slip_f - lr * rear * slip_r)  # (9), (10)
    beta_rate = mu / (v * length) * (front * slip_f + rear * slip_r) - r  # (9), (11)
    return v * math.cos(beta + yaw), v * math.sin(beta + yaw), rate, a, r, turn_rate, beta_rate  # (4)


@inlined
def axle_force(along, sideways, push, load, pacejka_b, mu, car):
    """Force of one axle in the wheel's frame (longitudinal, lateral) [N].

    (12) F_y = mu F_z sin(C arctan(B tan(alpha)))   (13) (F_x, F_y) scaled together onto the circle of radius mu F_z,
    where they exceed it: a driver who steers keeps his brakes.
    along, sideways: velocity of the wheel in its own frame [m/s]; tan(alpha) is their ratio.
    push: demanded longitudinal force F_x [N]. load: F_z [N].
    pacejka_b: Pacejka's B, normalised stiffness / shape [1/rad].
    """
    limit = mu * load
    rolling = max(abs(along), car.kinematic_speed_threshold)
    sliding = abs(sideways) * pacejka_b
    steep = sliding > rolling
    angle = arctan_unit(rolling / sliding if steep else sliding / rolling)
    angle = HALF_PI - angle if steep else angle
    side = limit * sine(car.tyre_shape * angle)  # (12)
    side = -side if sideways > ZERO else side
    demand = push * push + side * side
    scale = ONE
    if demand > limit * limit:
        scale = limit / math.sqrt(demand)  # (13)
    return push * scale, side * scale


@inlined
def saturated_rhs(state, rate, a, mu, car):
    """Derivative of the single-track with saturating tyres, load transfer, drag and rolling resistance.

    F_x, F_y: forces of an axle along and across the car; h: height of the centre of gravity; r: yaw rate.
    (14) F_zf = m (g l_r - a h) / L, F_zr = m (g l_f + a h) / L, |a| <= mu g   (15) R = (drag |v| + rolling m g / |v|) v
    (16) a_x = (F_xf + F_xr - R_x) / m, a_y = (F_yf + F_yr - R_y) / m
    (17) x' = v_x cos(yaw) - v_y sin(yaw), y' = v_x sin(yaw) + v_y cos(yaw)
    (18) v_x' = a_x + r v_y, v_y' = a_y - r v_x   (19) r' = (l_f F_yf - l_r F_yr) / I
    """
    _, _, steer, vx, yaw, r, vy = state
    lf, lr = car.front_axle, car.rear_axle
    rate = limit_steer_rate(rate, steer, car)
    a = limit_acceleration(a, vx, car)
    if a >= ZERO:
        push_f, push_r = a * car.mass * car.drive_front, a * car.mass * (ONE - car.drive_front)
    else:
        push_f, push_r = a * car.mass * car.brake_front, a * car.mass * (ONE - car.brake_front)
    shift = min(max(a, -mu * G), mu * G) * car.cg_height
    load_f = car.mass_per_length * (G * lr - shift)  # (14)
    load_r = car.mass_per_length * (G * lf + shift)
    sin_s, cos_s = sincos_small(steer)
    sin_y, cos_y = sincos(yaw)
    front = vy + lf * r
    long_f, side_f = axle_force(
        vx * cos_s + front * sin_s, front * cos_s - vx * sin_s, push_f, load_f, car.pacejka_b_front, mu, car
    )
    long_r, side_r = axle_force(vx, vy - lr * r, push_r, load_r, car.pacejka_b_rear, mu, car)
    across = side_f * cos_s + long_f * sin_s
    speed = math.sqrt(vx * vx + vy * vy)
    resist = car.drag * speed + car.rolling * car.mass * G / max(speed, ROLLING_SPEED)  # (15) [N s/m]
    ax = (long_f * cos_s - side_f * sin_s + long_r - resist * vx) * car.inv_mass  # (16)
    ay = (across + side_r - resist * vy) * car.inv_mass
    return (
        vx * cos_y - vy * sin_y,  # (17)
        vx * sin_y + vy * cos_y,
        rate,
        ax + r * vy,  # (18)
        r,
        (lf * across - lr * side_r) * car.inv_inertia,  # (19)
        ay - r * vx,  # (18)
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
def rk4(states, work, rates, demands, mus, dt, car, count):
    """Move the first `count` columns of states (STATE_SIZE, B) by one classical Runge-Kutta step, commands constant.

    rates, demands, mus (B,): steering rate [rad/s], demanded acceleration [m/s^2], friction coefficient.
    work (2, STATE_SIZE, B): work space for trial states and sums. dt: [s].
    Stage by stage over all cars: one car's equations are a chain in which each number waits for the one before, and
    the processor fills the waits with the next car's.
    """
    trial, total = work[0], work[1]
    for c in range(STATE_SIZE):
        for j in range(count):
            trial[c, j] = total[c, j] = states[c, j]
    for stage in range(4):
        reach = dt * HALF if stage < 2 else dt
        weight = dt / SIX if stage == 0 or stage == 3 else dt / (SIX * HALF)
        for j in range(count):
            state = trial[0, j], trial[1, j], trial[2, j], trial[3, j], trial[4, j], trial[5, j], trial[6, j]
            k0, k1, k2, k3, k4, k5, k6 = derivative(state, rates[j], demands[j], mus[j], car)
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
    for c in range(STATE_SIZE):
        for j in range(count):
            states[c, j] = total[c, j]


@kernel
def settle(states, j, before, car):
    """Correct column j: steering at its stops, no creep through zero speed, rolling at walking pace and in reverse.

    before: longitudinal speed before the step [m/s].
    """
    steer = min(max(states[STEER, j], -car.max_steer), car.max_steer)
    v, r, w = states[V, j], states[YAW_RATE, j], states[W, j]
    if before >= car.min_speed and v < car.min_speed:
        v = car.min_speed
    length = car.front_axle + car.rear_axle
    if car.model == SATURATED and v < TWO * car.kinematic_speed_threshold:
        # Blend towards rolling: at twice the threshold the tyres decide, at the threshold and below the geometry does.
        share = min(max((TWO * car.kinematic_speed_threshold - v) / car.kinematic_speed_threshold, ZERO), ONE)
        rolling = v * math.tan(steer) / length
        r += share * (rolling - r)
        w += share * (rolling * car.rear_axle - w)
    if car.model == LINEAR and v < car.kinematic_speed_threshold:
        w = math.atan(math.tan(steer) * car.rear_axle / length)
        r = v * math.cos(w) * math.tan(steer) / length
    states[STEER, j], states[V, j], states[YAW_RATE, j], states[W, j] = steer, v, r, w
