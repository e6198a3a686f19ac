"""Values between the cells of a grid: of clearance, of grip."""

from __future__ import annotations

from racing.sim.kernels.kernel import inlined, real
from racing.sim.kernels.lanes import corners, floor, where

ZERO = real(0)


@inlined
def bilinear(values, start, width, u, v):
    """Value at (u, v) [cells] of the grid whose first cell is values[start]; v counts its rows, `width` cells long.

    0 <= u < width - 1, and v likewise: who calls has clamped them. Of NaN it is NaN. start, width, u, v: numbers or
    Lanes.
    """
    j, i = where(u > ZERO, floor(u), ZERO), where(v > ZERO, floor(v), ZERO)  # NaN is in no cell
    fu, fv = u - j, v - i
    here, right, above, above_right = corners(values, start, width, i, j)
    low = here + fu * (right - here)
    high = above + fu * (above_right - above)
    return low + fv * (high - low)
