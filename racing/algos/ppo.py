"""PPO for environments that are batches: Stable-Baselines3's PPO, its two loops rewritten for large minibatches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
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

from racing.algos.activations import quicken
from racing.algos.common import BatchAlgorithm, GreedyModule, layers, schedule
from racing.algos.common import activation as activation_class
from racing.algos.distillation import Imitation, Teacher
from racing.algos.extractors import vision_kwargs
from racing.algos.losses import HALF_LOG_2PI, LossTerms, minibatch_stats, normalized, ppo_loss
from racing.algos.policy import VisionPolicy
from racing.algos.rollout import FrameRollout, Rollout, RolloutTensors, Truncation
from racing.errors import InputError, is_number, require, require_number, require_numbers
from racing.observations import joined, rows_of

Array = npt.NDArray[Any]

CAR_ACTIONS = 2  # steering, throttle; environments with less take what `log_std_init` says of the first ones


class BatchPPO(BatchAlgorithm, PPO):
    """PPO (Schulman et al. 2017, arXiv 1707.06347) with GAE (Schulman et al. 2016, arXiv 1506.02438).

    Environments offer `step_batch(actions)` (racing.envs.vec_env); actions are a Box. `make_ppo` makes one.

    imitation: the teacher that the policy is distilled from, None without one
    normalize_advantage_per_mini_batch: normalize advantages in each minibatch, else once over the whole rollout

    Differences from SB3
    --------------------
    An update with `normalize_advantage_per_mini_batch` is that of `stable_baselines3.PPO`: same policy classes, same
    loss (eq. 9 of the PPO paper, without value clipping), same stop at `target_kl`, same saved file. What differs:

    * Rollouts run the actor alone. Values, log probabilities and advantages (eq. 16 of the GAE paper) of the whole
      rollout follow in one pass, and no info dicts are made per environment: this is where the speed comes from.
    * Minibatches are drawn by torch on the training device, from tensors that were laid out once per rollout.
    * The Gaussian is evaluated directly (`racing.algos.losses`); there are no other distributions and no gSDE.
    * Advantages are normalized over the whole rollout by default, as in rsl_rl, whose name the option has. SB3
      normalizes each minibatch, so that a sample's weight depends on which others it was drawn with. docs/benchmarks.md
      compares the two.
    * `train/*` are means over the last epoch, written at the step of the update. SB3 averages most of them over all
      epochs and writes them with the next rollout, and so the last ones never.
    * Options that SB3 does not have: an asymmetric (privileged) critic (Pinto et al. 2018, arXiv 1710.06542) and
      distillation (`racing.algos.distillation`).
    """

    imitation: Imitation | None = None
    normalize_advantage_per_mini_batch = False

    @staticmethod
    def greedy_module(policy: Any) -> th.nn.Module:
        """The mean of the Gaussian, clipped to [-1, 1]."""
        extractor = policy.pi_features_extractor
        return GreedyModule(extractor, policy.mlp_extractor.policy_net, policy.action_net, th.nn.Hardtanh())

    def _excluded_save_params(self) -> list[str]:
        return [*super()._excluded_save_params(), "imitation"]  # the teacher is no part of the student's file

    def _setup_model(self) -> None:
        """See BaseAlgorithm. Where it is to learn, it gets a buffer of ours."""
        if self.rollout_buffer_class is None and self.env is not None:  # type: ignore[has-type]
            frames = isinstance(self.observation_space, spaces.Dict)
            self.rollout_buffer_class = FrameRollout if frames else Rollout
            self.rollout_buffer_kwargs = {"stack": self.env.stack} if frames else {}
        super()._setup_model()
        if self.env is not None and self.device.type == "cpu":
            quicken(self.policy)

    @property
    def _privileged_critic(self) -> th.nn.Module | None:
        """The asymmetric critic, where the policy has one."""
        return getattr(self.policy, "privileged_critic", None)

    def _features(self, observation: Any) -> th.Tensor:
        return self.policy.features_extractor(observation)

    def _mean(self, features: th.Tensor) -> th.Tensor:
        """(B, A) mean of the Gaussian."""
        return self.policy.action_net(self.policy.mlp_extractor.forward_actor(features))

    def _value(self, features: th.Tensor | None, privileged: th.Tensor | None) -> th.Tensor:
        """(B,) value of features, or of privileged observations (B, P) for an asymmetric critic."""
        if self._privileged_critic is not None:
            return self._privileged_critic(privileged).flatten()
        return self.policy.value_net(self.policy.mlp_extractor.forward_critic(features)).flatten()

    def _predict_values(self, observation: Any, privileged: th.Tensor | None) -> th.Tensor:
        """(B,) values; an asymmetric critic spares the features."""
        features = self._features(observation) if self._privileged_critic is None else None
        return self._value(features, privileged)

    def _tensors(self, observation: Any) -> Any:
        if isinstance(observation, dict):
            return {key: th.as_tensor(array, device=self.device) for key, array in observation.items()}
        return th.as_tensor(observation, device=self.device)

    @th.no_grad()
    def collect_rollouts(
        self, env: VecEnv, callback: BaseCallback, rollout_buffer: RolloutBuffer, n_rollout_steps: int
    ) -> bool:
        """Step all environments n_rollout_steps times and fill the buffer; False if the callback asked to stop."""
        self.policy.set_training_mode(False)
        callback.on_rollout_start()
        buffer: Any = rollout_buffer
        ended_before = len(env.episodes)
        noise = th.randn(n_rollout_steps, env.num_envs, self.action_space.shape[0], device=self.device)
        scaled_noise = noise * self.policy.log_std.exp()
        observation: Any = self._last_obs  # type: ignore[has-type]  # SB3 sets it
        episode_starts = self._last_episode_starts  # type: ignore[has-type]
        buffer.start(observation)
        for t in range(n_rollout_steps):
            buffer.add_observation(observation, episode_starts, env.privileged, self._labels(env))
            actions = self.act(observation, scaled_noise[t])
            step = env.step_batch(np.clip(actions, -1.0, 1.0))
            self.process_env_step(buffer, actions, step)
            observation, episode_starts = step.observation, step.terminated | step.truncated
            self.num_timesteps += env.num_envs
            callback.update_locals(locals())
            if not callback.on_step():
                return False
        self.compute_returns(buffer, noise, observation, env.privileged, episode_starts)
        self._last_obs = observation
        self._last_episode_starts = episode_starts
        self.ep_info_buffer.extend({"r": e["reward"], "l": e["steps"], "t": 0.0} for e in env.episodes[ended_before:])
        callback.update_locals(locals())
        callback.on_rollout_end()
        return True

    def _labels(self, env: VecEnv) -> Array | None:
        """(N, A) what the teacher would do now; None without one, and when it is not imitated any more."""
        if self.imitation is None:
            return None
        return self.imitation.labels(1.0 - self._current_progress_remaining, env)

    def act(self, observation: Any, scaled_noise: th.Tensor) -> npt.NDArray[np.float32]:
        """Sample actions (N, A), not clipped. scaled_noise: (N, A) standard deviation times standard normal noise."""
        actions = self._mean(self._features(self._tensors(observation))).add_(scaled_noise)
        return np.asarray(actions.cpu())

    def process_env_step(self, buffer: Rollout, actions: Array, step: Any) -> None:
        """Keep what came of actions (N, A). step: what the environment's `step_batch` returned."""
        cut = np.flatnonzero(step.truncated)
        if len(cut):
            last = rows_of(step.final_observation, cut), rows_of(step.final_privileged, cut)
            buffer.truncations.append(Truncation(buffer.pos, cut, *last))
        buffer.add_outcome(actions, step.reward)

    def compute_returns(
        self, buffer: Any, noise: th.Tensor, last_observation: Any, last_privileged: Array | None, dones: Array
    ) -> None:
        """Fill in values, log probabilities, advantages and returns of a whole rollout at once.

        noise: (T, N, A) standard normal noise of the actions
        last_observation: what all N environments observe after the last step; last_privileged: (N, P), or None
        dones: (N,) bool, whether the last step ended an episode
        """
        buffer.finalize()
        samples = range(0, buffer.values.size, buffer.chunk)
        chunks = [slice(first, first + buffer.chunk) for first in samples]
        values = [self._predict_values(buffer.observation_batch(c), buffer.privileged_batch(c)) for c in chunks]
        buffer.values[:] = th.cat(values).cpu().numpy().reshape(buffer.values.shape)
        last_values = self._bootstrap_truncations(buffer, last_observation, last_privileged)
        # The action is mean + std * noise, so its density needs no second pass through the network.
        sigma = self.policy.log_std.exp()
        buffer.log_probs[:] = -(0.5 * noise**2 + HALF_LOG_2PI + sigma.log()).sum(-1).cpu().numpy()
        buffer.compute_returns_and_advantage(last_values, dones)

    def _bootstrap_truncations(self, buffer: Rollout, observation: Any, privileged: Array | None) -> th.Tensor:
        """Add the value of what an episode that a limit cut observed last to its last reward: it had not ended.

        Returns the values (N,) of what all environments observe now, for they come from the same pass.
        """
        cut = buffer.truncations
        observations = joined([observation, *(truncation.observation for truncation in cut)])
        extra = None
        if privileged is not None:
            extra = self._tensors(joined([privileged, *(truncation.privileged for truncation in cut)]))
        values = self._predict_values(self._tensors(observations), extra).cpu()
        first = buffer.n_envs
        for truncation in cut:
            final_values = values[first : first + len(truncation.env_indices)].numpy()
            buffer.rewards[truncation.step, truncation.env_indices] += self.gamma * final_values
            first += len(final_values)
        return values[: buffer.n_envs]

    def train(self) -> None:
        """Improve the policy with the collected rollout."""
        self.policy.set_training_mode(True)
        self._update_learning_rate(self.policy.optimizer)
        clip_range = float(self.clip_range(self._current_progress_remaining))
        self._log(self.update(self._rollout_tensors(), clip_range), clip_range)

    def update(self, rollout: RolloutTensors, clip_range: float) -> list[dict[str, float]]:
        """Go over the rollout n_epochs times in minibatches; returns the stats of each of the last epoch.

        Ends before the gradient step of a minibatch whose KL divergence is beyond 1.5 * target_kl.
        """
        stats: list[dict[str, float]] = []
        parameters = list(self.policy.parameters())
        for epoch in range(self.n_epochs):
            permutation = th.randperm(len(rollout), device=self.device)
            stats.clear()
            reached = False
            for indices in permutation.split(self.batch_size):
                terms = self._minibatch_loss(rollout, indices, clip_range)
                if epoch == self.n_epochs - 1 or self.target_kl is not None:  # reading them waits for the device
                    stats.append(minibatch_stats(terms, clip_range))
                    reached = self.target_kl is not None and stats[-1]["approx_kl"] > 1.5 * self.target_kl
                if reached:
                    break
                self._gradient_step(terms.total, parameters)
            self._n_updates += 1
            if reached:
                break
        return stats

    def _minibatch_loss(self, rollout: RolloutTensors, indices: th.Tensor, clip_range: float) -> LossTerms:
        buffer: Any = self.rollout_buffer
        batch = rollout.minibatch(indices)
        if self.normalize_advantage and self.normalize_advantage_per_mini_batch:
            batch = replace(batch, advantages=normalized(batch.advantages))
        features = self._features(buffer.observation_batch(indices))
        mean, log_std = self._mean(features), self.policy.log_std
        value = self._value(features, buffer.privileged_batch(indices))
        coefficients = {"clip_range": clip_range, "vf_coef": self.vf_coef, "ent_coef": self.ent_coef}
        return ppo_loss(batch, mean, log_std, value, **coefficients)

    def _gradient_step(self, loss: th.Tensor, parameters: Sequence[th.Tensor]) -> None:
        self.policy.optimizer.zero_grad()
        loss.backward()
        th.nn.utils.clip_grad_norm_(parameters, self.max_grad_norm)
        self.policy.optimizer.step()

    def _rollout_tensors(self) -> RolloutTensors:
        buffer: Any = self.rollout_buffer
        arrays = (buffer.actions, buffer.log_probs, buffer.advantages, buffer.returns)
        actions, old_log_prob, advantages, returns = (buffer.to_device(array) for array in arrays)
        if self.normalize_advantage and not self.normalize_advantage_per_mini_batch:
            advantages = normalized(advantages)
        targets = None
        if self.imitation is not None:
            labels = buffer.teacher_actions
            labels = None if labels is None else buffer.to_device(labels)
            targets = self.imitation.targets(1.0 - self._current_progress_remaining, labels)
        return RolloutTensors(actions, old_log_prob, advantages, returns, targets)

    def _log(self, stats: Sequence[Mapping[str, float]], clip_range: float) -> None:
        buffer, log = self.rollout_buffer, self.logger.record
        means = np.mean([list(minibatch.values()) for minibatch in stats], axis=0)
        for name, mean in zip(stats[0], means, strict=True):
            log(f"train/{name}", float(mean))
        log("train/explained_variance", float(explained_variance(buffer.values.flatten(), buffer.returns.flatten())))
        log("train/std", float(self.policy.log_std.detach().exp().mean()))
        log("train/clip_range", clip_range)
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
    reset_log_std: bool = False,
    net_arch: Sequence[int],
    activation: str,
    cnn: str,
    features_dim: int,
    precision: str,
    privileged_critic: bool,
    normalize_advantage_per_mini_batch: bool = False,
    teacher: Teacher | None = None,
    distillation_weight: float,
    distillation_fraction: float,
    **settings: Any,
) -> BatchPPO:
    """Make a fresh PPO model. Raises InputError for values off range; each is documented in conf/algo/ppo.yaml.

    env: with frames, it has `stack` (frames in an observation) and `privileged` (N, P) observations
    teacher: what `algo.teacher` names, see racing.algos.distillation
    """
    check_settings(env, log_std_init, settings)
    require_number("algo.distillation_weight", distillation_weight, 0, 1e4)
    require_number("algo.distillation_fraction", distillation_fraction, 0, 1, remedy="it is a share of the training")
    per_mini_batch = normalize_advantage_per_mini_batch
    switches = {"privileged_critic": privileged_critic, "normalize_advantage_per_mini_batch": per_mini_batch}
    switches["reset_log_std"] = reset_log_std
    for name, value in switches.items():
        require(isinstance(value, bool), f"algo.{name} must be true or false, got {value!r}; choose one")
    hidden = layers(net_arch)
    policy_kwargs: Any = {"net_arch": {"pi": hidden, "vf": hidden}, "activation_fn": activation_class(activation)}
    policy: Any = "MlpPolicy"
    if isinstance(env.observation_space, spaces.Dict):
        policy_kwargs |= vision_kwargs(env.observation_space, cnn, features_dim, precision, device)
        policy_kwargs["privileged"] = env.privileged.shape[1] if privileged_critic else 0
        policy = VisionPolicy
    else:  # not where weights are channels_last: fused steps take the averages of a checkpoint to be laid out as these
        policy_kwargs["optimizer_kwargs"] = {"eps": 1e-5, "fused": True}  # eps as Stable-Baselines3 has it
    rate = schedule(learning_rate, learning_rate_end)
    parts: dict[str, Any] = {"learning_rate": rate, "policy_kwargs": policy_kwargs, "seed": seed, "device": device}
    model = BatchPPO(policy, env, **parts, **settings)
    model.normalize_advantage_per_mini_batch, model.reset_log_std = per_mini_batch, reset_log_std
    if teacher is not None:
        model.imitation = Imitation(teacher, distillation_weight, distillation_fraction)
    with th.no_grad():
        model.policy.log_std.copy_(th.tensor(list(log_std_init)[: env.action_space.shape[0]]))
    return model


def check_settings(env: VecEnv, log_std_init: Any, settings: Mapping[str, Any]) -> None:
    """Refuse what no PPO can learn with. Raises InputError with the config key."""
    require_numbers("algo", settings, RULES)
    samples, batch = settings["n_steps"] * env.num_envs, settings["batch_size"]
    if samples % batch:
        nearest = min(
            (size for size in range(2, samples + 1) if samples % size == 0), key=lambda size: abs(size - batch)
        )
        rule = f"algo.batch_size must divide algo.n_steps * algo.n_envs = {samples}, got {batch}"
        raise InputError(f"{rule}; say algo.batch_size={nearest}")
    if settings.get("target_kl") is not None:
        require_number("algo.target_kl", settings["target_kl"], 1e-9, 100, remedy="null switches it off")
    count = env.action_space.shape[0]
    values = list(log_std_init) if isinstance(log_std_init, Sequence) else []
    require(
        len(values) in {count, max(count, CAR_ACTIONS)} and all(is_number(v) and -10 <= v <= 2 for v in values),
        f"algo.log_std_init must be {count} numbers in [-10, 2], got {log_std_init!r}; give one per action",
    )
