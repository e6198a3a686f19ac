"""Render a track: grass, kerbs, asphalt, edge lines, start line. The road ends at the outer side of its lines."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from racing.sim.track import Track
from racing.tracks.geometry import resample_linear
from racing.tracks.images.image import Frame, Picture

FINER = 4  # supersampling factor of the canvas
GRASS, MOWN = (88, 140, 62), (96, 149, 68)
ASPHALT, WHITE, RED = (92, 93, 98), (240, 240, 238), (200, 38, 36)
LINE = 0.035  # width of an edge line, in road widths
KERB = 0.10  # width of a kerb, in road widths
KERB_BLOCK = 0.25  # length of one red or white block, in road widths
KERB_FROM = 0.10  # |curvature| * road width above which the inside of a bend has a kerb


def frame_for(track: Track, metres_per_pixel: float) -> tuple[Frame, int]:
    """Return (frame of a picture of `track`, number of columns): the road with a margin of one road width."""
    corners = np.concatenate([track.left_edge, track.right_edge])
    margin = float(track.left.mean() + track.right.mean())
    low = np.round(np.floor((corners.min(axis=0) - margin) / metres_per_pixel) * metres_per_pixel, 9)
    wide, high = np.ceil((corners.max(axis=0) + margin - low) / metres_per_pixel).astype(int) + 1
    return Frame(metres_per_pixel, int(high), (float(low[0]), float(low[1]))), int(wide)


def draw_track(track: Track, frame: Frame, columns: int) -> Picture:
    """Render the track as uint8 (frame.height, columns, 3)."""
    canvas = _grass(frame.height * FINER, columns * FINER)
    width = float(track.left.mean() + track.right.mean())
    points, left, right, bend = resample_linear(track.points, width / 24, track.left, track.right, track.curvature)
    ahead = np.roll(points, -1, axis=0) - np.roll(points, 1, axis=0)
    normal = np.stack([-ahead[:, 1], ahead[:, 0]], axis=1) / np.linalg.norm(ahead, axis=1)[:, None]

    def strip(
        outer: npt.NDArray[np.float64],
        inner: npt.NDArray[np.float64],
        keep: npt.NDArray[np.bool_],
        colour: tuple[int, ...],
    ) -> None:
        a, b = points + normal * outer[:, None], points + normal * inner[:, None]
        quads = np.stack([a, np.roll(a, -1, 0), np.roll(b, -1, 0), b], axis=1)[keep]
        _fill(canvas, frame, quads, colour)

    whole = np.ones(len(points), bool)
    blocks = (np.arange(len(points)) / (24 * KERB_BLOCK)).astype(int) % 2
    for side, half in ((1.0, left), (-1.0, right)):
        inside = _widen(side * bend * width > KERB_FROM, 12)
        reach = side * np.minimum(
            half + KERB * width, np.where(side * bend > 0, 0.95 / np.maximum(side * bend, 1e-6), np.inf)
        )
        strip(reach, side * half * 0.9, inside & (blocks == 0), RED)
        strip(reach, side * half * 0.9, inside & (blocks == 1), WHITE)
    strip(left, -right, whole, WHITE)
    strip(left - LINE * width, LINE * width - right, whole, ASPHALT)
    _start_line(canvas, frame, track, width)
    small = cv2.resize(canvas, (columns, frame.height), interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.uint8)


def _grass(rows: int, columns: int) -> Picture:
    """Draw grass in mown stripes, so that a camera sees motion off the road too."""
    stripe = max(8, rows // 18)
    canvas = np.empty((rows, columns, 3), np.uint8)
    canvas[:] = np.where(((np.arange(rows) // stripe) % 2 == 0)[:, None, None], GRASS, MOWN)
    return canvas


def _widen(marks: npt.NDArray[np.bool_], steps: int) -> npt.NDArray[np.bool_]:
    """Dilate a circular row of marks."""
    spread = np.convolve(
        np.concatenate([marks[-steps:], marks, marks[:steps]]).astype(float), np.ones(2 * steps + 1), "valid"
    )
    return np.asarray(spread > 0.5)


def _fill(canvas: Picture, frame: Frame, quads: npt.NDArray[np.float64], colour: tuple[int, ...]) -> None:
    """Fill quads (N, 4, 2) [m]."""
    pixels = (frame.to_pixels(quads) + 0.5) * FINER - 0.5
    for quad in np.round(pixels * 16).astype(np.int32):
        cv2.fillConvexPoly(canvas, cv2.convexHull(quad), colour, lineType=cv2.LINE_8, shift=4)


def _start_line(canvas: Picture, frame: Frame, track: Track, width: float) -> None:
    """Draw two rows of a checkerboard across the start line."""
    left, right = track.gates[-1]
    across = (right - left) / np.linalg.norm(right - left)
    along = np.array([-across[1], across[0]])  # the driver's right turned left: ahead
    inset = LINE * width
    low, length = left + across * inset, float(np.linalg.norm(right - left)) - 2 * inset
    cells = 10
    size, depth = length / cells, 0.065 * width
    for row in (0, 1):
        for k in range(cells):
            corner = low + across * k * size + along * (row - 1) * depth
            quad = np.array(
                [corner, corner + across * size, corner + across * size + along * depth, corner + along * depth]
            )
            _fill(canvas, frame, quad[None], WHITE if (k + row) % 2 else (20, 20, 20))
