"""From a road mask and a centreline to a `Track`: what all picture readers share."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from racing.errors import require
from racing.sim.clearance import Clearance
from racing.sim.track import Points, Track, build_track
from racing.tracks.geometry import curvature, longest_straight, start_at
from racing.tracks.image import Frame, Mask

Column = npt.NDArray[np.float64]


def digest(path: Path) -> str:
    """sha256 of a file, hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def signed_area(points: Points) -> float:
    """Area [m^2] inside a closed line, positive if it runs counter-clockwise."""
    ahead = np.roll(points, -1, axis=0)
    return float((points[:, 0] * ahead[:, 1] - points[:, 1] * ahead[:, 0]).sum() / 2)


def default_direction(points: Points, left: Column, right: Column, width: float) -> list[npt.NDArray[np.float64]]:
    """The line driven clockwise, from the middle of its longest straight: what is assumed where no file says otherwise."""
    if signed_area(points) > 0:
        points, left, right = points[::-1], right[::-1], left[::-1]
    first, count = longest_straight(curvature(points), 0.1 / width)
    return start_at(points, points[(first + count // 2) % len(points)], left, right)


def reversed_track(track: Track) -> Track:
    """The same road driven the other way, from the same start line and start position."""
    points = np.concatenate([track.points[:1], track.points[:0:-1]])
    left = np.concatenate([track.right[:1], track.right[:0:-1]])
    right = np.concatenate([track.left[:1], track.left[:0:-1]])
    turned = track.gates[:, ::-1]
    gates = np.concatenate([turned[-2::-1], turned[-1:]])
    angle = float((track.start_angle + 2 * np.pi) % (2 * np.pi) - np.pi)
    source = {**track.source, "reverse": True}
    return replace(track, points=points, left=left, right=right, gates=gates, start_angle=angle, source=source)


def scaled_track(track: Track, scale: float) -> Track:
    """The track with all lengths multiplied by `scale`."""
    require(0 < scale < 1e4, f"scale must be in (0, 10000), got {scale}; 0.1 turns a full-size circuit into a 1:10 one")
    if scale == 1.0:
        return track
    grid = track.clearance
    clearance = Clearance(
        (grid.values * np.float32(scale)), (grid.origin[0] * scale, grid.origin[1] * scale), grid.resolution * scale
    )
    lengths = {k: getattr(track, k) * scale for k in ("points", "left", "right", "gates", "start_position")}
    return replace(track, **lengths, clearance=clearance, source={**track.source, "scale": scale})


def mask_track(
    name: str,
    frame: Frame,
    road: Mask,
    line: list[npt.NDArray[np.float64]],
    source: dict[str, Any],
    *,
    gates: npt.NDArray[np.float64] | None = None,
    start_position: npt.NDArray[np.float64] | None = None,
    start_angle: float | None = None,
) -> Track:
    """A track whose edges are those of a drawn road.

    line: centreline (N, 2) [m] in driving order from the start line, half-widths to the left and right (N,) [m].
    """
    points, left, right = line
    floor = 0.25 * float(np.median(left + right))
    left, right = np.maximum(left, floor / 4), np.maximum(right, floor / 4)
    return build_track(
        name,
        points,
        left,
        right,
        clearance=frame.clearance(road),
        gates=gates,
        start_position=start_position,
        start_angle=start_angle,
        source=source,
    )
