"""SAC: Stable-Baselines3's, with our defaults and checks."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from gymnasium import spaces
from stable_baselines3 import SAC
from stable_baselines3.common.vec_env import VecEnv
from torch import nn

from racing.algos.common import BatchAlgorithm, GreedyModule, layers, schedule
from racing.algos.common import activation as activation_class
from racing.algos.extractors import vision_kwargs
from racing.algos.frame_replay import FrameReplayBuffer
from racing.algos.replay import CountingReplayBuffer
from racing.errors import require, require_number, require_numbers

RULES = {
    "buffer_size": (1, 1e9, True),
    "learning_starts": (0, 1e9, True),
    "batch_size": (1, 1e6, True),
    "gradient_steps": (1, 1e4, True),
    "gamma": (0.0, 1.0, False),
    "tau": (1e-6, 1.0, False),
}


class BatchSAC(BatchAlgorithm, SAC):
    """Stable-Baselines3's SAC (Haarnoja et al. 2018, arXiv 1812.05905) on environments that are batches already."""

    @staticmethod
    def greedy_module(policy: Any) -> nn.Module:
        """The mean of the Gaussian, squashed by tanh."""
        actor = policy.actor
        return GreedyModule(actor.features_extractor, actor.latent_pi, actor.mu, nn.Tanh())

    def _setup_model(self) -> None:
        """See BaseAlgorithm. Where it is to learn, it gets a buffer of ours."""
        if self.replay_buffer_class is None and self.env is not None:  # type: ignore[has-type]
            frames = isinstance(self.observation_space, spaces.Dict)
            self.replay_buffer_class = FrameReplayBuffer if frames else CountingReplayBuffer
            self.replay_buffer_kwargs = {"stack": self.env.stack} if frames else {}
        super()._setup_model()


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
    cnn: str,
    features_dim: int,
    precision: str,
    **settings: Any,
) -> SAC:
    """Make a fresh SAC model. Raises InputError for values off range; each is documented in conf/algo/sac.yaml.

    env: with frames, it has `stack` (frames in an observation).
    """
    require_numbers("algo", settings, RULES)
    check_temperature(ent_coef)
    policy_kwargs: dict[str, Any] = {"net_arch": layers(net_arch), "activation_fn": activation_class(activation)}
    if isinstance(env.observation_space, spaces.Dict):
        policy_kwargs |= vision_kwargs(env.observation_space, cnn, features_dim, precision, device)
    return BatchSAC(
        "MultiInputPolicy" if isinstance(env.observation_space, spaces.Dict) else "MlpPolicy",
        env,
        learning_rate=schedule(learning_rate, learning_rate_end),
        train_freq=1,
        ent_coef=ent_coef,
        policy_kwargs=policy_kwargs,
        seed=seed,
        device=device,
        **settings,
    )


def check_temperature(ent_coef: str | float) -> None:
    """Raise InputError unless `ent_coef` is a number >= 0, auto or auto_<start>."""
    automatic = re.fullmatch(r"auto(_\d*\.?\d+)?", ent_coef) if isinstance(ent_coef, str) else None
    if automatic is None:
        require_number("algo.ent_coef", ent_coef, 0, 1000, remedy="or auto, or auto_0.1 to learn it from 0.1 on")
    else:
        start = float((automatic[1] or "_1")[1:])
        require(start > 0, f"algo.ent_coef={ent_coef} must start above 0; e.g. auto_0.1")
