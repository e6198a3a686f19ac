"""A replay buffer for frames: each is kept once, as bytes, and stacked when a minibatch is drawn."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.type_aliases import DictReplayBufferSamples

from racing.algos.extractors import VISION
from racing.algos.frame_stack import frames_back, newest_frame

Array = npt.NDArray[Any]


class FrameReplayBuffer(ReplayBuffer):
    """For Dict observations with frames (H, W, k * C); every other key is a vector.

    A row is one `add` of all environments. Bytes per environment step: H * W * C and little more, whatever the stack;
    Stable-Baselines3's own takes 2 * k times that. The frame after a step is that of the next row; only where a limit
    cut an episode its last frame is kept beside. `added` counts the rows; `rows` and `restore` as
    racing.algos.replay.CountingReplayBuffer.
    """

    added = pos = 0
    optimize_memory_usage = False  # what Stable-Baselines3 means by it: a trick that it has no need of

    def __init__(
        self,
        buffer_size: int,
        observation_space: Any,
        action_space: Any,
        device: Any = "auto",
        n_envs: int = 1,
        *,
        stack: int,
        **named: Any,
    ) -> None:
        """stack: k. buffer_size: environment steps, of all environments together."""
        rows = max(buffer_size // n_envs, stack + 1)
        super(ReplayBuffer, self).__init__(rows, observation_space, action_space, device, n_envs=n_envs)
        self.stack = stack
        sizes: Any = self.obs_shape
        height, width, channels = sizes[VISION]
        self.frames = np.zeros((rows, n_envs, channels // stack, height, width), np.uint8)
        self.fields: dict[str, Array] = {
            "age": np.zeros((rows, n_envs), np.int64),  # frames of the episode before this one, at most k - 1
            "actions": np.zeros((rows, n_envs, self.action_dim), np.float32),
            **{name: np.zeros((rows, n_envs), np.float32) for name in ("rewards", "dones", "timeouts")},
        }
        self.vectors = [key for key in sizes if key != VISION]
        for key in self.vectors:
            for name in (key, f"next_{key}"):
                self.fields[name] = np.zeros((rows, n_envs, *sizes[key]), np.float32)
        self.last: dict[tuple[int, int], Array] = {}  # (row, environment) -> last frame of an episode that a limit cut
        self.following = np.zeros(self.frames.shape[1:], np.uint8)  # frames after the newest row
        self._ended = np.ones(n_envs, bool)

    def add(self, obs: Any, next_obs: Any, action: Array, reward: Array, done: Array, infos: list[Any]) -> None:
        """See ReplayBuffer."""
        row, fields = self.pos, self.fields
        for key in [key for key in self.last if key[0] == row]:
            del self.last[key]
        older = fields["age"][row - 1]
        fields["age"][row] = np.where(self._ended, 0, np.minimum(older + 1, self.stack - 1))
        self.frames[row] = self._newest(obs)
        fields["actions"][row] = action.reshape(self.n_envs, self.action_dim)
        fields["rewards"][row], fields["dones"][row] = reward, done
        fields["timeouts"][row] = [info.get("TimeLimit.truncated", False) for info in infos]
        for key in self.vectors:
            fields[key][row], fields[f"next_{key}"][row] = obs[key], next_obs[key]
        self.following = self._newest(next_obs).copy()
        for i in np.flatnonzero(fields["timeouts"][row]):
            self.last[row, int(i)] = self.following[i].copy()
        self._ended = np.asarray(done, bool)
        self.added += 1
        self.pos, self.full = self.added % self.buffer_size, self.added >= self.buffer_size

    def _newest(self, observation: Any) -> Array:
        return newest_frame(np.asarray(observation[VISION]), self.stack)

    def _get_samples(self, batch_inds: Array, env: Any = None) -> Any:
        env_indices = np.random.randint(0, high=self.n_envs, size=(len(batch_inds),))
        stacks = self._stacks(batch_inds, env_indices)
        after = np.concatenate([stacks[:, self.frames.shape[2] :], self._next(batch_inds, env_indices)], axis=1)
        at = (batch_inds, env_indices)
        fields = {name: self.to_torch(array[at]) for name, array in self.fields.items() if name != "age"}
        return DictReplayBufferSamples(
            observations=self._observation(stacks, fields, ""),
            actions=fields["actions"],
            next_observations=self._observation(after, fields, "next_"),
            dones=(fields["dones"] * (1 - fields["timeouts"])).reshape(-1, 1),
            rewards=fields["rewards"].reshape(-1, 1),
        )

    def _observation(self, planes: Array, fields: dict[str, Any], prefix: str) -> dict[str, Any]:
        vision = self.to_torch(planes).permute(0, 2, 3, 1)
        return {VISION: vision, **{key: fields[f"{prefix}{key}"] for key in self.vectors}}

    def _stacks(self, rows: Array, env_indices: Array) -> Array:
        """(n, k * C, H, W), oldest first; what the buffer has overwritten is replaced by the oldest frame it has."""
        oldest = self.pos if self.full else 0
        known = np.minimum(self.fields["age"][rows, env_indices], (rows - oldest) % self.buffer_size)
        places = (rows[:, None] - frames_back(known, self.stack)) % self.buffer_size
        return np.concatenate([self.frames[place, env_indices] for place in places.T], axis=1)

    def _next(self, rows: Array, env_indices: Array) -> Array:
        """(n, C, H, W) the frames after; where an episode ended for good, anything: nothing comes of it."""
        frames: Array = self.frames[(rows + 1) % self.buffer_size, env_indices]
        newest = rows == (self.pos - 1) % self.buffer_size
        frames[newest] = self.following[env_indices[newest]]
        for n in np.flatnonzero(self.fields["timeouts"][rows, env_indices]):
            frames[n] = self.last[int(rows[n]), int(env_indices[n])]
        return frames

    def rows(self, begin: int, end: int) -> dict[str, Array]:
        """Copies of the rows begin .. end (exclusive), counted from the first, and of what continues after them."""
        places = np.arange(begin, end) % self.buffer_size
        inside = set(places.tolist())
        cut = [key for key in self.last if key[0] in inside]
        shape = (0, *self.frames.shape[2:])
        return {
            **{name: array[places] for name, array in self.fields.items()},
            "frames": self.frames[places],
            "following": self.following.copy(),
            "cut": np.array(cut, np.int64).reshape(-1, 2),
            "cut_frames": np.stack([self.last[key] for key in cut]) if cut else np.zeros(shape, np.uint8),
        }

    def restore(self, added: int, chunks: list[tuple[int, int, dict[str, Any]]]) -> None:
        """Put rows back at their places: the buffer continues as the one that had been given `added` rows."""
        self.last.clear()
        for begin, end, arrays in chunks:
            first = max(begin, added - self.buffer_size)  # of a chunk that was half overwritten
            places = np.arange(first, end) % self.buffer_size
            for name, array in {**self.fields, "frames": self.frames}.items():
                array[places] = arrays[name][first - begin :]
            inside = set(places.tolist())
            for (row, i), frame in zip(arrays["cut"].tolist(), arrays["cut_frames"], strict=True):
                if row in inside:
                    self.last[row, i] = frame
            self.following = arrays["following"]
        self.added = added
        self.pos, self.full = added % self.buffer_size, added >= self.buffer_size
        if added:
            self._ended = self.fields["dones"][self.pos - 1].astype(bool)
