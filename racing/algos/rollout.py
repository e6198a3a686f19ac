"""What a rollout of PPO remembers. Frames are kept once, as bytes, and stacked when a minibatch is taken."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch as th
from stable_baselines3.common.buffers import RolloutBuffer

from racing.algos.distillation import ImitationTargets
from racing.algos.extractors import VISION, frames_back, newest_frame

Array = npt.NDArray[Any]
CHUNK = 1024  # frames that pass through a network at once where no gradient is wanted


@dataclass(frozen=True)
class RolloutTensors:
    """B samples of a rollout beside their observations, on the training device."""

    actions: th.Tensor  # (B, A) float32 as sampled, before they were clipped to [-1, 1]
    old_log_prob: th.Tensor  # (B,) float32 log density of the actions under the policy that took them
    advantages: th.Tensor  # (B,) float32 GAE(lambda)
    returns: th.Tensor  # (B,) float32 TD(lambda) targets of the value function
    imitation: ImitationTargets | None = None

    def __len__(self) -> int:
        """B."""
        return len(self.actions)

    def minibatch(self, indices: th.Tensor) -> RolloutTensors:
        """The samples `indices`."""
        return RolloutTensors(
            self.actions[indices],
            self.old_log_prob[indices],
            self.advantages[indices],
            self.returns[indices],
            None if self.imitation is None else self.imitation.minibatch(indices),
        )


@dataclass(frozen=True)
class Truncation:
    """Environments whose episode a limit cut at one step, and what they observed last."""

    step: int
    env_indices: npt.NDArray[np.intp]  # (K,)
    observation: Any  # (K, D) float32, or a dict of arrays (K, ...)
    privileged: npt.NDArray[np.float32] | None  # (K, P)


class Rollout(RolloutBuffer):
    """Stable-Baselines3's buffer, for vectors; T steps of N environments.

    `start`, then `add_observation` and `add_outcome` at each step, then `finalize`; now `observation_batch` and
    `privileged_batch` take any samples of it. Sample t * N + i is step t of environment i.
    """

    chunk = 1 << 30  # samples that are evaluated at once
    privileged: Array | None = None  # (T, N, P) float32, what an asymmetric critic sees beside the observation
    teacher_actions: Array | None = None  # (T, N, A) float32
    truncations: list[Truncation]

    def start(self, observation: Any) -> None:
        """Begin a rollout at `observation`; what the buffer held is overwritten."""
        self.pos, self.full = 0, False
        self.privileged = self.teacher_actions = None
        self.truncations = []

    def add_observation(
        self,
        observation: Any,
        episode_starts: Array,
        privileged: Array | None,
        teacher_actions: Array | None = None,
    ) -> None:
        """Keep what all environments observe before a step.

        observation: (N, D) float32, or a dict of arrays (N, ...)
        episode_starts: (N,) bool, whether an episode begins with this observation
        privileged: (N, P) float32, or None
        teacher_actions: (N, A) float32 what the teacher would do now, or None
        """
        self.episode_starts[self.pos] = episode_starts
        self._add_observation(observation, episode_starts)
        for name, part in (("privileged", privileged), ("teacher_actions", teacher_actions)):
            if part is not None:
                if getattr(self, name) is None:
                    setattr(self, name, np.empty((self.buffer_size, *part.shape), np.float32))
                getattr(self, name)[self.pos] = part

    def _add_observation(self, observation: Any, episode_starts: Array) -> None:
        self.observations[self.pos] = observation

    def add_outcome(self, actions: Array, rewards: Array) -> None:
        """Keep what was done there (N, A), as sampled, and what it earned (N,); go on to the next step."""
        self.actions[self.pos] = actions
        self.rewards[self.pos] = rewards
        self.pos += 1
        self.full = self.pos == self.buffer_size

    def finalize(self) -> None:
        """Move the observations of the whole rollout to the training device, once."""
        self._device_observations = self.to_device(self.observations)
        self._device_privileged = None if self.privileged is None else self.to_device(self.privileged)

    def observation_batch(self, samples: Any) -> Any:
        """Observations of `samples` (a slice or a tensor of indices), as the policy takes them."""
        return self._device_observations[samples]

    def privileged_batch(self, samples: Any) -> th.Tensor | None:
        """(B, P) privileged observations of `samples`; None if there are none."""
        return None if self._device_privileged is None else self._device_privileged[samples]

    def to_device(self, array: Array) -> th.Tensor:
        """(T * N, ...) on the training device, of an array (T, N, ...)."""
        return th.as_tensor(array.reshape(self.buffer_size * self.n_envs, *array.shape[2:]), device=self.device)


class FrameRollout(Rollout):
    """The same for Dict observations with frames (H, W, k * C), of which only the newest C channels are kept.

    Bytes per environment step: H * W * C, that is 7,056 for 84 x 84 gray frames and 21,168 for colour, whatever the
    stack. Frames lie on the training device.
    """

    chunk = CHUNK

    def __init__(self, *arguments: Any, stack: int, **named: Any) -> None:
        """stack: k, frames in an observation; the rest as RolloutBuffer."""
        self.stack = stack
        super().__init__(*arguments, **named)

    def reset(self) -> None:
        """Allocate; called by the constructor."""
        shape = (self.buffer_size, self.n_envs)
        self.actions = np.zeros((*shape, self.action_dim), np.float32)
        for name in ("rewards", "returns", "values", "log_probs", "advantages", "episode_starts"):
            setattr(self, name, np.zeros(shape, np.float32))
        sizes: Any = self.obs_shape
        self.vectors = {key: np.zeros((*shape, *size), np.float32) for key, size in sizes.items() if key != VISION}
        height, width, channels = sizes[VISION]
        # Slot k - 1 + t holds the frame before step t; the slots below are the past that the rollout begins with.
        size = (self.stack - 1 + self.buffer_size, self.n_envs, channels // self.stack, height, width)
        self.frames = th.zeros(size, dtype=th.uint8, device=self.device)
        self._slots = np.zeros((*shape, self.stack), np.int64)  # of each stack, oldest first
        self._first_slot = np.zeros(self.n_envs, np.int64)  # of each environment's episode
        self.pos, self.full = 0, False

    def start(self, observation: Any) -> None:
        """See Rollout; the older frames of the stack are taken over from `observation`."""
        super().start(observation)
        past = observation[VISION].transpose(0, 3, 1, 2)
        channels = self.frames.shape[2]
        for j in range(self.stack - 1):
            self.frames[j] = th.as_tensor(past[:, j * channels : (j + 1) * channels], device=self.device)
        self._first_slot[:] = 0

    def _add_observation(self, observation: Any, episode_starts: Array) -> None:
        newest = self.pos + self.stack - 1
        self.frames[newest] = th.as_tensor(newest_frame(observation[VISION], self.stack), device=self.device)
        self._first_slot[episode_starts] = newest
        self._slots[self.pos] = newest - frames_back(newest - self._first_slot, self.stack)
        for key, array in self.vectors.items():
            array[self.pos] = observation[key]

    def finalize(self) -> None:
        """See Rollout; the frames are there already."""
        env_indices = np.arange(self.n_envs)[None, :, None]
        self._device_slots = self.to_device(self._slots * self.n_envs + env_indices)
        self._device_observations = {key: self.to_device(array) for key, array in self.vectors.items()}
        self._device_privileged = None if self.privileged is None else self.to_device(self.privileged)

    def observation_batch(self, samples: Any) -> dict[str, th.Tensor]:
        """See Rollout; frames as (B, H, W, k * C) bytes."""
        slots = self._device_slots[samples]
        channels, height, width = self.frames.shape[2:]
        stacks = self.frames.view(-1, channels, height, width)[slots.reshape(-1)]
        vision = stacks.view(len(slots), self.stack * channels, height, width).permute(0, 2, 3, 1)
        return {VISION: vision, **{key: array[samples] for key, array in self._device_observations.items()}}
