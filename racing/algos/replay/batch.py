"""A replay buffer that keeps each observation once, gives n-step returns, and is saved by rows with checkpoints."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.type_aliases import ReplayBufferSamples

Array = npt.NDArray[Any]
Arrays = dict[str, Array]
OBSERVATION = "observation"


@runtime_checkable
class CheckpointedReplayBuffer(Protocol):
    """What a checkpoint needs of a replay buffer: each row is written once, and put back."""

    added: int  # rows since its beginning
    buffer_size: int  # rows that it holds at most

    def rows(self, begin: int, end: int) -> Arrays:
        """Copies of the rows begin .. end (exclusive), counted from the first; they must still be in the buffer."""

    def restore(self, added: int, chunks: list[tuple[int, int, dict[str, Any]]]) -> None:
        """Put rows back at their places: the buffer continues as the one that had been given `added` rows."""


class BatchReplayBuffer(ReplayBuffer):
    """Stable-Baselines3's replay buffer for batched environments, in half its memory.

    A row is one `add` of all N environments; `added` counts them. What follows a step is the observation of the next
    row; only where a limit cut an episode its last observation is kept beside, and nothing where it ended for good:
    nothing comes of it.

    A sample's reward is that of up to n steps (Sutton & Barto 2018, eq. 7.1, from the actions that were taken then, as
    in Rainbow, arXiv 1710.02298): fewer where the episode ends before, or where the newest row is reached. `discounts`
    holds gamma to the power of their number, `next_observations` what was observed after the last one.
    """

    added = pos = 0
    optimize_memory_usage = False  # what Stable-Baselines3 means by it: a trick that it has no need of
    keys: tuple[str, ...]  # parts of an observation
    least_rows = 2

    def __init__(
        self,
        buffer_size: int,
        observation_space: Any,
        action_space: Any,
        device: Any = "auto",
        n_envs: int = 1,
        *,
        n_steps: int = 1,
        gamma: float = 0.99,
        **named: Any,
    ) -> None:
        """Make an empty one.

        buffer_size: environment steps, of all environments together
        n_steps: steps of a return at most, n
        gamma: discount per step
        """
        rows = max(buffer_size // n_envs, self.least_rows)
        super(ReplayBuffer, self).__init__(rows, observation_space, action_space, device, n_envs=n_envs)
        kept = self._kept()
        self.keys = tuple(kept)
        self.discounts = np.float32(gamma) ** np.arange(n_steps + 1, dtype=np.float32)
        self.fields: Arrays = {
            "actions": np.zeros((rows, n_envs, self.action_dim), np.float32),
            **{name: np.zeros((rows, n_envs), np.float32) for name in ("rewards", "dones", "timeouts")},
            **{key: np.zeros((rows, n_envs, *shape), dtype) for key, (shape, dtype) in kept.items()},
        }
        # Last observations of episodes that a limit cut, by row and environment; and what followed the newest row.
        self.last: dict[int, dict[int, Arrays]] = {}
        self.following: Arrays = {key: np.zeros_like(self.fields[key][0]) for key in self.keys}

    def _kept(self) -> dict[str, tuple[tuple[int, ...], Any]]:
        """Shape and type of what is kept of an environment's observation, by part."""
        return {OBSERVATION: (self.obs_shape, np.float32)}

    def _packed(self, observation: Any) -> Arrays:
        """What is kept of observations (N, ...), by part."""
        return {OBSERVATION: observation}

    def _tensors(self, parts: Arrays) -> Any:
        """Observations as the networks take them."""
        return self.to_torch(parts[OBSERVATION], copy=False)

    def add(self, obs: Any, next_obs: Any, action: Array, reward: Array, done: Array, infos: list[Any]) -> None:
        """See ReplayBuffer."""
        row, fields = self.pos, self.fields
        for key, part in self._packed(obs).items():
            fields[key][row] = part
        fields["actions"][row] = action.reshape(self.n_envs, self.action_dim)
        fields["rewards"][row], fields["dones"][row] = reward, done
        fields["timeouts"][row] = [info.get("TimeLimit.truncated", False) for info in infos]
        self.following = {key: part.copy() for key, part in self._packed(next_obs).items()}
        cut = np.flatnonzero(fields["timeouts"][row])
        self.last.pop(row, None)
        if len(cut):
            self.last[row] = {int(i): {key: part[i].copy() for key, part in self.following.items()} for i in cut}
        self._place(self.added + 1)

    def _place(self, added: int) -> None:
        self.added = added
        self.pos, self.full = added % self.buffer_size, added >= self.buffer_size

    def _get_samples(self, batch_inds: Array, env: Any = None) -> Any:
        env_indices = np.random.randint(0, high=self.n_envs, size=(len(batch_inds),))
        last, returns, discounts = self._returns(batch_inds, env_indices)
        fields, at_last = self.fields, (last, env_indices)
        columns = {
            "dones": fields["dones"][at_last] * (1 - fields["timeouts"][at_last]),
            "rewards": returns,
            "discounts": discounts,
        }
        return ReplayBufferSamples(
            observations=self._tensors(self._observed(batch_inds, env_indices)),
            actions=self.to_torch(fields["actions"][batch_inds, env_indices], copy=False),
            next_observations=self._tensors(self._observed_after(last, env_indices)),
            **{name: self.to_torch(column.reshape(-1, 1), copy=False) for name, column in columns.items()},
        )

    def _returns(self, rows: Array, env_indices: Array) -> tuple[Array, Array, Array]:
        """Of the steps from `rows` on: the row of the last one, the discounted sum of rewards, the discount after."""
        ahead = np.arange(len(self.discounts) - 1)
        places = (rows[:, None] + ahead) % self.buffer_size
        ended = self.fields["dones"][places, env_indices[:, None]] != 0
        there = ahead <= ((self.pos - 1 - rows) % self.buffer_size)[:, None]
        there[:, 1:] &= ~np.logical_or.accumulate(ended[:, :-1], axis=1)
        count = there.sum(1)
        returns = (there * self.discounts[:-1] * self.fields["rewards"][places, env_indices[:, None]]).sum(1)
        return (rows + count - 1) % self.buffer_size, returns, self.discounts[count]

    def _observed(self, rows: Array, env_indices: Array) -> Arrays:
        """Observations of steps, by part."""
        return {key: self.fields[key][rows, env_indices] for key in self.keys}

    def _observed_after(self, rows: Array, env_indices: Array) -> Arrays:
        """What was observed after steps, by part; where an episode ended for good, anything."""
        after = (rows + 1) % self.buffer_size
        newest = rows == (self.pos - 1) % self.buffer_size
        cut = np.flatnonzero(self.fields["timeouts"][rows, env_indices])
        parts = {key: self.fields[key][after, env_indices] for key in self.keys}
        for key, part in parts.items():
            part[newest] = self.following[key][env_indices[newest]]
            for n in cut:
                part[n] = self.last[int(rows[n])][int(env_indices[n])][key]
        return parts

    def rows(self, begin: int, end: int) -> Arrays:
        """Copies of the rows begin .. end (exclusive), counted from the first, and of what continues after them."""
        places = np.arange(begin, end) % self.buffer_size
        cut = [(int(row), i) for row in places for i in self.last.get(int(row), ())]
        kept = {f"cut {key}": [self.last[row][i][key] for row, i in cut] for key in self.keys}
        return {
            **{name: array[places] for name, array in self.fields.items()},
            **{f"following {key}": part.copy() for key, part in self.following.items()},
            "cut": np.array(cut, np.int64).reshape(-1, 2),
            **{name: np.stack(parts) if parts else np.zeros(0, np.float32) for name, parts in kept.items()},
        }

    def restore(self, added: int, chunks: list[tuple[int, int, dict[str, Any]]]) -> None:
        """Put rows back at their places: the buffer continues as the one that had been given `added` rows.

        chunks: (from, to, arrays), oldest first; what was overwritten then is overwritten again.
        """
        self.last.clear()
        for begin, end, arrays in chunks:
            first = max(begin, added - self.buffer_size)  # of a chunk that was half overwritten
            places = np.arange(first, end) % self.buffer_size
            for name, array in self.fields.items():
                array[places] = arrays[name][first - begin :]
            inside = set(places.tolist())
            for n, (row, i) in enumerate(arrays["cut"].tolist()):
                if row in inside:
                    self.last.setdefault(row, {})[i] = {key: arrays[f"cut {key}"][n] for key in self.keys}
            self.following = {key: arrays[f"following {key}"] for key in self.keys}
        self._place(added)
