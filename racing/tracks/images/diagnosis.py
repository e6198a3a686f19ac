"""Why no closed road was found: the place where it is open, and the threshold or option that would close it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

import cv2
import numpy as np
import numpy.typing as npt

from racing.errors import InputError
from racing.sim.track import Points
from racing.tracks.images.image import NARROWEST, Mask, Picture, find_ring
from racing.tracks.images.lap import Mark, UnclearRoad
from racing.tracks.images.segmentation import MOST_COMPARED, Guess, Painted, areas, evenness, paint_guesses, shrunk
from racing.tracks.images.skeleton import road_graph

GAPS = (9, 13, 17, 21, 25, 29, 33, 41, 49, 65, 97)  # [px] sizes to try, to locate a gap and its size
EVEN = 0.5  # spread of the width / width of what may be a road in a picture ...
EVEN_IN_MAP = 1.0  # ... and in a map, whose corridors are as wide as the building has them
COMMON = 0.005  # share of a map's pixels from which a gray is one that its maker chose
MOST_TRIED = 8  # thresholds
NO_RING = "no closed ring of road was found in the picture"


def broken_road(pixels: Picture) -> UnclearRoad:
    """Explain why a picture has no closed road; marks gaps and open ends."""
    small, shrink = shrunk(pixels)
    guesses = [(guess, guess.alike(small)) for guess in paint_guesses(small)]
    remedy = "draw the road in one colour on a plain ground, or give gates"
    found = _gap_to_close(guesses, shrink) or _open_ends(guesses, shrink)
    return found or UnclearRoad(f"{NO_RING}; {remedy}", [])


def broken_map(gray: npt.NDArray[np.float64], free_of: Callable[[float, bool], Mask], free: float) -> UnclearRoad:
    """Explain why a map has no closed road.

    gray: of the map (H, W), 0 to 255. free_of: (free_thresh, negate other than set) -> free ground (H, W). free: the
    free_thresh that is set.
    """
    step = int(np.ceil(np.sqrt(gray.size / MOST_COMPARED)))

    def small(mask: Mask) -> Mask:
        if step == 1:
            return mask
        size = mask.shape[1] // step, mask.shape[0] // step
        scaled = cv2.resize(mask.astype(np.uint8) * 255, size, interpolation=cv2.INTER_AREA)
        return np.asarray(scaled > 250)  # a thin wall stays one

    def closed_by(threshold: float, negate: bool, text: str) -> UnclearRoad | None:
        ring = _ring(small(free_of(threshold, negate)))
        if ring is None:
            return None
        label = "turn negate round" if negate else f"open, free_thresh: {threshold:g}"
        return UnclearRoad(f"{NO_RING}: {text}, then it closes", _leaks(now, ring, step, label))

    now = small(free_of(free, False))
    for text, threshold in _other_thresholds(gray, free):
        found = closed_by(threshold, False, text)
        if found is not None:
            return found
    guesses = [(Guess(lambda picture: now), now), (Guess(lambda picture: now, between=True), now)]
    found = _gap_to_close(guesses, step, EVEN_IN_MAP)
    found = found or closed_by(free, True, "dark ground counts as occupied; turn negate round in the yaml")
    remedy = "repair it, or correct free_thresh and negate"
    found = found or _open_ends(guesses, step)
    return found or UnclearRoad(f"{NO_RING} (a gap in an edge, or a line across the road?); {remedy}", [])


def _other_thresholds(gray: npt.NDArray[np.float64], free: float) -> Iterator[tuple[str, float]]:
    """Yield (what to write, free_thresh) between the common grays of a map, the nearest first."""
    levels, counts = np.unique(np.round(gray).astype(np.uint8), return_counts=True)
    shares = dict(zip(levels.tolist(), (counts / gray.size).tolist(), strict=True))
    common = [level for level, share in shares.items() if share > COMMON]
    cuts = [float(f"{(255 - (low + high) / 2) / 255:.2g}") for low, high in pairwise(common)]
    for cut in sorted(cuts, key=lambda cut: abs(cut - free))[:MOST_TRIED]:
        edge = 255 * (1 - cut)
        between = [level for level in common if min(edge, 255 * (1 - free)) <= level <= max(edge, 255 * (1 - free))]
        if not between:
            continue
        told = " and ".join(f"gray {level} ({shares[level]:.0%} of the picture)" for level in between[:3])
        counts_as = "counts as free" if cut < free else "does not count as free"
        yield f"{told} {counts_as}; write free_thresh: {cut:g} in the yaml", cut


def _ring(free: Mask) -> Mask | None:
    """The road of a map, if it has one of even width; the line of a wall is none."""
    try:
        road, _ = find_ring(free)
    except InputError:
        return None
    uneven, width = evenness(road)
    return road if uneven < EVEN_IN_MAP and width > 2 * NARROWEST else None


def _leaks(free: Mask, ring: Mask, step: int, label: str) -> list[Mark]:
    """Mark with `label` where free ground touches a ring that would be closed without it."""
    beside = (cv2.dilate(ring.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0) & ~ring & free
    count, _, stats, centres = cv2.connectedComponentsWithStats(beside.astype(np.uint8), connectivity=8)
    largest = sorted(range(1, count), key=lambda k: -stats[k, cv2.CC_STAT_AREA])[:4]
    return [Mark(float(centres[k][0]) * step, float(centres[k][1]) * step, label) for k in largest]


def _gap_to_close(guesses: Sequence[tuple[Guess, Mask]], shrink: int, even: float = EVEN) -> UnclearRoad | None:
    """Find the gap that --close-gaps would bridge, and its size; None if there is none."""
    for size in GAPS:
        for guess, alike in guesses:
            ring = next((a for a in guess.rings(alike, size) if a.uneven < even), None)
            if ring is not None and size < 3 * ring.width:
                x, y = (float(v) * shrink for v in _gap(alike, ring))
                text = f"{NO_RING}: a gap in an edge, or a line across the road, "
                option = f"draw it closed, or bridge it with --close-gaps {size * shrink | 1}"
                mark = Mark(x, y, f"gap, --close-gaps {size * shrink | 1}")
                return UnclearRoad(f"{text}at pixel ({x:.0f}, {y:.0f}); {option}", [mark])
    return None


def _open_ends(guesses: Sequence[tuple[Guess, Mask]], shrink: int) -> UnclearRoad | None:
    """Find the open ends of the road; None if there is no road."""
    found = [area for _, alike in guesses for area in areas(alike, 1)]
    best = min(found, key=lambda area: area.uneven, default=None)
    marks = (
        [Mark(float(x) * shrink, float(y) * shrink, "open end") for x, y in road_graph(best.mask)[1]] if best else []
    )
    where = " and ".join(f"({m.x:.0f}, {m.y:.0f})" for m in marks)
    return UnclearRoad(f"{NO_RING}: the road ends at pixel {where}; draw it closed", marks) if marks else None


def bridged_ring(free: Mask, size: int) -> tuple[Mask, int] | None:
    """Find (the road of a map, number of its large holes) with gaps of up to `size` [px] bridged; None without one."""
    guesses = (Guess(lambda picture: free), Guess(lambda picture: free, between=True))
    rings = [ring for guess in guesses for ring in guess.rings(free, size | 1)]
    best = min(rings, key=lambda ring: (ring.holes != 1, ring.uneven), default=None)
    return None if best is None else (best.mask, best.holes)


def _gap(alike: Mask, ring: Painted) -> Points:
    """Return the centre (2,) [px] of the largest change that bridging made to the road or to its edge."""
    added = ring.mask & ~alike
    if not added.any():  # lines were bridged: where the ring meets ground of the same colour
        added = alike & ~ring.mask & (cv2.dilate(ring.mask.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0)
    _, _, stats, centres = cv2.connectedComponentsWithStats(added.astype(np.uint8), connectivity=8)
    if len(stats) < 2:
        rows, columns = np.nonzero(ring.mask)
        return np.array([columns.mean(), rows.mean()])
    return np.asarray(centres[1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))])
