"""Read a picture without gates: segment the road, find the lap, and rate the confidence in both."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from racing.errors import require_number
from racing.sim.track import Track, build_track
from racing.tracks.geometry import nearest
from racing.tracks.images.assemble import default_direction, guessed_scale, mask_track
from racing.tracks.images.diagnosis import broken_road
from racing.tracks.images.image import Frame, Picture, ring_centreline
from racing.tracks.images.lap import lap_through_graph
from racing.tracks.images.obstacles import obstacles, warn_of_obstacles
from racing.tracks.images.segmentation import Painted, find_painted
from racing.tracks.images.skeleton import road_graph

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
    if found.alike is not None:
        warn_of_obstacles(name, obstacles(found.alike, found.mask, width, compact=True), frame)
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
