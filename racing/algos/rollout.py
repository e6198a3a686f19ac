"""What a rollout of PPO remembers. Frames are kept once, as bytes, and stacked when a minibatch is taken."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch as th
from stable_baselines3.common.buffers import RolloutBuffer

from racing.algos.extractors import VISION

Array = npt.NDArray[Any]
CHUNK = 1024  # frames that pass through a network at once where no gradient is wanted


class Rollout(RolloutBuffer):
    """Stable-Baselines3's buffer for vectors: `put` one observation of all lanes at a time, then `batch` of any rows.

    Row t * N + n is decision t of lane n. privileged: what the critic and a teacher may see beside the observation.
    """

    chunk = 1 << 30  # rows that are evaluated at once
    privileged: Array | None = None

    def begin(self, observation: Any) -> None:
        """A rollout starts at `observation`; what the buffer held is overwritten."""
        self.pos, self.full = 0, False
        self.privileged = None

    def put(self, t: int, observation: Any, started: Array, privileged: Array | None) -> None:
        """Keep what all lanes observe before decision t. started (N,): whether an episode begins there."""
        self.observations[t] = observation
        self._put_privileged(t, privileged)

    def _put_privileged(self, t: int, privileged: Array | None) -> None:
        if privileged is not None:
            if self.privileged is None:
                self.privileged = np.empty((self.buffer_size, *privileged.shape), np.float32)
            self.privileged[t] = privileged

    def load(self) -> None:
        """The rollout is complete: lay out what `batch` reads."""
        self._all = self._flat(self.observations)
        self._extra = None if self.privileged is None else self._flat(self.privileged)

    def batch(self, rows: Any) -> Any:
        """Observations of `rows` (a slice or a tensor of indices), as the policy takes them."""
        return self._all[rows]

    def extra(self, rows: Any) -> th.Tensor | None:
        """Privileged observations of `rows`; None if there are none."""
        return None if self._extra is None else self._extra[rows]

    def _flat(self, array: Array) -> th.Tensor:
        return th.as_tensor(array.reshape(self.buffer_size * self.n_envs, *array.shape[2:]), device=self.device)


class FrameRollout(Rollout):
    """The same for Dict observations with frames (H, W, k * C), of which only the newest C channels are kept.

    Bytes per decision of a car: H * W * C, that is 7,056 for 84 x 84 gray frames and 21,168 for colour, whatever the
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
        for name in ("rewards", "returns", "values", "log_probs", "advantages"):
            setattr(self, name, np.zeros(shape, np.float32))
        sizes: Any = self.obs_shape
        self.vectors = {key: np.zeros((*shape, *size), np.float32) for key, size in sizes.items() if key != VISION}
        height, width, channels = sizes[VISION]
        # Slot k - 1 + t holds the frame before decision t; the slots below are the past that the rollout begins with.
        size = (self.stack - 1 + self.buffer_size, self.n_envs, channels // self.stack, height, width)
        self.frames = th.zeros(size, dtype=th.uint8, device=self.device)
        self._slots = np.zeros((*shape, self.stack), np.int64)  # of each stack, oldest first
        self._first = np.zeros(self.n_envs, np.int64)  # slot of the first frame of each lane's episode
        self.pos, self.full = 0, False

    def begin(self, observation: Any) -> None:
        """Takes the older frames of the stack over from `observation`."""
        super().begin(observation)
        past = observation[VISION].transpose(0, 3, 1, 2)
        colours = self.frames.shape[2]
        for j in range(self.stack - 1):
            self.frames[j] = th.as_tensor(past[:, j * colours : (j + 1) * colours], device=self.device)
        self._first[:] = 0

    def put(self, t: int, observation: Any, started: Array, privileged: Array | None) -> None:
        """See Rollout; of the frames only the newest is kept."""
        now = t + self.stack - 1
        newest = observation[VISION].transpose(0, 3, 1, 2)[:, -self.frames.shape[2] :]
        self.frames[now] = th.as_tensor(newest, device=self.device)
        self._first[started] = now  # before it, an episode's stack repeats its first frame
        for j in range(self.stack):
            self._slots[t, :, j] = np.maximum(now - self.stack + 1 + j, self._first)
        for key, array in self.vectors.items():
            array[t] = observation[key]
        self._put_privileged(t, privileged)

    def load(self) -> None:
        """See Rollout."""
        lanes = np.arange(self.n_envs)[None, :, None]
        self._at = self._flat(self._slots * self.n_envs + lanes)
        self._all = {key: self._flat(array) for key, array in self.vectors.items()}
        self._extra = None if self.privileged is None else self._flat(self.privileged)

    def batch(self, rows: Any) -> dict[str, th.Tensor]:
        """See Rollout; frames as (n, H, W, k * C) bytes."""
        at = self._at[rows]
        colours, height, width = self.frames.shape[2:]
        stacks = self.frames.view(-1, colours, height, width)[at.reshape(-1)]
        vision = stacks.view(len(at), self.stack * colours, height, width).permute(0, 2, 3, 1)
        return {VISION: vision, **{key: array[rows] for key, array in self._all.items()}}
