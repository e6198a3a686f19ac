"""Generate circuits from seeds: a polygon with rounded corners, by rejection sampling until it is a valid road.

The polygon is the outline of a random patch of grid cells: fingers of the patch become hairpins, its long sides
straights, its steps chicanes. Corners are then moved, dropped or bent, rounded with arcs, and the curve is smoothed so
that curvature has no jumps. A candidate that comes too near to itself or bends too tightly is rejected; after STRICT
rejections, corners that do not fit are relaxed instead.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from racing.errors import InputError, require
from racing.sim.kernels.kernel import kernel
from racing.sim.track import Points, Track, build_track
from racing.tracks.geometry import (
    closest_approach,
    crossings,
    curvature,
    following,
    longest_straight,
    perimeter,
    preceding,
    resample_linear,
    smooth_closed,
)

Column = npt.NDArray[np.float64]
Cell = tuple[int, int]

ATTEMPTS = 400
TRIES_PER_PATCH = 8
STRICT = 24  # candidates rejected if a corner does not fit; the corners of later ones, each of a new patch, are relaxed
FEWEST = 5  # corners that remain when others are removed
CLEAR = 1.2  # distance between the centrelines of two parts of the lap, in road widths
AROUND = ((1, 0), (1, 1), (0, 1), (-1, 1), (-1, 0), (-1, -1), (0, -1), (1, -1))  # a cell's neighbours in turn
STRAIGHT = 0.15  # |curvature| * road width below which a road counts as straight


@dataclass(frozen=True)
class Style:
    """Parameters of a style of circuit. Lengths in road widths.

    cell: range of the grid's cell size.
    compact: > 0: the patch grows by filling notches, < 0: by growing fingers.
    radius: range of corner radii, sampled log-uniformly; its lower bound is also the least radius allowed.
    jitter: largest displacement of a corner, in cells.
    drop: probability that a corner is removed. kink: probability that a long side is bent.
    corners: least number of bends that turn more than 25 degrees.
    """

    cell: tuple[float, float]
    compact: float
    radius: tuple[float, float]
    jitter: float
    drop: float
    kink: float
    corners: int


STYLES = {
    "oval": Style((0, 0), 0, (1.5, 60), 0, 0, 0, 1),
    "flowing": Style((3.0, 5.0), -0.3, (1.3, 5.0), 0.32, 0.15, 0.5, 8),
    "tight": Style((2.2, 3.6), -0.4, (0.7, 2.0), 0.25, 0.12, 0.4, 7),
    "fast": Style((5.5, 9.0), 0.0, (2.4, 12.0), 0.35, 0.20, 0.6, 7),
    "figure_eight": Style((0, 0), 0, (1.5, 4.0), 0, 0, 0, 2),
    "hairpin": Style((2.2, 3.2), -0.5, (0.42, 1.5), 0.25, 0.10, 0.4, 9),
    "switchback": Style((2.2, 3.2), -0.5, (0.25, 1.2), 0.25, 0.10, 0.4, 9),
    "street": Style((3.0, 4.5), -0.3, (0.8, 1.4), 0.06, 0.03, 0.1, 9),
    "kart": Style((2.5, 3.4), -0.5, (0.75, 2.4), 0.25, 0.10, 0.4, 9),
}


def generate(seed: int, style: str, length: float, width: float, *, name: str | None = None) -> Track:
    """Generate a circuit of `length` [m] (centreline, within 0.1 %) and constant `width` [m], deterministically.

    style: one of STYLES. Never touches itself; figure_eight crosses itself once, at 50 degrees or more.
    Raises InputError if the style is unknown, or the length leaves no room for such a circuit (about 25 widths).
    """
    ratio = checked_ratio(seed, style, length, width)
    points, attempt = drawing(seed, style, ratio)
    return circuit(points, attempt, seed, style, length, width, name=name)


def checked_ratio(seed: int, style: str, length: float, width: float) -> float:
    """Return length / width. Raises InputError for arguments out of range."""
    require(style in STYLES, f"style must be one of {', '.join(STYLES)}, got {style!r}; choose one")
    require(seed >= 0, f"seed must be >= 0, got {seed}; give a natural number")
    require(0 < width < 1000, f"width must be in (0, 1000) m, got {width}; a kart road is 6-12 m, a 1:10 road 2 m")
    ratio = length / width
    require(24 <= ratio <= 1500, f"length must be 24 to 1500 road widths, got {ratio:.1f}; change length or width")
    return ratio


def circuit(
    points: Points, attempt: int, seed: int, style: str, length: float, width: float, *, name: str | None = None
) -> Track:
    """Build the track along `points` (N, 2) [road widths] from `drawing`."""
    half = np.full(len(points), width / 2)
    source = {"generator": style, "seed": seed, "length_m": length, "width_m": width, "attempt": attempt}
    return build_track(name or f"{style}-{seed}", points * width, half, half, source=source)


def drawing(seed: int, style: str, ratio: float) -> tuple[Points, int]:
    """Sample (centreline (N, 2) [road widths] of a lap of `ratio` road widths, number of rejected candidates).

    Raises InputError if all candidates are rejected.
    """
    rng = np.random.Generator(np.random.PCG64([seed, zlib.crc32(style.encode())]))
    patch = np.zeros((0, 2))
    for attempt in range(ATTEMPTS):
        relax = attempt >= STRICT
        if (relax or attempt % TRIES_PER_PATCH == 0) and style not in ("oval", "figure_eight"):
            patch = _patch(rng, STYLES[style], ratio)
        points = _candidate(rng, style, ratio, patch, relax=relax)
        if points is not None and _good(points, style):
            return points, attempt
    raise InputError(f"no {style} circuit of {ratio:.0f} road widths was found; make it longer or the road narrower")


def _candidate(rng: np.random.Generator, style: str, length: float, patch: Points, *, relax: bool) -> Points | None:
    """Sample one candidate [road widths], evenly spaced, starting on its longest straight. None if corners do not fit.

    relax: remove the corners that do not fit, and limit the radii of the others to what their sides allow.
    """
    params = STYLES[style]
    makers = {"oval": _oval_polygon, "figure_eight": _eight_polygon}
    polygon = makers[style](rng) if style in makers else _loosened(rng, params, patch)
    low, high = params.radius
    wanted = low * (high / low) ** rng.random(len(polygon))
    if relax:
        polygon, wanted = _relaxed(polygon, wanted, length, low)
    size = length / perimeter(polygon)
    for _ in range(4):
        rounded = _round_corners(polygon * size, wanted, low)
        if rounded is None:
            return None
        (points,) = resample_linear(rounded, 0.2)
        points = smooth_closed(points, 0.45 * min(1.0, low) / 0.2, keep_size=False)
        size *= length / perimeter(points)
    turn = rng.uniform(0, 2 * np.pi)
    points = points @ np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    if rng.random() < 0.65:
        points = points[::-1]  # most circuits run clockwise
    points = points * (length / perimeter(points))
    first, count = longest_straight(curvature(points), STRAIGHT)
    return np.asarray(np.roll(points, -(first + int(0.6 * count)), axis=0))


def _good(points: Points, style: str) -> bool:
    """Check a candidate (in road widths): least radius, distance to itself, enough corners both ways, a straight."""
    params, bend = STYLES[style], curvature(points)
    if np.abs(bend).max() > 1 / (0.9 * params.radius[0]):
        return False
    count, left, right = _count_corners(bend)
    _, straight = longest_straight(bend, STRAIGHT)
    both_ways = style in ("oval", "figure_eight") or min(left, right) >= 2
    least = 0.0 if style == "figure_eight" else 4.0 if style in ("tight", "kart", "street") else 5.5
    if count < params.corners or not both_ways or straight * 0.2 <= least:
        return False
    crossed = crossings(points[::2])
    if style == "figure_eight":
        return len(crossed) == 1 and crossed[0].angle > np.radians(50) and _eight_is_clear(points, crossed[0].place)
    return not crossed and closest_approach(points[::2], 3.0) >= CLEAR


def _count_corners(bend: npt.NDArray[np.float64]) -> tuple[int, int, int]:
    """Count (corners, left, right): runs of one sign that turn over 25 degrees, one for each 100 degrees."""
    sign = np.where(np.abs(bend) < STRAIGHT / 2, 0, np.sign(bend)).astype(int)
    cuts = np.nonzero(np.diff(sign))[0] + 1
    turned = np.array([run.sum() * 0.2 for run in np.split(bend, cuts)])
    corners = np.where(np.abs(turned) > np.radians(25), np.ceil(np.abs(turned) / np.radians(100)), 0).astype(int)
    left, right = int(corners[turned > 0].sum()), int(corners[turned < 0].sum())
    return left + right, left, right


def _eight_is_clear(points: Points, place: tuple[float, float]) -> bool:
    """Check that the strands of a figure of eight keep apart, except at the crossing, where no start may be."""
    distance = np.linalg.norm(points - np.array(place), axis=1)
    return bool(distance[0] > 1.5) and closest_approach(points[distance > 2.0][::2], 6.0) > CLEAR


def _oval_polygon(rng: np.random.Generator) -> Points:
    """Sample a rectangle, trapezium or triangle, 1.5 to 3 times as long as high."""
    long, skew = rng.uniform(1.5, 3.0), rng.uniform(-0.35, 0.35)
    if rng.random() < 0.25:
        return np.array([[0, 0], [long, 0], [long * rng.uniform(0.3, 0.7), rng.uniform(1.0, 1.5)]])
    return np.array([[0, 0], [long, 0], [long - max(skew, 0), 1 - min(abs(skew), 0.3) / 2], [max(-skew, 0), 1]])


def _eight_polygon(rng: np.random.Generator) -> Points:
    """Sample two lobes of different size and shape on either side of a crossing."""
    sides = []
    for sign in (1, -1):
        reach, rise = rng.uniform(1.2, 2.4), rng.uniform(0.7, 1.2)
        lobe = [[reach * rng.uniform(0.6, 0.8), rise], [reach, -rise * rng.uniform(0.6, 1.1)]]
        if rng.random() < 0.6:  # a nose between the corners
            lobe.insert(1, [reach * rng.uniform(1.15, 1.6), rise * rng.uniform(0.1, 0.6)])
        if rng.random() < 0.5:  # a dent in the far side
            lobe.insert(len(lobe) - 1, [lobe[-1][0] * rng.uniform(0.75, 0.9), -rise * rng.uniform(0.0, 0.2)])
        sides.append(np.array(lobe) * [sign, 1])
    return np.concatenate(sides)


def _patch(rng: np.random.Generator, params: Style, length: float) -> Points:
    """Sample a patch for a lap of `length` [road widths]; returns the corners [cells] of its outline, ccw."""
    cell = float(np.clip(rng.uniform(*params.cell), length / 37, length / 11))
    return _outline(_grow_patch(rng, 2 * round(length / cell / 1.8), params.compact))


def _loosened(rng: np.random.Generator, params: Style, corners: Points) -> Points:
    """Make an outline less regular: remove and move corners, bend long sides."""
    stretch = np.array([rng.uniform(1.0, 1.35), 1.0])
    keep = rng.random(len(corners)) > params.drop
    corners = corners[keep] if keep.sum() >= FEWEST else corners
    moved = corners + params.jitter * rng.uniform(-1, 1, corners.shape)
    out: list[npt.NDArray[np.float64]] = []
    for here, ahead in zip(moved, following(moved), strict=True):
        out.append(here)
        side = ahead - here
        if np.linalg.norm(side) > 2.2 and rng.random() < params.kink:
            across = np.array([-side[1], side[0]]) / np.linalg.norm(side)
            out.append(here + side * rng.uniform(0.35, 0.65) + across * rng.uniform(-0.45, 0.45))
    return np.asarray(np.array(out) * stretch)


def _grow_patch(rng: np.random.Generator, perimeter: int, compact: float) -> set[Cell]:
    """Grow a patch of grid cells with about `perimeter` sides: connected, without holes or touching corners."""
    cells = {(0, 0)}
    wide, high = round(0.2 * perimeter) + 1, round(0.12 * perimeter) + 1  # leaves a third of the sides for notches
    frontier = dict.fromkeys([(1, 0), (-1, 0), (0, 1), (0, -1)], 1)  # cell beside the patch -> sides that touch it
    west = east = south = north = 0
    sides = 4
    while sides < perimeter:
        free = [
            (x, y)
            for x, y in sorted(frontier)
            if max(east, x) - min(west, x) < wide
            and max(north, y) - min(south, y) < high
            and _keeps_one_outline(cells, x, y)
        ]
        if not free:
            break
        weight = np.exp(compact * (np.array([frontier[c] for c in free]) - 1.0))
        share = np.cumsum(weight / weight.sum())
        chosen = free[int(np.searchsorted(share / share[-1], rng.random(), side="right"))]
        sides += 4 - 2 * frontier.pop(chosen)
        cells.add(chosen)
        x, y = chosen
        west, east, south, north = min(west, x), max(east, x), min(south, y), max(north, y)
        for beside in ((x + 1, y), (x - 1, y), (x, y + 1), (x, y - 1)):
            if beside not in cells:
                frontier[beside] = frontier.get(beside, 0) + 1
    return cells


def _keeps_one_outline(cells: set[Cell], x: int, y: int) -> bool:
    """Check that the cells around (x, y) form one run: then adding it neither closes a hole nor touches at a corner."""
    last = (x + 1, y - 1) in cells
    runs = 0
    for dx, dy in AROUND:
        taken = (x + dx, y + dy) in cells
        runs += taken and not last
        last = taken
    return runs == 1


def _outline(cells: set[Cell]) -> Points:
    """Trace the corners of the patch's outline, counter-clockwise."""
    follows: dict[tuple[int, int], tuple[int, int]] = {}
    for x, y in cells:
        square = [(x, y), (x + 1, y), (x + 1, y + 1), (x, y + 1)]
        for k, (dx, dy) in enumerate(((0, -1), (1, 0), (0, 1), (-1, 0))):
            if (x + dx, y + dy) not in cells:
                follows[square[k]] = square[(k + 1) % 4]
    walk = [min(follows)]
    while (after := follows[walk[-1]]) != walk[0]:
        walk.append(after)
    points = np.array(walk, float)
    ahead, behind = following(points) - points, points - preceding(points)
    return np.asarray(points[(ahead != behind).any(axis=1)])


