"""Load transfer, pedals, gates and laps against values computed by hand."""

from __future__ import annotations

import numpy as np
import pytest

from racing.sim import records
from racing.sim.kernels.kernel import in_float64
from racing.sim.track import Track
from racing.sim.vehicle import Vehicle
from tests.sim.test_world import make

D, L, S = in_float64("dynamics"), in_float64("localisation"), in_float64("step")
LINEAR, SATURATED = 1, 2


def car(model: int, **values: float):
    """m = 100 kg, I = 150 kg m^2, axles 1 m ahead of and 2 m behind the centre of gravity, which is 0.5 m high."""
    record = np.zeros((), records.vehicle(np.float64))
    common = {"mass": 100, "yaw_inertia": 150, "front_axle": 1, "rear_axle": 2, "cg_height": 0.5}
    common |= {"max_steer": 1, "max_steer_rate": 9, "max_speed": 99, "min_speed": -9, "switch_speed": 99}
    common |= {"max_drive": 9, "max_brake": 9, "kinematic_speed_threshold": 0.5, "model": model}
    common |= {"mass_per_length": 100 / 3, "inv_mass": 1 / 100, "inv_inertia": 1 / 150}
    for name, value in (common | values).items():
        record[name] = value
    return record[()]


def test_the_brakes_load_the_front_axle_of_the_linear_car():
    """Braked with 5 m/s^2, steered by 0.1 rad at 10 m/s.

    F_zf L / m = 9.81 * 2 + 5 * 0.5 = 22.12 and C_S = 10 give 221.2 per rad, on 0.1 rad: 22.12. The rear does not slip.
    r' = mu m / (I L) * l_f * 22.12 = 0.8 * 100 / 450 * 22.12 and beta' = mu / (v L) * 22.12 = 0.8 / 30 * 22.12.
    """
    state = (0.0, 0.0, 0.1, 10.0, 0.0, 0.0, 0.0)
    slope = D.linear_rhs(state, 0.0, -5.0, 0.8, car(LINEAR, stiffness_front=10, stiffness_rear=12))
    assert slope[3] == -5.0
    assert slope[5] == pytest.approx(3.932444, rel=1e-6)
    assert slope[6] == pytest.approx(0.589867, rel=1e-5)


def test_the_linear_car_rolls_below_the_threshold():
    """0.4 m/s, steered by 0.3 rad and on by 0.5 rad/s, driven with 1 m/s^2; tan(0.3) = 0.309336, L = 3, l_r = 2.

    Slip arctan(0.309336 * 2 / 3) = 0.203373; yaw rate 0.4 cos(0.203373) 0.309336 / 3 = 0.0403948. The rates of both are
    their differences over 2 microseconds, divided by these.
    """
    state = (0.0, 0.0, 0.3, 0.4, 0.0, 0.0, 0.0)
    slope = D.linear_rhs(state, 0.5, 1.0, 0.8, car(LINEAR, stiffness_front=10, stiffness_rear=12))
    expected = (0.391756, 0.0807896, 0.5, 1.0, 0.0403948, 0.169609, 0.350331)
    np.testing.assert_allclose(slope, expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("a", "ax", "ay", "turn"),
    [
        # Driven: F_zf = 100 / 3 * (19.62 - 1.5) = 604 N, F_zr = 100 / 3 * (9.81 + 1.5) = 377 N. The rear's (300, -377)
        # is scaled by 377 / 481.8 onto its circle: (234.7, -295.0).
        (3.0, 2.3475, -8.9899, (-604 + 2 * 294.995) / 150),
        # Braked by the rear axle: F_zf = 704 N, F_zr = 277 N; (-300, -277) scaled by 277 / 408.32: (-203.5, -187.9).
        (-3.0, -2.0352, -8.9191, (-704 + 2 * 187.915) / 150),
    ],
)
def test_the_load_moves_to_the_rear_when_driven_and_to_the_front_when_braked(a, ax, ay, turn):
    """A car that slides sideways at full grip, mu = 1; its rear wheels drive and brake."""
    sliding = car(SATURATED, tyre_shape=1, pacejka_b_front=1e4, pacejka_b_rear=1e4)
    slope = D.saturated_rhs((0.0, 0.0, 0.0, 10.0, 0.0, 0.0, 1.0), 0.0, a, 1.0, sliding)
    assert slope[3] == pytest.approx(ax, rel=1e-4)
    assert slope[6] == pytest.approx(ay, rel=1e-4)
    assert slope[5] == pytest.approx(turn, rel=1e-3)


