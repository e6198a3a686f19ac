"""The equations of the optimal lap are the simulator's, and their derivatives are exact."""

from __future__ import annotations

from dataclasses import replace

import casadi
import numpy as np
import pytest

from racing.errors import InputError
from racing.sim.kernels.kernel import in_float64
from racing.sim.packing import pack_vehicle
from racing.sim.vehicle import Vehicle
from racing.tracks.optimal_lap.equations import STATES, Motion
from racing.tracks.optimal_lap.program import BLOCK, Mesh, Program, radau_points

D = in_float64("dynamics")


def states_of(vehicle: Vehicle, count: int) -> np.ndarray:
    """Random states (6, count) of a car on the move: n, xi, u, w, r, steer."""
    rng = np.random.default_rng(5)
    speed = vehicle.max_speed * rng.uniform(0.3, 0.9, count)
    w = rng.uniform(-0.2, 0.2, count) * (1 if vehicle.model == "linear" else speed)
    r = rng.uniform(-1, 1, count) * 9.81 / speed
    return np.stack([0 * speed, rng.uniform(-0.3, 0.3, count), speed, w, r, rng.uniform(-0.2, 0.2, count)])


@pytest.mark.parametrize("name", ["kart", "f1tenth", "f1tenth_linear"])
def test_they_are_the_simulators(name: str, request: pytest.FixtureRequest):
    vehicle = request.getfixturevalue(name)
    car, count = pack_vehicle(vehicle, np.float64)[()], 50
    states = states_of(vehicle, count)
    rng = np.random.default_rng(6)
    demand = rng.choice([-0.8, -0.3, 0.3, 0.8], count) * vehicle.max_drive
    demand = np.minimum(
        demand, 0.99 * vehicle.max_drive * vehicle.switch_speed / states[2]
    )  # the power is a limit apart
    rate = rng.uniform(-1, 1, count)
    motion = Motion(vehicle)  # the edge of the friction circle is sharp
    for k in range(count):
        _, xi, u, w, r, steer = states[:, k]
        mu = 0.8 * vehicle.friction
        own = D.derivative((0.0, 0.0, steer, u, xi, r, w), rate[k], demand[k], mu, car)
        pace, slope = motion.slope(casadi.DM(states[:, k]), casadi.DM([rate[k], demand[k]]), 0.0, 0.8)
        ours = slope.full().ravel() / float(pace)  # by time, on a straight line in the direction of x
        expected = [own[1], own[4], own[3], own[6], own[5], own[2]]
        assert 1 / float(pace) == pytest.approx(own[0], rel=1e-9)
        rounding = 0.01 * vehicle.max_drive  # where drive passes over into brake
        np.testing.assert_allclose(ours, expected, atol=rounding, err_msg=f"{STATES} {states[:, k]}")


def test_the_rounded_friction_circle_has_no_more_grip(kart: Vehicle):
    sharp, rounded = Motion(kart), Motion(kart, 0.01)
    for push, side in ((500.0, -2.0), (1200.0, 5.0), (2000.0, 0.3), (0.0, 8.0)):
        exact = np.hypot(*(float(force) for force in sharp._axle(20.0, side, push, 1300.0, 10.0)))
        smooth = np.hypot(*(float(force) for force in rounded._axle(20.0, side, push, 1300.0, 10.0)))
        assert 0.99 * exact < smooth <= exact + 1e-9


def test_a_steady_state_is_steady(kart: Vehicle):
    speed, bend = np.array([12.0, 20.0]), np.array([0.03, -0.02])
    states = Motion(kart).steady(speed, bend, np.ones(2))
    for k in range(2):
        _, slope = Motion(kart).slope(casadi.DM(states[:, k]), casadi.DM([0.0, 0.0]), bend[k], 1.0)
        xi, u, w, r = slope.full().ravel()[1:5] * speed[k]  # by time
        assert abs(r) < 0.3  # [rad/s^2] drag and drive are left out of the steady state
        assert abs(w) < 1.5  # [m/s^2] of 12 and 8 across
        assert u < 0  # it is slowed by cornering
        assert abs(xi) < 0.05


