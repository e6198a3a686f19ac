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
All functions take the numbers of one car or the Lanes of several (racing.sim.kernels.lanes), which cannot branch.

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

from racing.sim.kernels.kernel import inlined, real
from racing.sim.kernels.lanes import anywhere, where
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
    stopped = ((steer <= -car.max_steer) & (rate <= ZERO)) | ((steer >= car.max_steer) & (rate >= ZERO))
    return where(stopped, ZERO, min(max(rate, -car.max_steer_rate), car.max_steer_rate))


@inlined
def limit_acceleration(a, v, car):
    """Longitudinal acceleration [m/s^2] after brake, drive, power and speed limits."""
    held = ((v <= car.min_speed) & (a <= ZERO)) | ((v >= car.max_speed) & (a >= ZERO))
    drive = where(v > car.switch_speed, car.max_drive * car.switch_speed / v, car.max_drive)
    return where(held, ZERO, min(max(a, -car.max_brake), drive))


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
    return where(demand > limit, limit / demand, ONE)


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
    front = car.stiffness_front * (g * lr - a * h)  # C_S F_z L / m [m^2/s^2/rad], the axle's load after transfer
    rear = car.stiffness_rear * (g * lf + a * h)
    slip_f = steer - beta - lf * r / v  # (8)
    slip_r = lr * r / v - beta
    turn, angle = r, beta + yaw
    turn_rate = mu * car.mass / (car.yaw_inertia * length) * (lf * front * slip_f - lr * rear * slip_r)  # (9), (10)
    beta_rate = mu / (v * length) * (front * slip_f + rear * slip_r) - r  # (9), (11)
    slow = v < car.kinematic_speed_threshold
    if anywhere(slow):
        tan = math.tan(steer)
        cos2 = ONE / (ONE + tan * tan)
        roll = math.atan(tan * lr / length)  # (5)
        cos, sin = math.cos(roll), math.sin(roll)
        angle = where(slow, roll + yaw, angle)
        turn = where(slow, v * cos * tan / length, turn)  # (6)
        roll_rate = lr * rate / (length * cos2 * (ONE + (tan * lr / length) * (tan * lr / length)))  # (7)
        roll_turn_rate = (a * cos * tan - v * sin * tan * roll_rate + v * cos * rate / cos2) / length  # (7)
        turn_rate = where(slow, roll_turn_rate, turn_rate)
        beta_rate = where(slow, roll_rate, beta_rate)
    return v * math.cos(angle), v * math.sin(angle), rate, a, turn, turn_rate, beta_rate  # (4)


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
    angle = arctan_unit(where(steep, rolling, sliding) / where(steep, sliding, rolling))
    angle = where(steep, HALF_PI - angle, angle)
    side = limit * sine(car.tyre_shape * angle)  # (12)
    side = where(sideways > ZERO, -side, side)
    demand = push * push + side * side
    scale = where(demand > limit * limit, limit / math.sqrt(demand), ONE)  # (13)
    return push * scale, side * scale


@inlined
def wheels(state, a, mu, sin_s, cos_s, car):
    """Front and rear wheel in their own frames: velocity along and across [m/s], load, force along and across [N].

    a: longitudinal acceleration [m/s^2] within its limits. sin_s, cos_s: of the road-wheel angle.
    """
    _, _, _, vx, _, r, vy = state
    lf, lr = car.front_axle, car.rear_axle
    share_front = where(a >= ZERO, car.drive_front, car.brake_front)
    push_f, push_r = a * car.mass * share_front, a * car.mass * (ONE - share_front)
    shift = min(max(a, -mu * G), mu * G) * car.cg_height
    load_f = car.mass_per_length * (G * lr - shift)  # (14)
    load_r = car.mass_per_length * (G * lf + shift)
    front = vy + lf * r
    along_f, across_f, across_r = vx * cos_s + front * sin_s, front * cos_s - vx * sin_s, vy - lr * r
    long_f, side_f = axle_force(along_f, across_f, push_f, load_f, car.pacejka_b_front, mu, car)
    long_r, side_r = axle_force(vx, across_r, push_r, load_r, car.pacejka_b_rear, mu, car)
    return (along_f, across_f, load_f, long_f, side_f), (vx, across_r, load_r, long_r, side_r)


