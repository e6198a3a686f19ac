"""Compute the near-optimal line around a track: minimum curvature, shortened where that is faster.

Minimum-curvature planning as in Heilmeier et al., "Minimum curvature trajectory planning and control for an autonomous
race car", Vehicle System Dynamics 2020: points move along the normals of the line, and their offsets solve a quadratic
program. Unlike there, the program is linearized around the line of the previous iteration, not around the centreline,
so the normals never cross in hairpins; the bounds of the offsets are read from the clearance grid.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.spatial import cKDTree

from racing.sim.track import Points, Track, resample_closed

Array = npt.NDArray[np.float64]

MAX_BEND = 0.5  # [-] trust region: largest offset / radius of curvature per iteration
MIDDLE = 0.2  # share of the half-width that the line may use on a road too narrow for the margin
SETTLED = 0.01  # largest offset / half-width at which the iteration has converged


@dataclass(frozen=True, eq=False)
class Line:
    """An evenly spaced closed line: points (N, 2), spacing [m], normals (N, 2) to the left, curvature (N,) [1/m]."""

    points: Points
    spacing: float
    normals: Points
    curvature: Array


def closed_line(points: Points, spacing: float) -> Line:
    """Resample `points` (N, 2) [m] evenly, about `spacing` [m] apart, with normals and curvature.

    The curvature at a point is the angle between the two steps that meet there, per length of a step.
    """
    even = resample_closed(points, spacing)[0]
    ahead, curvature = steps_of(even)
    tangent = ahead + np.roll(ahead, 1, axis=0)
    tangent /= np.linalg.norm(tangent, axis=1)[:, None]
    normals = np.stack([-tangent[:, 1], tangent[:, 0]], axis=1)
    return Line(even, float(np.linalg.norm(ahead, axis=1).mean()), normals, curvature)


def steps_of(points: Points) -> tuple[Array, Array]:
    """The step (N, 2) [m] that follows each of `points` (N, 2) of a closed line, and the curvature there (N,) [1/m]."""
    ahead = np.roll(points, -1, axis=0) - points
    length = np.linalg.norm(ahead, axis=1)
    behind = np.roll(ahead, 1, axis=0)
    turn = np.arctan2(behind[:, 0] * ahead[:, 1] - behind[:, 1] * ahead[:, 0], np.sum(behind * ahead, axis=1))
    return ahead, turn * 2 / (length + np.roll(length, 1))


def bending(curvature: Array, spacing: float) -> sparse.csc_matrix:
    """(N, N): what offsets (N,) [m] along the normals add to the curvature (N,) [1/m] of a line, a'' + k^2 a."""
    count = len(curvature)
    unit, ahead = sparse.identity(count, format="csc"), shifted(count)
    return (ahead + ahead.T - 2 * unit) / spacing**2 + sparse.diags(curvature**2)


def shifted(count: int) -> sparse.csc_matrix:
    """(count, count): the next value of each, around a closed line."""
    index = np.arange(count)
    return sparse.csc_matrix((np.ones(count), (index, (index + 1) % count)), shape=(count, count))


def least(hessian: sparse.csc_matrix, gradient: Array, rows: sparse.csc_matrix, limits: Array) -> Array | None:
    """The x that minimizes x' hessian x / 2 + gradient' x with rows x <= limits; None where none was found."""
    import clarabel

    settings = clarabel.DefaultSettings()
    settings.verbose = False
    settings.max_threads = 1
    cone, upper = [clarabel.NonnegativeConeT(len(limits))], sparse.triu(hessian, format="csc")
    found = np.asarray(clarabel.DefaultSolver(upper, gradient, rows, limits, cone, settings).solve().x)
    return found if np.isfinite(found).all() else None


def half_width(track: Track) -> float:
    """Return the mean half-width of the road [m]."""
    return float(track.left.mean() + track.right.mean()) / 2


def _own_corridor(points: Points, normals: Points, track: Track) -> tuple[Array, Array]:
    """Return the largest offsets to the right (negative) and left [m] (N,) within the edges of this stretch of road.

    Where a track crosses itself, the clearance grid alone would let the line turn into the other road. The stretch that
    a point belongs to is the nearest one in position and heading together.
    """
    scale = 2 * half_width(track)
    tree = cKDTree(np.hstack([track.points, scale * track.normals]))
    _, near = tree.query(np.hstack([points, scale * normals]))
    across = track.normals[near]
    offset = np.sum((points - track.points[near]) * across, axis=1)
    slant = np.maximum(np.sum(normals * across, axis=1), 0.3)
    return np.asarray(-(track.right[near] + offset) / slant), np.asarray((track.left[near] - offset) / slant)


def offset_bounds(line: Line, track: Track, margin: float) -> tuple[Array, Array]:
    """Return the least and largest offset [m] (N,) along the normals that keep `margin` [m] to the edge.

    The margin also holds half-way between points, since edges have corners.
    """
    ahead = np.roll(line.points, -1, axis=0)
    across = line.normals + np.roll(line.normals, -1, axis=0)
    across /= np.linalg.norm(across, axis=1)[:, None]
    low, high = free_offsets(line.points, line.normals, track, margin)
    low_ahead, high_ahead = free_offsets((line.points + ahead) / 2, across, track, margin)
    lows = np.max([low, low_ahead, np.roll(low_ahead, 1)], axis=0)
    highs = np.min([high, high_ahead, np.roll(high_ahead, 1)], axis=0)
    return np.minimum(lows, (lows + highs) / 2), np.maximum(highs, (lows + highs) / 2)


def free_offsets(points: Points, normals: Points, track: Track, margin: float) -> tuple[Array, Array]:
    """Return the free interval of offsets [m] nearest to each point (N, 2), as two arrays (N,).

    Where the road is too narrow for `margin`, the margin shrinks to what leaves the middle of the road free.
    """
    right, left = _own_corridor(points, normals, track)
    step = track.clearance.resolution / 2
    reach = int(np.ceil(max(float(left.max()), float(-right.min()), step) / step))
    offsets = np.arange(-reach, reach + 1) * step
    inside = (offsets >= right[:, None]) & (offsets <= left[:, None])
    inside[:, reach] = True
    looked_at = inside.copy()  # and one beside each: the wide parts of a road decide how many columns there are
    looked_at[:, 1:] |= inside[:, :-1]
    looked_at[:, :-1] |= inside[:, 1:]
    rows, columns = np.nonzero(looked_at)
    clearance = np.zeros(inside.shape)
    clearance[rows, columns] = track.clearance.at(points[rows] + offsets[columns, None] * normals[rows])
    most = np.where(inside, clearance, -np.inf).max(axis=1)
    room = clearance - np.minimum(margin, most - MIDDLE * np.abs(most))[:, None]
    free = inside & (room >= 0)
    start = np.where(free, np.abs(offsets), np.inf).argmin(axis=1)
    low, high = _end(room, free, start, -1), _end(room, free, start, 1)
    return (low - reach) * step, (high - reach) * step


def _end(room: Array, free: npt.NDArray[np.bool_], start: npt.NDArray[np.intp], way: int) -> Array:
    """Find the (fractional) column where the free interval around column `start` (N,) ends in direction `way` (+-1)."""
    if way < 0:
        last = room.shape[1] - 1
        return np.asarray(last - _end(room[:, ::-1], free[:, ::-1], last - start, 1))
    rows, columns = np.arange(len(room)), np.arange(room.shape[1])
    blocked = ~free & (columns > start[:, None])
    outside = np.where(blocked.any(axis=1), blocked.argmax(axis=1), columns[-1])
    inside = np.maximum(outside - 1, start)
    fall = room[rows, inside] - room[rows, outside]
    edge = (room[rows, inside] > 0) & (room[rows, outside] < 0)
    return np.asarray(inside + np.where(edge, room[rows, inside] / np.where(edge, fall, 1.0), 0.0))


def best_offsets(line: Line, low: Array, high: Array, shortness: float) -> Array:
    """Find the offsets [m] (N,) in [low, high] that minimize the integral of curvature^2 + shortness over the line.

    To first order an offset a changes the curvature k as `bending` says and the length of a step by the factor
    1 - k a, to second order also by a'^2 / 2. shortness: weight of length [1/m^2].
    """
    count, step, bend = len(line.points), line.spacing, line.curvature
    unit = sparse.identity(count, format="csc")
    slope = (shifted(count) - unit) / step
    bends = bending(bend, step)
    scale = step**4  # keeps the entries near 1
    hessian = (bends.T @ bends + slope.T @ slope * (shortness / 2)) * (2 * scale)
    gradient = scale * (2 * bends.T @ bend - bend**3 - shortness * bend)
    rows, limits = sparse.vstack([unit, -unit], format="csc"), np.concatenate([high, -low])
    found = least(hessian, gradient, rows, limits)
    return np.zeros(count) if found is None else np.clip(found, low, high)


def settle(line: Line, track: Track, margin: float, shortness: float, rounds: int) -> Line:
    """Iterate `line` to the (local) optimum for `shortness`, at most `rounds` iterations."""
    spacing, settled = line.spacing, SETTLED * half_width(track)
    for _ in range(rounds):
        low, high = offset_bounds(line, track, margin)
        trust = MAX_BEND / np.maximum(np.abs(line.curvature), 1e-9)
        low = np.clip(low, -trust, trust)
        high = np.clip(high, low, np.maximum(low, trust))
        offsets = best_offsets(line, low, high, shortness)
        line = closed_line(line.points + offsets[:, None] * line.normals, spacing)
        if float(np.abs(offsets).max()) < settled:
            break
    return line
