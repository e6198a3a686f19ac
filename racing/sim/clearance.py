"""Signed distance to the road's edge on a regular grid: what rays and off-track tests read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from racing.sim.kernels.kernel import kernel

FloatArray = npt.NDArray[np.floating]

MAX_CELLS = 16_000_000  # a finer grid than this is refused: 64 MB of float32
SHARP_CELLS = 4  # so far beside the road, and all over it, distances to drawn edges are exact, not those of a mask


@dataclass(frozen=True, eq=False)
class Clearance:
    """Distance [m] to the nearest road edge, positive on the road, negative beside it.

    values: float32 (ny, nx); row 0 is the lowest y, column 0 the lowest x.
    origin: (x, y) [m] of the centre of cell [0, 0].
    resolution: size of a cell [m].
    """

    values: npt.NDArray[np.float32]
    origin: tuple[float, float]
    resolution: float

    def at(self, points: FloatArray) -> npt.NDArray[np.float64]:
        """Clearance [m] at `points` (..., 2), bilinear; outside the grid the value of the nearest border cell."""
        ny, nx = self.values.shape
        u = np.clip((np.asarray(points[..., 0], float) - self.origin[0]) / self.resolution, 0.0, nx - 1.001)
        v = np.clip((np.asarray(points[..., 1], float) - self.origin[1]) / self.resolution, 0.0, ny - 1.001)
        i, j = v.astype(int), u.astype(int)
        fv, fu = v - i, u - j
        grid = self.values
        low = grid[i, j] * (1 - fu) + grid[i, j + 1] * fu
        high = grid[i + 1, j] * (1 - fu) + grid[i + 1, j + 1] * fu
        return np.asarray(low * (1 - fv) + high * fv)


class LateClearance(Clearance):
    """A clearance that is computed when somebody first looks at it: of many circuits only some are driven."""

    def __init__(self, make: Callable[[], Clearance] | None = None, **known: Any) -> None:
        """make: computes it. Without, the fields of Clearance, which `dataclasses.replace` gives."""
        self.__dict__["_make"] = make or partial(Clearance, **known)

    @cached_property
    def _made(self) -> Clearance:
        return self.__dict__["_make"]()  # type: ignore[no-any-return]

    @property
    def values(self) -> npt.NDArray[np.float32]:
        """As in Clearance."""
        return self._made.values

    @property
    def origin(self) -> tuple[float, float]:
        """As in Clearance."""
        return self._made.origin

    @property
    def resolution(self) -> float:
        """As in Clearance."""
        return self._made.resolution


def clearance_from_mask(road: npt.NDArray[np.bool_], resolution: float, origin: tuple[float, float]) -> Clearance:
    """Clearance of a drawn road.

    road: bool (ny, nx), True on the road; row 0 is the lowest y (flip a picture top to bottom first).
    origin: (x, y) [m] of the centre of cell [0, 0].
    """
    ny, nx = road.shape
    padded = np.zeros((ny + 2, nx + 2), np.uint8)  # the picture's border ends the road
    padded[1:-1, 1:-1] = road
    inside = cv2.distanceTransform(padded, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    outside = cv2.distanceTransform(1 - padded, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    # A distance runs between cell centres; the edge lies half a cell before the first cell of the other kind.
    signed = np.where(padded > 0, inside - 0.5, 0.5 - outside) * resolution
    values = np.ascontiguousarray(signed.astype(np.float32))
    return Clearance(values, (origin[0] - resolution, origin[1] - resolution), float(resolution))


def clearance_from_edges(left: FloatArray, right: FloatArray, resolution: float) -> Clearance:
    """Clearance of the closed corridor between two edges.

    left, right: (M, 2) [m], point i of one edge faces point i of the other. Quads of neighbouring cross-sections are
    united, so a road that crosses itself is open ground where it does.
    """
    corners = np.concatenate([left, right])
    low = corners.min(axis=0) - 4 * resolution
    size = np.ceil((corners.max(axis=0) + 4 * resolution - low) / resolution).astype(int) + 1
    if int(size[0]) * int(size[1]) > MAX_CELLS:
        resolution *= float(np.sqrt(size[0] * size[1] / MAX_CELLS)) * 1.01
        return clearance_from_edges(left, right, resolution)
    mask = np.zeros((int(size[1]), int(size[0])), np.uint8)
    _fill((left - low) / resolution, (right - low) / resolution, mask)
    coarse = clearance_from_mask(mask.astype(bool), resolution, (float(low[0]), float(low[1])))
    edge = np.concatenate([_boundary(coarse, left, right), _boundary(coarse, right, left)])
    return sharpened(coarse, edge)


@kernel
def _fill(left: FloatArray, right: FloatArray, mask: npt.NDArray[np.uint8]) -> None:
    """Set every cell of `mask` (ny, nx) whose centre lies in a quad between `left` and `right` (M, 2) [cells].

    A quad counts as its two triangles; a drawing library would also fill the cells that the outline only touches, and
    so widen the road by half a cell.
    """
    count = left.shape[0]
    ny, nx = mask.shape
    for n in range(2 * count):
        i = n // 2
        j = (i + 1) % count
        ax, ay = left[i]
        bx, by = right[j]
        cx, cy = left[j] if n % 2 == 0 else right[i]
        for y in range(max(0, int(np.ceil(min(ay, by, cy)))), min(ny - 1, int(np.floor(max(ay, by, cy)))) + 1):
            for x in range(max(0, int(np.ceil(min(ax, bx, cx)))), min(nx - 1, int(np.floor(max(ax, bx, cx)))) + 1):
                ab = (bx - ax) * (y - ay) - (by - ay) * (x - ax)
                bc = (cx - bx) * (y - by) - (cy - by) * (x - bx)
                ca = (ax - cx) * (y - cy) - (ay - cy) * (x - cx)
                if (ab >= 0 and bc >= 0 and ca >= 0) or (ab <= 0 and bc <= 0 and ca <= 0):
                    mask[y, x] = 1


def _boundary(coarse: Clearance, edge: FloatArray, opposite: FloatArray) -> npt.NDArray[np.float64]:
    """Points [m] (K, 2), 1/8 cell apart, on the closed polyline `edge` where it bounds the road.

    Where the road crosses itself, and inside hairpins tighter than the half-width, an edge lies on the road and bounds
    nothing: there a step outwards does not leave the road.
    """
    step = np.roll(edge, -1, axis=0) - edge
    count = int(np.ceil(8 * np.linalg.norm(step, axis=1).max() / coarse.resolution))
    share = (np.arange(count) / count)[None, :, None]
    points = (edge[:, None] + step[:, None] * share).reshape(-1, 2)
    outwards = (edge - opposite) / np.linalg.norm(edge - opposite, axis=1)[:, None]
    outside = points + np.repeat(outwards, count, axis=0) * coarse.resolution
    return np.asarray(points[(coarse.at(points) < coarse.resolution) & (coarse.at(outside) < 0)])


def sharpened(coarse: Clearance, edge: npt.NDArray[np.float64]) -> Clearance:
    """`coarse` with distances to `edge` (K, 2) on the road and close beside it: those of a mask err by half a cell."""
    values = coarse.values.copy()
    ny, nx = values.shape
    cell = coarse.resolution
    at = np.clip(((edge - coarse.origin) / cell).astype(np.int64), 0, [nx - 1, ny - 1])
    bucket = at[:, 1] * nx + at[:, 0]
    order = np.argsort(bucket, kind="stable")
    first = np.concatenate([[0], np.cumsum(np.bincount(bucket, minlength=ny * nx))])
    _sharpen(values, np.asarray(coarse.origin, np.float64), cell, np.ascontiguousarray(edge[order]), first)
    return Clearance(values, coarse.origin, cell)


@kernel
def _sharpen(
    values: npt.NDArray[np.float32],
    origin: npt.NDArray[np.float64],
    cell: float,
    edge: npt.NDArray[np.float64],
    first: npt.NDArray[np.int64],
) -> None:
    """Put distances to the nearest of `edge` (K, 2) into `values` (ny, nx), on the road and SHARP_CELLS beside it.

    edge is sorted by the cell that it lies in; first (ny * nx + 1,) says where each cell's points begin. The distance
    that is there tells how far to look: it errs by no more than a cell or two.
    """
    ny, nx = values.shape
    for row in range(ny):
        for column in range(nx):
            known = values[row, column]
            if known <= -SHARP_CELLS * cell:
                continue
            x, y = column * cell + origin[0], row * cell + origin[1]
            reach = int(np.ceil(abs(known) / cell)) + 2
            best = np.inf
            while True:
                for n in range(2 * reach + 1):
                    i = row + ((n + 1) // 2 if n % 2 else -(n // 2))  # rows from the cell outwards
                    away = max(0, abs(i - row) - 1) * cell
                    if away * away > best:
                        break
                    if i < 0 or i >= ny:
                        continue
                    wide = min(reach, int(np.sqrt(best - away * away) / cell) + 1) if best < np.inf else reach
                    left, right = max(0, column - wide), min(nx, column + wide + 1)
                    for k in range(first[i * nx + left], first[i * nx + right]):
                        dx, dy = edge[k, 0] - x, edge[k, 1] - y
                        best = min(best, dx * dx + dy * dy)
                if best <= (reach * cell) ** 2 or reach > max(ny, nx):
                    break
                reach *= 2
            values[row, column] = np.copysign(np.sqrt(best), known)
