"""A road to race on."""

from __future__ import annotations

import math

import numpy as np
import pytest

from racing.sim.track import Track, build_track


@pytest.fixture(scope="session")
def straight_road() -> Track:
    """Two straights of 150 m along x, joined by half circles of 20 m radius; 12 m wide."""
    along, turn = np.arange(0, 150, 2.0), np.arange(-math.pi / 2, math.pi / 2, 0.1)
    end = np.column_stack([150 + 20 * np.cos(turn), 20 + 20 * np.sin(turn)])
    way = np.vstack([np.column_stack([along, 0 * along]), end])
    points = np.vstack([way, [150, 40] - way])
    half = np.full(len(points), 6.0)
    return build_track("stadium", points, half, half)
