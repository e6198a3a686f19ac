"""Observations of all cars: an array (N, ...), or a dict of them by name; no torch."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
VECTOR = "observation"  # name of an observation that is a single array


def rows_of(observation: Any, indices: Any) -> Any:
    """Rows `indices` (numbers, mask or slice) of an observation of all cars, a dict of them, or None."""
    if isinstance(observation, dict):
        return {key: array[indices] for key, array in observation.items()}
    return None if observation is None else observation[indices]


def joined(observations: list[Any]) -> Any:
    """Observations, or dicts of them, one after another."""
    if isinstance(observations[0], dict):
        return {key: np.concatenate([o[key] for o in observations]) for key in observations[0]}
    return np.concatenate(observations)


def parts_of(observation: Any) -> dict[str, Array]:
    """Arrays by name; one that is a single array is called VECTOR."""
    return observation if isinstance(observation, dict) else {VECTOR: observation}


def count(observation: Any) -> int:
    """Number of cars."""
    return len(next(iter(parts_of(observation).values())))


def shapes_of(space: Any) -> dict[str, tuple[int, ...]]:
    """Shape of one car's arrays by name, of a Gymnasium Box or Dict."""
    return {name: tuple(part.shape) for name, part in parts_of(getattr(space, "spaces", space)).items()}
