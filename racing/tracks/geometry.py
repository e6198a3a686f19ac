"""Closed curves in the plane: resampling, smoothing, curvature, self-intersections, self-distance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from racing.sim.kernels.kernel import kernel

Points = npt.NDArray[np.float64]
Column = npt.NDArray[np.float64]

MIN_CROSSING_ANGLE = np.radians(30)  # a flatter crossing is two roads that touch


@dataclass(frozen=True)
class Crossing:
    """Where a closed curve crosses itself: between points i, i+1 and j, j+1 (i < j), at an angle in (0, pi/2] [rad]."""

    i: int
    j: int
    place: tuple[float, float]
    angle: float


def following(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return the next entry of each entry (M, ...) of a closed curve: `np.roll(values, -1, axis=0)`, faster."""
    return np.concatenate((values[1:], values[:1]))


def preceding(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return the previous entry of each entry (M, ...) of a closed curve."""
    return np.concatenate((values[-1:], values[:-1]))


def perimeter(points: Points) -> float:
    """Return the length [m] of the closed polyline `points` (M, 2)."""
    return float(np.linalg.norm(following(points) - points, axis=1).sum())


def arc_lengths(points: Points) -> Column:
    """Return the arc length (M+1,) [m] at each point of the closed polyline `points` (M, 2); the last is its length."""
    steps = np.linalg.norm(following(points) - points, axis=1)
    return np.concatenate([[0.0], np.cumsum(steps)])


def resample_linear(points: Points, spacing: float, *columns: Column) -> list[npt.NDArray[np.float64]]:
    """Resample the closed polyline `points` (N, 2) evenly, and `columns` (N,) with it."""
    arc = arc_lengths(points)
    count = max(8, round(arc[-1] / spacing))
    at = np.arange(count) * arc[-1] / count
    every = [points[:, 0], points[:, 1], *columns]
    x, y, *rest = [np.interp(at, arc, np.append(c, c[0])) for c in every]
    return [np.stack([x, y], axis=1), *rest]


def smooth_closed(values: npt.NDArray[np.float64], steps: float, *, keep_size: bool = True) -> npt.NDArray[np.float64]:
    """Smooth evenly spaced periodic `values` (M,) or (M, 2) with a Gaussian; `steps`: standard deviation in samples.

    A Gaussian shrinks bends (a circle of radius R by about sigma^2 / 2R). With `keep_size` the residual of the first
    pass is smoothed and added again (twicing, Tukey 1977), which preserves bends wider than the Gaussian.
    """
    frequency = np.fft.rfftfreq(len(values))
    gain = np.exp(-0.5 * (2 * np.pi * frequency * steps) ** 2)
    if keep_size:
        gain = gain * (2 - gain)
    spectrum = np.fft.rfft(values, axis=0)
    return np.asarray(np.fft.irfft(spectrum * gain.reshape(-1, *[1] * (values.ndim - 1)), n=len(values), axis=0))


def curvature(points: Points) -> Column:
    """Return the curvature (M,) [1/m] of an evenly spaced closed curve, positive in a left bend."""
    ahead, behind = following(points) - points, points - preceding(points)
    cross = behind[:, 0] * ahead[:, 1] - behind[:, 1] * ahead[:, 0]
    turn = np.arctan2(cross, (ahead * behind).sum(axis=1))
    return np.asarray(2 * turn / (np.linalg.norm(ahead, axis=1) + np.linalg.norm(behind, axis=1)))


def crossings(points: Points) -> list[Crossing]:
    """Find all self-intersections of the closed polyline `points` (M, 2)."""
    from scipy.spatial import cKDTree

    start, step = points, following(points) - points
    reach = float(np.linalg.norm(step, axis=1).max())  # segments that cross have their middles no further apart
    first, second = cKDTree(start + step / 2).query_pairs(reach, output_type="ndarray").T
    beside = (second - first < 2) | (second - first > len(points) - 2)
    order = np.lexsort((second[~beside], first[~beside]))
    first, second = first[~beside][order], second[~beside][order]
    a, b, gap = step[first], step[second], start[second] - start[first]
    det = a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]
    safe = np.where(np.abs(det) < 1e-12, np.inf, det)
    t = (gap[:, 0] * b[:, 1] - gap[:, 1] * b[:, 0]) / safe
    u = (gap[:, 0] * a[:, 1] - gap[:, 1] * a[:, 0]) / safe
    found = []
    for k in np.nonzero((np.abs(det) >= 1e-12) & (t >= 0) & (t < 1) & (u >= 0) & (u < 1))[0]:
        place = start[first[k]] + t[k] * a[k]
        angle = float(np.arctan2(abs(det[k]), abs(a[k] @ b[k])))
        found.append(Crossing(int(first[k]), int(second[k]), (float(place[0]), float(place[1])), angle))
    return found


def closest_approach(points: Points, apart: float) -> float:
    """Return the least distance [m] between two points of a closed curve more than `apart` [m] of arc length apart."""
    return float(np.sqrt(_closest_squared(np.ascontiguousarray(points, np.float64), arc_lengths(points), apart)))


@kernel
def _closest_squared(points: Points, arc: Column, apart: float) -> float:
    count = len(points)
    best = np.inf
    for i in range(count):
        for j in range(i + 1, count):
            dx, dy = points[i, 0] - points[j, 0], points[i, 1] - points[j, 1]
            squared = dx * dx + dy * dy
            if squared < best:
                along = arc[j] - arc[i]
                if min(along, arc[count] - along) > apart:
                    best = squared
    return best


def nearest(points: Points, query: Points) -> tuple[npt.NDArray[np.int64], Column]:
    """Find, for each of `query` (Q, 2), the index of the nearest of `points` (M, 2) and its distance [m]."""
    from scipy.spatial import cKDTree

    distance, index = cKDTree(points).query(query)
    return np.asarray(index), np.asarray(distance)


def start_at(points: Points, place: Points, *columns: Column) -> list[npt.NDArray[np.float64]]:
    """Rotate the closed curve `points` (M, 2) and its `columns` (M,) to begin at its point nearest to `place` (2,)."""
    step = following(points) - points
    along = ((place - points) * step).sum(axis=1) / np.maximum((step**2).sum(axis=1), 1e-12)
    foot = points + np.clip(along, 0, 1)[:, None] * step
    k = int(np.argmin(((foot - place) ** 2).sum(axis=1)))
    t = float(np.clip(along[k], 0, 1))

    def turned(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        first = values[k] + t * (values[(k + 1) % len(values)] - values[k])
        rest = np.roll(values, -(k + 1), axis=0)
        keep = slice(1 if t > 0.9 else 0, -1 if t < 0.1 else None)  # no point right beside the new first one
        return np.concatenate([first[None], rest[keep]])

    return [turned(points), *[turned(c) for c in columns]]


def longest_straight(bend: Column, limit: float) -> tuple[int, int]:
    """Find (first index, number of points) of the longest run with |curvature| `bend` (M,) below `limit` [1/m]."""
    straight = np.abs(bend) < limit
    if straight.all() or not straight.any():
        return int(np.argmin(np.abs(bend))), 1
    begin = int(np.argmin(straight))  # a bend, so that no run wraps around
    turned = np.roll(straight, -begin).astype(int)
    edges = np.diff(np.concatenate([[0], turned, [0]]))
    starts, ends = np.nonzero(edges == 1)[0], np.nonzero(edges == -1)[0]
    best = int(np.argmax(ends - starts))
    return int((starts[best] + begin) % len(bend)), int(ends[best] - starts[best])
