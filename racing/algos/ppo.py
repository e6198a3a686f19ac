"""PPO for native batches: Stable-Baselines3's PPO with its two loops rewritten for many cars and large minibatches.

Same policy classes, same saved file (`stable_baselines3.PPO.load` reads it), same mathematics (Schulman et al. 2017,
GAE 2015). What differs, and why it is worth it (`racing bench ppo`):
  collect_rollouts  runs only the actor while driving; values and log-probabilities of the whole rollout follow in one
                    pass. No per-car dicts.
  train             evaluates the diagonal Gaussian directly on tensors that were laid out once per rollout.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch as th
from gymnasium import spaces
from stable_baselines3 import PPO
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.utils import explained_variance
from stable_baselines3.common.vec_env import VecEnv

from racing.algos.common import activation as activation_class
from racing.algos.common import layers, schedule
from racing.algos.extractors import vision_kwargs
from racing.algos.policy import VisionPolicy
from racing.algos.rollout import FrameRollout, Rollout
from racing.errors import is_number, require, require_number, require_numbers
from racing.observations import joined, rows_of

HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)
Teacher = Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]]  # (n, D) privileged -> (n, 2) actions


@dataclass(frozen=True)
class Cut:
    """Lanes whose episode was cut by a limit at decision t, and what they observed last."""

    t: int
    lanes: npt.NDArray[Any]
    observation: Any
    privileged: Any


@dataclass(frozen=True)
class Columns:
    """A rollout's rows, as tensors. weight: how much the teacher counts, lesson: what it would have done."""

    actions: th.Tensor
    log_prob: th.Tensor
    advantages: th.Tensor
    returns: th.Tensor
    weight: float
    lesson: th.Tensor | None


