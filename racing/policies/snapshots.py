"""Snapshots of a learner that race against it later: its greedy policy, frozen, in the pool of `env.pool`."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch as th
from stable_baselines3.common.callbacks import BaseCallback

from racing.algos.extractors import use_float32

if TYPE_CHECKING:
    from racing.algos.common import BatchAlgorithm
    from racing.envs.pool.pool import Pool, Weights
    from racing.envs.race import RaceTask


def frozen(model: BatchAlgorithm) -> th.nn.Module:
    """A copy of the model's greedy policy, on the CPU, in float32: what an exported file computes."""
    policy = copy.deepcopy(model.policy).to("cpu").eval()
    use_float32(policy)
    return model.greedy_module(policy)


def weights_of(model: BatchAlgorithm) -> Weights:
    """Its weights as they are now, by name."""
    return {name: value.numpy().copy() for name, value in frozen(model).state_dict().items()}


def reviver(model: BatchAlgorithm) -> Callable[[Weights], Callable[[Any], Any]]:
    """What makes a policy, observations (N, ...) -> actions (N, 2), of weights that a model such as this one had."""
    template = frozen(model)

    def revive(weights: Weights) -> Callable[[Any], Any]:
        module = copy.deepcopy(template)
        module.load_state_dict({name: th.from_numpy(np.array(value)) for name, value in weights.items()})

        def predict(observation: Any) -> Any:
            several = isinstance(observation, dict)
            seen = {k: th.from_numpy(v) for k, v in observation.items()} if several else th.from_numpy(observation)
            with th.inference_mode():
                return module(seen).numpy()

        return predict

    return revive


class SnapshotCallback(BaseCallback):
    """Logs how the learner does against the pool; between two rollouts, lets its policy join where it has earned that.

    Stands before the CheckpointCallback in the list of callbacks. It has no state of its own: the pool has all.
    """

    def __init__(
        self, task: RaceTask, pool: Pool, total_steps: int, steps_before: int, note: Callable[..., Any]
    ) -> None:
        """pool: of the task. total_steps: of this training. steps_before: of the runs that it began from. note:
        `Journal.event`."""
        super().__init__()
        self._task, self._pool, self._note = task, pool, note
        self._total_steps, self._steps_before = total_steps, steps_before

    def _on_step(self) -> bool:
        return True

    def _on_rollout_start(self) -> None:
        steps, pool = int(self.model.num_timesteps), self._pool
        if not pool.due(steps / self._total_steps):
            return
        name = f"snapshot {self._steps_before + steps}"
        pool.join(self._task.world, name, weights_of(self.model))
        shares = {member.name: round(member.share, 4) for member in pool.members}
        self._note("snapshot joined the pool", step=self._steps_before + steps, win_shares=shares)

    def _on_rollout_end(self) -> None:
        for name, value in self._pool.figures().items():
            self.logger.record(name, value)
