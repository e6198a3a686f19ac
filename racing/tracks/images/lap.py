"""Find the lap in the graph of a road: straight over crossings, past pit lanes, or an error that marks the place."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
import numpy.typing as npt

from racing.errors import InputError, require
from racing.sim.track import Points, resample_closed
from racing.tracks.geometry import MIN_CROSSING_ANGLE, resample_linear
from racing.tracks.images.image import SMOOTHING, smooth_line
from racing.tracks.images.skeleton import RoadGraph, Stretch

Column = npt.NDArray[np.float64]
Stub = tuple[int, int]

MOST_STRETCHES = 14
NARROWER = 0.85  # a branch is dropped by default if it is narrower than this share of every stretch that is kept
AIM = 2.0  # [half-widths] distance from a junction at which the direction of a stretch is measured
CLEAR_OF = 1.2  # [half-widths] distance from a junction within which the skeleton is never used
WIDER = 1.12  # relative width below which the skeleton beside a junction is used again
LONGEST_MOUTH = 12.0  # [half-widths] distance within which a fork may widen the road


@dataclass(frozen=True)
class Mark:
    """A place in a picture, and its label. x, y [px]."""

    x: float
    y: float
    text: str


class UnclearRoad(InputError):
    """The lap through a picture's road is ambiguous or undefined; `marks` are the places in `picture` that show why."""

    def __init__(self, message: str, marks: list[Mark], picture: Path | None = None) -> None:
        super().__init__(message)
        self.marks = marks
        self.picture = picture


@dataclass(frozen=True, eq=False)
class Lap:
    """A closed lap through a picture. points (N, 2) [px], half-widths (N,) [px]; dropped branches; crossings."""

    points: Points
    half: Column
    dropped: list[Stretch]
    crossings: int


@dataclass(frozen=True, eq=False)
class Way:
    """A closed lap in a graph: stretches in order with the end at which each is entered, and those dropped."""

    steps: list[Stub]
    left_out: tuple[int, ...]
    length: float


def lap_through_graph(graph: RoadGraph, branch: str | None = None) -> Lap:
    """Find the lap through `graph`.

    branch: which branch to take if several are equally wide: "longest", "shortest", or "X,Y", a pixel on it.
    Raises UnclearRoad if the lap is ambiguous, and InputError for an invalid `branch`.
    """
    at = None
    if branch not in (None, "longest", "shortest"):
        at = parse_pixel(str(branch), "branch must be longest, shortest or X,Y (a pixel of the road)")
    ways = list(_ways(graph))
    if not ways:
        raise _no_way(graph)
    chosen = ways[0] if len(ways) == 1 else _choose(graph, ways, branch, at)
    crossing = {n for n in range(len(graph.places)) if len(_stubs(graph, n, chosen.left_out)) == 4}
    return Lap(*_line(graph, chosen), [graph.stretches[k] for k in chosen.left_out], len(crossing))


def parse_pixel(text: str, rule: str) -> tuple[float, float]:
    """Parse the pixel "X,Y". Raises InputError(rule)."""
    try:
        x, y = (float(part) for part in str(text).split(","))
    except ValueError:
        raise InputError(f"{rule}, got {text!r}; correct it") from None
    require(bool(np.isfinite([x, y]).all()), f"{rule}, got {text!r}; correct it")
    return x, y


def _stubs(graph: RoadGraph, node: int, left_out: tuple[int, ...]) -> list[Stub]:
    return [stub for stub in graph.stubs(node) if stub[0] not in left_out]


def _ways(graph: RoadGraph) -> Iterator[Way]:
    """Enumerate the subsets of stretches to drop such that the others form one closed lap, each driven once."""
    count = len(graph.stretches)
    if count > MOST_STRETCHES:
        text = f"the road is a network of {count} stretches, at most {MOST_STRETCHES} are searched"
        marks = [Mark(float(x), float(y), "junction") for x, y in graph.places]
        raise UnclearRoad(f"{text}; draw one circuit, or give gates in checkpoints.json", marks)
    for number in range(count):
        for left_out in combinations(range(count), number):
            steps = _walk(graph, left_out)
            if steps is not None:
                yield Way(steps, left_out, sum(graph.stretches[k].length for k, _ in steps))