def _relaxed(polygon: Points, wanted: Column, length: float, least: float) -> tuple[Points, Column]:
    """Fit corners (M, 2) and radii (M,) [road widths] to a lap of `length`, from `polygon` (N, 2) [cells], M <= N.

    Corners too close for an arc of radius `least` are removed, tightest first. The remaining length of each side is
    shared between its corners in proportion to the radii `wanted`.
    """
    while True:
        _, side, turn = _corners(polygon)
        side = side * (length / side.sum())
        half = np.tan(np.abs(turn) / 2)
        room = side / np.maximum(least * (half + following(half)), 1e-9)  # >= 1: both corners of the side fit
        fits = np.minimum(room, preceding(room))
        if fits.min() >= 1 or len(polygon) <= FEWEST:
            break
        keep = np.arange(len(polygon)) != np.argmin(fits)
        polygon, wanted = polygon[keep], wanted[keep]
    more = np.maximum(wanted - least, 0.0) * half
    left_over = np.maximum(side - least * (half + following(half)), 0.0)
    share = np.minimum(1.0, left_over / np.maximum(more + following(more), 1e-9))
    return polygon, least + (wanted - least) * np.minimum(share, preceding(share))


def _corners(polygon: Points) -> tuple[Points, Column, Column]:
    """Return (direction into corner k (N, 2), length of side k to k+1 (N,), turn in corner k (N,) [rad])."""
    ahead = following(polygon) - polygon
    side = np.linalg.norm(ahead, axis=1)
    ahead = ahead / side[:, None]
    behind = preceding(ahead)
    turn = np.arctan2(behind[:, 0] * ahead[:, 1] - behind[:, 1] * ahead[:, 0], (behind * ahead).sum(axis=1))
    return behind, side, turn


