"""Scalar measures of a track: width, minimum radius, difficulty."""

from __future__ import annotations

import numpy as np

from racing.sim.track import Track


def mean_width(track: Track) -> float:
    """Return the mean width of the road [m]."""
    return float(track.left.mean() + track.right.mean())


def least_radius(track: Track) -> float:
    """Return the minimum radius of the centreline [m]."""
    return 1 / max(float(np.abs(track.curvature).max()), 1e-9)


def difficulty(track: Track) -> float:
    """Rate how hard the shape is to drive, 0 to 10, independent of scale and vehicle.

    12 t + 4 b, where t is the mean turning angle per road width driven [rad] and b the road width over the radius that
    95 % of the lap exceed: a lap of long straights and wide bends is easy, one that always turns, and tightly, is hard.
    """
    bend = np.abs(track.curvature) * mean_width(track)
    return round(float(min(10.0, 12 * bend.mean() + 4 * np.percentile(bend, 95))), 1)
