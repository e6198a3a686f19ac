"""Everything that an algorithm of Stable-Baselines3 needs to continue exactly, taken out and put back.

State is taken between two rollouts (a callback's `on_rollout_start`, or after `learn`), when no rollout is half done.

    policy      all networks                     optimizer   their optimizers, and SAC's temperature
    rng         python, numpy, torch, CUDA, the action space's
    world       the vector env: cars, running episodes
    counters    steps, updates, schedule, last observations, recent episodes, metrics not written yet
"""

from __future__ import annotations

import hashlib
import random
from collections import deque
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch as th
from stable_baselines3.common.base_class import BaseAlgorithm

from racing.algos.replay import CheckpointedReplayBuffer

COUNTERS = ("num_timesteps", "_episode_num", "_n_updates", "_current_progress_remaining")
LAST = ("_last_obs", "_last_episode_starts")
RECENT = ("ep_info_buffer", "ep_success_buffer")


def capture(model: BaseAlgorithm) -> dict[str, Any]:
    """The state of `model`, its environment and all random number generators, by the names above.

    Tensors and arrays may be views: write them before training goes on. The replay buffer is apart: `replay_buffer`.
    """
    named = model.get_parameters()
    return {
        "policy": named.pop("policy"),
        "optimizer": {"modules": named, "variables": {name: _variable(model, name) for name in _variables(model)}},
        "rng": random_state(model),
        "world": model.get_env().get_state(),
        "counters": {
            **{name: getattr(model, name) for name in (*COUNTERS, *LAST)},
            **{name: list(getattr(model, name) or ()) for name in RECENT},
            "pending": {name: dict(getattr(model.logger, name)) for name in ("name_to_value", "name_to_count")},
        },
    }


def restore(model: BaseAlgorithm, state: Mapping[str, Any]) -> None:
    """Put back what `capture` took from a model with the same settings; set the model's logger before.

    Afterwards `model.learn(total - model.num_timesteps, reset_num_timesteps=False)` continues.
    """
    counters = state["counters"]
    model.set_parameters({"policy": state["policy"], **state["optimizer"]["modules"]}, exact_match=True)
    for name, value in state["optimizer"]["variables"].items():
        _variable(model, name).data.copy_(value)
    for name in (*COUNTERS, *LAST):
        setattr(model, name, counters[name])
    for name in RECENT:
        setattr(model, name, deque(counters[name], maxlen=model._stats_window_size))
    for name, values in counters["pending"].items():
        getattr(model.logger, name).update(values)
    model.get_env().set_state(state["world"])
    set_random_state(model, state["rng"])  # last: building things draws numbers


def replay_buffer(model: BaseAlgorithm) -> CheckpointedReplayBuffer | None:
    """The model's replay buffer; None for algorithms without one. Raises TypeError for one that cannot be saved."""
    buffer = getattr(model, "replay_buffer", None)
    if buffer is None or isinstance(buffer, CheckpointedReplayBuffer):
        return buffer
    raise TypeError(f"{type(buffer).__name__} cannot be saved by rows; use racing.algos.replay.BatchReplayBuffer")


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


def random_state(model: BaseAlgorithm) -> dict[str, Any]:
    """State of every random number generator that training draws from."""
    return {
        "python": random.getstate(),
        "numpy": np.random.get_state(),
        "torch": th.get_rng_state(),
        "cuda": th.cuda.get_rng_state_all() if th.cuda.is_available() else [],
        "action_space": model.action_space.np_random.bit_generator.state,
    }


def set_random_state(model: BaseAlgorithm, state: Mapping[str, Any]) -> None:
    """Put back what `random_state` took; CUDA's only where there are as many devices."""
    random.setstate(state["python"])
    np.random.set_state(state["numpy"])
    th.set_rng_state(state["torch"])
    if th.cuda.is_available() and len(state["cuda"]) == th.cuda.device_count():
        th.cuda.set_rng_state_all(state["cuda"])
    model.action_space.np_random.bit_generator.state = state["action_space"]


def _variables(model: BaseAlgorithm) -> list[str]:
    """Names of the tensors beside the networks, as Stable-Baselines3 lists them for saving."""
    return list(model._get_torch_save_params()[1])


def _variable(model: BaseAlgorithm, name: str) -> th.Tensor:
    return getattr(model, name)
