"""What a car sees of the others of its race."""

from __future__ import annotations

import math

import numpy as np
import pytest

from racing.sim.race.config import RaceConfig
from racing.sim.race.traffic import GONE
from racing.sim.track import Track
from racing.sim.vehicle import Vehicle
from racing.sim.world import RangeFinder, World
from tests.sim.race.worlds import commands, line_up, make


def test_rays_end_at_other_cars_and_never_at_the_own(kart: Vehicle, straight_road: Track):
    finder = RangeFinder(rays=3, field_of_view=math.pi, range=40.0)  # left, ahead, right
    world = make(straight_road, kart, races=1, cars_per_race=3, range_finder=finder)
    blind = make(
        straight_road, kart, races=1, cars_per_race=3, range_finder=finder, race=RaceConfig(rays_see_cars=False)
    )
    for each in (world, blind):
        each.reset()
        line_up(each, (20, 0, 0), (32, 0, 0), (20, 3, 0))
        each.step(np.zeros((3, 2)))
    x = world.cars["x"][0]
    ranges, walls = world.ranges[0], blind.ranges[0]
    assert ranges[0, 1] == pytest.approx(x[1] - x[0] - kart.length / 2, abs=1e-3)  # the tail of the car ahead
    assert ranges[0, 0] == pytest.approx(3 - kart.width / 2, abs=1e-3)  # the side of the one beside
    assert ranges[0, 2] == walls[0, 2]  # nobody on the right
    assert (ranges[1] == walls[1]).all()  # nobody ahead of or beside the second
    assert ranges[2, 2] == pytest.approx(3 - kart.width / 2, abs=1e-3)
    assert ranges[2, 1] == walls[2, 1]


def test_rays_are_those_that_slabs_in_the_plane_give(wavy: Track, kart: Vehicle):
    """Computed once more without the simulator: for each ray and each edge of each other car where they meet."""
    world = make(wavy, kart)
    world.reset()
    shorter = 0
    for command in commands(60, (8, 4)):
        world.step(command)
        expected = np.array([[seen(world, race, slot) for slot in range(4)] for race in range(8)])
        alone = make(wavy, kart, races=32, cars_per_race=1)
        alone.cars[:, 0] = world.cars.reshape(-1)
        walls = scanned(alone).reshape(8, 4, 9)
        np.testing.assert_allclose(world.ranges, np.minimum(walls, expected), atol=2e-3)
        shorter += int((expected < walls - 0.1).sum())
    assert shorter > 100


def scanned(world: World) -> np.ndarray:
    from racing.sim.rays import scan

    rules = world.rules
    out = np.zeros_like(world.ranges).reshape(world.num_cars, -1)
    cars = world.cars.reshape(-1)
    scan(cars, np.arange(len(cars)), world._grid, world.track_table, rules["field_of_view"], rules["range"], out)
    return out


def seen(world: World, race: int, slot: int) -> np.ndarray:
    car, vehicle = world.cars[race, slot], world.vehicle
    angles = car["yaw"] + np.linspace(math.pi / 2, -math.pi / 2, 9)
    found = np.full(9, 60.0)
    for other in np.delete(world.cars[race], slot):
        turn = np.array(
            [[math.cos(other["yaw"]), -math.sin(other["yaw"])], [math.sin(other["yaw"]), math.cos(other["yaw"])]]
        )
        half = np.array([vehicle.length, vehicle.width]) / 2
        corners = np.array([[1, 1], [-1, 1], [-1, -1], [1, -1]]) * half @ turn.T + [other["x"], other["y"]]
        origin = np.array([car["x"], car["y"]], float)
        for k, angle in enumerate(angles):
            way = np.array([math.cos(angle), math.sin(angle)])
            for a, b in zip(corners, np.roll(corners, -1, axis=0), strict=True):
                matrix = np.array([way, a - b]).T
                if abs(np.linalg.det(matrix)) > 1e-12:
                    far, share = np.linalg.solve(matrix, a - origin)
                    if far >= 0 and 0 <= share <= 1:
                        found[k] = min(found[k], far)
    return found


def test_who_is_out_is_not_in_the_picture(kart: Vehicle, straight_road: Track):
    from racing.sim.camera.camera import Camera, make_lens
    from racing.tracks.texture import make_textures

    world = make(straight_road, kart, races=1, cars_per_race=2)
    world.reset()
    line_up(world, (20, 0, 0), (28, 0, 0))
    camera = Camera(world, make_lens(kart), make_textures([straight_road]))
    there = camera.render()[0]
    for name, value in (("state", GONE), ("alone", 1)):
        world.traffic[name][0, 1] = value
        gone = camera.render()[0]
        assert (there != gone).any(axis=2).sum() > 20
        world.traffic[name][0, 1] = 0
        traffic = world.traffic.copy()
        traffic[name][0, 1] = value
        np.testing.assert_array_equal(camera.render(traffic=traffic)[0], gone)
    world.traffic["alone"][0, 0] = 1  # and who drives alone sees nobody
    np.testing.assert_array_equal(camera.render()[0], gone)
