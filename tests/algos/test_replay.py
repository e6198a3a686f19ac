"""The replay buffer: what Stable-Baselines3's draws, each observation kept once, and returns of several steps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3.common.buffers import NStepReplayBuffer, ReplayBuffer

from racing.algos.replay.batch import BatchReplayBuffer

NUM_ENVS, SIZE, GAMMA = 3, 4, 0.9
SPACES = spaces.Box(-10, 10, (SIZE,), np.float32), spaces.Box(-1, 1, (2,), np.float32)


def make(rows: int, n_steps: int = 1, n_envs: int = NUM_ENVS) -> BatchReplayBuffer:
    return BatchReplayBuffer(rows * n_envs, *SPACES, "cpu", n_envs=n_envs, n_steps=n_steps, gamma=GAMMA)


def fill(buffers: list[Any], rows: int, seed: int = 0, ends: float = 0.3, n_envs: int = NUM_ENVS) -> None:
    """Give all buffers the same steps; an episode ends at each with that probability, half of them by a limit."""
    rng = np.random.default_rng(seed)
    observation = rng.normal(size=(n_envs, SIZE)).astype(np.float32)
    for _ in range(rows):
        after = rng.normal(size=(n_envs, SIZE)).astype(np.float32)
        done, limit = rng.random(n_envs) < ends, rng.random(n_envs) < 0.5
        infos = [{"TimeLimit.truncated": bool(cut)} for cut in done & limit]
        step = (rng.uniform(-1, 1, (n_envs, 2)).astype(np.float32), rng.normal(size=n_envs).astype(np.float32), done)
        for buffer in buffers:
            buffer.add(observation.copy(), after.copy(), *step, [dict(info) for info in infos])
        begins = rng.normal(size=(n_envs, SIZE)).astype(np.float32)
        observation = np.where(done[:, None], begins, after)


def drawn(buffer: Any, rows: Any) -> Any:
    np.random.seed(3)
    return buffer._get_samples(np.asarray(rows))


@pytest.mark.parametrize("added", [1, 5, 12, 30])
def test_single_steps_are_those_of_stable_baselines(added: int):
    """Before and after it is full; what comes after an episode that ended for good is of no account."""
    ours, stock = make(12), ReplayBuffer(12 * NUM_ENVS, *SPACES, "cpu", n_envs=NUM_ENVS)
    fill([ours, stock], added)
    assert (ours.pos, ours.full) == (stock.pos, stock.full)
    there = np.repeat(np.arange(min(added, 12)), 6)
    mine, theirs = drawn(ours, there), drawn(stock, there)
    for name in ("observations", "actions", "rewards", "dones"):
        np.testing.assert_array_equal(getattr(mine, name), getattr(theirs, name), err_msg=name)
    alive = theirs.dones[:, 0] == 0
    np.testing.assert_array_equal(mine.next_observations[alive], theirs.next_observations[alive])
    assert (mine.discounts == np.float32(GAMMA)).all()


@pytest.mark.parametrize("n_steps", [2, 3, 7])
def test_several_steps_are_those_of_stable_baselines(n_steps: int):
    """Where the newest row is far enough away: there Stable-Baselines3 takes what it has for cut, too."""
    ours, stock = (
        make(30, n_steps),
        NStepReplayBuffer(30 * NUM_ENVS, *SPACES, "cpu", NUM_ENVS, n_steps=n_steps, gamma=GAMMA),
    )
    fill([ours, stock], 70)
    newest = (ours.pos - 1) % 30
    rows = [row for row in range(30) if (newest - row) % 30 >= n_steps for _ in range(20)]
    mine, theirs = drawn(ours, rows), drawn(stock, rows)
    for name in ("observations", "actions", "rewards", "dones", "discounts"):
        np.testing.assert_allclose(getattr(mine, name), getattr(theirs, name), rtol=1e-5, atol=1e-6, err_msg=name)
    alive = theirs.dones[:, 0] == 0
    assert 0 < alive.sum() < len(alive)
    np.testing.assert_array_equal(mine.next_observations[alive], theirs.next_observations[alive])


def one_lane(n_steps: int, ended: dict[int, bool], rows: int = 10, added: int = 6) -> BatchReplayBuffer:
    """Rewards 1, 2, 4, 8, ...; observations are their row's number, what follows the last one is -1.

    ended: row -> whether a limit cut the episode there.
    """
    buffer = make(rows, n_steps, n_envs=1)
    for row in range(added):
        last = row in ended or row == added - 1
        after = np.full((1, SIZE), -(row + 1.0) if last else row + 1.0)
        infos = [{"TimeLimit.truncated": ended.get(row, False)}]
        buffer.add(
            np.full((1, SIZE), row), after, np.zeros((1, 2)), np.array([2.0**row]), np.array([row in ended]), infos
        )
    return buffer


@pytest.mark.parametrize(
    ("ended", "row", "reward", "discount", "done", "after"),
    [
        ({}, 1, 2 + 0.9 * 4 + 0.81 * 8, 0.9**3, 0, 4),
        ({2: False}, 1, 2 + 0.9 * 4, 0.9**2, 1, None),
        ({2: True}, 1, 2 + 0.9 * 4, 0.9**2, 0, -3),
        ({1: True}, 1, 2, 0.9, 0, -2),
        ({0: True}, 1, 2 + 0.9 * 4 + 0.81 * 8, 0.9**3, 0, 4),
        ({}, 4, 16 + 0.9 * 32, 0.9**2, 0, -6),
        ({}, 5, 32, 0.9, 0, -6),
    ],
    ids=["whole", "ends", "is cut", "is cut at once", "begins after a cut", "newest but one", "newest"],
)
def test_returns_of_three_steps(ended, row, reward, discount, done, after):
    sample = drawn(one_lane(3, ended), [row])
    assert sample.rewards.item() == pytest.approx(reward)
    assert sample.discounts.item() == pytest.approx(discount)
    assert sample.dones.item() == done
    assert sample.observations[0, 0] == row
    if after is not None:
        assert sample.next_observations[0, 0] == after


def test_a_return_goes_over_the_end_of_the_ring_and_not_over_its_newest_row():
    buffer = one_lane(3, {}, rows=4, added=6)  # holds the steps 4 5 2 3
    for step, reward, after in ((2, 4 + 0.9 * 8 + 0.81 * 16, 5), (3, 8 + 0.9 * 16 + 0.81 * 32, -6), (5, 32, -6)):
        sample = drawn(buffer, [step % 4])
        assert sample.rewards.item() == pytest.approx(reward)
        assert sample.next_observations[0, 0] == after


def test_each_observation_is_kept_once():
    buffer = make(1000)
    kept = sum(array.nbytes for array in buffer.fields.values())
    assert kept == 1000 * NUM_ENVS * 4 * (SIZE + 2 + 3)
