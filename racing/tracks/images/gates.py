"""Read a picture with gates: segment the road by the colour between them, and order the lap by them."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from racing.errors import InputError, require
from racing.sim.track import Points, resample_closed
from racing.tracks.geometry import arc_lengths, nearest, resample_linear, smooth_closed, start_at
from racing.tracks.images.image import SMOOTHING, Mask, Picture, edge_points, fill_specks, ring_centreline

Column = npt.NDArray[np.float64]
PixelGates = npt.NDArray[np.float64]

CLOSINGS = (1, 3, 5, 7, 9, 13, 17, 25)  # [px] kernels of the closing that bridges lines across the road, in order
OUTLINE_CONTRAST = 40.0  # [levels] least contrast of a wall, if road and surroundings have the same colour
MOST_GATES = 10_000
SEEN_GATES = 0.9  # share of gates that must lie on the segmented road


@dataclass(frozen=True, eq=False)
class Road:
    """A segmented road. mask (H, W); holes: number of large areas that it encloses.

    widen: distance [px] of its edges outside the mask: white edge lines belong to the road.
    alike: what looks like the road (H, W), before specks were filled and lines bridged.
    """

    mask: Mask
    holes: int
    widen: float
    alike: Mask


def find_road(picture: Picture, gates: PixelGates) -> Road:
    """Segment the road of a picture (H, W, 4) from the `gates` (G, 2, 2) [px] across it.

    The road has the median colour between the ends of the gates; the colours beyond their ends set the threshold.
    Painted lines across the road are bridged. Raises InputError if no such road passes through the gates.
    """
    alike = _without_start_line(_looks_like_road(picture, gates), gates[-1])
    middles = np.round(gates.mean(axis=1)).astype(int)
    best: tuple[float, Mask, int] | None = None
    for size in CLOSINGS:
        kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
        closed = cv2.morphologyEx(alike, cv2.MORPH_CLOSE, kernel) if size > 1 else alike
        _, labels = cv2.connectedComponents(closed, connectivity=4)
        here = labels[middles[:, 1], middles[:, 0]]
        if not (here > 0).any():
            continue
        label = int(np.bincount(here[here > 0]).argmax())
        seen = float((here == label).mean())
        road, holes = fill_specks(labels == label)
        if seen >= SEEN_GATES and holes >= 1:
            _check_width(road, gates)
            return Road(road, holes, _beyond(road, gates), alike > 0)
        if best is None or seen > best[0]:
            best = (seen, road, holes)
    share = 0.0 if best is None else best[0]
    raise InputError(
        f"gates off the road: the road found in the picture holds {share:.0%} of the gates as a closed ring, "
        f"{SEEN_GATES:.0%} are needed; check the gates' pixel coordinates, or draw the road in one plain colour"
    )


def _check_width(road: Mask, gates: PixelGates) -> None:
    """Raise InputError unless the gates are about as long as the road is wide: else they cross something else."""
    _, half = nearest(edge_points(road), gates.mean(axis=1))
    width = 2 * float(np.median(half))
    length = float(np.median(np.linalg.norm(gates[:, 1] - gates[:, 0], axis=1)))
    require(
        0.4 * length < width < 2.5 * length,
        f"gates off the road: gates are {length:.0f} px long, the ground under them is {width:.0f} px wide; "
        "check the gates' pixel coordinates",
    )


def _looks_like_road(picture: Picture, gates: PixelGates) -> npt.NDArray[np.uint8]:
    """Threshold the distance of each pixel's colour to the road's: 1 where it is small."""
    colours = picture[..., :3].astype(np.float32)
    across = gates[:, 1] - gates[:, 0]
    on = np.concatenate([gates[:, 0] + t * across for t in np.linspace(0.2, 0.8, 13)])
    off = np.concatenate([gates[:, 0] + t * across for t in (-0.6, -0.45, -0.3, 1.3, 1.45, 1.6)])
    road = np.median(_sample(colours, on), axis=0)
    away = np.linalg.norm(_sample(colours, off) - road, axis=1)
    contrast = float(np.median(away))
    limit = 0.5 * float(np.percentile(away[away > 0.3 * contrast], 10)) if contrast > 12 else OUTLINE_CONTRAST
    distance = np.zeros(colours.shape[:2], np.float32)
    for band in range(3):  # a band at a time keeps the memory of large pictures down
        distance += (colours[..., band] - road[band]) ** 2
    return np.asarray(distance < limit**2, np.uint8)


def _without_start_line(alike: npt.NDArray[np.uint8], gate: npt.NDArray[np.float64]) -> npt.NDArray[np.uint8]:
    """Set `alike` on and around the start line, which is usually painted."""
    across = gate[1] - gate[0]
    along = np.array([across[1], -across[0]]) * 0.1
    corners = np.array([gate[0] + 0.04 * across, gate[1] - 0.04 * across])
    quad = np.concatenate([corners + along, corners[::-1] - along])
    return np.asarray(cv2.fillConvexPoly(alike, np.round(quad * 16).astype(np.int32), 1, shift=4), np.uint8)


def _sample(colours: npt.NDArray[np.float32], at: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    high, wide = colours.shape[:2]
    columns = np.clip(np.round(at[:, 0]).astype(int), 0, wide - 1)
    rows = np.clip(np.round(at[:, 1]).astype(int), 0, high - 1)
    return np.asarray(colours[rows, columns])


def _signed_distance(road: Mask) -> npt.NDArray[np.float32]:
    """Compute the signed distance [px] to the road's edge, positive on the road."""
    padded = np.pad(road, 1).astype(np.uint8)
    inside = cv2.distanceTransform(padded, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    outside = cv2.distanceTransform(1 - padded, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return np.asarray(np.where(padded > 0, inside - 0.5, 0.5 - outside)[1:-1, 1:-1], np.float32)


def _beyond(road: Mask, gates: PixelGates) -> float:
    """Measure how far [px] gates end outside the mask, if that is no more than an edge line; else 0."""
    ends = gates.reshape(-1, 2)
    high, wide = road.shape
    columns = np.clip(np.round(ends[:, 0]).astype(int), 0, wide - 1)
    rows = np.clip(np.round(ends[:, 1]).astype(int), 0, high - 1)
    _, distance = nearest(edge_points(road), ends)
    beyond = float(np.median(np.where(road[rows, columns], -distance, distance)))
    width = float(np.median(np.linalg.norm(gates[:, 1] - gates[:, 0], axis=1)))
    return beyond if 0.3 < beyond < 0.12 * width else 0.0


def lap_through_gates(road: Road, gates: PixelGates) -> tuple[Points, Column | None]:
    """Trace the centreline (N, 2) [px] from the last gate in the order of the gates, with half-widths (N,) [px].

    A ring is traced in the picture, and its half-widths are None. A road that crosses itself follows the spline through
    the gates, centred between the edges in the picture. Raises InputError if gates of a ring are out of order.
    """
    middles = gates.mean(axis=1)
    if road.holes > 1:
        return _between_edges(road, gates)
    line, _ = ring_centreline(road.mask)
    index, _ = nearest(line, middles)
    ahead = np.diff(np.append(index, index[0])) % len(line)
    if float((ahead < len(line) / 2).mean()) < 0.5:
        line, ahead = line[::-1], (-ahead) % len(line)
    behind = np.nonzero(ahead > len(line) / 2)[0]
    if len(behind):
        k = int(behind[0])
        raise InputError(f"gate {(k + 1) % len(gates)} lies behind gate {k} on the road; order the gates as driven")
    return start_at(line, middles[-1])[0], None


def _between_edges(road: Road, gates: PixelGates) -> tuple[Points, Column]:
    """Fit a spline through the centres of the gates and centre it between the edges where both are near."""
    width = float(np.median(np.linalg.norm(gates[:, 1] - gates[:, 0], axis=1)))
    spread = np.linalg.norm(gates[:, 1] - gates[:, 0], axis=1) / 2
    order = np.roll(np.arange(len(gates)), 1)  # from the start line, the last gate
    points, half = resample_closed(gates[order].mean(axis=1), max(1.0, width / 8), spread[order])
    signed = _signed_distance(road.mask) + np.float32(road.widen)
    left, right = half.copy(), half.copy()
    for _ in range(2):
        ahead = np.roll(points, -1, axis=0) - np.roll(points, 1, axis=0)
        normal = np.stack([ahead[:, 1], -ahead[:, 0]], axis=1) / np.linalg.norm(ahead, axis=1)[:, None]  # rows run down
        left, right = (_reach(signed, points, side * normal, 1.6 * half) for side in (1, -1))
        seen = (left < 1.5 * half) & (right < 1.5 * half)  # elsewhere the other road is open
        shift = np.where(seen, (left - right) / 2, 0.0)
        step = arc_lengths(points)[-1] / len(points)
        weight = smooth_closed(seen.astype(float), 0.3 * width / step, keep_size=False)
        shift = smooth_closed(shift, 0.3 * width / step, keep_size=False) / np.maximum(weight, 0.05)
        half = np.where(seen, (left + right) / 2, half)
        points, half = resample_linear(points + normal * shift[:, None], max(1.0, width / 8), half)
    step = arc_lengths(points)[-1] / len(points)
    points, half = smooth_closed(points, SMOOTHING * width / step), smooth_closed(half, SMOOTHING * width / step)
    points, half = start_at(points, gates[-1].mean(axis=0), half)
    return points, half


def _reach(signed: npt.NDArray[np.float32], points: Points, normal: Points, limit: Column) -> Column:
    """Measure the distance (M,) [px] from `points` along `normal` to the road's edge, at most `limit`."""
    steps = np.linspace(0, 1, 65)[1:]
    reach = limit.copy()
    at = points[:, None] + normal[:, None] * (limit[:, None] * steps)[..., None]
    value = cv2.remap(signed, at.astype(np.float32), None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    before = np.concatenate([np.full((len(points), 1), np.inf, np.float32), value[:, :-1]], axis=1)
    crosses = (value <= 0).argmax(axis=1)
    hit = (value <= 0).any(axis=1)
    rows = np.nonzero(hit)[0]
    k = crosses[rows]
    v0, v1 = np.minimum(before[rows, k], 1e6), value[rows, k]
    share = np.clip(v0 / np.maximum(v0 - v1, 1e-9), 0, 1)
    reach[rows] = limit[rows] * (steps[k] - (1 - share) * steps[0])
    return reach


def check_gates(gates: PixelGates, wide: int, high: int, where: str) -> None:
    """Raise InputError unless there are at least 4 gates, inside the picture, with length."""
    require(len(gates) <= MOST_GATES, f"{where}: {len(gates)} gates, at most {MOST_GATES} are read; leave some out")
    require(len(gates) >= 4, f"{where}: {len(gates)} gates, at least 4 are needed to define the lap; add checkpoints")
    require(
        bool(np.isfinite(gates).all()), f"{where}: gate coordinates must be finite, got NaN or infinity; repair them"
    )
    middles = gates.mean(axis=1)
    outside = ((middles < 0) | (middles > np.array([wide - 1, high - 1]))).any(axis=1)
    if outside.any():
        k = int(np.argmax(outside))
        x, y = middles[k]
        raise InputError(
            f"{where}: gate {k} at ({x:.1f}, {y:.1f}) lies outside the picture of {wide} x {high} px; "
            "give pixels, x right, y down"
        )
    length = np.linalg.norm(gates[:, 1] - gates[:, 0], axis=1)
    if (length < 1).any():
        raise InputError(
            f"{where}: gate {int(np.argmin(length))} is {length.min():.2f} px long, at least 1 is needed; "
            "draw it across the road"
        )
    same = np.linalg.norm(middles - np.roll(middles, 1, axis=0), axis=1) < 0.01
    if same.any():
        k = int(np.argmax(same))
        raise InputError(f"{where}: gate {k} lies on gate {(k - 1) % len(gates)}; remove one of the two")
