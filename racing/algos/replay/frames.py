"""A replay buffer for frames: each is kept once, as bytes, and stacked when a minibatch is drawn."""

from __future__ import annotations

from typing import Any

import numpy as np

from racing.algos.extractors import VISION, frames_back, newest_frame
from racing.algos.replay.batch import Array, Arrays, BatchReplayBuffer


class FrameReplayBuffer(BatchReplayBuffer):
    """For Dict observations with frames (H, W, k * C); every other key is a vector.

    Bytes per environment step: H * W * C and little more, whatever the stack; Stable-Baselines3's own takes 2 * k times
    that.
    """

    def __init__(self, *arguments: Any, stack: int, **named: Any) -> None:
        """stack: k. The others as BatchReplayBuffer."""
        self.stack, self.least_rows = stack, stack + 1
        super().__init__(*arguments, **named)
        # Frames of the episode before this one, at most k - 1.
        self.fields["age"] = np.zeros((self.buffer_size, self.n_envs), np.int64)
        self._ended = np.ones(self.n_envs, bool)

    def _kept(self) -> dict[str, tuple[tuple[int, ...], Any]]:
        sizes: Any = self.obs_shape
        height, width, channels = sizes[VISION]
        kept = {key: (size, np.float32) for key, size in sizes.items()}
        return {**kept, VISION: ((channels // self.stack, height, width), np.uint8)}

    def _packed(self, observation: Any) -> Arrays:
        return {**observation, VISION: newest_frame(np.asarray(observation[VISION]), self.stack)}

    def _tensors(self, parts: Arrays) -> Any:
        """See BatchReplayBuffer. Of the frames: stacks (n, k * C, H, W), oldest first."""
        tensors = {key: self.to_torch(part, copy=False) for key, part in parts.items()}
        return {**tensors, VISION: tensors[VISION].permute(0, 2, 3, 1)}

    def add(self, obs: Any, next_obs: Any, action: Array, reward: Array, done: Array, infos: list[Any]) -> None:
        """See ReplayBuffer."""
        age = self.fields["age"]
        age[self.pos] = np.where(self._ended, 0, np.minimum(age[self.pos - 1] + 1, self.stack - 1))
        self._ended = np.asarray(done, bool)
        super().add(obs, next_obs, action, reward, done, infos)

    def _observed(self, rows: Array, env_indices: Array) -> Arrays:
        parts = super()._observed(rows, env_indices)
        return {**parts, VISION: self._stacks(rows, env_indices)}

    def _observed_after(self, rows: Array, env_indices: Array) -> Arrays:
        parts = super()._observed_after(rows, env_indices)
        before = self._stacks(rows, env_indices)[:, parts[VISION].shape[1] :]
        return {**parts, VISION: np.concatenate([before, parts[VISION]], axis=1)}

    def _stacks(self, rows: Array, env_indices: Array) -> Array:
        """(n, k * C, H, W), oldest first; what the buffer has overwritten is replaced by the oldest frame it has."""
        oldest = self.pos if self.full else 0
        known = np.minimum(self.fields["age"][rows, env_indices], (rows - oldest) % self.buffer_size)
        places = (rows[:, None] - frames_back(known, self.stack)) % self.buffer_size
        return np.concatenate([self.fields[VISION][place, env_indices] for place in places.T], axis=1)

    def restore(self, added: int, chunks: list[tuple[int, int, dict[str, Any]]]) -> None:
        """See BatchReplayBuffer."""
        super().restore(added, chunks)
        if added:
            self._ended = self.fields["dones"][self.pos - 1].astype(bool)
