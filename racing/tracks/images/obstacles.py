"""What stands on a road and is left out of it: filled with the road's specks, and said."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from racing.tracks.images.image import Frame, Mask

log = logging.getLogger(__name__)

LEAST = 3  # [px] smaller ones are specks: noise of a sensor, dirt of a picture
LEAST_AREA = 6  # [px]
OF_WIDTH = 0.05  # [road widths] longest side of what stands in a map, where only walls and obstacles are drawn
OF_WIDTH_COMPACT = 0.12  # [road widths] shortest side in a picture, where lines and letters are painted on roads
NAMED = 3  # in a warning


@dataclass(frozen=True)
class Obstacle:
    """A patch on a road. x, y: its middle; wide, high: its sides, along the picture's [px]."""

    x: float
    y: float
    wide: int
    high: int


def obstacles(alike: Mask, road: Mask, width: float, *, compact: bool) -> list[Obstacle]:
    """Find the patches of `road` that are not `alike` it and do not reach its edge, the largest first.

    width: of the road [px]. compact: only patches as wide as long count.
    """
    patches = (road & ~alike).astype(np.uint8)
    if not patches.any():
        return []
    count, labels, stats, middles = cv2.connectedComponentsWithStats(patches, connectivity=8)
    outside = cv2.dilate((~np.pad(road, 1)).astype(np.uint8), np.ones((3, 3), np.uint8))[1:-1, 1:-1] > 0
    edge = np.unique(labels[outside])
    found = []
    for k in range(1, count):
        wide, high, area = (int(stats[k, c]) for c in (cv2.CC_STAT_WIDTH, cv2.CC_STAT_HEIGHT, cv2.CC_STAT_AREA))
        side, share = (min(wide, high), OF_WIDTH_COMPACT) if compact else (max(wide, high), OF_WIDTH)
        if area >= LEAST_AREA and side >= max(LEAST, share * width) and k not in edge:
            found.append((area, Obstacle(float(middles[k][0]), float(middles[k][1]), wide, high)))
    return [obstacle for _, obstacle in sorted(found, key=lambda pair: -pair[0])]


def warn_of_obstacles(name: str, found: Sequence[Obstacle], frame: Frame) -> None:
    """Log one warning with place and size of what was left out."""
    if not found:
        return
    places = []
    for obstacle in found[:NAMED]:
        x, y = frame.to_world(np.array([obstacle.x, obstacle.y]))
        size = f"{obstacle.wide * frame.resolution:.2g} x {obstacle.high * frame.resolution:.2g} m"
        places.append(f"{size} at ({x:.2f}, {y:.2f}) m, pixel ({obstacle.x:.0f}, {obstacle.y:.0f})")
    more = f" and {len(found) - NAMED} more" if len(found) > NAMED else ""
    log.warning(
        "%s: what stands on the road is left out of the track, the road is free there: %s",
        name,
        "; ".join(places) + more,
    )
