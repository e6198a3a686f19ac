"""SAC: ours in settings and checks, Stable-Baselines3's in everything else."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from stable_baselines3 import SAC

from racing.envs.sensors import SensorsTask
from racing.envs.vec_env import RacingVecEnv
from racing.errors import InputError
from racing.sim.track import Track
from racing.sim.vehicle import Vehicle
from tests.algos.conftest import TinyEnv

SMALL = {"buffer_size": 2000, "learning_starts": 100, "batch_size": 64, "gradient_steps": 1, "net_arch": [32, 32]}


def test_it_learns_saves_and_loads_as_stock_sac(sac, wavy: Track, kart: Vehicle, tmp_path):
    env = RacingVecEnv(SensorsTask([wavy], kart, races=8))
    model = sac(env, **SMALL)
    before = [parameter.clone() for parameter in model.policy.actor.parameters()]
    model.learn(600)
    assert not all(torch.equal(a, b) for a, b in zip(before, model.policy.actor.parameters(), strict=True))
    model.save(tmp_path / "policy.zip")
    loaded = SAC.load(tmp_path / "policy.zip", device="cpu")
    observation = np.random.default_rng(0).uniform(-1, 1, (100, 10)).astype(np.float32)
    expected = model.predict(observation, deterministic=True)[0]
    np.testing.assert_array_equal(loaded.predict(observation, deterministic=True)[0], expected)
    assert (np.abs(expected) <= 1).all()


def test_truncations_bootstrap_and_terminations_do_not(sac, wavy: Track, kart: Vehicle):
    """In the replay buffer a time limit is no end (SB3 stores done * (1 - timeout))."""
    task = SensorsTask([wavy], kart, races=8, episodes={"time_limit": 1.0})
    env = RacingVecEnv(task)
    model = sac(env, **SMALL | {"learning_starts": 10_000})
    model.learn(800)
    buffer, rows = model.replay_buffer, model.replay_buffer.pos
    limits = buffer.timeouts[:rows].astype(bool)
    ends = buffer.dones[:rows].astype(bool)
    assert limits.any()
    assert (ends & ~limits).any()
    assert (ends >= limits).all()
    following = buffer.next_observations[:rows][ends]
    np.testing.assert_array_less(1e-4, np.abs(following - np.roll(buffer.observations[:rows], -1, axis=0)[ends]).max(1))


def test_the_same_seed_gives_the_same_bytes(sac, wavy: Track, kart: Vehicle):
    def train(seed: int) -> list[bytes]:
        model = sac(RacingVecEnv(SensorsTask([wavy], kart, races=8, seed=seed)), seed=seed, **SMALL)
        model.learn(300)
        return [value.numpy().tobytes() for value in model.policy.state_dict().values()]

    first = train(1)
    assert first == train(1)
    assert first != train(2)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"tau": 0}, "algo.tau must be a number in [1e-06, 1], got 0"),
        ({"gamma": -0.1}, "algo.gamma must be"),
        ({"buffer_size": 0}, "algo.buffer_size must be a whole number"),
        ({"gradient_steps": 1.5}, "algo.gradient_steps must be a whole number"),
        ({"learning_rate": 2}, "algo.learning_rate must be a number in"),
        ({"ent_coef": "automatic"}, "algo.ent_coef must be a number in [0, 1000], got 'automatic'"),
        ({"ent_coef": "auto_0.0"}, "algo.ent_coef=auto_0.0 must start above 0"),
        ({"ent_coef": -1.0}, "algo.ent_coef must be"),
        ({"net_arch": "big"}, "algo.net_arch must be a list"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else None,
)
def test_wrong_settings_are_refused(sac, changes, says):
    with pytest.raises(InputError) as caught:
        sac(TinyEnv(), **changes)
    assert says in str(caught.value)


@pytest.mark.parametrize("ent_coef", [0.1, "auto", "auto_0.5", 0])
def test_temperatures(sac, ent_coef):
    assert sac(TinyEnv(), ent_coef=ent_coef).ent_coef == ent_coef
