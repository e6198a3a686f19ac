"""The physics against published vectors, closed formulas and symmetries."""

from __future__ import annotations

import csv
import dataclasses
import json

import numpy as np
import pytest

from racing.sim import records
from racing.sim.kernels.kernel import in_float64
from racing.sim.packing import pack_vehicle
from racing.sim.vehicle import GRAVITY, Vehicle
from tests.conftest import shared

D = in_float64("dynamics")
LINEAR = 1


def oracle_record(p: dict[str, float]):
    record = np.zeros((), records.vehicle(np.float64))
    record["mass"], record["yaw_inertia"], record["friction"] = p["m"], p["I"], p["mu"]
    record["front_axle"], record["rear_axle"], record["cg_height"] = p["lf"], p["lr"], p["h"]
    record["stiffness_front"], record["stiffness_rear"] = p["C_Sf"], p["C_Sr"]
    record["max_steer"], record["max_steer_rate"] = p["s_max"], p["sv_max"]
    record["max_speed"], record["min_speed"] = p["v_max"], p["v_min"]
    record["max_drive"] = record["max_brake"] = p["a_max"]
    record["switch_speed"], record["kinematic_speed_threshold"], record["model"] = p["v_switch"], 0.5, LINEAR
    return record[()]


def test_right_hand_sides_meet_published_vectors():
    vectors = json.loads(shared("oracle", "derivative_vectors.json").read_text())
    count = 0
    for vehicle in vectors["vehicles"].values():
        car = oracle_record(vehicle["params"])
        for case in vehicle["cases"]:
            x = tuple(case["x"])
            rolling = D.kinematic_rhs((*x[:5], 0.0, 0.0), *case["u"], 1.0, car)
            np.testing.assert_allclose(rolling[:5], case["ks"], rtol=0, atol=1e-9)
            np.testing.assert_allclose(D.linear_rhs(x, *case["u"], car["friction"], car), case["st"], rtol=0, atol=1e-9)
            count += 1
    assert count == 600


F1TENTH = {
    "mu": 1.0489, "C_Sf": 4.718, "C_Sr": 5.4562, "lf": 0.15875, "lr": 0.17145, "h": 0.074, "m": 3.74, "I": 0.04712,
    "s_max": 0.4189, "sv_max": 3.2, "v_max": 20.0, "v_min": -5.0, "a_max": 9.51, "v_switch": 7.319,
}  # fmt: skip
MANOEUVRES = {
    "step_steer_6ms": (6.0, 2.0, lambda t: (3.2 if t < 0.05 - 1e-9 else 0.0, 0.0)),
    "brake_in_turn_8ms": (8.0, 1.4, lambda t: (1.0 if t < 0.1 - 1e-9 else 0.0, 0.0 if t < 0.5 - 1e-9 else -6.0)),
    "launch_and_slalom": (1.0, 3.0, lambda t: (0.6 * np.cos(2 * np.pi * t), 5.0 if t < 1.0 - 1e-9 else 0.0)),
}


def one_step(state, rate: float, a: float, step: float, car, *, settled: bool = False) -> tuple[float, ...]:
    """One car's state after one Runge-Kutta step, and after `settle` if wanted."""
    before = tuple(map(float, state))
    after = D.rk4(before, float(rate), float(a), car["friction"], step, car)
    return D.settle(after, before[3], car) if settled else after


def drive(car, v0: float, duration: float, commands, step: float) -> np.ndarray:
    """States every 10 ms, as the published trajectories hold them."""
    state = (0.0, 0.0, 0.0, v0, 0.0, 0.0, 0.0)
    rows = [state]
    for interval in range(round(duration / 0.01)):
        rate, a = commands(interval * 0.01)
        for _ in range(round(0.01 / step)):
            state = one_step(state, rate, a, step, car)
        rows.append(state)
    return np.array(rows)


