"""SAC: Stable-Baselines3's, with our defaults and checks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from stable_baselines3 import SAC
from stable_baselines3.common.vec_env import VecEnv

from racing.algos.common import activation as activation_class
from racing.algos.common import check_ranges, schedule

RULES = {
    "buffer_size": (1, 1e9, True),
    "learning_starts": (0, 1e9, True),
    "batch_size": (1, 1e6, True),
    "gradient_steps": (1, 1e4, True),
    "gamma": (0.0, 1.0, False),
    "tau": (1e-6, 1.0, False),
}


def make_sac(
    env: VecEnv,
    *,
    seed: int,
    device: str,
    learning_rate: float,
    learning_rate_end: float,
    ent_coef: str | float,
    net_arch: Sequence[int],
    activation: str,
    **settings: Any,
) -> SAC:
    """A fresh SAC model; every argument is documented in conf/algo/sac.yaml. Raises InputError for values off range."""
    check_ranges(settings, RULES)
    return SAC(
        "MlpPolicy",
        env,
        learning_rate=schedule(learning_rate, learning_rate_end),
        train_freq=1,
        ent_coef=ent_coef,
        policy_kwargs={"net_arch": list(net_arch), "activation_fn": activation_class(activation)},
        seed=seed,
        device=device,
        **settings,
    )
