"""What all algorithms need from their config values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch as th
from stable_baselines3.common.utils import LinearSchedule

from racing.errors import require, require_number

ACTIVATIONS: dict[str, type[th.nn.Module]] = {"tanh": th.nn.Tanh, "relu": th.nn.ReLU, "elu": th.nn.ELU}


def activation(name: str) -> type[th.nn.Module]:
    """The module class called `name`. Raises InputError if unknown."""
    require(name in ACTIVATIONS, f"algo.activation must be one of {', '.join(ACTIVATIONS)}, got {name!r}; choose one")
    return ACTIVATIONS[name]


def schedule(first: float, last: float) -> LinearSchedule:
    """Learning rate that falls linearly from `first` to `last`. Raises InputError unless 0 < last <= first <= 1."""
    for name, value in (("learning_rate", first), ("learning_rate_end", last)):
        require_number(f"algo.{name}", value, 1e-12, 1, remedy="e.g. 1e-3")
    require(last <= first, f"algo.learning_rate_end must be <= algo.learning_rate, got {last} > {first}; lower it")
    return LinearSchedule(first, last, 1.0)


def layers(sizes: Any) -> list[int]:
    """Hidden layers `algo.net_arch`. Raises InputError unless it is a list of whole numbers >= 1."""
    rule = f"algo.net_arch must be a list of layer sizes, got {sizes!r}; e.g. [64, 64]"
    require(isinstance(sizes, Sequence) and not isinstance(sizes, str), rule)
    for size in sizes:
        require_number("algo.net_arch's sizes", size, 1, 65_536, whole=True, remedy="e.g. [64, 64]")
    return list(sizes)
