"""Everything that an algorithm of Stable-Baselines3 needs to continue exactly, taken out and put back.

State is taken between two rollouts (a callback's `on_rollout_start`, or after `learn`), when no rollout is half done.

    policy      all networks                     optimizer   their optimizers, and SAC's temperature
    rng         python, numpy, torch, CUDA, the action space's; of several agents each one's own
    world       the vector env: cars, running episodes
    counters    steps, updates, schedule, last observations, recent episodes, metrics not written yet

Of several agents in one environment (BatchAlgorithm.learners) policy, optimizer and counters are those of each by name.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Mapping
from typing import Any

import torch as th
from stable_baselines3.common.base_class import BaseAlgorithm

from racing.algos.common import BatchAlgorithm, each_with, of_each
from racing.algos.replay.batch import CheckpointedReplayBuffer
from racing.algos.streams import global_random_state, set_global_random_state

COUNTERS = ("num_timesteps", "_episode_num", "_n_updates", "_current_progress_remaining")
LAST = ("_last_obs", "_last_episode_starts")
RECENT = ("ep_info_buffer", "ep_success_buffer")


def capture(model: BatchAlgorithm) -> dict[str, Any]:
    """The state of `model`, its environment and all random number generators, by the names above.

    Tensors and arrays may be views: write them before training goes on. Replay buffers are apart: `replay_buffers`.
    """
    return {
        "policy": of_each(model, lambda learner: learner.get_parameters()["policy"]),
        "optimizer": of_each(model, _optimizer),
        "rng": random_state(model),
        "world": model.get_env().get_state(),
        "counters": {
            **_counters(model),
            **({} if "" in model.learners else {"agents": of_each(model, _counters)}),
            "pending": {name: dict(getattr(model.logger, name)) for name in ("name_to_value", "name_to_count")},
        },
    }


def _optimizer(learner: BaseAlgorithm) -> dict[str, Any]:
    named = learner.get_parameters()
    del named["policy"]
    return {"modules": named, "variables": {name: _variable(learner, name) for name in _variables(learner)}}


def _counters(learner: BaseAlgorithm) -> dict[str, Any]:
    return {
        **{name: getattr(learner, name) for name in (*COUNTERS, *LAST)},
        **{name: list(getattr(learner, name) or ()) for name in RECENT},
    }


def restore(model: BatchAlgorithm, state: Mapping[str, Any]) -> None:
    """Put back what `capture` took from a model with the same settings; set the model's logger before.

    Afterwards `model.learn(total - model.num_timesteps, reset_num_timesteps=False)` continues. Raises ValueError for
    the state of other agents.
    """
    counters = state["counters"]
    policies, optimizers = each_with(model, state["policy"]), each_with(model, state["optimizer"])
    for (learner, policy), (_, optimizer) in zip(policies, optimizers, strict=True):
        for name, value in optimizer["variables"].items():
            _variable(learner, name).data.copy_(value)
        learner.set_parameters({"policy": policy, **optimizer["modules"]}, exact_match=True)
    _set_counters(model, counters)
    for learner, own in each_with(model, counters.get("agents", counters)):
        _set_counters(learner, own)
    for name, values in counters["pending"].items():
        getattr(model.logger, name).update(values)
    model.get_env().set_state(state["world"])
    set_random_state(model, state["rng"])  # last: building things draws numbers


def _set_counters(learner: BaseAlgorithm, counters: Mapping[str, Any]) -> None:
    for name in (*COUNTERS, *LAST):
        setattr(learner, name, counters[name])
    for name in RECENT:
        setattr(learner, name, deque(counters[name], maxlen=learner._stats_window_size))


def replay_buffers(model: BatchAlgorithm) -> dict[str, CheckpointedReplayBuffer]:
    """The replay buffers of those learners that have one, by name. Raises TypeError for one that cannot be saved."""
    found = {name: getattr(learner, "replay_buffer", None) for name, learner in model.learners.items()}
    for buffer in found.values():
        if buffer is not None and not isinstance(buffer, CheckpointedReplayBuffer):
            own = "racing.algos.replay.batch.BatchReplayBuffer"
            raise TypeError(f"{type(buffer).__name__} cannot be saved by rows; use {own}")
    return {name: buffer for name, buffer in found.items() if buffer is not None}


def weights_sha256(weights: Mapping[str, Any]) -> str:
    """sha256 of all tensors in `weights` (a state dict, may be nested), independent of where they lie."""
    digest = hashlib.sha256()
    for name, value in sorted((str(key), value) for key, value in weights.items()):
        digest.update(name.encode())
        if isinstance(value, Mapping):
            digest.update(weights_sha256(value).encode())
        elif isinstance(value, th.Tensor):
            digest.update(value.detach().cpu().contiguous().numpy().tobytes())
        else:
            digest.update(repr(value).encode())
    return digest.hexdigest()


def random_state(model: BatchAlgorithm) -> dict[str, Any]:
    """State of every random number generator that training draws from."""
    return {
        **global_random_state(),
        "action_space": of_each(model, lambda learner: learner.action_space.np_random.bit_generator.state),
        **({"agents": {name: stream.state for name, stream in model.streams.items()}} if model.streams else {}),
    }


def set_random_state(model: BatchAlgorithm, state: Mapping[str, Any]) -> None:
    """Put back what `random_state` took; CUDA's only where there are as many devices."""
    set_global_random_state(state)
    for learner, own in each_with(model, state["action_space"]):
        learner.action_space.np_random.bit_generator.state = own
    for name, stream in model.streams.items():
        stream.state = state["agents"][name]


def _variables(model: BaseAlgorithm) -> list[str]:
    """Names of the tensors beside the networks, as Stable-Baselines3 lists them for saving."""
    return list(model._get_torch_save_params()[1])


def _variable(model: BaseAlgorithm, name: str) -> th.Tensor:
    return getattr(model, name)
