"""A road on which every observation can be computed by hand."""

from __future__ import annotations

import numpy as np
import pytest

from racing.envs.sensors import SensorsTask
from racing.sim.track import Track, build_track
from racing.sim.vehicle import Vehicle

HALF_WIDTH = 6.0  # [m]
STRAIGHT = 800.0  # [m]


@pytest.fixture(scope="session")
def stadium() -> Track:
    """Two straights of 800 m, driven along +x at y = 0 and back at y = 160, 12 m wide; the start is in the middle."""
    radius = 80.0
    out = [(x, 0.0) for x in np.arange(0, STRAIGHT / 2, 4)]
    bend = [(STRAIGHT / 2 + radius * np.sin(a), radius - radius * np.cos(a)) for a in np.linspace(0, np.pi, 60)]
    back = [(x, 2 * radius) for x in np.arange(STRAIGHT / 2 - 4, -STRAIGHT / 2, -4)]
    turn = [(-STRAIGHT / 2 - radius * np.sin(a), radius + radius * np.cos(a)) for a in np.linspace(0, np.pi, 60)]
    rest = [(x, 0.0) for x in np.arange(-STRAIGHT / 2 + 4, 0, 4)]
    points = np.array([*out, *bend, *back, *turn, *rest])
    half = np.full(len(points), HALF_WIDTH)
    return build_track("stadium", points, half, half)


def place(task: SensorsTask, i: int = 0, **values: float) -> None:
    """Put car i somewhere: x, y, yaw, v and any other field of its record."""
    car = task.world.cars.reshape(-1)[i : i + 1]
    for name, value in values.items():
        car[name] = value
    points = task.world.points
    car["nearest"] = np.argmin((points["x"] - car["x"]) ** 2 + (points["y"] - car["y"]) ** 2)
    car["s"] = car["nearest"] * task.tracks[0].spacing


@pytest.fixture
def make_task(stadium: Track, kart: Vehicle):
    """make_task(races=1, **env) on the stadium with the kart."""

    def make(races: int = 1, **options) -> SensorsTask:
        task = SensorsTask([stadium], kart, races=races, **options)
        task.reset()
        return task

    return make
