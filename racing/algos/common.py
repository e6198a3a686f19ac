"""What all algorithms share: what they offer beside Stable-Baselines3's interface, and how they read config values."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, TypeVar

import torch as th
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.utils import LinearSchedule
from stable_baselines3.common.vec_env import VecEnv
from torch import nn

from racing.algos.streams import Stream
from racing.errors import require, require_number

CLASS_TAG = "algorithm_class"  # key in the "data" of a saved file
# What saved files leave out: buffers that only racing could read, and what all environments observed last.
NOT_SAVED = (
    *("rollout_buffer_class", "rollout_buffer_kwargs", "replay_buffer_class", "replay_buffer_kwargs"),
    *("_last_obs", "_last_original_obs", "_last_episode_starts"),
)
Class = TypeVar("Class")
_TAGS = re.compile(r"racing\.algos\.[a-z_][a-z0-9_]*\.[A-Z]\w*")

MAX_LAYERS = 100  # each takes its time at every step
ACTIVATIONS: dict[str, type[th.nn.Module]] = {"tanh": th.nn.Tanh, "relu": th.nn.ReLU, "elu": th.nn.ELU}


class BatchAlgorithm(BaseAlgorithm):
    """Mixin for an algorithm of Stable-Baselines3, on batched environments: `class BatchSAC(BatchAlgorithm, SAC)`.

    Whoever exports, loads or continues a model asks it, and knows no list of algorithms. A replay buffer must be one
    that is saved by rows: racing.algos.replay.batch.BatchReplayBuffer, or frames.FrameReplayBuffer.
    """

    streams: Mapping[str, Stream] = MappingProxyType({})  # what each of several agents draws, by its name

    @property
    def learners(self) -> Mapping[str, BatchAlgorithm]:
        """Who learns a policy, by name: the algorithm itself, without one; or several agents of one environment."""
        return {"": self}

    @staticmethod
    def greedy_module(policy: Any) -> nn.Module:
        """The deterministic policy as one module, made of the layers of `policy`; this is what is exported.

        It takes observations as the environment gives them, (N, D) float32 or a dict of tensors by name, and returns
        actions (N, A) float32 in [-1, 1]: what `predict(deterministic=True)` returns.
        """
        raise NotImplementedError("an algorithm must say what its greedy policy is: define greedy_module")

    @staticmethod
    def _wrap_env(env: VecEnv, verbose: int = 0, monitor_wrapper: bool = True) -> VecEnv:
        """As it is: the environment is a batch, and the networks take frames as they come."""
        return env

    def _excluded_save_params(self) -> list[str]:
        """See BaseAlgorithm."""
        return [*super()._excluded_save_params(), *NOT_SAVED]

    def save(self, path: Any, *arguments: Any, **named: Any) -> None:
        """See BaseAlgorithm; the file says which class reads it."""
        setattr(self, CLASS_TAG, f"{type(self).__module__}.{type(self).__qualname__}")
        super().save(path, *arguments, **named)


def tagged_class(tag: Any) -> type[BatchAlgorithm]:
    """The algorithm that a saved file names. Raises ValueError for anything but an algorithm of racing.algos.

    A file must not choose which code runs: only modules of this package are imported for it.
    """
    try:
        return named_class(tag, BatchAlgorithm)
    except ValueError as error:
        raise ValueError(f"its {CLASS_TAG} is {error}") from error


def named_class(name: Any, base: type[Class]) -> type[Class]:
    """The class of racing.algos that a saved file names. Raises ValueError unless there is one, derived from `base`."""
    if not (isinstance(name, str) and _TAGS.fullmatch(name)):
        raise ValueError(f"{str(name)[:80]!r}, none of racing.algos")
    module, _, attribute = name.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), attribute, None)
    except ModuleNotFoundError as error:
        raise ValueError(f"{name}, which is not here ({error})") from error
    if not (isinstance(found, type) and issubclass(found, base)):
        raise ValueError(f"{name}, which is no {base.__name__}")
    return found


def of_each(model: Any, what: Callable[[Any], Any]) -> Any:
    """`what` of the model, or of each of its agents by name: the form in which both are kept."""
    found = {name: what(learner) for name, learner in model.learners.items()}
    return found.get("", found)


def each_with(model: Any, kept: Any) -> list[tuple[Any, Any]]:
    """The learners of a model, each with its part of what `of_each` gave. Raises ValueError if they are others."""
    learners = model.learners
    if "" in learners:
        return [(model, kept)]
    others = sorted(learners.keys() ^ kept.keys())
    if others:
        raise ValueError(f"the agents {', '.join(others)} are in one of them only")
    return [(learner, kept[name]) for name, learner in learners.items()]


class GreedyModule(nn.Module):
    """Features of an observation, then layers one after another: what most greedy policies are."""

    def __init__(self, extractor: nn.Module, *layers: nn.Module) -> None:
        """extractor: observation -> (N, F) features. The attributes' names are those of the file's nodes and
        weights."""
        super().__init__()
        self.features, self.rest = extractor, nn.Sequential(*layers)

    def forward(self, observation: Any) -> th.Tensor:
        """(N, A) actions."""
        return self.rest(self.features(observation))


def activation(name: str) -> type[th.nn.Module]:
    """The module class called `name`. Raises InputError if unknown."""
    require(name in ACTIVATIONS, f"algo.activation must be one of {', '.join(ACTIVATIONS)}, got {name!r}; choose one")
    return ACTIVATIONS[name]


def schedule(first: float, last: float) -> LinearSchedule:
    """Learning rate that falls linearly from `first` to `last`. Raises InputError unless 0 < last <= first <= 1."""
    for name, value in (("learning_rate", first), ("learning_rate_end", last)):
        require_number(f"algo.{name}", value, 1e-12, 1, remedy="e.g. 1e-3")
    rule = f"algo.learning_rate_end must be <= algo.learning_rate, got {last} > {first}"
    require(last <= first, f"{rule}; say algo.learning_rate_end={first}")
    return LinearSchedule(first, last, 1.0)


def layers(sizes: Any) -> list[int]:
    """Hidden layers `algo.net_arch`. Raises InputError unless it is a list of whole numbers >= 1."""
    rule = f"algo.net_arch must be a list of layer sizes, got {sizes!r}; e.g. [64, 64]"
    require(isinstance(sizes, Sequence) and not isinstance(sizes, str), rule)
    many = f"algo.net_arch must have at most {MAX_LAYERS} layers, got {len(sizes):,}; a few are usual, e.g. [64, 64]"
    require(len(sizes) <= MAX_LAYERS, many)
    for size in sizes:
        require_number("algo.net_arch's sizes", size, 1, 65_536, whole=True, remedy="e.g. [64, 64]")
    return list(sizes)
