"""Range finders: sphere tracing through the clearance grid."""

from __future__ import annotations

from racing.sim.kernels.bilinear import bilinear
from racing.sim.kernels.kernel import kernel, real
from racing.sim.kernels.trig import sincos

ZERO, HALF, ONE, TWO = real(0), real(0.5), real(1), real(2)
DX, DY, FREE, STEP = 0, 1, 2, 3  # columns of the work space
OVERLAP = real(0.95)  # keep a little of both spheres
HIT = real(0.2)  # [cells] closer than this to the edge the field is taken as linear
SHALLOW = real(0.1)  # slope below which the place of the edge is not extrapolated
MAX_STEPS = 200


@kernel
def clearance(grid, track, x, y):
    """Bilinear signed distance [m] to the road's edge at (x, y); outside the grid that of the nearest border cell."""
    u = min(max((x - track.grid_x) * track.cells_per_metre, ZERO), track.last_u)
    v = min(max((y - track.grid_y) * track.cells_per_metre, ZERO), track.last_v)
    return bilinear(grid, track.grid_start, track.grid_width, u, v)


@kernel
def scan(grid, track, x, y, yaw, field_of_view, far, scratch, order, out):
    """Fill `out` (R,) with the distances [m] to the road's edge, from the left end of the field of view to the right.

    x, y [m], yaw [rad]: the car. field_of_view [rad]. far: longest distance [m]. scratch (R, 4), order (R,): work room.

    A step may be longer than the clearance as long as the spheres of free ground at its two ends overlap (over-relaxed
    sphere tracing, Keinert et al. 2014); its length follows from the slope of the last step, which shortens grazing
    rays along a straight. All rays advance together: a single ray waits for memory and arithmetic most of its time.
    """
    count = len(out)
    start = clearance(grid, track, x, y)
    between = field_of_view / real(count - 1) if count > 1 else ZERO
    first = yaw + HALF * field_of_view if count > 1 else yaw
    for k in range(count):
        scratch[k, DY], scratch[k, DX] = sincos(first - real(k) * between)
        scratch[k, FREE] = scratch[k, STEP] = start
        out[k] = ZERO
    if start <= ZERO:
        return
    near = HIT * track.cell
    for k in range(count):
        order[k] = k
    for _ in range(MAX_STEPS):
        going = 0
        for at in range(count):
            k = order[at]
            free_here, step = scratch[k, FREE], scratch[k, STEP]
            step = min(step, far - out[k])
            ahead = out[k] + step
            free = clearance(grid, track, x + ahead * scratch[k, DX], y + ahead * scratch[k, DY])
            if step > free_here and free + free_here < step:  # a gap between the spheres: something may stand there
                scratch[k, STEP] = free_here
            elif free <= near:
                slope = (free_here - free) / step
                out[k] = min(ahead + (free / slope if slope > SHALLOW else free), far)
                continue
            else:
                slope = max((free_here - free) / step, ZERO)
                out[k] = ahead
                if ahead >= far:
                    continue
                scratch[k, FREE] = free
                scratch[k, STEP] = free * max(OVERLAP * TWO / (ONE + slope), ONE)
            order[going] = k
            going += 1
        count = going
        if count == 0:
            return