@inlined
def wheel_work(state, a, mu, car):
    """What the tyres' work on the ground is over the car's weight [m/s], and the power of the drive [W].

    a: acceleration that is asked for [m/s^2]. Equation (1) of racing.sim.conditions.kernels; tyres of the other models
    do not slide.
    """
    _, _, steer, vx, _, _, _ = state
    a = limit_acceleration(a, vx, car)
    if car.model != SATURATED:
        return vx * ZERO, max(a, ZERO) * car.mass * vx
    sin_s, cos_s = sincos_small(steer)
    front, rear = wheels(state, a, mu, sin_s, cos_s, car)
    work = slip_work(front, car.stiffness_front, mu) + slip_work(rear, car.stiffness_rear, mu)
    drive = max(front[3], ZERO) * front[0] + max(rear[3], ZERO) * rear[0]
    return work * car.inv_mass / G, max(drive, ZERO)


@inlined
def slip_work(wheel, stiffness, mu):
    """Work of one axle's tyres on the ground [W]. wheel: as `wheels` has it. stiffness: normalised, C [1/rad]."""
    along, across, load, force, side = wheel
    ratio = abs(force) / (mu * load * stiffness)
    return abs(side * across) + abs(force) * ratio * abs(along)


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
    sin_s, cos_s = sincos_small(steer)
    sin_y, cos_y = sincos(yaw)
    (_, _, _, long_f, side_f), (_, _, _, long_r, side_r) = wheels(state, a, mu, sin_s, cos_s, car)
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


@inlined
def moved(state, duration, slope):
    """`state` after `duration` [s] of constant change."""
    s0, s1, s2, s3, s4, s5, s6 = state
    k0, k1, k2, k3, k4, k5, k6 = slope
    return (
        s0 + duration * k0,
        s1 + duration * k1,
        s2 + duration * k2,
        s3 + duration * k3,
        s4 + duration * k4,
        s5 + duration * k5,
        s6 + duration * k6,
    )


@inlined
def rk4(state, rate, a, mu, dt, car):
    """The state `dt` [s] later, by one classical Runge-Kutta step under constant commands."""
    trial = total = state
    for stage in range(4):
        slope = derivative(trial, rate, a, mu, car)
        total = moved(total, dt / SIX if stage == 0 or stage == 3 else dt / (SIX * HALF), slope)
        trial = moved(state, dt * HALF if stage < 2 else dt, slope)
    return total


@inlined
def settle(state, before, car):
    """Correct a state: steering at its stops, no creep through zero speed, rolling at walking pace and in reverse.

    before: longitudinal speed before the step [m/s].
    """
    x, y, steer, v, yaw, r, w = state
    steer = min(max(steer, -car.max_steer), car.max_steer)
    v = where((before >= car.min_speed) & (v < car.min_speed), car.min_speed, v)
    length = car.front_axle + car.rear_axle
    if car.model == SATURATED:
        # Blend towards rolling: at twice the threshold the tyres decide, at the threshold and below the geometry does.
        slow = v < TWO * car.kinematic_speed_threshold
        if anywhere(slow):
            share = min(max((TWO * car.kinematic_speed_threshold - v) / car.kinematic_speed_threshold, ZERO), ONE)
            rolling = v * math.tan(steer) / length
            r = where(slow, r + share * (rolling - r), r)
            w = where(slow, w + share * (rolling * car.rear_axle - w), w)
    if car.model == LINEAR:
        slow = v < car.kinematic_speed_threshold
        if anywhere(slow):
            tan = math.tan(steer)
            beta = math.atan(tan * car.rear_axle / length)
            r, w = where(slow, v * math.cos(beta) * tan / length, r), where(slow, beta, w)
    return x, y, steer, v, yaw, r, w