def _walk(graph: RoadGraph, left_out: tuple[int, ...]) -> list[Stub] | None:
    """Order the stretches for driving, each with the end at which it is entered; None if they form no closed lap."""
    across: dict[Stub, Stub] = {}
    for node in range(len(graph.places)):
        stubs = _stubs(graph, node, left_out)
        if len(stubs) not in (0, 2, 4):
            return None
        stubs.sort(key=lambda stub: _bearing(graph, node, stub))
        for k, stub in enumerate(stubs):
            across[stub] = stubs[(k + len(stubs) // 2) % len(stubs)]
        if len(stubs) == 4 and _flat(graph, node, stubs):
            return None
    kept = [k for k in range(len(graph.stretches)) if k not in left_out]
    steps: list[Stub] = [(kept[0], 0)]
    while True:
        k, end = steps[-1]
        ahead = across.get((k, 1 - end), (k, end))
        if ahead == steps[0]:
            break
        steps.append(ahead)
        if len(steps) > len(kept):
            return None
    return steps if len({k for k, _ in steps}) == len(kept) else None


def _aim(graph: RoadGraph, stub: Stub) -> Points:
    """Return the point of a stretch [px] AIM half-widths from its end."""
    stretch = graph.stretches[stub[0]]
    points = stretch.points if stub[1] == 0 else stretch.points[::-1]
    arc = np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))
    return np.asarray(points[min(int(np.searchsorted(arc, AIM * graph.half)) + 1, len(points) - 1)])


def _bearing(graph: RoadGraph, node: int, stub: Stub) -> float:
    dx, dy = _aim(graph, stub) - graph.places[node]
    return float(np.arctan2(dy, dx))


def _flat(graph: RoadGraph, node: int, stubs: list[Stub]) -> bool:
    """Check whether two roads meet at too small an angle for a crossing: they touch."""
    one, other = (_aim(graph, stubs[k + 2]) - _aim(graph, stubs[k]) for k in (0, 1))
    angle = np.arctan2(abs(one[0] * other[1] - one[1] * other[0]), abs(one @ other))
    return bool(angle < MIN_CROSSING_ANGLE)


