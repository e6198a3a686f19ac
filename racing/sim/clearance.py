"""Signed distance to the road's edge on a regular grid: what rays and off-track tests read."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.floating]

MAX_CELLS = 16_000_000  # a finer grid than this is refused: 64 MB of float32


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
    shift = 4  # sub-cell bits of fillPoly's fixed-point coordinates
    cells_l = np.round((left - low) / resolution * (1 << shift)).astype(np.int32)
    cells_r = np.round((right - low) / resolution * (1 << shift)).astype(np.int32)
    quads = np.stack([cells_l, np.roll(cells_l, -1, 0), np.roll(cells_r, -1, 0), cells_r], axis=1)
    mask = np.zeros((int(size[1]), int(size[0])), np.uint8)
    for quad in quads:
        cv2.fillConvexPoly(mask, cv2.convexHull(quad), 1, lineType=cv2.LINE_8, shift=shift)
    return clearance_from_mask(mask.astype(bool), resolution, (float(low[0]), float(low[1])))
