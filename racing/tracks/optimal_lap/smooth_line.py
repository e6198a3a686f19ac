"""The line along which the optimal lap is sought, and how far the car may leave it to either side."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from scipy.interpolate import CubicSpline

from racing.sim.track import Track
from racing.sim.vehicle import Vehicle
from racing.tracks.geometry import smooth_closed
from racing.tracks.measure import mean_width
from racing.tracks.racing_line import free_offsets
from racing.tracks.reference_lap import ReferenceLap

Array = npt.NDArray[np.float64]

ROUNDS = 3  # of re-measuring the arc length; the third changes it by less than 1e-6
SAMPLES = 16  # per point of the line, while its arc length is measured


@dataclass(frozen=True, eq=False)
class SmoothLine:
    """A smooth closed line. s: arc length [m], any real number; after `length` [m] the line comes round again.

    spline: s -> (x, y) [m], periodic, twice differentiable.
    """

    spline: CubicSpline
    length: float

    @cached_property
    def _derivatives(self) -> tuple[CubicSpline, CubicSpline]:
        return self.spline.derivative(1), self.spline.derivative(2)

    def frame(self, s: Array) -> tuple[Array, Array, Array]:
        """Points (..., 2) [m], heading (...) [rad] and curvature (...) [1/m] at arc lengths s (...)."""
        s = np.mod(s, self.length)
        first, second = (derivative(s) for derivative in self._derivatives)
        bend = first[..., 0] * second[..., 1] - first[..., 1] * second[..., 0]
        heading = np.arctan2(first[..., 1], first[..., 0])
        return self.spline(s), heading, bend / np.hypot(first[..., 0], first[..., 1]) ** 3

    def normals(self, s: Array) -> Array:
        """Unit vectors to the left (..., 2) at arc lengths s (...)."""
        heading = self.frame(s)[1]
        return np.stack([-np.sin(heading), np.cos(heading)], axis=-1)

    def beside(self, s: Array, offset: Array) -> Array:
        """Points (..., 2) [m] at offsets (...) [m], left positive, from the line at arc lengths s (...)."""
        return np.asarray(self.frame(s)[0] + offset[..., None] * self.normals(s))

    def least_radius(self) -> float:
        """Least radius of curvature [m]."""
        bend = self.frame(self.spline.x)[2]
        return float(1 / max(np.abs(bend).max(), 1e-9))


def line_through(points: Array) -> SmoothLine:
    """The periodic spline by arc length through `points` (N, 2), which are about evenly spaced."""
    closed = np.vstack([points, points[:1]])
    chord = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(closed, axis=0), axis=1))])
    rough = CubicSpline(chord, closed, bc_type="periodic")
    fine = np.linspace(0.0, chord[-1], SAMPLES * len(points) + 1)
    arc = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(rough(fine), axis=0), axis=1))])
    count = len(points)
    even = rough(np.interp(np.arange(count) * arc[-1] / count, arc, fine))
    s = np.arange(count + 1) * arc[-1] / count
    return SmoothLine(CubicSpline(s, np.vstack([even, even[:1]]), bc_type="periodic"), float(arc[-1]))


def base_line(track: Track, vehicle: Vehicle, lap: ReferenceLap) -> SmoothLine:
    """The reference line, smoothed: its curvature is continuous, and no normal of it meets another one on the road.

    Smoothed over a car's width, on narrow roads over less: it moves by centimetres, and the corridor the other way.
    """
    wide = min(vehicle.reference_width, mean_width(track) / 4)
    points = smooth_closed(lap.points, wide * len(lap.points) / lap.length_m)
    for _ in range(ROUNDS):
        line = line_through(points)
        points = line.spline(np.arange(len(points)) * line.length / len(points))
    return line


def corridor(base: SmoothLine, s: Array, track: Track, margin: float) -> tuple[Array, Array]:
    """Least and largest offset [m] (N,), left positive, at which the car's centre is `margin` [m] from the edge.

    That is the simulator's own rule where margin = width / 2. A road too narrow for it leaves its middle free.
    """
    return free_offsets(base.frame(s)[0], base.normals(s), track, margin)


def grip_across(base: SmoothLine, s: Array, track: Track, low: Array, high: Array) -> Array:
    """Grip as a parabola of the offset n [m]: coefficients (N, 3) of 1, n, n^2, fitted from `low` to `high` (N,)."""
    flat = np.zeros((len(s), 3))
    flat[:, 0] = 1.0
    if track.grip is None:
        return flat
    offsets = low[:, None] + (high - low)[:, None] * np.linspace(0, 1, 9)
    grip = track.grip.at(base.beside(np.broadcast_to(s[:, None], offsets.shape), offsets))
    for row, (n, factor) in enumerate(zip(offsets, grip, strict=True)):
        if np.ptp(factor) < 1e-6 or np.ptp(n) < 1e-3:
            flat[row, 0] = factor.mean()
        else:
            flat[row] = np.polynomial.polynomial.polyfit(n, factor, 2)
    return flat
