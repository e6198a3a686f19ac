"""Skeletonize a road to a graph, for roads that cross themselves or fork, where a level set fails.

The skeleton is the part of the Voronoi diagram of the road's edge that separates points of different edges, or of
distant stretches of one edge. Dead ends are pruned; the rest are stretches of road between junctions.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from racing.sim.track import Points
from racing.tracks.images.image import Mask, edge_lines

Column = npt.NDArray[np.float64]

DISTANT = 3.0  # stretches of one edge face each other if the distance along it is so many times that across
MOST_POINTS = 40_000  # of the edge
ONE_JUNCTION = 1.25  # [half-widths] junctions nearer to each other than this are merged ...
OPEN_GROUND = 1.12  # ... and so are those up to 4 half-widths apart if the road between is wider by this factor


@dataclass(frozen=True, eq=False)
class Stretch:
    """Road between two junctions: nodes, points (K, 2) [px] from the first to the second, half-width (K,) [px]."""

    nodes: tuple[int, int]
    points: Points
    half: Column

    @property
    def length(self) -> float:
        """Return the length of the line [px]."""
        return float(np.linalg.norm(np.diff(self.points, axis=0), axis=1).sum())

    @property
    def width(self) -> float:
        """Return the median width [px], robust to the wide ends at junctions."""
        return 2 * float(np.median(self.half))


@dataclass(frozen=True, eq=False)
class RoadGraph:
    """places (J, 2) [px] of the junctions; the stretches between them. A plain ring has one stretch and no junction."""

    places: Points
    stretches: list[Stretch]

    @property
    def half(self) -> float:
        """Return the median half-width of all stretches [px]."""
        return float(np.median(np.concatenate([s.half for s in self.stretches])))

    def stubs(self, node: int) -> list[tuple[int, int]]:
        """List (stretch, end 0 or 1) of all road ends that meet at a junction."""
        return [(k, end) for k, s in enumerate(self.stretches) for end in (0, 1) if s.nodes[end] == node]


def road_graph(road: Mask) -> tuple[RoadGraph | None, Points]:
    """Build (the graph of a road mask (H, W) without dead ends, tips of dead ends (K, 2) [px]).

    The graph is None if nothing is closed: then the tips are the two ends of the longest path along the road.
    """
    points, half, links = _middle(road)
    after: dict[int, list[int]] = defaultdict(list)
    for a, b in links.tolist():
        after[a].append(b)
        after[b].append(a)
    core = _without_dead_ends(after)
    if not core:
        return None, points[_longest_way(after)] if after else np.zeros((0, 2))
    return _contracted(points, half, core), np.zeros((0, 2))


def _middle(road: Mask) -> tuple[Points, Column, npt.NDArray[np.int64]]:
    """Compute (vertices (V, 2) [px], their distance to the edge (V,), pairs of neighbours (E, 2)) of the skeleton."""
    from scipy.spatial import Voronoi

    lines = edge_lines(road)
    step = max(4, int(np.ceil(sum(map(len, lines)) / MOST_POINTS)))
    lines = [line[::step] for line in lines if len(line) > 8 * step]
    contour = np.concatenate([np.full(len(line), k) for k, line in enumerate(lines)])
    place = np.concatenate([np.arange(len(line)) for line in lines])
    around = np.concatenate([np.full(len(line), len(line)) for line in lines])
    edge = np.concatenate(lines)
    edge = edge + 1e-4 * np.sin(np.arange(edge.size) * 12.9898).reshape(edge.shape)  # no four points on one circle
    diagram = Voronoi(edge)
    ridge, ends = diagram.ridge_points, np.asarray(diagram.ridge_vertices)
    p, q = ridge[:, 0], ridge[:, 1]
    along = np.abs(place[p] - place[q])
    along = np.minimum(along, around[p] - along) * step * 0.25
    across = np.linalg.norm(edge[p] - edge[q], axis=1)
    apart = (contour[p] != contour[q]) | (along > DISTANT * across)
    at = np.round(diagram.vertices).astype(int)
    inside = ((at >= 0) & (at < np.array(road.shape[::-1]))).all(axis=1)
    inside[inside] = road[at[inside, 1], at[inside, 0]]
    keep = apart & (ends >= 0).all(axis=1) & inside[ends].all(axis=1)
    links = ends[keep]
    half = np.zeros(len(diagram.vertices))
    half[links] = np.linalg.norm(diagram.vertices[links] - edge[p[keep]][:, None], axis=2)
    return diagram.vertices, half, links


def _without_dead_ends(after: dict[int, list[int]]) -> dict[int, set[int]]:
    core = {node: set(near) for node, near in after.items()}
    loose = [node for node, near in core.items() if len(near) < 2]
    while loose:
        node = loose.pop()
        for other in core.pop(node, ()):
            core[other].discard(node)
            if len(core[other]) == 1:
                loose.append(other)
    return core


def _longest_way(after: dict[int, list[int]]) -> list[int]:
    """Find the two ends of the longest path in a forest (in vertices, which are evenly spaced)."""

    def farthest(start: int) -> tuple[int, int]:
        seen, front, steps = {start}, [start], 0
        last = start
        while front:
            last, steps = front[0], steps + 1
            front = [b for a in front for b in after[a] if b not in seen and not seen.add(b)]  # type: ignore[func-returns-value]
        return steps, last

    best: tuple[int, int, int] = (0, 0, 0)
    left = set(after)
    while left:
        seed = next(iter(left))
        _, one = farthest(seed)
        steps, other = farthest(one)
        best = max(best, (steps, one, other))
        front = [seed]
        while front:
            left -= set(front)
            front = [b for a in front for b in after[a] if b in left]
    return [best[1], best[2]]


def _contracted(points: Points, half: Column, core: dict[int, set[int]]) -> RoadGraph:
    """Contract chains of vertices to stretches, and merge junctions close together."""
    chains = _chains(core)
    typical = float(np.median(np.concatenate([half[c] for c in chains])))
    joined = {n: n for c in chains for n in (c[0], c[-1])}

    def root(node: int) -> int:
        while joined[node] != node:
            node = joined[node]
        return node

    long: list[list[int]] = []
    for chain in chains:
        length = float(np.linalg.norm(np.diff(points[chain], axis=0), axis=1).sum())
        wide = float(np.median(half[chain])) > OPEN_GROUND * typical and length < 4 * typical
        if (wide or length < ONE_JUNCTION * typical) and chain[0] != chain[-1]:
            joined[root(chain[-1])] = root(chain[0])
        else:
            long.append(chain)
    roots = sorted({root(n) for c in long for n in (c[0], c[-1])})
    number = {r: k for k, r in enumerate(roots)}
    places = [np.mean([points[n] for n in joined if root(n) == r], axis=0) for r in roots]
    stretches = [Stretch((number[root(c[0])], number[root(c[-1])]), points[c], half[c]) for c in long]
    return RoadGraph(np.array(places).reshape(-1, 2), stretches)


def _chains(core: dict[int, set[int]]) -> list[list[int]]:
    """Find the paths between vertices of degree > 2; a ring without such a vertex is one closed path."""
    junctions = [node for node, near in core.items() if len(near) > 2]
    chains, seen = [], set()
    for node in junctions or [next(iter(core))]:
        for first in sorted(core[node]):
            if (node, first) in seen:
                continue
            chain = [node, first]
            while len(core[chain[-1]]) == 2 and chain[-1] != node:
                (ahead,) = core[chain[-1]] - {chain[-2]}
                chain.append(ahead)
            seen |= {(chain[0], chain[1]), (chain[-1], chain[-2])}
            chains.append(chain)
    return chains
