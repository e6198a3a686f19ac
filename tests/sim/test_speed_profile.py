"""Speed profile: cases that can be worked out by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from racing.errors import InputError
from racing.sim.speed_profile import acceleration, lap_time, speed_profile
from racing.sim.vehicle import GRAVITY, Vehicle

CONF = Path(__file__).resolve().parents[2] / "conf" / "vehicle"


def vehicle(name: str) -> Vehicle:
    values = yaml.safe_load((CONF / f"{name}.yaml").read_text())
    del values["_target_"]
    return Vehicle(**values)


F1TENTH = vehicle("f1tenth")
KART = vehicle("kart")
FREE = replace(F1TENTH, max_speed=100.0, switch_speed=100.0)  # nothing but grip, drive and brakes limits it
STEP = 0.1  # [m]


def straight_with_bend(car: Vehicle, corner_speed: float, count: int = 400) -> np.ndarray:
    """Curvature of a straight with one bend of a single point, at the middle."""
    curvature = np.zeros(count)
    curvature[count // 2] = -car.max_lateral / corner_speed**2
    return curvature


def test_circle_is_driven_at_the_limit_of_grip():
    radius = 3.0
    spacing = 2 * np.pi * radius / 200
    speed = speed_profile(np.full(200, 1 / radius), spacing, F1TENTH)
    expected = np.sqrt(F1TENTH.friction * GRAVITY * radius)
    assert expected < F1TENTH.max_speed
    assert speed == pytest.approx(expected)
    assert lap_time(speed, spacing) == pytest.approx(2 * np.pi * radius / expected)


def test_circle_with_resistance_keeps_grip_for_the_drive():
    radius, count = 40.0, 400
    speed = speed_profile(np.full(count, 1 / radius), 2 * np.pi * radius / count, KART)
    assert np.ptp(speed) < 1e-3
    resistance = KART.drag / KART.mass * speed[0] ** 2 + KART.rolling * GRAVITY
    lateral = speed[0] ** 2 / radius
    assert (resistance / KART.max_brake) ** 2 + (lateral / KART.max_lateral) ** 2 == pytest.approx(1, abs=1e-4)


def test_braking_and_accelerating_distances():
    corner = 2.0
    speed = speed_profile(straight_with_bend(FREE, corner), STEP, FREE)
    assert speed[200] == pytest.approx(corner)
    # All the grip is lateral in the bend itself, so speed changes from its neighbours on.
    steps = np.arange(1, 150)
    assert speed[200 - steps] == pytest.approx(np.sqrt(corner**2 + 2 * FREE.max_brake * STEP * (steps - 1)))
    assert speed[200 + steps] == pytest.approx(np.sqrt(corner**2 + 2 * FREE.max_drive * STEP * (steps - 1)))
    gained = acceleration(speed, STEP)
    assert gained[210] == pytest.approx(FREE.max_drive)
    assert gained[190] == pytest.approx(-FREE.max_brake)


def test_lap_time_of_constant_acceleration_is_exact():
    speed = np.sqrt(4 + 2 * 3 * STEP * np.arange(50))  # 3 m/s^2 from 2 m/s
    forward = np.concatenate([speed, speed[::-1]])
    steps = np.full(100, STEP)
    steps[[49, 99]] = 1e-9  # joints of no length
    assert lap_time(forward, steps) == pytest.approx(2 * (speed[-1] - 2) / 3, rel=1e-6)


def test_above_the_switch_speed_power_is_constant():
    car = replace(FREE, switch_speed=4.0)
    speed = speed_profile(straight_with_bend(car, 5.0, 4000), 0.01, car)
    distance = 0.01 * np.arange(1500)
    expected = np.cbrt(5.0**3 + 3 * car.max_drive * car.switch_speed * distance)  # v^2 dv = P/m ds
    assert speed[2001:3501] == pytest.approx(expected, rel=1e-3)


def test_top_speed_is_where_power_meets_resistance():
    car = replace(KART, max_speed=80.0)
    speed = speed_profile(np.zeros(1000), 2.0, car)
    top = speed[0]
    assert np.ptp(speed) < 1e-3
    assert 35 < top < 80
    power = car.mass * car.max_drive * car.switch_speed
    assert power / top == pytest.approx(car.drag * top**2 + car.mass * car.rolling * GRAVITY, rel=1e-3)


def test_speed_is_capped():
    assert speed_profile(np.zeros(100), 1.0, KART) == pytest.approx(KART.max_speed)


@pytest.mark.parametrize("car", [F1TENTH, KART], ids=["f1tenth", "kart"])
def test_grip_is_shared_by_an_ellipse(car: Vehicle):
    size = 1.0 if car is F1TENTH else 10.0
    spacing = 0.02 * size
    along = spacing * np.arange(2000)
    curvature = (1 - np.cos(2 * np.pi * along / (10 * size))) / (2.2 * size)
    speed = speed_profile(curvature, spacing, car)
    resistance = car.drag / car.mass * speed**2 + car.rolling * GRAVITY
    force = acceleration(speed, spacing) + resistance  # of the tyres, per kg
    used = (force / car.max_brake) ** 2 + (speed**2 * curvature / car.max_lateral) ** 2
    assert used.max() < 1.06  # speed and bend change within a step
    mixed = (np.abs(force) > 0.3 * car.max_brake) & (speed**2 * curvature > 0.3 * car.max_lateral)
    braking = used[mixed & (force < 0)]
    assert len(braking) > 20
    assert np.mean(np.abs(braking - 1) < 0.06) > 0.95  # all but the steps on which braking begins


def test_less_grip_brakes_less():
    wet = replace(FREE, friction=0.5)
    speed = speed_profile(straight_with_bend(wet, 2.0), STEP, wet)
    assert acceleration(speed, STEP)[150] == pytest.approx(-0.5 * GRAVITY)


def test_start_of_the_arrays_does_not_matter():
    curvature = np.random.default_rng(0).uniform(-0.5, 0.5, 300)
    speed = speed_profile(curvature, STEP, F1TENTH)
    assert np.roll(speed, 77) == pytest.approx(speed_profile(np.roll(curvature, 77), STEP, F1TENTH))


def test_unequal_steps_agree_with_equal_ones():
    curvature = straight_with_bend(FREE, 2.0, 600)
    steps = np.full(600, STEP)
    halved = np.repeat(steps / 2, 2)
    fine = np.repeat(curvature, 2)
    fine[601] = 0  # keep the bend a single point
    coarse, split = speed_profile(curvature, steps, FREE), speed_profile(fine, halved, FREE)
    assert lap_time(split, halved) == pytest.approx(lap_time(coarse, steps), rel=0.01)


def test_wrong_input_is_refused():
    with pytest.raises(InputError, match="spacing must be > 0"):
        speed_profile(np.zeros(10), 0.0, KART)
    with pytest.raises(InputError, match="curvature must be finite"):
        speed_profile(np.full(10, np.nan), 1.0, KART)