@pytest.mark.slow
@pytest.mark.parametrize("manoeuvre", MANOEUVRES)
@pytest.mark.parametrize("family", ["gym_st_f1tenth", "gym_st_f1tenth_equalC", "commonroad_st_f1tenth_equalC"])
def test_trajectories_meet_published_ones(family: str, manoeuvre: str):
    with shared("oracle", f"{family}__{manoeuvre}.csv").open() as file:
        expected = np.array([[float(v) for v in row.values()] for row in csv.DictReader(file)])[:, 1:]
    parameters = dict(F1TENTH, C_Sf=5.0, C_Sr=5.0) if "equalC" in family else F1TENTH
    v0, duration, commands = MANOEUVRES[manoeuvre]
    coarse = drive(oracle_record(parameters), v0, duration, commands, 0.01)
    fine = drive(oracle_record(parameters), v0, duration, commands, 0.0002)
    count = min(len(expected), len(fine))
    assert count > 100
    np.testing.assert_allclose(coarse[count - 1], expected[count - 1], rtol=0, atol=1e-4)
    np.testing.assert_allclose(fine[:count], expected[:count], rtol=0, atol=1e-9)


def simulate(vehicle: Vehicle, state, target_steer: float, a: float, seconds: float, step: float = 0.002):
    """States of a car that turns its wheels to `target_steer` and holds acceleration demand `a`."""
    car = pack_vehicle(vehicle, np.float64)[()]
    rows = [tuple(map(float, state))]
    for _ in range(round(seconds / step)):
        rate = (target_steer - rows[-1][2]) / step
        rows.append(one_step(rows[-1], rate, a, step, car, settled=True))
    return np.array(rows), car


@pytest.mark.slow
def test_steady_yaw_rate_of_linear_model(f1tenth_linear: Vehicle):
    v, steer = 5.0, 0.05
    rows, _ = simulate(f1tenth_linear, (0, 0, 0, v, 0, 0, 0), steer, 0.0, 3.0)
    gradient = (1 / f1tenth_linear.stiffness_front - 1 / f1tenth_linear.stiffness_rear) / f1tenth_linear.max_lateral
    assert rows[-1, 5] == pytest.approx(v * steer / (f1tenth_linear.wheelbase + gradient * v * v), rel=1e-3)


@pytest.mark.parametrize("name", ["kart", "f1tenth", "f1tenth_linear"])
def test_braking_distance(name: str, request: pytest.FixtureRequest):
    vehicle = dataclasses.replace(request.getfixturevalue(name), drag=0.0, rolling=0.0)
    v, brake = 7.5, 5.0  # within the grip of both axles
    rows, _ = simulate(vehicle, (0, 0, 0, v, 0, 0, 0), 0.0, -brake, v / brake + 0.3)
    assert rows[-1, 3] == 0.0  # stands, does not creep backwards
    assert rows[-1, 0] == pytest.approx(v * v / (2 * brake), rel=5e-3)


@pytest.mark.parametrize("name", ["kart", "f1tenth"])
def test_lateral_acceleration_never_exceeds_grip(name: str, request: pytest.FixtureRequest):
    vehicle = dataclasses.replace(request.getfixturevalue(name), drag=0.0, rolling=0.0)  # the tyres' share alone
    rng = np.random.default_rng(3)
    greatest = 0.0
    for _ in range(20):
        v = rng.uniform(2 * vehicle.kinematic_speed_threshold, vehicle.max_speed)
        rows, car = simulate(
            vehicle, (0, 0, 0, v, 0, 0, 0), rng.uniform(-1, 1) * vehicle.max_steer, rng.uniform(-9, 5), 2.0, 0.01
        )
        fast = rows[rows[:, 3] > 2 * vehicle.kinematic_speed_threshold]
        for state in fast:
            rates = D.saturated_rhs(tuple(state), 0.0, 0.0, car["friction"], car)
            greatest = max(greatest, abs(rates[6] + state[5] * state[3]))
    assert 0.8 * vehicle.max_lateral < greatest <= 1.02 * vehicle.max_lateral


