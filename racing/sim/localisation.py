"""Where a car is along the track, and which gates it has passed."""

from __future__ import annotations

import math

from racing.sim.kernels.kernel import kernel, real
from racing.sim.kernels.trig import wrap

ZERO, ONE, HALF = real(0), real(1), real(0.5)
MAX_WALK = 64  # centreline points a car may pass in one environment step


@kernel
def locate(points, track, x, y, index):
    """(index, arc length [m], lateral offset [m], centreline heading [rad]) of the point (x, y).

    The nearest centreline point is sought downhill from `index`, where the car was last, never globally: where a track
    crosses itself the car stays on its own branch. Offset positive to the driver's left.
    """
    n, base = track.point_count, track.point_start
    here = points[base + index]
    best = (x - here.x) * (x - here.x) + (y - here.y) * (y - here.y)
    for direction in (1, -1):
        for _ in range(MAX_WALK):
            other = (index + direction + n) % n
            point = points[base + other]
            distance = (x - point.x) * (x - point.x) + (y - point.y) * (y - point.y)
            if distance >= best:
                break
            best, index = distance, other
    here = points[base + index]
    c, s = math.cos(here.heading), math.sin(here.heading)
    along = (x - here.x) * c + (y - here.y) * s
    lateral = (y - here.y) * c - (x - here.x) * s
    along = min(max(along / max(ONE - here.curvature * lateral, HALF), -track.spacing), track.spacing)
    return index, real(index) * track.spacing + along, lateral, here.heading + here.curvature * along


@kernel
def gate_crossing(gate, x0, y0, x1, y1, margin):
    """Fraction in [0, 1) of the way (x0, y0) -> (x1, y1) at which it crosses the gate forwards; -1 where it does not.

    gate: record with both ends. margin: how far [m] beyond an end still counts.
    """
    ex, ey = gate.right_x - gate.left_x, gate.right_y - gate.left_y
    width = math.sqrt(ex * ex + ey * ey)
    fx, fy = -ey / width, ex / width  # forwards
    before = (x0 - gate.left_x) * fx + (y0 - gate.left_y) * fy
    after = (x1 - gate.left_x) * fx + (y1 - gate.left_y) * fy
    if before >= ZERO or after < ZERO:
        return -ONE
    share = before / (before - after)
    x, y = x0 + share * (x1 - x0), y0 + share * (y1 - y0)
    across = ((x - gate.left_x) * ex + (y - gate.left_y) * ey) / width
    if across < -margin or across > width + margin:
        return -ONE
    return share


@kernel
def shortest(difference, length):
    """Arc-length difference [m] on a closed lap, brought to [-length/2, length/2]."""
    return difference - length * real(round(difference / length))


@kernel
def heading_error(yaw, heading):
    """yaw - heading [rad], in [-pi, pi]."""
    return wrap(yaw - heading)
