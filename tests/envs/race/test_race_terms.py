"""What a car is rewarded for among others, and the facts of its episodes, on a straight road."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from racing.envs.rewards import RACE_TERMS, REWARD_TERMS
from racing.envs.sensors import SensorsTask
from tests.envs.conftest import place

TOP = 35.0  # [m/s] of the kart


def race_terms(task: SensorsTask, step: Any) -> np.ndarray:
    """(N, 4) passing, contact, rear_end, braking_needed."""
    assert task.reward_terms == (*REWARD_TERMS, *RACE_TERMS)
    return step.terms[:, -4:]


def lined_up(make_task: Callable[..., SensorsTask], *cars: tuple[float, float], **options) -> SensorsTask:
    """One race on the first straight, on the centreline at ([m], [m/s]) each."""
    task = make_task(cars=len(cars), **options)
    for i, (x, v) in enumerate(cars):
        place(task, i, x=x, y=0.0, yaw=0.0, v=v, slip=0.0, yaw_rate=0.0, steer=0.0, lateral=0.0)
        task.cars["s"][i] = x
    return task


COAST = np.zeros((3, 2), np.float32)


def test_passing_is_what_it_wins_on_all_within_the_window(make_task):
    task = lined_up(make_task, (100, 10), (110, 16), (160, 30))
    step = task.step_batch(COAST)
    passing = race_terms(task, step)[:, 0]
    won = task.final_cars["progress_delta"] / (TOP * task.world.step_dt)
    np.testing.assert_allclose(won, np.array([10, 16, 30]) / TOP, rtol=0.03)  # they roll
    # The third is more than 40 m from both.
    np.testing.assert_allclose(passing, [won[0] - won[1], won[1] - won[0], 0], atol=1e-6)
    place(task, 2, x=130.0, y=0.0)
    task.cars["s"][2] = 130
    step = task.step_batch(COAST)
    won = task.final_cars["progress_delta"] / (TOP * task.world.step_dt)
    np.testing.assert_allclose(race_terms(task, step)[:, 0], 3 * won - won.sum(), atol=1e-6)
    np.testing.assert_allclose(step.terms[:, 0], won, rtol=1e-5)  # in the unit of progress


def test_passing_sums_to_zero_over_a_race_until_a_car_starts_again(make_task):
    task = make_task(races=4, cars=3, seed=2)
    actions, moved = np.random.default_rng(0).uniform([-0.2, 0], [0.2, 1], (60, 12, 2)), 0.0
    for asked in actions:
        passing = race_terms(task, task.step_batch(asked))[:, 0].reshape(4, 3)
        np.testing.assert_allclose(passing.sum(axis=1), 0, atol=1e-6)
        moved += np.abs(passing).sum()
    assert moved > 1


def test_contact_costs_both_and_the_blow_the_one_whose_nose_it_was(make_task):
    task = lined_up(make_task, (103, 9), (100, 15), (300, 9))
    hits = [race_terms(task, task.step_batch(COAST))[:, 1:3] for _ in range(20)]
    first = next(k for k, hit in enumerate(hits) if hit.any())
    assert first > 0  # they do not touch at once
    assert hits[first][:, 0].tolist() == [1, 1, 0]
    np.testing.assert_allclose(hits[first][:, 1], [0, (6 / TOP) ** 2, 0], rtol=0.1)
    for _ in range(20):
        last = race_terms(task, task.step_batch(np.array([[0, 1], [0, -1], [0, 0]])))
    assert not last[:, 1:3].any()  # it is over
    assert task.world.traffic["contacts"].tolist()[0][2] == 0


def test_the_braking_that_is_needed_counts_in_the_square_of_all_that_there_is(make_task):
    task = lined_up(make_task, (100, 21), (112, 15), (300, 9))
    needed = race_terms(task, task.step_batch(COAST))[:, 3]
    deceleration = task.world.final_traffic["braking_needed"].reshape(-1)
    assert 1 < deceleration[0] < 4
    np.testing.assert_allclose(needed, (deceleration / 8.5) ** 2, rtol=1e-5)
    task = lined_up(make_task, (100, 34), (106, 2), (300, 9))
    assert race_terms(task, task.step_batch(COAST))[:, 3].tolist() == [1, 0, 0]  # no brakes are good enough


def test_each_term_has_its_weight(make_task):
    weights = {"progress": 0.1, "passing": 2.0, "contact": -3.0, "rear_end": -50.0, "braking_needed": -0.5}
    task = lined_up(make_task, (102.2, 9), (100, 15), (300, 9), reward=weights)
    for _ in range(3):
        step = task.step_batch(COAST)
        passing, contact, rear_end, needed = race_terms(task, step).T
        expected = 0.1 * step.terms[:, 0] + 2 * passing - 3 * contact - 50 * rear_end - 0.5 * needed
        np.testing.assert_allclose(step.reward, expected, rtol=1e-5, atol=1e-6)
        if contact.any():
            break
    assert rear_end[1] > 0
    assert task.weights.tolist() == pytest.approx([0.1, 0, 0, 0, 0, 0, 0, 2, -3, -50, -0.5])
    assert make_task(reward=weights).reward_terms == REWARD_TERMS  # a lone car meets nobody


def test_facts_of_an_episode_say_what_it_had_to_do_with_others(make_task):
    task = lined_up(make_task, (102.2, 9), (100, 15), (300, 9), race={"near": 0.0})
    for _ in range(10):
        task.step_batch(COAST)
    for i in range(3):
        place(task, i, y=9.0)
    traffic = task.world.traffic[0].copy()
    assert task.step_batch(COAST).terminated.all()
    facts = [task.last_episode(i) for i in range(3)]
    assert facts[0]["contacts"] == facts[1]["contacts"] == traffic["contacts"][0] >= 1
    assert [one["contacts"] for one in facts][2] == 0
    assert facts[1]["faults"] >= 1 > facts[0]["faults"] == facts[2]["faults"] == 0
    assert [one["steps_near"] for one in facts] == [11, 11, 0]
    assert not any(one["alone"] for one in facts)
    assert (task.world.traffic["contacts"] == 0).all()  # of the next one