@pytest.mark.parametrize("name", ["kart", "f1tenth"])
def test_coasting_never_gains_energy(name: str, request: pytest.FixtureRequest):
    vehicle = request.getfixturevalue(name)
    rng = np.random.default_rng(5)
    for _ in range(10):
        v = rng.uniform(0.5, 1.0) * vehicle.max_speed
        start = (0, 0, rng.uniform(-0.3, 0.3), v, 0, rng.uniform(-1, 1), rng.uniform(-1, 1))
        rows, _ = simulate(vehicle, start, start[2], 0.0, 2.0)
        rows = rows[rows[:, 3] > 2 * vehicle.kinematic_speed_threshold]
        energy = 0.5 * vehicle.mass * (rows[:, 3] ** 2 + rows[:, 6] ** 2) + 0.5 * vehicle.yaw_inertia * rows[:, 5] ** 2
        assert np.diff(energy).max() <= 1e-9 * energy[0]
        assert energy[-1] < energy[0]


@pytest.mark.parametrize("name", ["kart", "f1tenth", "f1tenth_linear"])
def test_reverse_stays_finite(name: str, request: pytest.FixtureRequest):
    vehicle = request.getfixturevalue(name)
    rows, _ = simulate(vehicle, (0, 0, 0, -2, 0, 0, 0), vehicle.max_steer, 0.0, 5.0, 0.01)
    assert np.isfinite(rows).all()
    assert np.abs(rows[:, 5]).max() < 2.2 * np.tan(vehicle.max_steer) / vehicle.wheelbase


def test_power_limit_and_drag_set_top_speed(kart: Vehicle):
    fast = dataclasses.replace(kart, max_speed=100.0)
    rows, _ = simulate(fast, (0, 0, 0, 20, 0, 0, 0), 0.0, 4.5, 120.0, 0.02)
    v = rows[-1, 3]
    power = kart.mass * kart.max_drive * kart.switch_speed
    assert power / v == pytest.approx(kart.drag * v * v + kart.rolling * kart.mass * GRAVITY, rel=1e-3)


def test_kinematic_model_is_capped_by_grip(kart: Vehicle):
    rolling = dataclasses.replace(kart, model="kinematic")
    _, car = simulate(rolling, (0, 0, 0, 20, 0, 0, 0), 0.0, 0.0, 0.01)
    turn = D.derivative((0.0, 0.0, 0.4, 20.0, 0.0, 0.0, 0.0), 0.0, -8.5, car["friction"], car)
    assert np.hypot(turn[4] * 20.0, turn[3]) == pytest.approx(kart.max_lateral, rel=1e-6)
    assert turn[3] < 0  # a car that steers still brakes


def test_mirrored_steering_mirrors_the_path(kart: Vehicle):
    left, _ = simulate(kart, (0, 0, 0, 15, 0, 0, 0), 0.1, 1.0, 2.0)
    right, _ = simulate(kart, (0, 0, 0, 15, 0, 0, 0), -0.1, 1.0, 2.0)
    np.testing.assert_allclose(left * [1, -1, -1, 1, -1, -1, -1], right, atol=1e-9)


def test_turned_and_moved_start_turns_and_moves_the_path(kart: Vehicle):
    angle, shift = 2.1, np.array([30.0, -50.0])
    here, _ = simulate(kart, (0, 0, 0, 15, 0, 0, 0), 0.1, 1.0, 2.0)
    there, _ = simulate(kart, (*shift, 0, 15, angle, 0, 0), 0.1, 1.0, 2.0)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    np.testing.assert_allclose(here[:, :2] @ turn.T + shift, there[:, :2], atol=1e-4)
    np.testing.assert_allclose(here[:, [2, 3, 5, 6]], there[:, [2, 3, 5, 6]], atol=1e-5)
