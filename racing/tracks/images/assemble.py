"""Assemble a `Track` from a road mask and a centreline; shared by all picture readers."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from racing.errors import is_number, require
from racing.sim.clearance import Clearance
from racing.sim.track import Points, Track, build_track
from racing.tracks.geometry import curvature, longest_straight, nearest, start_at
from racing.tracks.images.image import Frame, Mask, edge_points

log = logging.getLogger(__name__)

Column = npt.NDArray[np.float64]

USUAL_WIDTH = 10.0  # [m] assumed width of a road whose scale is unknown


def digest(path: Path) -> str:
    """Return the sha256 of a file, hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def guessed_scale(width: float, scale: float | None, name: str) -> float:
    """Return metres per pixel: `scale` if given, else such that a road `width` [px] wide is USUAL_WIDTH."""
    if scale is not None:
        return scale
    guess = USUAL_WIDTH / width
    log.warning("%s: no metres_per_pixel given; assuming a road %g m wide: %.4g m/px", name, USUAL_WIDTH, guess)
    return guess


def signed_area(points: Points) -> float:
    """Return the area [m^2] inside a closed line, positive if it runs counter-clockwise."""
    ahead = np.roll(points, -1, axis=0)
    return float((points[:, 0] * ahead[:, 1] - points[:, 1] * ahead[:, 0]).sum() / 2)


def default_direction(points: Points, width: float) -> Points:
    """Order the line clockwise from the middle of its longest straight: the default without direction and start."""
    if signed_area(points) > 0:
        points = points[::-1]
    first, count = longest_straight(curvature(points), 0.1 / width)
    (points,) = start_at(points, points[(first + count // 2) % len(points)])
    return points


def started_at(track: Track, place: tuple[float, float]) -> Track:
    """Move the start line to the point of the centreline nearest to `place` [m]; gates are spaced evenly from there.

    Raises InputError if `place` is further from the centreline than the road is wide.
    """
    (index,), (distance,) = nearest(track.points, np.array([place], float))
    width = float(track.left[index] + track.right[index])
    x, y = place
    require(
        distance < width,
        f"start ({x:.1f}, {y:.1f}) m lies {distance:.1f} m from the centreline; give a place on the road",
    )
    points, left, right = start_at(track.points, np.array(place, float), track.left, track.right)
    source = {**track.source, "start_m": [float(x), float(y)]}
    moved = build_track(track.name, points, left, right, clearance=track.clearance, source=source)
    return replace(moved, grip=track.grip)


def reversed_track(track: Track) -> Track:
    """Reverse the driving direction; start line and start position stay."""
    points = np.concatenate([track.points[:1], track.points[:0:-1]])
    left = np.concatenate([track.right[:1], track.right[:0:-1]])
    right = np.concatenate([track.left[:1], track.left[:0:-1]])
    turned = track.gates[:, ::-1]
    gates = np.concatenate([turned[-2::-1], turned[-1:]])
    angle = float((track.start_angle + 2 * np.pi) % (2 * np.pi) - np.pi)
    source = {**track.source, "reverse": True}
    return replace(track, points=points, left=left, right=right, gates=gates, start_angle=angle, source=source)


def scaled_track(track: Track, scale: float) -> Track:
    """Multiply all lengths of the track by `scale`."""
    remedy = "0.1 turns a full-size circuit into a 1:10 one"
    require(is_number(scale) and 0 < scale < 1e4, f"scale must be in (0, 10000), got {scale!r}; {remedy}")
    if scale == 1.0:
        return track
    grid = track.clearance
    clearance = Clearance(
        (grid.values * np.float32(scale)), (grid.origin[0] * scale, grid.origin[1] * scale), grid.resolution * scale
    )
    grip = track.grip
    if grip is not None:
        low = (grip.origin[0] * scale, grip.origin[1] * scale)
        grip = replace(grip, origin=low, resolution=grip.resolution * scale)
    lengths = {k: getattr(track, k) * scale for k in ("points", "left", "right", "gates", "start_position")}
    return replace(track, **lengths, clearance=clearance, grip=grip, source={**track.source, "scale": scale})


def mask_track(
    name: str,
    frame: Frame,
    road: Mask,
    points: Points,
    source: dict[str, Any],
    *,
    half: Column | None = None,
    widen: float = 0.0,
    gates: npt.NDArray[np.float64] | None = None,
    start_position: npt.NDArray[np.float64] | None = None,
    start_angle: float | None = None,
) -> Track:
    """Build a track whose edges are those of a road mask.

    points: centreline (N, 2) [m] in driving order from the start line.
    half: half-width (N,) [m]; None: measured in the picture, for a road that does not cross itself.
    widen: distance of the edges outside the mask [px].
    """
    if half is None:
        _, distance = nearest(frame.to_world(edge_points(road)), points)
        half = distance + widen * frame.resolution
    half = np.maximum(half, 0.1 * float(np.median(half)))
    return build_track(
        name,
        points,
        half,
        half,
        clearance=frame.clearance(road, widen),
        gates=gates,
        start_position=start_position,
        start_angle=start_angle,
        source=source,
    )
