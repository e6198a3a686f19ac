"""CMA-ES of the package `cmaes`: whole generations at once, and a state that continues exactly."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch as th
from cmaes import CMA, SepCMA

F64 = npt.NDArray[np.float64]
LEAST_VARIANCE = 1e-16
NOT_STATE = "_rng"  # of the package's classes: draws are a function of the seed and the generation


class WholeCMA(CMA):
    """The package's, its covariance taken apart by torch, which uses as many threads as the configuration says.

    numpy uses all cores, waits for those that are busy, and its last bits depend on their number.
    """

    _B: Any
    _C: Any
    _D: Any

    def _eigen_decomposition(self) -> tuple[F64, F64]:
        """(d, d) axes of the distribution, as columns, and (d,) the standard deviations along them."""
        if self._B is None or self._D is None:
            variances, axes = th.linalg.eigh(th.from_numpy((self._C + self._C.T) / 2))
            self._B, self._D = axes.numpy(), np.sqrt(np.maximum(variances.numpy(), LEAST_VARIANCE))
            self._C = (self._B * self._D**2) @ self._B.T
        return self._B, self._D


class Strategy:
    """A normal distribution of points (d,) that moves to where values are high (Hansen 2016, arXiv 1604.00772).

    What it draws is a function of the seed and the number of the generation.
    """

    def __init__(
        self, mean: F64, sigma: float, *, candidates: int, seed: int, diagonal: bool = False, lr_adapt: bool = False
    ) -> None:
        """Begin at `mean` (d,) with the standard deviation `sigma` in all directions.

        candidates: that a generation draws.
        diagonal: the covariance has no others than variances (Ros, Hansen 2008, sep-CMA-ES): O(d) in place of O(d^2).
        lr_adapt: slower steps where values are noisy (Nomura et al. 2023, arXiv 2304.03473); not with `diagonal`.
        """
        start, rule = np.array(mean, np.float64), {} if diagonal else {"lr_adapt": lr_adapt}
        kind: Any = SepCMA if diagonal else WholeCMA
        self._es: Any = kind(mean=start, sigma=float(sigma), population_size=candidates, **rule)
        self._es._funhist_values[:] = 0  # as numpy found the memory: it would be part of the state
        self._seed, self._diagonal = seed, diagonal

    @property
    def mean(self) -> F64:
        """(d,) centre of the distribution."""
        return np.array(self._es.mean)

    @property
    def sigma(self) -> float:
        """Step size: the overall standard deviation."""
        return float(self._es._sigma)

    @property
    def generation(self) -> int:
        """Generations that were told."""
        return int(self._es.generation)

    def ask(self) -> F64:
        """(P, d) candidates of this generation; the package draws one at a time, each by a product of matrices."""
        draw = np.random.Generator(np.random.Philox(key=[self._seed, self.generation]))
        normal = draw.standard_normal((self._es.population_size, self._es.dim))
        factors = self._es._eigen_decomposition()  # of the covariance
        spread = normal * factors if self._diagonal else (normal * factors[1]) @ factors[0].T
        return np.asarray(self._es.mean + self._es._sigma * spread)

    def tell(self, points: F64, values: npt.NDArray[Any]) -> None:
        """Move the distribution. points (P, d): what `ask` gave; values (P,): of them, the higher the better."""
        self._es.tell([(point, -float(value)) for point, value in zip(points, values, strict=True)])

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next generations depend on but the seed: tensors and numbers by name, as copies."""
        return {name: _plain(value) for name, value in vars(self._es).items() if name != NOT_STATE}

    def load_state_dict(self, state: Mapping[str, Any], strict: bool = True) -> None:
        """Continue from `state_dict()` of a strategy with the same settings. Raises ValueError if it does not fit."""
        own = self.state_dict()
        if own.keys() != state.keys() or own["_n_dim"] != state["_n_dim"] or own["_popsize"] != state["_popsize"]:
            raise ValueError("the state of the evolution is of another size, or of another version of cmaes")
        vars(self._es).update({name: _array(value) for name, value in state.items()})


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return th.from_numpy(value.copy())
    return value.item() if isinstance(value, np.generic) else copy.copy(value)


def _array(value: Any) -> Any:
    return value.numpy().copy() if isinstance(value, th.Tensor) else copy.copy(value)
