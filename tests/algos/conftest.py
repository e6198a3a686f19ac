"""Algorithms with the settings of conf/algo on small environments."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3.common.vec_env import VecEnv

from racing.algos.cmaes import make_cmaes
from racing.algos.masac import make_masac
from racing.algos.ppo import make_ppo
from racing.algos.sac import make_sac
from racing.envs.task import StepResult
from tests.support.drivers import group

NUM_ENVS, SIZE = 3, 4


class TinyEnv(VecEnv):
    """Three environments of plain formulas: 0 terminates every 5 steps, 1 is truncated every 4, 2 never ends.

    history: for each step the actions that led to it, and what came of them.
    """

    privileged = None

    def __init__(self) -> None:
        self.render_mode = None
        super().__init__(NUM_ENVS, spaces.Box(-10, 10, (SIZE,), np.float32), spaces.Box(-1, 1, (2,), np.float32))
        self.episodes: list[dict[str, Any]] = []
        self.age = np.zeros(NUM_ENVS, int)
        self.total = 0
        self.history: list[tuple[np.ndarray, StepResult]] = []

    def _see(self, age: np.ndarray, push: np.ndarray) -> np.ndarray:
        columns = [np.sin(age), np.cos(0.7 * age + np.arange(NUM_ENVS)), push, np.arange(NUM_ENVS) - 1.0]
        return np.stack(columns, axis=1).astype(np.float32)

    def reset(self) -> np.ndarray:
        self.age[:] = 0
        return self._see(self.age, np.zeros(NUM_ENVS))

    def step_batch(self, actions: np.ndarray) -> StepResult:
        self.age += 1
        self.total += 1
        push = actions.sum(axis=1)
        terminated = np.array([self.age[0] == 5, False, False])
        truncated = np.array([False, self.age[1] == 4, False])
        final = self._see(self.age, push)
        self.age[terminated | truncated] = 0
        observation = np.where((terminated | truncated)[:, None], self._see(self.age, np.zeros(NUM_ENVS)), final)
        reward = (np.cos(self.total) - (actions**2).sum(axis=1)).astype(np.float32)
        step = StepResult(
            observation=observation,
            reward=reward,
            terms=reward[:, None],
            terminated=terminated,
            truncated=truncated,
            final_observation=final,
        )
        self.history.append((actions.copy(), step))
        return step

    def step_async(self, actions: np.ndarray) -> None:
        raise NotImplementedError

    step_wait = close = set_attr = env_method = env_is_wrapped = step_async

    def get_attr(self, name: str, indices: Any = None) -> list[Any]:
        return [getattr(self, name)] * NUM_ENVS


@pytest.fixture
def ppo():
    """ppo(env, seed=0, **changes): a model with the settings of conf/algo/ppo.yaml."""

    def make(env: VecEnv, seed: int = 0, **changes: Any):
        return make_ppo(env, seed=seed, device="cpu", **settings("algo/ppo") | changes)

    return make


@pytest.fixture
def sac():
    """sac(env, seed=0, **changes): a model with the settings of conf/algo/sac.yaml."""

    def make(env: VecEnv, seed: int = 0, **changes: Any):
        return make_sac(env, seed=seed, device="cpu", **settings("algo/sac") | changes)

    return make


@pytest.fixture
def masac():
    """masac(env, seed=0, **changes): agents with the settings of conf/algo/masac.yaml."""

    def make(env: VecEnv, seed: int = 0, **changes: Any):
        both = settings("algo/sac") | settings("algo/masac")
        return make_masac(env, seed=seed, device="cpu", **both | changes)

    return make


@pytest.fixture
def cmaes():
    """cmaes(env, seed=0, **changes): a model with the settings of conf/algo/cmaes.yaml."""

    def make(env: VecEnv, seed: int = 0, **changes: Any):
        return make_cmaes(env, seed=seed, device="cpu", **settings("algo/cmaes") | changes)

    return make


def settings(name: str) -> dict[str, Any]:
    others = ("defaults", "_target_", "_partial_", "total_timesteps", "n_envs")
    return {k: v for k, v in group(name).items() if k not in others and not k.startswith("teacher")}
