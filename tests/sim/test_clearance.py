"""Clearance grids: distances that are known exactly."""

from __future__ import annotations

import numpy as np
import pytest

from racing.sim.clearance import Clearance, clearance_from_edges, clearance_from_mask
from racing.sim.track import Track


def ring(inner: float, outer: float, resolution: float) -> Clearance:
    angle = np.linspace(0, 2 * np.pi, 2000, endpoint=False)
    unit = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return clearance_from_edges(inner * unit, outer * unit, resolution)


def polar(radius: float) -> np.ndarray:
    angle = np.linspace(0, 2 * np.pi, 997, endpoint=False)
    return radius * np.stack([np.cos(angle), np.sin(angle)], axis=1)


@pytest.mark.parametrize(
    ("radius", "expected"), [(10.0, 0.0), (12.0, 0.0), (10.3, 0.3), (11.8, 0.2), (9.8, -0.2), (12.3, -0.3), (11.0, 1.0)]
)
def test_ring_road(radius: float, expected: float):
    found = ring(10.0, 12.0, 1 / 6).at(polar(radius))
    ridge = expected == 1.0  # in the middle of the road, where interpolation cuts off the top
    assert found.mean() == pytest.approx(expected, abs=0.06 if ridge else 0.005)
    assert np.abs(found - expected).max() < (0.12 if ridge else 0.02)


@pytest.mark.parametrize("resolution", [0.25, 2.0])
def test_the_grid_reaches_five_cells_beyond_the_road_on_every_side(resolution: float):
    """Four, and one that the border of a picture adds; one more at most, for the road needn't end at a cell."""
    angle = np.linspace(0, 2 * np.pi, 2000, endpoint=False)
    oval, middle = np.stack([20 * np.cos(angle), 8 * np.sin(angle)], axis=1), np.array([100, -50])  # 40 m by 16 m
    grid = clearance_from_edges(0.5 * oval + middle, oval + middle, resolution)
    low = np.array(grid.origin)
    high = low + resolution * (np.array(grid.values.shape[::-1]) - 1)
    np.testing.assert_allclose(([80, -58] - low) / resolution, 5, atol=1e-3)
    beyond = (high - [120, -42]) / resolution
    assert beyond.min() > 4.999
    assert beyond.max() < 6.001


def test_edges_in_either_order_and_direction():
    angle = np.linspace(0, 2 * np.pi, 500, endpoint=False)
    unit = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    one = clearance_from_edges(10 * unit, 12 * unit, 0.2)
    for left, right in ((12 * unit, 10 * unit), (10 * unit[::-1], 12 * unit[::-1])):
        other = clearance_from_edges(left, right, 0.2)
        assert other.values == pytest.approx(one.values, abs=0.01)


def test_a_road_that_crosses_itself_is_open_at_the_crossing(eight: Track):
    middle = eight.clearance.at(np.zeros((1, 2)))[0]
    assert middle > 5.0  # the corners are farther away than either road's edge
    on_line = eight.clearance.at(eight.points)
    assert on_line.min() == pytest.approx(5.0, abs=0.6 * eight.clearance.resolution)


def test_mask_edge_lies_between_its_cells():
    road = np.zeros((20, 30), bool)
    road[5:15, :] = True  # rows 5..14: edges at y = 4.5 and 14.5 cells
    grid = clearance_from_mask(road, 0.1, (0.0, 0.0))
    x = np.full(3, 1.45)
    assert grid.at(np.stack([x, [0.5, 0.6, 1.4]], axis=1)) == pytest.approx([0.05, 0.15, 0.05], abs=1e-6)
    assert grid.at(np.array([[1.45, 0.45]])) == pytest.approx([0.0], abs=1e-6)
