"""The picture from above: a car of its colour, size and direction."""

from __future__ import annotations

import numpy as np
import pytest

from racing.envs.rendering import CAR, GRASS, ROAD, top_down
from tests.envs.conftest import place


@pytest.mark.parametrize("yaw", [0.0, 0.6])
def test_a_car_is_drawn_three_times_as_large_as_it_is_in_its_direction(make_task, yaw: float):
    task = make_task()
    place(task, x=0.0, y=0.0, yaw=yaw, v=0.0)
    picture = top_down(task.world, 0, size=3000)
    red = np.abs(picture.astype(int) - CAR).sum(axis=2) < 60
    grid = task.tracks[0].clearance
    scale = max(grid.values.shape) * grid.resolution / 3000  # [m] of a pixel
    kart = task.vehicle
    assert red.sum() * scale**2 == pytest.approx(9 * kart.length * kart.width, rel=0.15)
    rows, columns = np.nonzero(red)
    along = np.cov(columns, -rows)  # north is up
    direction = np.linalg.eigh(along)[1][:, 1]
    assert abs(direction @ [np.cos(yaw), np.sin(yaw)]) > 0.95
    colours = {tuple(colour) for colour in picture.reshape(-1, 3)[::97]}
    assert {GRASS, ROAD} <= colours