def test_demands_beyond_full_throttle_and_full_brake_do_no_more(wavy: Track, kart: Vehicle):
    """Commands are clipped to [-1, 1] where the car is driven, not only where a policy acts."""
    for extreme in (1.0, -1.0):
        full, more = (make(wavy, kart, races=4) for _ in range(2))
        full.reset(), more.reset()
        for _ in range(5):
            full.step(np.full((4, 2), extreme))
            more.step(np.full((4, 2), 7 * extreme))
        for field in ("x", "y", "v", "steer", "yaw", "ax"):
            np.testing.assert_array_equal(full.cars[field], more.cars[field])


GATE = {"left_x": 5.0, "left_y": 3.0, "right_x": 5.0, "right_y": -3.0}  # x = 5, driven along +x


def gate(**values: float):
    record = np.zeros(1, records.gate(np.float64))
    for name, value in (GATE | values).items():
        record[name] = value
    return record[0]


@pytest.mark.parametrize(
    ("way", "share"),
    [
        ((3.0, 0.0, 7.0, 0.0), 0.5),
        ((4.0, 0.0, 8.0, 0.0), 0.25),
        ((7.0, 0.0, 3.0, 0.0), -1.0),  # backwards
        ((5.0, 0.0, 7.0, 0.0), -1.0),  # begins on it: counted before
        ((3.0, 0.0, 5.0, 0.0), 1.0),  # ends on it
        ((3.0, 0.0, 4.9, 0.0), -1.0),  # not yet
        ((3.0, 3.4, 7.0, 3.4), 0.5),  # beyond its ends by less than the margin of 0.5 m
        ((3.0, -3.4, 7.0, -3.4), 0.5),
        ((3.0, 3.6, 7.0, 3.6), -1.0),  # and by more
        ((3.0, -3.6, 7.0, -3.6), -1.0),
    ],
)
def test_where_a_way_crosses_a_gate(way: tuple[float, ...], share: float):
    assert L.gate_crossing(gate(), *way, 0.5) == pytest.approx(share)


def test_laps_run_from_the_first_gate_to_itself_and_the_best_one_is_kept():
    """Two gates; laps of 3, 2 and 4 steps of 0.5 s, each gate crossed in the middle of a step."""
    gates = np.zeros(2, records.gate(np.float64))
    gates[0], gates[1] = gate(), gate(left_x=-5.0, left_y=-3.0, right_x=-5.0, right_y=3.0)  # driven along -x
    track = np.zeros(1, records.track(np.float64))
    track["gate_count"] = 2
    cars = np.zeros(1, records.car(np.float64))
    driven = cars[0]

    def drive(x0: float, x1: float) -> None:
        driven["steps"] += 1
        driven["x"] = x1
        S.count_gates(driven, gates, track[0], x0, 0.0, 0.5, 0.5)

    drive(4.0, 6.0)  # the first lap begins after 0.25 s
    for idle, lap, best in ((1, 1.5, 1.5), (0, 1.0, 1.0), (2, 2.0, 1.0)):
        drive(-4.0, -6.0)
        for _ in range(idle):
            drive(0.0, 0.0)
        drive(4.0, 6.0)
        assert driven["lap_time"] == pytest.approx(lap)
        assert driven["best_lap"] == pytest.approx(best)
    assert driven["laps"] == 3
    assert driven["gates"] == 7
