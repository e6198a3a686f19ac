"""Many policies of the same layers at once: each drives its own cars."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

F = npt.NDArray[np.float32]


def count_weights(sizes: Sequence[int]) -> int:
    """Number d of weights of layers of `sizes`: inputs, hidden units, outputs."""
    return sum((before + 1) * after for before, after in pairwise(sizes))


class Population:
    """P policies tanh(W x + b), layer after layer, evaluated as one: a matrix product of three axes for each layer."""

    def __init__(self, weights: npt.NDArray[Any], sizes: Sequence[int]) -> None:
        """weights (P, d): of each policy, in the order of torch's `parameters_to_vector`. sizes: of the layers."""
        self._layers: list[tuple[F, F]] = []
        begin = 0
        for before, after in pairwise(sizes):
            matrix = weights[:, begin : begin + after * before].reshape(-1, after, before)
            begin += after * before
            bias = weights[:, begin : begin + after]
            begin += after
            self._layers.append(
                (np.ascontiguousarray(matrix.transpose(0, 2, 1), np.float32), bias[:, None].astype(np.float32))
            )
        self._count = len(weights)

    def act(self, observation: F) -> F:
        """Actions (N, A) for observations (N, D): the first N / P rows are those of the first policy, and so on."""
        values = observation.reshape(self._count, -1, observation.shape[-1])
        for matrix, bias in self._layers:
            values = np.matmul(values, matrix)
            values += bias
            np.tanh(values, out=values)
        return values.reshape(len(observation), -1)
