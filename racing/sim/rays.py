"""Range finders: sphere tracing through the clearance grid."""

from __future__ import annotations

import numpy as np

from racing.sim.kernels.bilinear import bilinear
from racing.sim.kernels.kernel import inlined, kernel, real
from racing.sim.kernels.lanes import LANES, bits_of, lanes_of, lowest_bit, put_lanes, where
from racing.sim.kernels.trig import sincos

ZERO, HALF, ONE, TWO = real(0), real(0.5), real(1), real(2)
OVERLAP = real(0.95)  # keep a little of both spheres
HIT = real(0.2)  # [cells] closer than this to the edge the field is taken as linear
SHALLOW = real(0.1)  # slope below which the place of the edge is not extrapolated
MAX_STEPS = real(200)
GROUPS = 2  # of LANES rays that are on their way at a time: one waits for memory and arithmetic, the next one works
ALL = (1 << LANES) - 1
# Rows of a group's work space, a column per ray: where it starts and points to, how far it has come, the clearance
# there, the length of its next step [m], how many steps it has taken, and what it needs of its track.
X, Y, DX, DY, REACHED, FREE, STEP, STEPS, NEAR, GRID_X, GRID_Y, CELLS_PER_METRE, LAST_U, LAST_V = range(14)
CAR, RAY, GRID_START, GRID_WIDTH = range(4)  # rows of its whole numbers


@inlined
def field_of(track):
    """What `clearance` needs of a track record."""
    return (
        track.grid_x,
        track.grid_y,
        track.cells_per_metre,
        track.last_u,
        track.last_v,
        track.grid_start,
        track.grid_width,
    )


@inlined
def clearance(grid, field, x, y):
    """Bilinear signed distance [m] to the road's edge at (x, y); outside the grid that of the nearest border cell.

    field: see `field_of`. Numbers or Lanes.
    """
    grid_x, grid_y, cells_per_metre, last_u, last_v, start, width = field
    u = min(max((x - grid_x) * cells_per_metre, ZERO), last_u)
    v = min(max((y - grid_y) * cells_per_metre, ZERO), last_v)
    return bilinear(grid, start, width, u, v)


@kernel
def scan(cars, chosen, grid, tracks, field_of_view, far, out):
    """Fill out[i] (R,), for each i of `chosen` (n,), with the distances [m] from car i to the road's edge.

    From the left end of the field of view to the right. field_of_view [rad]. far: longest distance [m].

    Rays need different numbers of steps, so a ray that is done gives its column to the next one. That ray 0 of all cars
    comes first and so on puts rays to the side, which are short, at the end, when there are columns without a ray.
    """
    rays, count = out.shape[1], len(chosen)
    if count == 0:
        return
    between = field_of_view / real(rays - 1) if rays > 1 else ZERO
    left = HALF * field_of_view if rays > 1 else ZERO
    free = np.empty(count, out.dtype)
    for c in range(count):
        car = cars[chosen[c]]
        free[c] = clearance(grid, field_of(tracks[car.track]), car.x, car.y)
    numbers = np.zeros((GROUPS, 14, LANES), out.dtype)
    whole = np.zeros((GROUPS, 4, LANES), np.int32)
    busy = np.zeros(GROUPS, np.int64)  # a bit per column
    c = k = 0
    going = True
    while going:
        going = False
        for g in range(GROUPS):
            row, index = numbers[g], whole[g]
            if busy[g] != 0:
                done = advance(row, index, grid, far) & busy[g]
                busy[g] ^= done
                while done != 0:
                    j = lowest_bit(done)
                    done &= done - 1
                    out[index[CAR, j], index[RAY, j]] = row[REACHED, j]
            empty = ALL ^ busy[g]
            while empty != 0 and k < rays:
                i = chosen[c]
                if free[c] <= ZERO:
                    out[i, k] = ZERO
                else:
                    j = lowest_bit(empty)
                    empty &= empty - 1
                    car = cars[i]
                    direction = (car.yaw + left) - real(k) * between
                    put_ray(row, index, j, car, tracks[car.track], direction, free[c])
                    index[CAR, j], index[RAY, j] = i, k
                c += 1
                if c == count:
                    c, k = 0, k + 1
            busy[g] = ALL ^ empty
            going |= busy[g] != 0


@inlined
def put_ray(row, index, j, car, track, direction, free):
    """Let a ray of the car start in column j, into `direction` [rad]; free: clearance of the car [m]."""
    row[X, j], row[Y, j] = car.x, car.y
    row[DY, j], row[DX, j] = sincos(direction)
    row[REACHED, j] = row[STEPS, j] = ZERO
    row[FREE, j] = row[STEP, j] = free
    row[NEAR, j] = HIT * track.cell
    row[GRID_X, j], row[GRID_Y, j], row[CELLS_PER_METRE, j] = track.grid_x, track.grid_y, track.cells_per_metre
    row[LAST_U, j], row[LAST_V, j] = track.last_u, track.last_v
    index[GRID_START, j], index[GRID_WIDTH, j] = track.grid_start, track.grid_width


@inlined
def advance(row, index, grid, far):
    """Take a step along each ray of a group; returns whose last one it was, a bit per column.

    A step may be longer than the clearance as long as the spheres of free ground at its two ends overlap (over-relaxed
    sphere tracing, Keinert et al. 2014); its length follows from the slope of the last step, which shortens grazing
    rays along a straight.
    """
    field = (
        lanes_of(row[GRID_X]),
        lanes_of(row[GRID_Y]),
        lanes_of(row[CELLS_PER_METRE]),
        lanes_of(row[LAST_U]),
        lanes_of(row[LAST_V]),
        lanes_of(index[GRID_START]),
        lanes_of(index[GRID_WIDTH]),
    )
    reached, free_here, steps = lanes_of(row[REACHED]), lanes_of(row[FREE]), lanes_of(row[STEPS]) + ONE
    step = min(lanes_of(row[STEP]), far - reached)
    ahead = reached + step
    x, y = lanes_of(row[X]) + ahead * lanes_of(row[DX]), lanes_of(row[Y]) + ahead * lanes_of(row[DY])
    free = clearance(grid, field, x, y)
    slope = (free_here - free) / step
    gap = (step > free_here) & (free + free_here < step)  # between the spheres: something may stand there
    hit = free <= lanes_of(row[NEAR])
    edge = min(ahead + where(slope > SHALLOW, free / slope, free), far)
    put_lanes(row[REACHED], where(gap, reached, where(hit, edge, ahead)))
    put_lanes(row[FREE], where(gap, free_here, free))
    put_lanes(row[STEP], where(gap, free_here, free * max(OVERLAP * TWO / (ONE + max(slope, ZERO)), ONE)))
    put_lanes(row[STEPS], steps)
    return bits_of((~gap & (hit | (ahead >= far))) | (steps >= MAX_STEPS))
