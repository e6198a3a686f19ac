"""95 % confidence intervals for small samples."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

Z = 1.959963984540054  # 97.5 % quantile of the normal distribution


def wilson(successes: float, trials: float) -> tuple[float, float]:
    """Compute the Wilson score interval of a rate (JASA 22, 1927), valid at 0 and 1, unlike the normal approximation.

    successes in 0..trials, trials >= 1; not whole ones where trials are an effective sample size.
    Returns (low, high) in [0, 1].
    """
    rate, z2 = successes / trials, Z * Z
    middle = (rate + z2 / (2 * trials)) / (1 + z2 / trials)
    half = Z / (1 + z2 / trials) * math.sqrt(rate * (1 - rate) / trials + z2 / (4 * trials * trials))
    low = 0.0 if successes == 0 else middle - half  # exact, without rounding errors of 1e-17
    high = 1.0 if successes == trials else middle + half
    return low, high


def difference_interval(
    first: Sequence[float], second: Sequence[float]
) -> tuple[float | None, float | None, float | None]:
    """Compute (difference, low, high) of the means of two samples by Welch's t (Biometrika 34, 1947).

    Bounds are None where one has less than two values, all of it where one has none.
    """
    from scipy.special import stdtrit

    if not first or not second:
        return None, None, None
    difference = float(np.mean(first) - np.mean(second))
    counts = np.array([len(first), len(second)])
    if counts.min() == 1:
        return difference, None, None
    errors = np.array([np.var(first, ddof=1), np.var(second, ddof=1)]) / counts  # squared
    if errors.sum() == 0:
        return difference, difference, difference
    freedom = errors.sum() ** 2 / (errors**2 / (counts - 1)).sum()
    half = float(stdtrit(freedom, 0.975)) * math.sqrt(errors.sum())
    return difference, difference - half, difference + half


def mean_interval(values: Sequence[float]) -> tuple[float | None, float | None, float | None]:
    """Compute (mean, low, high) with Student's t; bounds are None below two values, the mean without any."""
    from scipy.special import stdtrit

    count = len(values)
    if count == 0:
        return None, None, None
    mean = float(np.mean(values))
    if count == 1:
        return mean, None, None
    half = float(stdtrit(count - 1, 0.975)) * float(np.std(values, ddof=1)) / math.sqrt(count)
    return mean, mean - half, mean + half


def named_mean(name: str, values: Sequence[float]) -> dict[str, float | None]:
    """`mean_interval` as `name`, `name`_low and `name`_high."""
    mean, low, high = mean_interval(values)
    return {name: mean, f"{name}_low": low, f"{name}_high": high}
