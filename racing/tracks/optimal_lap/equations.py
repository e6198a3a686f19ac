"""The simulator's equations of motion (racing.sim.dynamics) along a line, as CasADi expressions.

State of the car, STATES, relative to the base line at arc length s:

  n      offset to the left [m]
  xi     heading of the car's body minus that of the line [rad]
  u, w   saturated: velocity along and across the car, v_x and v_y [m/s]
         linear: speed [m/s] and slip angle beta [rad]
  r      yaw rate [rad/s]
  steer  road-wheel angle [rad]

Controls: steering rate [rad/s] and demanded acceleration a [m/s^2]. Numbers in brackets are those of
racing.sim.dynamics. What is not smooth there is smoothed here, always to the driver's disadvantage: the friction circle
has no more grip, so the optimum can be driven.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from racing.errors import InputError
from racing.sim.vehicle import GRAVITY, Vehicle

Array = npt.NDArray[np.float64]

STATES = ("n", "xi", "u", "w", "r", "steer")
N, XI, U, W, R, STEER = range(len(STATES))
PEDAL_ROUNDING = 0.05  # [m/s^2] around 0, where drive passes over into brake


@dataclass(frozen=True)
class Motion:
    """How one vehicle moves. rounding: of the friction circle, share of the squared grip around its edge [-].

    Raises InputError for the kinematic model: it has no tyres, its grip caps curvature instead of force.
    """

    vehicle: Vehicle
    rounding: float = 0.0

    def __post_init__(self) -> None:
        """Refuse a model without tyres."""
        if self.vehicle.model == "kinematic":
            rule = "an optimal lap must be of a vehicle with tyres, saturated or linear, got a kinematic one"
            raise InputError(f"{rule}; its reference lap is known")

    def velocity(self, state: Any) -> tuple[Any, Any]:
        """Velocity along and across the car [m/s] of a state (6, ...), a CasADi expression."""
        import casadi

        if self.vehicle.model == "linear":
            return state[U] * casadi.cos(state[W]), state[U] * casadi.sin(state[W])
        return state[U], state[W]

    def slope(self, state: Any, control: Any, curvature: Any, grip: Any) -> tuple[Any, Any]:
        """(dt/ds [s/m], derivatives of the six states by s), CasADi expressions.

        control: (steering rate, a). curvature: of the base line [1/m]. grip: factor on the friction.
        """
        import casadi

        along, across = self.velocity(state)
        sin, cos = casadi.sin(state[XI]), casadi.cos(state[XI])
        pace = (1 - state[N] * curvature) / (along * cos - across * sin)
        rates = (self._linear if self.vehicle.model == "linear" else self._saturated)(state, control, grip)
        sideways = (along * sin + across * cos) * pace
        return pace, casadi.vertcat(sideways, state[R] * pace - curvature, *(rate * pace for rate in rates))

    def _linear(self, state: Any, control: Any, grip: Any) -> tuple[Any, ...]:
        car = self.vehicle
        speed, slip, r, steer = state[U], state[W], state[R], state[STEER]
        front = car.stiffness_front * (GRAVITY * car.rear_axle - control[1] * car.cg_height)
        rear = car.stiffness_rear * (GRAVITY * car.front_axle + control[1] * car.cg_height)
        slip_f = steer - slip - car.front_axle * r / speed  # (8)
        slip_r = car.rear_axle * r / speed - slip
        mu = car.friction * grip
        turn = mu * car.mass / (car.yaw_inertia * car.wheelbase)  # (9), (10)
        r_rate = turn * (car.front_axle * front * slip_f - car.rear_axle * rear * slip_r)
        slip_rate = mu / (speed * car.wheelbase) * (front * slip_f + rear * slip_r) - r  # (9), (11)
        return control[1], slip_rate, r_rate, control[0]

    def _saturated(self, state: Any, control: Any, grip: Any) -> tuple[Any, ...]:
        import casadi

        car = self.vehicle
        vx, vy, r, steer, a = state[U], state[W], state[R], state[STEER], control[1]
        size = casadi.sqrt(a * a + PEDAL_ROUNDING**2)
        drive, brake = (a + size) / 2, (a - size) / 2
        push_f = car.mass * (drive * car.drive_front + brake * car.brake_front)
        push_r = car.mass * (drive * (1 - car.drive_front) + brake * (1 - car.brake_front))
        shift, share = a * car.cg_height, car.mass / car.wheelbase  # (14)
        load_f, load_r = share * (GRAVITY * car.rear_axle - shift), share * (GRAVITY * car.front_axle + shift)
        sin, cos = casadi.sin(steer), casadi.cos(steer)
        front, mu = vy + car.front_axle * r, car.friction * grip
        wheel = vx * cos + front * sin, front * cos - vx * sin
        long_f, side_f = self._axle(*wheel, push_f, mu * load_f, car.stiffness_front / car.tyre_shape)
        back = vx, vy - car.rear_axle * r
        long_r, side_r = self._axle(*back, push_r, mu * load_r, car.stiffness_rear / car.tyre_shape)
        across = side_f * cos + long_f * sin
        speed = casadi.sqrt(vx * vx + vy * vy)
        resist = car.drag * speed + car.rolling * car.mass * GRAVITY / speed  # (15)
        ax = (long_f * cos - side_f * sin + long_r - resist * vx) / car.mass  # (16)
        ay = (across + side_r - resist * vy) / car.mass
        turn = (car.front_axle * across - car.rear_axle * side_r) / car.yaw_inertia  # (19)
        return ax + r * vy, ay - r * vx, turn, control[0]  # (18)

    def _axle(self, along: Any, sideways: Any, push: Any, limit: Any, pacejka_b: float) -> tuple[Any, Any]:
        """Force along and across the wheel [N], (12) and (13), with a circle whose edge is rounded inwards."""
        import casadi

        side = -limit * casadi.sin(self.vehicle.tyre_shape * casadi.atan(pacejka_b * sideways / along))
        demand = (push * push + side * side) / (limit * limit)
        least = (demand + 1 + casadi.sqrt((demand - 1) ** 2 + self.rounding**2)) / 2  # >= max(1, demand)
        return push / casadi.sqrt(least), side / casadi.sqrt(least)

    def course(self, states: Array) -> tuple[Array, Array]:
        """Speed [m/s] and slip angle [rad] of states (6, N)."""
        if self.vehicle.model == "linear":
            return states[U], states[W]
        return np.hypot(states[U], states[W]), np.arctan2(states[W], states[U])

    def peak_slip(self) -> tuple[float, float]:
        """Slip angles [rad] at which the front and the rear tyres carry most; linear ones never do: pi / 4."""
        car = self.vehicle
        if car.model == "linear":
            return np.pi / 4, np.pi / 4
        most = np.tan(np.pi / (2 * car.tyre_shape)) * car.tyre_shape
        return float(np.arctan(most / car.stiffness_front)), float(np.arctan(most / car.stiffness_rear))

    def steady(self, speed: Array, curvature: Array, grip: Array) -> Array:
        """States (6, N) that hold `speed` [m/s] on a line of `curvature` [1/m]; drive and drag left out.

        Beyond 97 % of the grip they are those of 97 %.
        """
        car = self.vehicle
        r = speed * curvature
        share = speed * r / (car.friction * GRAVITY * grip)
        if car.model == "linear":
            rear, front = share / car.stiffness_rear, share / car.stiffness_front
            slip = car.rear_axle * curvature - rear
            return np.stack([0 * r, -slip, speed, slip, r, slip + car.front_axle * curvature + front])
        slide = np.tan(np.arcsin(np.clip(share, -0.97, 0.97)) / car.tyre_shape) * car.tyre_shape
        vy = car.rear_axle * r - speed * slide / car.stiffness_rear
        steer = np.arctan((vy + car.front_axle * r) / speed) + np.arctan(slide / car.stiffness_front)
        return np.stack([0 * r, -np.arctan2(vy, speed), speed, vy, r, steer])

    def slower(self, states: Array, pace: float) -> Array:
        """States (6, N) on the same line at `pace` times the speed, from those at full speed.

        On the same line all forces grow with the square of the speed: the slip angles are those of pace^2 times the
        side forces.
        """
        car = self.vehicle
        if pace == 1.0:
            return states
        u, w, r, steer = pace * states[U], states[W], pace * states[R], states[STEER]
        if car.model == "linear":
            slip_f = steer - w - car.front_axle * r / u
            slip_r = car.rear_axle * r / u - w
            w = car.rear_axle * r / u - pace**2 * slip_r
            steer = pace**2 * slip_f + w + car.front_axle * r / u
            heading = states[XI] + states[W] - w
        else:
            slip_r = (car.rear_axle * states[R] - w) / states[U]
            slip_f = np.tan(steer - np.arctan((w + car.front_axle * states[R]) / states[U]))
            w = car.rear_axle * r - u * self._less_slip(slip_r, car.stiffness_rear, pace**2)
            front = self._less_slip(slip_f, car.stiffness_front, pace**2)
            steer = np.arctan((w + car.front_axle * r) / u) + np.arctan(front)
            heading = states[XI] + self.course(states)[1] - np.arctan2(w, u)
        return np.stack([states[N], heading, u, w, r, steer])

    def _less_slip(self, slip: Array, stiffness: float, share: float) -> Array:
        """Tangent of the slip angle (N,) at which a tyre carries `share` of what it does at tangent `slip` (12)."""
        shape = self.vehicle.tyre_shape
        angle = np.clip(shape * np.arctan(stiffness / shape * slip), -np.pi / 2, np.pi / 2)
        return np.asarray(np.tan(np.arcsin(share * np.sin(angle)) / shape) * shape / stiffness)