class BatchPPO(PPO):
    """PPO on environments that offer `advance(actions) -> Step` (racing.envs.vec_env), Box actions.

    teacher: a policy that is imitated at first, as a function of privileged observations; see `make_ppo`.
    """

    teacher: Teacher | None = None
    teacher_weight = teacher_until = 0.0
    normalize_advantage_per_mini_batch = False

    @staticmethod
    def _wrap_env(env: VecEnv, verbose: int = 0, monitor_wrapper: bool = True) -> VecEnv:
        """As it is: our environments are batches already, and the networks take frames as they come."""
        return env

    def _features(self, observation: Any) -> th.Tensor:
        return self.policy.features_extractor(observation)

    def _mean(self, features: th.Tensor) -> th.Tensor:
        return self.policy.action_net(self.policy.mlp_extractor.forward_actor(features))

    def _value(self, features: th.Tensor | None, extra: th.Tensor | None) -> th.Tensor:
        """Of features, or of privileged observations where the critic has eyes of its own."""
        privileged = getattr(self.policy, "privileged_critic", None)
        if privileged is not None:
            return privileged(extra).flatten()
        return self.policy.value_net(self.policy.mlp_extractor.forward_critic(features)).flatten()

    def _critic(self, observation: Any, extra: th.Tensor | None) -> th.Tensor:
        own = hasattr(self.policy, "privileged_critic")
        return self._value(None if own else self._features(observation), extra)

    def _tensors(self, observation: Any) -> Any:
        if isinstance(observation, dict):
            return {key: th.as_tensor(array, device=self.device) for key, array in observation.items()}
        return th.as_tensor(observation, device=self.device)

    @th.no_grad()
    def collect_rollouts(
        self, env: VecEnv, callback: BaseCallback, rollout_buffer: RolloutBuffer, n_rollout_steps: int
    ) -> bool:
        """Drive n_rollout_steps decisions on every lane and fill the buffer; False if the callback asked to stop."""
        self.policy.set_training_mode(False)
        callback.on_rollout_start()
        buffer: Any = rollout_buffer
        seen = len(env.episodes)
        sigma = self.policy.log_std.exp()
        noise = th.randn(n_rollout_steps, env.num_envs, self.action_space.shape[0], device=self.device)
        spread = noise * sigma
        dones = np.zeros((n_rollout_steps, env.num_envs), np.float32)
        cut: list[Cut] = []
        observation: Any = self._last_obs  # type: ignore[has-type]  # SB3 sets it
        started = self._last_episode_starts  # type: ignore[has-type]
        buffer.begin(observation)
        for t in range(n_rollout_steps):
            buffer.put(t, observation, started, env.privileged)
            actions = self._mean(self._features(self._tensors(observation))).add_(spread[t]).cpu().numpy()
            buffer.actions[t] = actions
            step = env.advance(np.clip(actions, -1.0, 1.0))
            buffer.rewards[t] = step.reward
            started = step.terminated | step.truncated
            dones[t] = started
            lanes = np.flatnonzero(step.truncated)
            if len(lanes):
                cut.append(Cut(t, lanes, rows_of(step.final_observation, lanes), rows_of(step.final_privileged, lanes)))
            observation = step.observation
            self.num_timesteps += env.num_envs
            callback.update_locals(locals())
            if not callback.on_step():
                return False
        buffer.load()
        self._finish(buffer, noise, sigma, dones, cut, (observation, env.privileged))
        self._last_obs = observation
        self._last_episode_starts = started
        self.ep_info_buffer.extend({"r": e["reward"], "l": e["steps"], "t": 0.0} for e in env.episodes[seen:])
        callback.update_locals(locals())
        callback.on_rollout_end()
        return True

    def _finish(self, buffer: Any, noise: th.Tensor, sigma: th.Tensor, dones: Any, cut: list[Cut], last: Any) -> None:
        """Values, log-probabilities, bootstraps and advantages of a whole rollout at once."""
        count, lanes = dones.shape
        rows = count * lanes
        pieces = [slice(first, first + buffer.chunk) for first in range(0, rows, buffer.chunk)]
        found = [self._critic(buffer.batch(piece), buffer.extra(piece)) for piece in pieces]
        buffer.values[:] = th.cat(found).cpu().numpy().reshape(count, lanes)
        after = joined([last[0], *(c.observation for c in cut)])
        extra = None if last[1] is None else self._tensors(joined([last[1], *(c.privileged for c in cut)]))
        values = self._critic(self._tensors(after), extra).cpu().numpy()
        tail = lanes
        for c in cut:  # a time limit is not the car's fault: what would have come counts
            buffer.rewards[c.t, c.lanes] += self.gamma * values[tail : tail + len(c.lanes)]
            tail += len(c.lanes)
        log_prob = -(0.5 * noise**2 + HALF_LOG_2PI + sigma.log()).sum(-1)
        buffer.log_probs[:] = log_prob.cpu().numpy()
        following, advantage = values[:lanes], np.zeros(lanes, np.float32)
        for t in reversed(range(count)):
            alive = 1.0 - dones[t]
            delta = buffer.rewards[t] + self.gamma * following * alive - buffer.values[t]
            advantage = delta + self.gamma * self.gae_lambda * alive * advantage
            buffer.advantages[t] = advantage
            following = buffer.values[t]
        buffer.returns[:] = buffer.advantages + buffer.values
        buffer.full = True

    def train(self) -> None:
        """Improve the policy with the collected rollout."""
        self.policy.set_training_mode(True)
        self._update_learning_rate(self.policy.optimizer)
        clip = float(self.clip_range(self._current_progress_remaining))
        buffer: Any = self.rollout_buffer
        buffer.load()
        columns = self._columns()
        rows = len(columns.actions)
        parameters = list(self.policy.parameters())
        losses: list[list[float]] = []
        reached = False
        for epoch in range(self.n_epochs):
            order = th.randperm(rows, device=self.device)
            losses.clear()
            for first in range(0, rows, self.batch_size):
                loss, parts = self._loss(buffer, columns, order[first : first + self.batch_size], clip)
                if epoch == self.n_epochs - 1 or self.target_kl is not None:
                    losses.append(self._told(parts, clip))
                    reached = self.target_kl is not None and losses[-1][2] > 1.5 * self.target_kl
                if reached:
                    break
                self.policy.optimizer.zero_grad()
                loss.backward()
                th.nn.utils.clip_grad_norm_(parameters, self.max_grad_norm)
                self.policy.optimizer.step()
            self._n_updates += 1
            if reached:
                break
        self._record(np.mean(losses, axis=0), clip)

    def _loss(self, buffer: Any, columns: Columns, at: th.Tensor, clip: float) -> tuple[th.Tensor, list[th.Tensor]]:
        """Loss of the minibatch with the rows `at`, and its parts: policy, value, log of the ratio, imitation."""
        features = self._features(buffer.batch(at))
        mean, log_std = self._mean(features), self.policy.log_std
        error = (columns.actions[at] - mean) * (-log_std).exp()
        log_prob = -(0.5 * error * error + log_std + HALF_LOG_2PI).sum(-1)
        log_ratio = log_prob - columns.log_prob[at]
        ratio, gain = log_ratio.exp(), columns.advantages[at]
        if self.normalize_advantage and self.normalize_advantage_per_mini_batch and len(gain) > 1:
            gain = (gain - gain.mean()) / (gain.std() + 1e-8)
        policy_loss = -th.min(gain * ratio, gain * ratio.clamp(1 - clip, 1 + clip)).mean()
        value_loss = (columns.returns[at] - self._value(features, buffer.extra(at))).square().mean()
        parts = [policy_loss, value_loss, log_ratio]
        loss = policy_loss + self.vf_coef * value_loss
        if columns.lesson is not None:
            imitation = imitation_loss(mean, columns.lesson[at])
            # What the teacher says replaces what was experienced, not what is to be expected: the critic learns on.
            loss = loss + columns.weight * (self.teacher_weight * imitation - policy_loss)
            parts.append(imitation)
        if self.ent_coef:
            loss = loss - self.ent_coef * (log_std + 0.5 + HALF_LOG_2PI).sum()
        return loss, parts

    def _told(self, parts: list[th.Tensor], clip: float) -> list[float]:
        """What the log says of a minibatch: policy and value loss, divergence, share clipped, imitation."""
        with th.no_grad():
            ratio = parts[2].exp()
            kl = float((ratio - 1 - parts[2]).mean())
            clipped = float(((ratio - 1).abs() > clip).float().mean())
        return [parts[0].item(), parts[1].item(), kl, clipped, *(part.item() for part in parts[3:])]

    def _columns(self) -> Columns:
        buffer = self.rollout_buffer
        rows = buffer.buffer_size * buffer.n_envs
        flat = (buffer.actions, buffer.log_probs, buffer.advantages, buffer.returns)
        actions, log_prob, advantages, returns = (
            th.as_tensor(array.reshape(rows, *array.shape[2:]), device=self.device) for array in flat
        )
        if self.normalize_advantage and not self.normalize_advantage_per_mini_batch:
            advantages = (advantages - advantages.mean()) / (advantages.std() + 1e-8)
        weight, lesson = self._lesson(buffer)
        return Columns(actions, log_prob, advantages, returns, weight, lesson)

    def _lesson(self, buffer: Any) -> tuple[float, th.Tensor | None]:
        """How much the teacher counts now, from 1 to 0, and what it would have done in the rollout: (rows, 2)."""
        done = 1.0 - self._current_progress_remaining
        weight = max(0.0, 1.0 - done / self.teacher_until) if self.teacher_until else 0.0
        if self.teacher is None or weight == 0.0:
            return 0.0, None
        return weight, th.as_tensor(self.teacher(buffer.extra(slice(None)).cpu().numpy()), device=self.device)

    def _record(self, means: Any, clip: float) -> None:
        buffer, log = self.rollout_buffer, self.logger.record
        names = ("policy_loss", "value_loss", "approx_kl", "clip_fraction", "imitation_loss")
        for name, value in zip(names, means, strict=False):
            log(f"train/{name}", float(value))
        log("train/explained_variance", float(explained_variance(buffer.values.flatten(), buffer.returns.flatten())))
        log("train/std", float(self.policy.log_std.detach().exp().mean()))
        log("train/clip_range", clip)
        log("train/n_updates", self._n_updates)
        self.logger.dump(self.num_timesteps)  # now: SB3 would record it with the next rollout, and the last one never


