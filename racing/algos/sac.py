"""SAC for environments that are batches: Stable-Baselines3's, its update rewritten for many cars and few updates."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

import torch as th
from gymnasium import spaces
from stable_baselines3 import SAC
from stable_baselines3.common.vec_env import VecEnv
from torch import nn

from racing.algos.common import BatchAlgorithm, GreedyModule, layers, schedule
from racing.algos.common import activation as activation_class
from racing.algos.critics import StackedSACPolicy
from racing.algos.extractors import vision_kwargs
from racing.algos.losses import HALF_LOG_2PI
from racing.algos.replay.batch import BatchReplayBuffer
from racing.algos.replay.frames import FrameReplayBuffer
from racing.errors import require, require_number, require_numbers

RULES = {
    "buffer_size": (1, 1e9, True),
    "learning_starts": (0, 1e9, True),
    "batch_size": (1, 1e6, True),
    "gradient_steps": (1, 1e4, True),
    "policy_delay": (1, 1e4, True),
    "n_steps": (1, 1000, True),
    "gamma": (0.0, 1.0, False),
    "tau": (1e-6, 1.0, False),
}
CRITIC_NORMS = {"layer": True, "none": False}


class BatchSAC(BatchAlgorithm, SAC):
    """SAC (Haarnoja et al. 2018, arXiv 1812.05905) with n-step returns, on environments that are batches already.

    policy_delay: updates of the critics for each of the actor and the temperature (Fujimoto et al. 2018, arXiv
    1802.09477)

    Differences from SB3
    --------------------
    With `n_steps=1, policy_delay=1, critic_norm=none` an update minimizes the losses of `stable_baselines3.SAC`.
    What differs:

    * The actor follows the critics: its loss is of the critics that were just updated, as SB3's, but of actions drawn
      after the update. The temperature follows with it.
    * Critics are one stack, layer-normalized by default (racing.algos.critics).
    * n-step returns bootstrap where an episode was cut, and end where it ended (racing.algos.replay.batch); SB3's are
      not for Dict observations.
    * The log density of the squashed action is that of eq. 21 in its stable form, without SB3's 1e-6.
    * There is no gSDE, and no VecNormalize.
    """

    policy_delay = 1

    @staticmethod
    def greedy_module(policy: Any) -> nn.Module:
        """The mean of the Gaussian, squashed by tanh."""
        actor = policy.actor
        return GreedyModule(actor.features_extractor, actor.latent_pi, actor.mu, nn.Tanh())

    def _setup_model(self) -> None:
        """See BaseAlgorithm. Where it is to learn, it gets a buffer of ours."""
        if self.replay_buffer_class is None and self.env is not None:  # type: ignore[has-type]
            frames = isinstance(self.observation_space, spaces.Dict)
            self.replay_buffer_class = FrameReplayBuffer if frames else BatchReplayBuffer
            stack = {"stack": self.env.stack} if frames else {}
            self.replay_buffer_kwargs = {"gamma": self.gamma, **self.replay_buffer_kwargs, **stack}  # type: ignore[has-type]
        super()._setup_model()

    def train(self, gradient_steps: int, batch_size: int = 64) -> None:
        """Update the critics `gradient_steps` times, each with a new minibatch, and the actor now and then."""
        self.policy.set_training_mode(True)
        temperature = [] if self.ent_coef_optimizer is None else [self.ent_coef_optimizer]
        self._update_learning_rate([self.actor.optimizer, self.critic.optimizer, *temperature])
        losses: dict[str, list[th.Tensor]] = {}
        for _ in range(gradient_steps):
            batch: Any = self.replay_buffer.sample(batch_size)
            updated = {"critic_loss": self._update_critics(batch)}
            self._n_updates += 1
            if self._n_updates % self.policy_delay == 0:
                updated |= self._update_actor(batch.observations)
            with th.no_grad():
                for target, source in zip(self.critic_target.parameters(), self.critic.parameters(), strict=True):
                    target.lerp_(source, self.tau)
            for name, loss in updated.items():
                losses.setdefault(name, []).append(loss)
        for name, values in losses.items():
            self.logger.record(f"train/{name}", float(th.stack(values).mean()))
        self.logger.record("train/n_updates", self._n_updates, exclude="tensorboard")
        self.logger.record("train/ent_coef", float(self._temperature()))

    def _temperature(self) -> th.Tensor:
        """() temperature alpha."""
        return self.ent_coef_tensor if self.log_ent_coef is None else self.log_ent_coef.detach().exp().squeeze()

    def _sampled(self, observation: Any) -> tuple[th.Tensor, th.Tensor]:
        """Actions (B, A) of the policy as it is, and the log of their density (B,)."""
        mean, log_std, _ = self.actor.get_action_dist_params(observation)
        return squashed_sample(mean, log_std)

    def _update_critics(self, batch: Any) -> th.Tensor:
        """One gradient step; returns their loss."""
        with th.no_grad():
            next_actions, next_log_prob = self._sampled(batch.next_observations)
            target, critic = self.critic_target, self.critic
            next_values = target.values(target.features(batch.next_observations), next_actions).amin(0)
            next_values -= self._temperature() * next_log_prob
            returns = (batch.rewards + (1 - batch.dones) * batch.discounts * next_values[:, None]).squeeze(1)
        values = critic.values(critic.features(batch.observations), batch.actions)
        loss = 0.5 * (values - returns).square().mean(1).sum()
        step(critic.optimizer, loss)
        return loss.detach()

    def _update_actor(self, observation: Any) -> dict[str, th.Tensor]:
        """One gradient step of the actor, and of the temperature where it is learnt; returns their losses."""
        actions, log_prob = self._sampled(observation)
        with th.no_grad():
            features = self.critic.features(observation)
        value = self.critic.values(features, actions).amin(0)
        loss = (self._temperature() * log_prob - value).mean()
        step(self.actor.optimizer, loss)
        losses = {"actor_loss": loss.detach(), "entropy": -log_prob.detach().mean()}
        if self.ent_coef_optimizer is not None and self.log_ent_coef is not None:
            excess = log_prob.detach().mean() + self.target_entropy
            temperature_loss = -(self.log_ent_coef * excess).sum()
            step(self.ent_coef_optimizer, temperature_loss)
            losses["ent_coef_loss"] = temperature_loss.detach()
        return losses


def step(optimizer: th.optim.Optimizer, loss: th.Tensor) -> None:
    """One step down the gradient of `loss`, with respect to the optimizer's parameters and no others."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for parameter, gradient in zip(parameters, th.autograd.grad(loss, parameters), strict=True):
        parameter.grad = gradient
    optimizer.step()


