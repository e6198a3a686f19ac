"""Tokens and costs of the controls challenge, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from racing.envs.lateral.rules import BINS, COST_END, ROWS, STEPS, costs, encode, step_costs


def test_tokens_are_the_first_bin_that_is_not_below():
    step = 10 / 1023
    assert (BINS[0], BINS[-1], len(BINS), BINS.dtype) == (-5.0, 5.0, 1024, np.float64)
    values = np.array([-5.0, -7.0, -5.0 + 1e-9, -5 + step * 0.99, -5 + step * 1.01, 0.0, 5.0, 9.0])
    assert encode(values).tolist() == [0, 0, 1, 1, 2, 512, 1023, 1023]
    np.testing.assert_array_equal(encode(values), np.digitize(np.clip(values, -5, 5), BINS, right=True))
    np.testing.assert_array_equal(encode(BINS), np.arange(1024))


def test_costs_of_a_route_by_hand():
    """Off by 0.1 throughout; one jump of 0.2 up and one back."""
    target = np.zeros((1, STEPS))
    lataccel = np.full((1, STEPS), 0.1)
    lataccel[0, 200] = 0.3
    found = costs(target, lataccel)
    assert found["lataccel_cost"][0] == pytest.approx(100 * (399 * 0.01 + 0.09) / 400)
    assert found["jerk_cost"][0] == pytest.approx(100 * 2 * (0.2 / 0.1) ** 2 / 399)
    assert found["total_cost"][0] == pytest.approx(50 * found["lataccel_cost"][0] + found["jerk_cost"][0])


def test_the_mean_of_what_steps_cost_is_the_cost():
    rng = np.random.default_rng(0)
    target, lataccel = rng.normal(size=(2, 3, STEPS))
    change = np.diff(lataccel, axis=1, prepend=lataccel[:, :1])
    tracking, jerk = step_costs(target - lataccel, change)
    found = costs(target, lataccel)
    np.testing.assert_allclose(tracking.mean(1), 50 * found["lataccel_cost"])
    np.testing.assert_allclose(jerk.mean(1), found["jerk_cost"])


def test_the_plan_is_seen_to_its_end_from_the_last_row():
    assert (STEPS, ROWS) == (400, COST_END + 50)
