"""Read a picture without gates: segment the road, find the lap, and rate the confidence in both."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from racing.errors import require_number
from racing.sim.track import Points, Track, build_track
from racing.tracks.geometry import nearest
from racing.tracks.images.assemble import default_direction, guessed_scale, mask_track
from racing.tracks.images.image import Frame, Mask, Picture, ring_centreline
from racing.tracks.images.lap import Mark, UnclearRoad, lap_through_graph
from racing.tracks.images.segmentation import Painted, areas, find_painted, paint_guesses, shrunk
from racing.tracks.images.skeleton import road_graph

GAPS = (9, 13, 17, 21, 25, 29, 33, 41, 49, 65, 97)  # [px] sizes to try, to locate a gap and its size
ASSURED = 6.0  # contrast between road and ground, in spreads of their colours, from which confidence is full


def painted_track(
    name: str,
    pixels: Picture,
    scale: float | None,
    source: dict[str, Any],
    *,
    branch: str | None = None,
    close_gaps: int = 0,
) -> Track:
    """Build the track of a picture (H, W, 4) without gates; driven clockwise from its longest straight.

    scale: metres per pixel; None: the road is assumed to be 10 m wide.
    branch: which branch to take where the road forks, as in `racing.tracks.images.lap.lap_through_graph`.
    close_gaps [px]: bridge gaps up to this size.
    Raises UnclearRoad, with the places marked, if the lap is ambiguous or no closed road was found.
    """
    require_number("close_gaps", close_gaps, 0, 1000, whole=True, unit="px", remedy="give the size of the gap")
    found = find_painted(pixels, close_gaps=close_gaps)
    if found is None:
        raise broken_road(pixels)
    known: dict[str, Any] = {"holes": found.holes}
    half: npt.NDArray[np.float64] | None = None
    dropped = 0
    if found.holes == 1:
        line, width = ring_centreline(found.mask)
    else:
        graph, _ = road_graph(found.mask)
        if graph is None:
            raise broken_road(pixels)
        lap = lap_through_graph(graph, branch)
        line, half, dropped = lap.points, lap.half + found.line, len(lap.dropped)
        width = 2 * float(np.median(half))
        known |= {"crossings": lap.crossings, "dropped_branches": dropped}
    scale = guessed_scale(width + (2 * found.line if half is None else 0.0), scale, name)
    frame = Frame(scale, pixels.shape[0])
    points = frame.to_world(line)
    ordered = default_direction(points, width * scale)
    known |= {"metres_per_pixel": scale, "pixel_origin": [0.0, 0.0], "direction": "assumed clockwise"}
    known |= {"confidence": confidence(found, dropped), "bridged_px": found.bridge if found.bridge > 1 else 0}
    if half is None:
        return mask_track(name, frame, found.mask, ordered, {**source, **known}, widen=found.line)
    index, _ = nearest(points, ordered)
    half = half[index] * scale
    if dropped:  # the dropped branch must not remain road
        return build_track(name, ordered, half, half, source={**source, **known})
    return mask_track(name, frame, found.mask, ordered, {**source, **known}, half=half, widen=found.line)


def confidence(found: Painted, dropped: int) -> float:
    """Rate the confidence in the segmentation, 0 to 1: even width and plain colours raise it, repairs lower it."""
    even = 1 - float(np.clip(found.uneven - 0.05, 0, 0.8))
    plain = float(np.clip(found.contrast / ASSURED, 0.3, 1)) if found.contrast else 1.0
    repaired = 0.9 if found.bridge > 1 else 1.0
    return round(even * plain * repaired * 0.9 ** (dropped + found.holes - 1), 2)


def broken_road(pixels: Picture) -> UnclearRoad:
    """Explain why a picture has no closed road; marks gaps and open ends."""
    small, shrink = shrunk(pixels)
    guesses = [(guess, guess.alike(small)) for guess in paint_guesses(small)]
    for size in GAPS:
        for guess, alike in guesses:
            ring = next((a for a in guess.rings(alike, size) if a.uneven < 0.5), None)
            if ring is not None and size < 3 * ring.width:
                x, y = (float(v) * shrink for v in _gap(alike, ring))
                text = "no closed ring of road was found in the picture: a gap in an edge, or a line across the road, "
                option = f"draw it closed, or bridge it with --close-gaps {size * shrink | 1}"
                mark = Mark(x, y, f"gap, --close-gaps {size * shrink | 1}")
                return UnclearRoad(f"{text}at pixel ({x:.0f}, {y:.0f}); {option}", [mark])
    found = [area for _, alike in guesses for area in areas(alike, 1)]
    best = min(found, key=lambda area: area.uneven, default=None)
    marks = (
        [Mark(float(x) * shrink, float(y) * shrink, "open end") for x, y in road_graph(best.mask)[1]] if best else []
    )
    where = " and ".join(f"({m.x:.0f}, {m.y:.0f})" for m in marks)
    text = "no closed ring of road was found in the picture"
    if marks:
        return UnclearRoad(f"{text}: the road ends at pixel {where}; draw it closed", marks)
    return UnclearRoad(f"{text}; draw the road in one colour on a plain ground, or give gates", [])


def _gap(alike: Mask, ring: Painted) -> Points:
    """Return the centre (2,) [px] of the largest change that bridging made to the road or to its edge."""
    import cv2

    added = ring.mask & ~alike
    if not added.any():  # lines were bridged: where the ring meets ground of the same colour
        added = alike & ~ring.mask & (cv2.dilate(ring.mask.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0)
    _, _, stats, centres = cv2.connectedComponentsWithStats(added.astype(np.uint8), connectivity=8)
    if len(stats) < 2:
        rows, columns = np.nonzero(ring.mask)
        return np.array([columns.mean(), rows.mean()])
    return np.asarray(centres[1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))])
