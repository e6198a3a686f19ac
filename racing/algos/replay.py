"""A replay buffer that counts its rows, so that each row is saved once and not with every checkpoint."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import numpy as np
from stable_baselines3.common.buffers import ReplayBuffer

FIELDS = ("observations", "next_observations", "actions", "rewards", "dones", "timeouts")


@runtime_checkable
class CheckpointedReplayBuffer(Protocol):
    """What a checkpoint needs of a replay buffer: each row is written once, and put back."""

    added: int  # rows since its beginning
    buffer_size: int  # rows that it holds at most

    def rows(self, begin: int, end: int) -> dict[str, np.ndarray[Any, Any]]:
        """Copies of the rows begin .. end (exclusive), counted from the first; they must still be in the buffer."""

    def restore(self, added: int, chunks: list[tuple[int, int, dict[str, Any]]]) -> None:
        """Put rows back at their places: the buffer continues as the one that had been given `added` rows."""


class CountingReplayBuffer(ReplayBuffer):
    """Stable-Baselines3's buffer; `added` counts the rows (one per `add`, of all environments) since its beginning."""

    added = 0

    def add(self, *arguments: Any, **named: Any) -> None:
        """See ReplayBuffer."""
        super().add(*arguments, **named)
        self.added += 1

    def rows(self, begin: int, end: int) -> dict[str, np.ndarray[Any, Any]]:
        """Copies of the rows begin .. end (exclusive), counted from the first; they must still be in the buffer."""
        places = np.arange(begin, end) % self.buffer_size
        return {name: getattr(self, name)[places] for name in FIELDS}

    def restore(self, added: int, chunks: list[tuple[int, int, dict[str, Any]]]) -> None:
        """Put rows back at their places: the buffer continues as the one that had been given `added` rows.

        chunks: (from, to, arrays), oldest first; what was overwritten then is overwritten again.
        """
        for begin, end, arrays in chunks:
            places = np.arange(begin, end) % self.buffer_size
            for name in FIELDS:
                getattr(self, name)[places] = arrays[name]
        self.added = added
        self.pos, self.full = added % self.buffer_size, added >= self.buffer_size