def _middle_of(stretch: Stretch) -> tuple[float, float]:
    x, y = stretch.points[len(stretch.points) // 2]
    return float(x), float(y)


def _no_way(graph: RoadGraph) -> UnclearRoad:
    marks = [Mark(float(x), float(y), "roads meet") for x, y in graph.places]
    where = ", ".join(f"({x:.0f}, {y:.0f})" for x, y in graph.places[:4])
    text = f"no lap leads through the road's {len(graph.places)} junctions at pixel {where}"
    return UnclearRoad(f"{text}: roads touch, or more than two cross; draw them apart, or give gates", marks)


def _choose(graph: RoadGraph, ways: list[Way], branch: str | None, at: tuple[float, float] | None) -> Way:
    """Choose the way whose dropped branches are all narrower than what is kept, or the one that `branch` selects."""
    if branch in ("longest", "shortest"):
        return (max if branch == "longest" else min)(ways, key=lambda way: way.length)
    if at is not None:
        near = [int(np.argmin([_distance(s, at) for s in graph.stretches]))]
        require(
            _distance(graph.stretches[near[0]], at) < 3 * graph.half,
            f"branch={branch}: pixel ({at[0]:.0f}, {at[1]:.0f}) is not on the road; see the marked picture",
        )
        passing = [way for way in ways if near[0] not in way.left_out]
        require(bool(passing), f"branch={branch}: no lap passes through that stretch; choose another one")
        return max(passing, key=lambda way: way.length)
    width = [s.width for s in graph.stretches]
    plain = [way for way in ways if _all_narrow(way, width)]
    if len(plain) == 1:
        return plain[0]
    branches = sorted({k for way in ways for k in way.left_out})
    marks = [Mark(*_middle_of(graph.stretches[k]), f"{n}: {width[k]:.0f} px wide") for n, k in enumerate(branches, 1)]
    listed = ", ".join(f"({m.x:.0f}, {m.y:.0f}) {m.text.partition(': ')[2]}" for m in marks[:4])
    text = f"the road forks and encloses {_enclosed(graph)} large areas; branches are about equally wide: {listed}"
    raise UnclearRoad(f"{text}; choose one with --branch longest, shortest or X,Y (a pixel on it)", marks)


def _enclosed(graph: RoadGraph) -> int:
    """Count the areas that a connected graph encloses (Euler)."""
    return len(graph.stretches) - len(graph.places) + 1


def _all_narrow(way: Way, width: list[float]) -> bool:
    kept = min(width[k] for k, _ in way.steps)
    return all(width[k] < NARROWER * kept for k in way.left_out)


def _distance(stretch: Stretch, at: tuple[float, float]) -> float:
    return float(np.linalg.norm(stretch.points - np.array(at), axis=1).min())


def _line(graph: RoadGraph, way: Way) -> tuple[Points, Column]:
    """Join the lap's centreline and half-widths [px]: straight over junctions, where the skeleton bends."""
    typical = graph.half
    points, half = [], []
    for k, end in way.steps:
        stretch = graph.stretches[k]
        p, h = (stretch.points, stretch.half) if end == 0 else (stretch.points[::-1], stretch.half[::-1])
        if len(graph.places):
            first, last = _clear(p, h, typical), _clear(p[::-1], h[::-1], typical)
            if first + last < len(p) - 8:
                p, h = p[first : len(p) - last], h[first : len(p) - last]
            else:  # a short stretch between two junctions: its middle
                p, h = p[len(p) // 2 - 1 : len(p) // 2 + 1], h[len(p) // 2 - 1 : len(p) // 2 + 1]
            points.append(_thinned(p, max(2.0, typical / 2)))
            half.append(np.interp(np.linspace(0, 1, len(points[-1])), np.linspace(0, 1, len(h)), h))
        else:
            points.append(p[:-1])
            half.append(h[:-1])
    line, width = np.concatenate(points), np.concatenate(half)
    keep = np.linalg.norm(line - np.roll(line, 1, axis=0), axis=1) > 1e-6
    line, width = line[keep], width[keep]
    if len(graph.places):
        line, width = resample_closed(line, 1.0, width)
    sigma = max(1.5, SMOOTHING * 2 * typical)
    smooth = smooth_line(line, sigma)
    (_, width) = resample_linear(line, 1.0, width)
    (width,) = [np.interp(np.linspace(0, 1, len(smooth), endpoint=False), np.linspace(0, 1, len(width)), width)]
    return smooth, width


def _clear(points: Points, half: Column, typical: float) -> int:
    """Return the index from which the skeleton that begins at a junction is that of an ordinary road."""
    arc = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
    own = float(np.median(half))
    wide = (half > WIDER * own) & (arc < LONGEST_MOUTH * typical)
    outside = arc > CLEAR_OF * typical
    ordinary = np.nonzero(outside & ~wide)[0]
    first = int(ordinary[0]) if len(ordinary) else len(points)
    return int(np.searchsorted(arc, arc[min(first, len(arc) - 1)] + 0.3 * typical))


def _thinned(points: Points, spacing: float) -> Points:
    """Resample an open line evenly; its ends are kept."""
    arc = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
    at = np.linspace(0, arc[-1], max(2, round(arc[-1] / spacing) + 1))
    return np.stack([np.interp(at, arc, points[:, c]) for c in (0, 1)], axis=1)