def _round_corners(polygon: Points, wanted: Column, least: float) -> Points | None:
    """Round the corners of `polygon` with arcs of radius `wanted` (N,), smaller where sides are short.

    None if a corner would have to be tighter than `least`.
    """
    behind, side, turn = _corners(polygon)
    half = np.tan(np.abs(turn) / 2)
    if half.max() > 8:  # turns back on itself
        return None
    cut = wanted * half
    share = np.minimum(1.0, side / (cut + following(cut)))  # of side k, between corners k and k+1
    cut = cut * np.minimum(share, preceding(share))
    radius = cut / np.maximum(half, 1e-6)
    if ((radius < least) & (np.abs(turn) > 0.1)).any():
        return None
    count = np.maximum(2, np.ceil(np.abs(turn) * radius / 0.2).astype(int) + 1)
    return np.asarray(_arcs(polygon, behind, turn, radius, cut, count))


@kernel
def _arcs(
    polygon: Points, behind: Points, turn: Column, radius: Column, cut: Column, count: npt.NDArray[np.int64]
) -> Points:
    """Sample the arcs of all corners, `count` (N,) points each."""
    out = np.empty((count.sum(), 2))
    row = 0
    for k in range(len(polygon)):
        sign = np.sign(turn[k])
        left_x, left_y = -behind[k, 1] * sign, behind[k, 0] * sign
        x = polygon[k, 0] - behind[k, 0] * cut[k] + left_x * radius[k]
        y = polygon[k, 1] - behind[k, 1] * cut[k] + left_y * radius[k]
        for n in range(count[k]):
            angle = turn[k] * n / (count[k] - 1)
            cos, sin = np.cos(angle), np.sin(angle)
            out[row, 0] = x + radius[k] * (-left_x * cos + left_y * sin)
            out[row, 1] = y + radius[k] * (-left_x * sin - left_y * cos)
            row += 1
    return out
