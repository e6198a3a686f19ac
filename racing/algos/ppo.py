"""PPO for native batches: Stable-Baselines3's PPO with its two loops rewritten for many cars and large minibatches.

Same policy classes, same saved file (`stable_baselines3.PPO.load` reads it), same mathematics (Schulman et al. 2017,
GAE 2015). What differs, and why it is worth it (`racing bench ppo`):
  collect_rollouts  runs only the actor while driving; values and log-probabilities of the whole rollout follow in one
                    pass. No per-car dicts.
  train             evaluates the diagonal Gaussian directly on tensors that were laid out once per rollout.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch as th
from stable_baselines3 import PPO
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.utils import explained_variance
from stable_baselines3.common.vec_env import VecEnv

from racing.algos.common import activation as activation_class
from racing.algos.common import layers, schedule
from racing.errors import is_number, require, require_number, require_numbers

HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)


class BatchPPO(PPO):
    """PPO on environments that offer `advance(actions) -> Step` (racing.envs.vec_env), Box observations and actions."""

    def _actor(self, observation: th.Tensor) -> th.Tensor:
        features = self.policy.extract_features(observation, self.policy.pi_features_extractor)
        return self.policy.action_net(self.policy.mlp_extractor.forward_actor(features))

    def _critic(self, observation: th.Tensor) -> th.Tensor:
        features = self.policy.extract_features(observation, self.policy.vf_features_extractor)
        return self.policy.value_net(self.policy.mlp_extractor.forward_critic(features)).flatten()

    @th.no_grad()
    def collect_rollouts(
        self, env: VecEnv, callback: BaseCallback, rollout_buffer: RolloutBuffer, n_rollout_steps: int
    ) -> bool:
        """Drive n_rollout_steps decisions on every lane and fill the buffer; False if the callback asked to stop."""
        self.policy.set_training_mode(False)
        callback.on_rollout_start()
        buffer = rollout_buffer
        buffer.reset()
        sigma = self.policy.log_std.exp()
        noise = th.randn(n_rollout_steps, env.num_envs, self.action_space.shape[0], device=self.device)
        spread = noise * sigma
        dones = np.zeros((n_rollout_steps, env.num_envs), np.float32)
        cut: list[tuple[int, np.ndarray[Any, Any], np.ndarray[Any, Any]]] = []  # decision, lanes, last observations
        observation: Any = self._last_obs  # type: ignore[has-type]  # SB3 sets it
        for t in range(n_rollout_steps):
            buffer.observations[t] = observation
            actions = self._actor(th.as_tensor(observation, device=self.device)).add_(spread[t]).cpu().numpy()
            buffer.actions[t] = actions
            step = env.advance(np.clip(actions, -1.0, 1.0))
            buffer.rewards[t] = step.reward
            dones[t] = step.terminated | step.truncated
            lanes = np.flatnonzero(step.truncated)
            if len(lanes):
                cut.append((t, lanes, step.final_observation[lanes]))
            observation = step.observation
            self.num_timesteps += env.num_envs
            callback.update_locals(locals())
            if not callback.on_step():
                return False
        self._finish(buffer, noise, sigma, dones, cut, observation)
        self._last_obs = observation
        self._last_episode_starts = dones[-1].astype(bool)
        self.ep_info_buffer.extend({"r": e["reward"], "l": e["steps"], "t": 0.0} for e in env.episodes)
        callback.update_locals(locals())
        callback.on_rollout_end()
        return True

    def _finish(self, buffer: Any, noise: th.Tensor, sigma: th.Tensor, dones: Any, cut: Any, last: Any) -> None:
        """Values, log-probabilities, bootstraps and advantages of a whole rollout at once."""
        count, lanes = dones.shape
        batch = np.concatenate([buffer.observations.reshape(count * lanes, -1), last, *(c[2] for c in cut)])
        values = self._critic(th.as_tensor(batch, device=self.device)).cpu().numpy()
        buffer.values[:] = values[: count * lanes].reshape(count, lanes)
        tail = count * lanes + lanes
        for t, which, _ in cut:  # a time limit is not the car's fault: what would have come counts
            buffer.rewards[t, which] += self.gamma * values[tail : tail + len(which)]
            tail += len(which)
        log_prob = -(0.5 * noise**2 + HALF_LOG_2PI + sigma.log()).sum(-1)
        buffer.log_probs[:] = log_prob.cpu().numpy()
        following, advantage = values[count * lanes : count * lanes + lanes], np.zeros(lanes, np.float32)
        for t in reversed(range(count)):
            alive = 1.0 - dones[t]
            delta = buffer.rewards[t] + self.gamma * following * alive - buffer.values[t]
            advantage = delta + self.gamma * self.gae_lambda * alive * advantage
            buffer.advantages[t] = advantage
            following = buffer.values[t]
        buffer.returns[:] = buffer.advantages + buffer.values
        buffer.full = True

    def _tensors(self) -> list[th.Tensor]:
        buffer = self.rollout_buffer
        flat = (buffer.observations, buffer.actions, buffer.log_probs, buffer.advantages, buffer.returns, buffer.values)
        rows = buffer.buffer_size * buffer.n_envs
        return [th.as_tensor(array.reshape(rows, *array.shape[2:]), device=self.device) for array in flat]

    def train(self) -> None:
        """Improve the policy with the collected rollout."""
        self.policy.set_training_mode(True)
        self._update_learning_rate(self.policy.optimizer)
        clip = float(self.clip_range(self._current_progress_remaining))
        observations, actions, old_log_prob, advantages, returns, _ = self._tensors()
        if self.normalize_advantage:
            advantages = (advantages - advantages.mean()) / (advantages.std() + 1e-8)
        policy, rows = self.policy, len(observations)
        parameters = list(policy.parameters())
        losses: list[tuple[float, ...]] = []
        kl = 0.0
        for epoch in range(self.n_epochs):
            order = th.randperm(rows, device=self.device)
            for first in range(0, rows, self.batch_size):
                at = order[first : first + self.batch_size]
                x = observations[at]
                log_std = policy.log_std
                error = (actions[at] - self._actor(x)) * (-log_std).exp()
                log_prob = -(0.5 * error * error + log_std + HALF_LOG_2PI).sum(-1)
                log_ratio = log_prob - old_log_prob[at]
                ratio, gain = log_ratio.exp(), advantages[at]
                policy_loss = -th.min(gain * ratio, gain * ratio.clamp(1 - clip, 1 + clip)).mean()
                value_loss = (returns[at] - self._critic(x)).square().mean()
                loss = policy_loss + self.vf_coef * value_loss
                if self.ent_coef:
                    loss = loss - self.ent_coef * (log_std + 0.5 + HALF_LOG_2PI).sum()
                policy.optimizer.zero_grad()
                loss.backward()
                th.nn.utils.clip_grad_norm_(parameters, self.max_grad_norm)
                policy.optimizer.step()
                if epoch == self.n_epochs - 1 or self.target_kl is not None:
                    with th.no_grad():
                        kl = float((log_ratio.exp() - 1 - log_ratio).mean())
                        clipped = float(((ratio - 1).abs() > clip).float().mean())
                    losses.append((policy_loss.item(), value_loss.item(), kl, clipped))
            self._n_updates += 1
            if self.target_kl is not None and kl > 1.5 * self.target_kl:
                break
        self._record(np.mean(losses, axis=0), clip)

    def _record(self, means: Any, clip: float) -> None:
        buffer, log = self.rollout_buffer, self.logger.record
        for name, value in zip(("policy_loss", "value_loss", "approx_kl", "clip_fraction"), means, strict=True):
            log(f"train/{name}", float(value))
        log("train/explained_variance", float(explained_variance(buffer.values.flatten(), buffer.returns.flatten())))
        log("train/std", float(self.policy.log_std.detach().exp().mean()))
        log("train/clip_range", clip)
        log("train/n_updates", self._n_updates)
        self.logger.dump(self.num_timesteps)  # now: SB3 would record it with the next rollout, and the last one never


RULES = {
    "n_steps": (2, 1e6, True),
    "batch_size": (2, 1e7, True),
    "n_epochs": (1, 1000, True),
    "gamma": (0.0, 1.0, False),
    "gae_lambda": (0.0, 1.0, False),
    "clip_range": (1e-4, 10.0, False),
    "ent_coef": (0.0, 10.0, False),
    "vf_coef": (0.0, 100.0, False),
    "max_grad_norm": (1e-6, 1e6, False),
}


def make_ppo(
    env: VecEnv,
    *,
    seed: int,
    device: str,
    learning_rate: float,
    learning_rate_end: float,
    log_std_init: Sequence[float],
    net_arch: Sequence[int],
    activation: str,
    **settings: Any,
) -> BatchPPO:
    """A fresh PPO model; every argument is documented in conf/algo/ppo.yaml. Raises InputError for values off range."""
    require_numbers("algo", settings, RULES)
    rows, batch = settings["n_steps"] * env.num_envs, settings["batch_size"]
    rule = f"algo.batch_size must divide algo.n_steps * algo.n_envs = {rows}, got {batch}; use a divisor"
    require(rows % batch == 0, rule)
    if settings.get("target_kl") is not None:
        require_number("algo.target_kl", settings["target_kl"], 1e-9, 100, remedy="null switches it off")
    count = env.action_space.shape[0]
    spread = list(log_std_init) if isinstance(log_std_init, Sequence) else []
    require(
        len(spread) == count and all(is_number(v) and -10 <= v <= 2 for v in spread),
        f"algo.log_std_init must be {count} numbers in [-10, 2], got {log_std_init!r}; give one per action",
    )
    hidden = layers(net_arch)
    model = BatchPPO(
        "MlpPolicy",
        env,
        learning_rate=schedule(learning_rate, learning_rate_end),
        policy_kwargs={
            "net_arch": {"pi": hidden, "vf": hidden},
            "activation_fn": activation_class(activation),
        },
        seed=seed,
        device=device,
        **settings,
    )
    with th.no_grad():
        model.policy.log_std.copy_(th.tensor(spread))
    return model
