"""Range finders against geometry that can be computed by hand, and against brute force."""

from __future__ import annotations

import numpy as np
import pytest

from racing.sim.episodes import EpisodeConfig
from racing.sim.records import Ending
from racing.sim.track import Track, build_track
from racing.sim.vehicle import Vehicle
from racing.sim.world import RangeFinder, World


def march(track: Track, x: float, y: float, angle: float, far: float) -> float:
    """Distance to the edge by small steps through the same clearance grid."""
    t = np.arange(0.0, far, track.clearance.resolution / 20)
    free = track.clearance.at(np.stack([x + t * np.cos(angle), y + t * np.sin(angle)], axis=1))
    return float(t[np.argmax(free <= 0)]) if (free <= 0).any() else far


@pytest.mark.parametrize("name", ["wavy", "eight"])
def test_rays_agree_with_brute_force(name: str, kart: Vehicle, request: pytest.FixtureRequest):
    track = request.getfixturevalue(name)
    finder = RangeFinder(rays=9, field_of_view=np.pi, range=120.0)
    world = World(
        [track],
        kart,
        races=60,
        range_finder=finder,
        episodes=EpisodeConfig(start_lateral_offset=0.8, start_heading_error=0.5),
    )
    world.reset()
    angles = np.linspace(np.pi / 2, -np.pi / 2, 9)
    errors = []
    for car, ranges in zip(world.cars[:, 0], world.ranges[:, 0], strict=True):
        expected = [march(track, car["x"], car["y"], car["yaw"] + a, 120.0) for a in angles]
        errors += list(np.abs(ranges - expected))
    assert np.percentile(errors, 90) < 0.3 * track.clearance.resolution
    assert np.percentile(errors, 99) < 3 * track.clearance.resolution


def test_ring_road_has_known_distances(kart: Vehicle):
    t = np.linspace(0, 2 * np.pi, 400, endpoint=False)
    half = np.full(len(t), 6.0)
    ring = build_track("ring", 60 * np.stack([np.cos(t), np.sin(t)], axis=1), half, half)
    world = World(
        [ring],
        kart,
        races=32,
        range_finder=RangeFinder(rays=5),
        episodes=EpisodeConfig(start_lateral_offset=0.0, start_heading_error=0.0),
    )
    world.reset()
    ahead = np.sqrt(66.0**2 - 60.0**2)  # a tangent meets the outer edge
    np.testing.assert_allclose(world.ranges[:, 0, 2], ahead, atol=1.0)
    np.testing.assert_allclose(world.ranges[:, 0, 0], 6.0, atol=0.35)  # left: the inner edge
    np.testing.assert_allclose(world.ranges[:, 0, 4], 6.0, atol=0.35)


def test_range_is_the_longest_distance(wavy: Track, kart: Vehicle):
    world = World([wavy], kart, races=64, range_finder=RangeFinder(rays=31, range=10.0))
    world.reset()
    assert world.ranges.max() == 10.0
    assert world.ranges.min() > 0.0


def test_a_lidar_of_1080_rays(wavy: Track, kart: Vehicle):
    many = World([wavy], kart, races=2, range_finder=RangeFinder(rays=1080, field_of_view=4.7, range=30.0))
    few = World([wavy], kart, races=2, range_finder=RangeFinder(rays=2, field_of_view=4.7, range=30.0))
    many.reset()
    few.reset()
    np.testing.assert_array_equal(many.ranges[:, 0, [0, -1]], few.ranges[:, 0])


def test_a_car_that_is_nowhere_sees_nothing_and_disturbs_nobody(wavy: Track, kart: Vehicle):
    sound, lost = World([wavy], kart, races=40), World([wavy], kart, races=40)
    for world in (sound, lost):
        world.reset()
    lost.cars["x"][7] = np.nan
    for world in (sound, lost):
        world.step(np.zeros((40, 2)))
    assert lost.final_cars["ended"][7, 0] == Ending.OFF_TRACK
    assert np.isnan(lost.final_ranges[7]).all()
    assert np.isfinite(lost.ranges).all()
    others = np.arange(40) != 7
    np.testing.assert_array_equal(lost.ranges[others], sound.ranges[others])
