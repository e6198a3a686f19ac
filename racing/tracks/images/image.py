"""Picture -> road mask -> centreline.

The centreline of a ring of road is the zero level set of (distance to the outer edge - distance to the inner edge):
closed, ordered, without spurs, and exact to a tenth of a pixel. It requires exactly one large hole; with none or
several the reader falls back on gates or on the skeleton, or raises.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from racing.errors import InputError, is_file, require
from racing.reading import open_regular
from racing.sim.clearance import MAX_CELLS, Clearance, clearance_from_mask, sharpened
from racing.sim.track import Points
from racing.tracks.geometry import arc_lengths, nearest, resample_linear, smooth_closed

Mask = npt.NDArray[np.bool_]
Picture = npt.NDArray[np.uint8]

MAX_PIXELS = 64_000_000
MOST_PICTURE = 512 << 20  # [bytes]
DECODERS = ("PNG", "PPM", "JPEG", "BMP")  # no others: some decoders run programs
SPECK = 0.02  # holes and islands smaller than this share of the road's area are filled
SMALLEST_ROAD = 0.001  # [share of the picture] smaller areas are ignored
SMOOTHING = 0.25  # standard deviation in road widths: smooths the steps of pixels, preserves hairpins
MOST_SHARP = 2_000_000  # [px] larger roads keep the distances of the mask, whose error is half a pixel
MOST_BORDER = 0.25  # share of the picture's border above which an area is background
EDGE_SMOOTHING = 3.0  # [px] along the edge; only nearly axis-parallel edges have longer steps
NARROWEST = 3.0  # [px] mean width below which a ring is a line, not a road


def open_picture(path: Path) -> Picture:
    """Open a picture as uint8 (H, W, 4) RGBA; its size is checked before it is decoded.

    Raises InputError if the file is missing, is not a picture, or is larger than 64 Mpx.
    """
    from PIL import Image

    require(is_file(path), f"picture {path} does not exist; check the path")
    try:
        with open_regular(path, MOST_PICTURE) as file, Image.open(file, formats=DECODERS) as picture:
            wide, high = picture.size
            require(
                wide * high <= MAX_PIXELS,
                f"picture {path.name} has {wide} x {high} pixels, at most {MAX_PIXELS:,} are read; scale it down",
            )
            if picture.mode.startswith("I"):  # 16-bit gray
                gray = np.asarray(picture, np.float64)
                levels = np.round(gray / (257 if gray.max() > 255 else 1)).astype(np.uint8)
                return np.dstack([levels, levels, levels, np.full_like(levels, 255)])
            return np.asarray(picture.convert("RGBA"))
    except InputError:
        raise
    except Exception as error:  # decoders raise anything: zlib, struct, index, memory errors
        what = " ".join(str(error).split())[:120] or type(error).__name__
        raise InputError(f"{path} cannot be read as a picture ({what}); give a PNG, PGM or JPEG") from None


def picture_size(path: Path) -> tuple[int, int]:
    """Return (columns, rows) of a valid picture."""
    from PIL import Image

    with open_regular(path, MOST_PICTURE) as file, Image.open(file, formats=DECODERS) as picture:
        return int(picture.width), int(picture.height)


@dataclass(frozen=True)
class Frame:
    """Pose of a picture in the world. Pixel coordinates: column, row of pixel centres, row 0 at the top.

    resolution: size of a pixel [m]. origin: world (x, y) [m] of the centre of the lower-left pixel.
    yaw: rotation about the origin [rad]. height: rows of the picture.
    """

    resolution: float
    height: int
    origin: tuple[float, float] = (0.0, 0.0)
    yaw: float = 0.0

    def to_world(self, pixels: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Convert pixel coordinates (..., 2) to world coordinates (..., 2) [m]."""
        x, y = pixels[..., 0] * self.resolution, (self.height - 1 - pixels[..., 1]) * self.resolution
        c, s = np.cos(self.yaw), np.sin(self.yaw)
        return np.stack([self.origin[0] + c * x - s * y, self.origin[1] + s * x + c * y], axis=-1)

    def to_pixels(self, world: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Convert world coordinates (..., 2) [m] to pixel coordinates (..., 2)."""
        dx, dy = world[..., 0] - self.origin[0], world[..., 1] - self.origin[1]
        c, s = np.cos(self.yaw), np.sin(self.yaw)
        return np.stack(
            [(c * dx + s * dy) / self.resolution, self.height - 1 - (c * dy - s * dx) / self.resolution], axis=-1
        )

    def clearance(self, road: Mask, widen: float = 0.0) -> Clearance:
        """Compute the clearance grid of a road mask (H, W) whose edges lie `widen` [px] outside it.

        Cells have the size of pixels unless there would be too many.
        """
        rows, columns = np.nonzero(road.any(axis=1))[0], np.nonzero(road.any(axis=0))[0]
        top, bottom = max(0, rows[0] - 4), min(len(road), rows[-1] + 5)
        first, last = max(0, columns[0] - 4), min(road.shape[1], columns[-1] + 5)
        part = np.flipud(road[top:bottom, first:last])
        step = int(np.ceil(np.sqrt(part.size / (MAX_CELLS / 2))))
        part = np.ascontiguousarray(part[step // 2 :: step, step // 2 :: step])
        low = Frame(self.resolution, self.height).to_world(np.array([first + step // 2, bottom - 1 - step // 2], float))
        local = clearance_from_mask(part, self.resolution * step, (float(low[0]), float(low[1])))
        if int(part.sum()) <= MOST_SHARP:
            edge = edge_points(part) * local.resolution + np.array([float(low[0]), float(low[1])])
            local = sharpened(local, edge)
        local = replace(local, values=local.values + np.float32(widen * self.resolution))
        if self.yaw == 0.0:
            at = (local.origin[0] + self.origin[0], local.origin[1] + self.origin[1])
            return Clearance(local.values, at, local.resolution)
        return self._turned(local)

    def _turned(self, local: Clearance) -> Clearance:
        """Resample `local` (along the picture's axes) on a grid along the world's axes."""
        ny, nx = local.values.shape
        c, s = np.cos(self.yaw), np.sin(self.yaw)
        turn = np.array([[c, -s], [s, c]])
        sides = np.array([[0, 0], [nx - 1, 0], [0, ny - 1], [nx - 1, ny - 1]]) * local.resolution + local.origin
        corners = sides @ turn.T + self.origin
        low = corners.min(axis=0)
        count = np.ceil((corners.max(axis=0) - low) / local.resolution).astype(int) + 1
        x, y = np.meshgrid(*(low[k] + np.arange(count[k]) * local.resolution for k in (0, 1)))
        back = (np.stack([x, y], axis=-1) - self.origin) @ turn
        return Clearance(local.at(back).astype(np.float32), (float(low[0]), float(low[1])), local.resolution)


def fill_specks(road: Mask) -> tuple[Mask, int]:
    """Fill small holes of a road; returns it and its number of large holes. A hole is ground that the road encloses."""
    padded = np.pad(~road, 1, constant_values=True).astype(np.uint8)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(padded, connectivity=8)
    outside = labels[0, 0]
    small = int(SPECK * road.sum())
    holes = [k for k in range(1, count) if k != outside and stats[k, cv2.CC_STAT_AREA] > small]
    specks = [k for k in range(1, count) if k != outside and k not in holes]
    return np.asarray(road | np.isin(labels, specks)[1:-1, 1:-1]), len(holes)


def find_ring(free: Mask) -> tuple[Mask, int]:
    """Find (the road among the free areas of a map (H, W), number of its large holes): preferably a ring with one hole.

    In an outline map outside, infield and road are all free; only the road is a ring that does not reach the picture's
    border. In a filled map it is the only free area. With several holes the road crosses itself or forks.
    Raises InputError if no area encloses ground.
    """
    count, labels, stats, _ = cv2.connectedComponentsWithStats(free.astype(np.uint8), connectivity=4)
    rings: list[tuple[bool, bool, int, Mask, int]] = []
    by_area = sorted(range(1, count), key=lambda k: -stats[k, cv2.CC_STAT_AREA])[:20]
    for k in by_area:
        x, y, w, h, area = stats[k]
        if area < SMALLEST_ROAD * free.size:
            break
        part, holes = fill_specks(labels[y : y + h, x : x + w] == k)
        border = _border_share(labels == k)
        if 2 * area / _boundary_length(part) < NARROWEST or border > MOST_BORDER:
            continue
        if holes:
            mask = np.zeros_like(free)
            mask[y : y + h, x : x + w] = part
            rings.append((holes == 1, border == 0.0, int(area), mask, holes))
    require(
        bool(rings),
        "no closed ring of road was found in the picture (a gap in an edge, or a line across the road?); repair it",
    )
    *_, road, holes = max(rings, key=lambda ring: ring[:3])
    return road, holes


def _border_share(part: Mask) -> float:
    """Return the share of the picture's border that belongs to `part`."""
    return float(np.concatenate([part[0], part[-1], part[:, 0], part[:, -1]]).mean())


def _boundary_length(part: Mask) -> float:
    lines, _ = cv2.findContours(part.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    return float(max(1, sum(len(line) for line in lines)))


def ring_centreline(road: Mask) -> tuple[Points, float]:
    """Trace the centreline (N, 2) [px] of a ring of road with one hole; returns it and the road's median width [px].

    The direction is that of the contour, not the driving direction.
    """
    from contourpy import contour_generator

    rows, columns = np.nonzero(road.any(axis=1))[0], np.nonzero(road.any(axis=0))[0]
    part = np.pad(road[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1], 2)
    _, labels, stats, _ = cv2.connectedComponentsWithStats((~part).astype(np.uint8), connectivity=8)
    outside = labels[0, 0]
    stats[[0, outside], cv2.CC_STAT_AREA] = 0
    hole = int(np.argmax(stats[:, cv2.CC_STAT_AREA]))
    to_outer = cv2.distanceTransform((labels != outside).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    to_inner = cv2.distanceTransform((labels != hole).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    lines = contour_generator(z=to_outer - to_inner).lines(0.0)
    line = np.asarray(max(lines, key=len), np.float64)
    (line,) = resample_linear(line[:-1], 1.0)
    _, half = nearest(edge_points(part), line)
    width = 2 * float(np.median(half))
    return smooth_line(line + np.array([columns[0] - 2, rows[0] - 2]), max(1.5, SMOOTHING * width)), width


def edge_points(road: Mask) -> Points:
    """Sample points (K, 2) [px] a quarter of a pixel apart on the road's edge, smoothed over the steps of pixels."""
    return np.concatenate(edge_lines(road))


def edge_lines(road: Mask) -> list[Points]:
    """Trace the closed lines (K, 2) [px] that bound the road, each as in `edge_points`."""
    from contourpy import contour_generator

    soft = cv2.GaussianBlur(np.pad(road, 4).astype(np.float32), (0, 0), 1.0)
    pieces = []
    for line in contour_generator(z=soft).lines(0.5):
        (points,) = resample_linear(np.asarray(line[:-1], np.float64), 0.25)
        steps = min(EDGE_SMOOTHING / 0.25, len(points) / 20)
        pieces.append(smooth_closed(points, steps) - 4.0)
    return pieces


def smooth_line(points: Points, sigma: float) -> Points:
    """Resample a closed line at sigma / 3 and smooth it by `sigma` (units of `points`)."""
    (points,) = resample_linear(points, sigma / 3)
    step = arc_lengths(points)[-1] / len(points)
    return smooth_closed(points, sigma / step)
