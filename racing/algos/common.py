"""What all algorithms need from their config values."""

from __future__ import annotations

from typing import Any

import torch as th
from stable_baselines3.common.utils import LinearSchedule

from racing.errors import require

ACTIVATIONS: dict[str, type[th.nn.Module]] = {"tanh": th.nn.Tanh, "relu": th.nn.ReLU, "elu": th.nn.ELU}


def activation(name: str) -> type[th.nn.Module]:
    """The module class called `name`. Raises InputError if unknown."""
    require(name in ACTIVATIONS, f"algo.activation must be one of {', '.join(ACTIVATIONS)}, got {name!r}; choose one")
    return ACTIVATIONS[name]


def schedule(first: float, last: float) -> LinearSchedule:
    """Learning rate that falls linearly from `first` to `last`. Raises InputError unless 0 < last <= first <= 1."""
    for name, value in (("learning_rate", first), ("learning_rate_end", last)):
        require(number(value) and 0 < value <= 1, f"algo.{name} must be in (0, 1], got {value!r}; e.g. 1e-3")
    require(last <= first, f"algo.learning_rate_end must be <= algo.learning_rate, got {last} > {first}; lower it")
    return LinearSchedule(first, last, 1.0)


def number(value: Any) -> bool:
    """Whether `value` is a number (a truth value is none)."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def check_ranges(values: dict[str, Any], rules: dict[str, tuple[float, float, bool]]) -> None:
    """Raise InputError for the first value outside its range.

    rules: name -> (lowest, highest, whole numbers only).
    """
    for name, (low, high, whole) in rules.items():
        value = values[name]
        kind = "a whole number" if whole else "a number"
        fits = number(value) and (isinstance(value, int) or not whole) and low <= value <= high
        require(fits, f"algo.{name} must be {kind} in [{low:g}, {high:g}], got {value!r}; see conf/algo")
