"""A track: the geometry that the world drives on. Reading and writing files is `racing.tracks`' business."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.interpolate import CubicSpline

from racing.errors import require
from racing.sim.clearance import Clearance, LateClearance, clearance_from_edges
from racing.sim.grip import GripMap

Points = npt.NDArray[np.float64]

MOST_WIDTHS = 100_000  # length of a lap in half-widths: beyond it memory runs out


@dataclass(frozen=True, eq=False)
class Track:
    """A closed circuit; may cross itself. All lengths [m], angles [rad] counter-clockwise from +x, y up.

    name: short name, used in records.
    points: (M, 2) centreline, evenly spaced, in driving order, without a repeated last point. Point 0 lies on the
        start line.
    left, right: (M,) half-widths, from the centreline to the edge on that side as seen by the driver.
    gates: (G, 2, 2) timing lines [left end, right end] in driving order; the last one is the start line.
    start_position: (2,), start_angle: pose of a standing start.
    clearance: signed distance to the edge of the road.
    source: where it came from (file names, sha256, scale, ...): recorded with every run.
    grip: how well the ground grips; None: everywhere as the vehicle's friction says.
    """

    name: str
    points: Points
    left: npt.NDArray[np.float64]
    right: npt.NDArray[np.float64]
    gates: npt.NDArray[np.float64]
    start_position: npt.NDArray[np.float64]
    start_angle: float
    clearance: Clearance
    source: dict[str, Any] = field(default_factory=dict)
    grip: GripMap | None = None

    @cached_property
    def _differences(self) -> Points:
        return np.asarray(np.roll(self.points, -1, axis=0) - np.roll(self.points, 1, axis=0))

    @cached_property
    def spacing(self) -> float:
        """Distance between neighbouring centreline points [m]."""
        return float(np.linalg.norm(np.roll(self.points, -1, axis=0) - self.points, axis=1).mean())

    @cached_property
    def length(self) -> float:
        """Length of the centreline [m]."""
        return self.spacing * len(self.points)

    @cached_property
    def heading(self) -> npt.NDArray[np.float64]:
        """(M,) direction of travel [rad]."""
        return np.asarray(np.arctan2(self._differences[:, 1], self._differences[:, 0]))

    @cached_property
    def normals(self) -> Points:
        """(M, 2) unit vectors to the driver's left."""
        return np.stack([-np.sin(self.heading), np.cos(self.heading)], axis=1)

    @cached_property
    def curvature(self) -> npt.NDArray[np.float64]:
        """(M,) curvature [1/m], positive in a left bend."""
        turn = np.roll(self.heading, -1) - np.roll(self.heading, 1)
        return np.asarray((turn + np.pi) % (2 * np.pi) - np.pi) / (2 * self.spacing)

    @cached_property
    def left_edge(self) -> Points:
        """(M, 2) the driver's left edge of the road."""
        return np.asarray(self.points + self.normals * self.left[:, None])

    @cached_property
    def right_edge(self) -> Points:
        """(M, 2) the driver's right edge of the road."""
        return np.asarray(self.points - self.normals * self.right[:, None])


def grip_along(track: Track, points: Points) -> npt.NDArray[np.float64] | None:
    """Grip at `points` (N, 2) [m]; None where the track has no grip map."""
    return None if track.grip is None else track.grip.at(points)


def resample_closed(points: Points, spacing: float, *columns: npt.NDArray[np.float64]) -> list[npt.NDArray[np.float64]]:
    """Evenly spaced points on the periodic cubic spline through `points` (N, 2), and `columns` (N,) at the same places.

    The spacing is adjusted so that a whole number of steps closes the loop. Returns [points (M, 2), columns (M,) ...].
    """
    closed = np.vstack([points, points[:1]])
    chord = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(closed, axis=0), axis=1))])
    spline = CubicSpline(chord, closed, bc_type="periodic")
    fine = np.linspace(0.0, chord[-1], max(8 * len(points), int(8 * chord[-1] / spacing)) + 1)
    arc = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(spline(fine), axis=0), axis=1))])
    count = max(8, round(arc[-1] / spacing))
    at = np.interp(np.arange(count) * arc[-1] / count, arc, fine)
    return [spline(at)] + [np.interp(at, chord, np.append(c, c[0])) for c in columns]


def even_gates(points: Points, left_edge: Points, right_edge: Points, count: int) -> npt.NDArray[np.float64]:
    """(count, 2, 2) gates spread evenly over the lap, the last one on the start line (point 0)."""
    at = np.round(np.arange(1, count + 1) * len(points) / count).astype(int) % len(points)
    return np.stack([left_edge[at], right_edge[at]], axis=1)


def build_track(
    name: str,
    points: Points,
    left: npt.NDArray[np.float64],
    right: npt.NDArray[np.float64],
    *,
    clearance: Clearance | None = None,
    gates: npt.NDArray[np.float64] | None = None,
    start_position: npt.NDArray[np.float64] | None = None,
    start_angle: float | None = None,
    source: dict[str, Any] | None = None,
) -> Track:
    """A `Track` from a centreline (N, 2) [m] at any spacing and its half-widths (N,) [m].

    What is not given is made: the clearance grid from the corridor, evenly spread gates, a start on the start line.
    Raises InputError if there are fewer than 8 points, a value is not finite or a half-width is not positive.
    """
    points, left, right = (np.asarray(a, np.float64) for a in (points, left, right))
    require(len(points) >= 8, f"track {name}: a centreline needs >= 8 points, got {len(points)}; add points")
    for what, array in (("centreline", points), ("left half-width", left), ("right half-width", right)):
        require(
            bool(np.isfinite(array).all()), f"track {name}: {what} must be finite, got NaN or infinity; repair the file"
        )
    narrow = float(min(left.min(), right.min()))
    require(narrow > 0, f"track {name}: half-widths must be > 0 m, got {narrow:.3f}; repair the widths")
    width = float(np.mean(left) + np.mean(right)) / 2
    reach = float(np.linalg.norm(np.roll(points, -1, axis=0) - points, axis=1).sum())
    require(
        reach / width < MOST_WIDTHS,
        f"track {name}: the lap is {reach:.4g} m and the road {2 * width:.3g} m wide, at most "
        f"{MOST_WIDTHS // 2:,} widths fit; correct the scale",
    )
    dense, left, right = resample_closed(points, width / 4, left, right)
    bare = Track(
        name, dense, left, right, np.zeros((0, 2, 2)), dense[0], 0.0, Clearance(np.zeros((2, 2), np.float32), (0, 0), 1)
    )
    if clearance is None:
        clearance = LateClearance(partial(clearance_from_edges, bare.left_edge, bare.right_edge, width / 12))
    if gates is None:
        count = int(np.clip(round(bare.length / (4 * width)), 8, 200))
        gates = even_gates(dense, bare.left_edge, bare.right_edge, count)
    position = dense[0] if start_position is None else np.asarray(start_position, np.float64)
    angle = float(bare.heading[0]) if start_angle is None else float(start_angle)
    return Track(name, dense, left, right, np.asarray(gates, np.float64), position, angle, clearance, source or {})


@dataclass(frozen=True, eq=False)
class Raceline:
    """A way around a track: lateral offset [m] (left positive) and speed [m/s] at each centreline point, both (M,)."""

    offset: npt.NDArray[Any]
    speed: npt.NDArray[Any]