def imitation_loss(mean: th.Tensor, lesson: th.Tensor) -> th.Tensor:
    """Mean squared difference (n, A) to what the teacher did; beyond a limit that it used, there is none."""
    error = mean - lesson
    same = ((lesson >= 1) & (error > 0)) | ((lesson <= -1) & (error < 0))
    return error.masked_fill(same, 0.0).square().sum(-1).mean()


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
    cnn: str,
    features_dim: int,
    precision: str,
    privileged_critic: bool,
    normalize_advantage_per_mini_batch: bool = False,
    teacher: Teacher | None = None,
    teacher_weight: float,
    teacher_until: float,
    **settings: Any,
) -> BatchPPO:
    """A fresh PPO model; every argument is documented in conf/algo/ppo.yaml. Raises InputError for values off range.

    env: with frames, it has `stack` (frames in an observation) and `privileged` (N, P) observations.
    """
    check_settings(env, log_std_init, settings)
    require_number("algo.teacher_weight", teacher_weight, 0, 1e4)
    require_number("algo.teacher_until", teacher_until, 0, 1, remedy="it is a share of the training")
    per_mini_batch = normalize_advantage_per_mini_batch
    switches = {"privileged_critic": privileged_critic, "normalize_advantage_per_mini_batch": per_mini_batch}
    for name, value in switches.items():
        require(isinstance(value, bool), f"algo.{name} must be true or false, got {value!r}; choose one")
    hidden = layers(net_arch)
    policy: Any = "MlpPolicy"
    policy_kwargs: Any = {"net_arch": {"pi": hidden, "vf": hidden}, "activation_fn": activation_class(activation)}
    buffer: dict[str, Any] = {"rollout_buffer_class": Rollout}
    if isinstance(env.observation_space, spaces.Dict):
        policy = VisionPolicy
        policy_kwargs |= vision_kwargs(env.observation_space, cnn, features_dim, precision, device)
        policy_kwargs["privileged"] = env.privileged.shape[1] if privileged_critic else 0
        buffer = {"rollout_buffer_class": FrameRollout, "rollout_buffer_kwargs": {"stack": env.stack}}
    model = BatchPPO(
        policy,
        env,
        learning_rate=schedule(learning_rate, learning_rate_end),
        policy_kwargs=policy_kwargs,
        seed=seed,
        device=device,
        **buffer,
        **settings,
    )
    model.normalize_advantage_per_mini_batch = per_mini_batch
    model.teacher, model.teacher_weight, model.teacher_until = teacher, teacher_weight, teacher_until
    with th.no_grad():
        model.policy.log_std.copy_(th.tensor(list(log_std_init)))
    return model


def check_settings(env: VecEnv, log_std_init: Any, settings: Mapping[str, Any]) -> None:
    """Refuse what no PPO can learn with. Raises InputError with the config key."""
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