def test_slower_on_the_same_line_is_the_state_of_the_lower_speed(kart: Vehicle, f1tenth_linear: Vehicle):
    for vehicle, speed in ((kart, 20.0), (f1tenth_linear, 6.0)):
        bend = np.array([0.6 * vehicle.max_lateral / speed**2])
        full = Motion(vehicle).steady(np.array([speed]), bend, np.ones(1))
        slower = Motion(vehicle).slower(full, 0.7)
        np.testing.assert_allclose(slower, Motion(vehicle).steady(np.array([0.7 * speed]), bend, np.ones(1)), rtol=2e-2)
        np.testing.assert_array_equal(Motion(vehicle).slower(full, 1.0), full)


def test_a_kinematic_car_has_no_limit(kart: Vehicle):
    with pytest.raises(InputError, match="with tyres, saturated or linear, got a kinematic one"):
        Motion(replace(kart, model="kinematic"))


def program(vehicle: Vehicle, max_slip: float | None) -> Program:
    """Ten intervals around a circle of 30 m radius, grip falling to the outside."""
    step, s = radau_points(2 * np.pi * 30, 18.0)
    grip = np.broadcast_to([0.9, 0.02, -0.001], (*s.shape, 3))
    ones = np.ones_like(s)
    mesh = Mesh(step=step, s=s, curvature=ones / 30, low=-3 * ones, high=3 * ones, grip=np.array(grip), speed=15 * ones)
    return Program(Motion(vehicle, 0.01), mesh, 0.01, max_slip)


@pytest.mark.parametrize("max_slip", [None, 0.2])
@pytest.mark.parametrize("name", ["kart", "f1tenth_linear"])
def test_derivatives_put_together_from_blocks_are_those_of_the_whole(name, max_slip, request):
    made = program(request.getfixturevalue(name), max_slip)
    x, f, g = (made.nlp[key] for key in "xfg")
    rng = np.random.default_rng(7)
    at = rng.uniform(0.5, 0.9, x.numel())
    lam = rng.normal(size=g.numel())
    gradient = casadi.Function("f", [x], [casadi.gradient(f, x)])(at)
    np.testing.assert_allclose(made.derivatives["grad_f"](at, [])[1].full(), gradient.full(), atol=1e-9)
    jacobian = casadi.Function("g", [x], [casadi.jacobian(g, x)])(at)
    np.testing.assert_allclose(made.derivatives["jac_g"](at, [])[1].full(), jacobian.full(), atol=1e-9)
    whole = casadi.triu(casadi.hessian(0.3 * f + casadi.dot(casadi.DM(lam), g), x)[0])
    hessian = casadi.Function("h", [x], [whole])(at)
    ours = made.derivatives["hess_lag"](at, [], 0.3, lam).full()
    np.testing.assert_allclose(ours, hessian.full(), atol=1e-6 * np.abs(hessian.full()).max())


def test_what_is_packed_comes_out_again(kart: Vehicle):
    made = program(kart, None)
    rng = np.random.default_rng(8)
    states, controls = rng.normal(size=(*made.mesh.s.shape, 6)), rng.normal(size=(10, 2))
    states[..., 2] += 20.0
    unknowns = made.pack(states, controls)
    assert unknowns.shape == (10 * BLOCK,)
    found = made.unpack(unknowns)
    np.testing.assert_allclose(found.states, states)
    np.testing.assert_allclose(found.controls, controls)


def test_less_grip_bounds_the_demand_which_shifts_the_load(kart: Vehicle):
    made = program(kart, None)
    least = made.bounds()["lbx"].reshape(10, BLOCK)[:, -1] * made.control_scale[1]
    worst = 0.9 - 0.02 * 3 - 0.001 * 9  # grip at the inner end of the corridor
    assert kart.max_lateral * worst > kart.max_brake  # the brakes are weaker than the tyres ...
    np.testing.assert_allclose(least, -kart.max_brake)
    weak = program(replace(kart, friction=1.0), None).bounds()["lbx"].reshape(10, BLOCK)[:, -1]
    np.testing.assert_allclose(weak * kart.max_brake, -9.81 * worst)  # ... unless these are poor
