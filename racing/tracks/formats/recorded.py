"""One lap of a line that was recorded: without the scatter of a car that stands, and without what was driven twice."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from racing.sim.track import Points

Indices = npt.NDArray[np.int64]

SHARP = 3  # turns by more than 90 deg from point to point that make a stop: a driven line has none
BETWEEN = 8  # [points] between two of them: of scattered points more than half turn sharply
APART = 0.75  # [road widths] lines along one road lie nearer to each other, those of two roads side by side do not
ALONG = float(np.cos(np.radians(30)))  # a road that meets another one at 30 deg or more crosses it
BLEND = 6.0  # the line closes over a way so many times as long as its two ends lie beside each other


def moving(points: Points) -> Indices:
    """Find the points (K,) of a line (N, 2) [m] that a moving car left: of each stop one is kept.

    A stop is a run of sharp turns within one step of the line. The step is that of the line's length, not of most of
    its points: many of them may be of a car that stands.
    """
    count = len(points)
    step = np.diff(points, axis=0)
    size = np.linalg.norm(step, axis=1)
    turns = np.nonzero((step[1:] * step[:-1]).sum(axis=1) < 0)[0] + 1
    keep = np.ones(count, bool)
    if len(turns) < SHARP:
        return np.arange(count)
    order = np.argsort(size)
    covered = np.cumsum(size[order])
    usual = float(size[order][int(np.searchsorted(covered, covered[-1] / 2))])
    for group in np.split(turns, np.nonzero(np.diff(turns) > BETWEEN)[0] + 1):
        first, last = max(0, int(group[0]) - 1), min(count - 1, int(group[-1]) + 1)
        reach = np.linalg.norm(points[first : last + 1] - points[first], axis=1)
        if len(group) >= SHARP and float(reach[:-1].max()) < usual:
            keep[first + 1 : last] = False
    return np.nonzero(keep)[0]


def one_lap(points: Points, width: float) -> tuple[int, int]:
    """Find where a line (N, 2) [m] passes its beginning again: (points of the first lap, points after it).

    It passes where it comes by within APART road widths, in the direction in which it began: no sound road does that
    elsewhere in its lap. All points are of the first lap if it never does. width: of the road [m].
    """
    away = np.linalg.norm(points - points[0], axis=1)  # not the way driven: noise makes that longer at will
    left = int(np.argmax(away > width))
    direction = points[int(np.argmax(away > width / 2))] - points[0]
    if left == 0:
        return len(points), 0
    direction = direction / np.linalg.norm(direction)
    along = (points - points[0]) @ direction
    beside = np.abs((points - points[0]) @ np.array([-direction[1], direction[0]]))
    passes = (along[:-1] < 0) & (along[1:] >= 0) & (beside[1:] < APART * width)
    for k in np.nonzero(passes[left:])[0] + left + 1:
        far = np.nonzero(np.linalg.norm(points[left:k] - points[k], axis=1) > width / 2)[0]
        behind = points[k] - points[left + int(far[-1])] if len(far) else -direction
        if float(behind @ direction) > ALONG * float(np.linalg.norm(behind)):
            end = int(k)
            while end > 8 and -along[end - 1] < BLEND * beside[end - 1] and away[end - 1] < 4 * width:
                end -= 1
            return end, len(points) - int(k)
    return len(points), 0