def squashed_sample(mean: th.Tensor, log_std: th.Tensor) -> tuple[th.Tensor, th.Tensor]:
    """Draw actions tanh(u), u from a diagonal Gaussian (B, A); returns them (B, A) and the log of their density (B,).

    Appendix C of Haarnoja et al. 2018, arXiv 1812.05905, with log(1 - tanh(u)^2) = 2 (log 2 - u - softplus(-2 u)).
    """
    noise = th.randn_like(mean)
    u = mean + log_std.exp() * noise
    squash = 2 * (math.log(2) - u - nn.functional.softplus(-2 * u))
    return th.tanh(u), -(0.5 * noise * noise + log_std + HALF_LOG_2PI + squash).sum(-1)


def make_sac(
    env: VecEnv,
    *,
    seed: int,
    device: str,
    learning_rate: float,
    learning_rate_end: float,
    ent_coef: str | float,
    target_entropy: str | float,
    policy_delay: int,
    n_steps: int,
    critic_norm: str,
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
    require_numbers("algo", {**settings, "policy_delay": policy_delay, "n_steps": n_steps}, RULES)
    check_temperature(ent_coef)
    check_target_entropy(target_entropy)
    known = f"algo.critic_norm must be one of {', '.join(CRITIC_NORMS)}, got {critic_norm!r}; choose one"
    require(critic_norm in CRITIC_NORMS, known)
    policy_kwargs: dict[str, Any] = {"net_arch": layers(net_arch), "activation_fn": activation_class(activation)}
    policy_kwargs |= {"layer_norm": CRITIC_NORMS[critic_norm], "optimizer_kwargs": {"fused": True}}
    if isinstance(env.observation_space, spaces.Dict):
        policy_kwargs |= vision_kwargs(env.observation_space, cnn, features_dim, precision, device)
    model = BatchSAC(
        StackedSACPolicy,
        env,
        learning_rate=schedule(learning_rate, learning_rate_end),
        train_freq=1,
        ent_coef=ent_coef,
        target_entropy=target_entropy,
        policy_kwargs=policy_kwargs,
        replay_buffer_kwargs={"n_steps": n_steps},
        seed=seed,
        device=device,
        **settings,
    )
    model.policy_delay = policy_delay
    return model


def check_temperature(ent_coef: str | float) -> None:
    """Raise InputError unless `ent_coef` is a number >= 0, auto or auto_<start>."""
    automatic = re.fullmatch(r"auto(_\d*\.?\d+)?", ent_coef) if isinstance(ent_coef, str) else None
    if automatic is None:
        require_number("algo.ent_coef", ent_coef, 0, 1000, remedy="or auto, or auto_0.1 to learn it from 0.1 on")
    else:
        start = float((automatic[1] or "_1")[1:])
        require(start > 0, f"algo.ent_coef={ent_coef} must start above 0; e.g. auto_0.1")


def check_target_entropy(target_entropy: str | float) -> None:
    """Raise InputError unless `target_entropy` is a number or auto."""
    if target_entropy != "auto":
        remedy = "or auto: minus the number of actions"
        require_number("algo.target_entropy", target_entropy, -1000, 1000, remedy=remedy)
