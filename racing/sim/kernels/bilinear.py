"""Values between the cells of a grid: of clearance, of grip."""

from __future__ import annotations

from racing.sim.kernels.kernel import inlined, real


@inlined
def bilinear(values, start, width, u, v):
    """Value at (u, v) [cells] of the grid whose first cell is values[start]; v counts its rows, `width` cells long.

    0 <= u < width - 1, and v likewise: who calls has clamped them.
    """
    j, i = int(u), int(v)
    fu, fv = u - real(j), v - real(i)
    at = start + i * width + j
    low = values[at] + fu * (values[at + 1] - values[at])
    at += width
    high = values[at] + fu * (values[at + 1] - values[at])
    return low + fv * (high - low)
