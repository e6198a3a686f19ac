"""Lanes get the bits that numbers get."""

from __future__ import annotations

import dataclasses
import itertools
import math

import numba
import numpy as np
import pytest

from racing.sim import block, dynamics
from racing.sim.kernels.kernel import in_float64
from racing.sim.kernels.lanes import LANES, anywhere, floor, lanes_of, put_lanes, where
from racing.sim.packing import pack_vehicle
from racing.sim.vehicle import MODELS, Vehicle

compiled = numba.njit(error_model="numpy", fastmath=False)
TYPES = pytest.mark.parametrize("real", [np.float32, np.float64])
SPECIAL = [0.0, -0.0, 1.0, -1.0, 0.25, -7.5, 1e-30, 1e30, math.inf, -math.inf, math.nan]


@compiled
def formulas(a, b):
    low = where((a < b) | (a >= -b), min(a, b), max(b, a))
    each = abs(a) + math.sqrt(b) * floor(a) - math.tan(a) / math.atan(b)
    waves = where((a > b) & (b <= a), math.sin(a), -math.cos(b))
    return low, each, waves, where(a == b, a * b, a)


@compiled
def by_lanes(pairs, out):
    values = formulas(lanes_of(pairs[0]), lanes_of(pairs[1]))
    for k in range(4):
        put_lanes(out[k], values[k])


@compiled
def any_below(row, limit):
    return anywhere(lanes_of(row) < limit), anywhere(row[0] < limit)


@TYPES
def test_formulas(real):
    pairs = list(itertools.product(SPECIAL, SPECIAL))
    for first in range(0, len(pairs), LANES):
        some = np.array([pairs[(first + k) % len(pairs)] for k in range(LANES)], real).T.copy()
        out = np.empty((4, LANES), real)
        by_lanes(some, out)
        single = np.array([formulas(a, b) for a, b in some.T], real).T
        np.testing.assert_array_equal(out, single)
        numbers = ~np.isnan(out)
        np.testing.assert_array_equal(np.signbit(out)[numbers], np.signbit(single)[numbers])


def test_anywhere():
    row = np.arange(LANES, dtype=np.float32)
    assert any_below(row, np.float32(0)) == (False, False)
    assert any_below(row, np.float32(1)) == (True, True)
    assert any_below(row[::-1].copy(), np.float32(1)) == (True, False)


@TYPES
@pytest.mark.parametrize("name", ["kart", "f1tenth"])
def test_cars_side_by_side_drive_as_one_alone(name: str, real, request: pytest.FixtureRequest):
    D, B = (dynamics, block) if real is np.float32 else (in_float64("dynamics"), in_float64("block"))
    rk4, settle, seven, put_seven = D.rk4, D.settle, B.seven, B.put_seven

    @compiled
    def move(state, rate, a, mu, dt, car):
        return settle(rk4(state, rate, a, mu, dt, car), state[3], car)

    @compiled
    def move_together(states, inputs, dt, car):
        rate, a, mu = lanes_of(inputs[0]), lanes_of(inputs[1]), lanes_of(inputs[2])
        put_seven(states, 0, move(seven(states, 0), rate, a, mu, dt, car))

    vehicle: Vehicle = request.getfixturevalue(name)
    rng = np.random.default_rng(0)
    for model in MODELS:
        car, dt = pack_vehicle(dataclasses.replace(vehicle, model=model), real)[()], real(vehicle.physics_step)
        for speed in (0.0, vehicle.kinematic_speed_threshold, vehicle.max_speed):
            states = rng.uniform(-1, 1, (7, LANES)).astype(real)
            states[3] *= real(speed)
            inputs = rng.uniform(-4, 4, (3, LANES)).astype(real)
            inputs[2] = abs(inputs[2])  # friction
            alone = [move(tuple(state), *given, dt, car) for state, given in zip(states.T, inputs.T, strict=True)]
            move_together(states, inputs, dt, car)
            assert states.T.tobytes() == np.array(alone, real).tobytes()
