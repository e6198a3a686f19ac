"""Where cars start, together or alone, and when their race is over."""

from __future__ import annotations

import math

import numpy as np
import pytest

from racing.sim.episodes import EpisodeConfig
from racing.sim.race.config import RaceConfig
from racing.sim.race.traffic import GONE, RACING, STOPPED
from racing.sim.records import Ending
from racing.sim.track import Track
from racing.sim.vehicle import Vehicle
from racing.sim.world import World
from tests.sim.race.worlds import commands, driver, line_up, make


@pytest.mark.parametrize(("cars", "near"), [(4, 0.0), (8, 0.7), (16, 1.0)])
def test_cars_respawn_where_there_is_room_and_none_is_lost(wavy: Track, kart: Vehicle, cars: int, near: float):
    world = make(wavy, kart, races=16, cars_per_race=cars, race=RaceConfig(near=near))
    world.reset()
    behind = starts = 0
    for command in commands(250, (16, cars)):
        world.step(command)
        for race, slot in np.argwhere(world.final_cars["ended"] > 0):
            car, others = world.cars[race, slot], np.delete(world.cars[race], slot)
            apart = np.hypot(others["x"] - car["x"], others["y"] - car["y"])
            assert apart.min() > 1.5 * kart.length
            gap = (others["s"] - car["s"] + wavy.length / 2) % wavy.length - wavy.length / 2
            ahead = (gap > 0) & (gap < 40)
            behind += ahead.any()
            ahead &= np.delete(world.final_cars["ended"][race], slot) == 0  # else it may have come after
            assert (car["v"] <= others["v"][ahead] + 2.001).all()
            starts += 1
        assert (world.traffic["state"] == RACING).all()
        assert np.isfinite(world.cars["x"] + world.cars["v"] + world.cars["slip"] + world.cars["yaw_rate"]).all()
    assert starts > 300
    if near == 1.0:
        assert behind / starts > 0.75


@pytest.mark.parametrize("start", ["grid", "rolling", "scattered"])
def test_who_starts_where_goes_round_and_nobody_overlaps(wavy: Track, kart: Vehicle, start: str):
    world = make(wavy, kart, races=16, cars_per_race=16, race=RaceConfig(start=start, wreck="remove"))
    places = np.zeros((16, 16), int)
    for _ in range(3):
        world.reset()
        if start == "grid":
            assert (world.cars["v"] == 0).all()
        elif start == "rolling":
            assert np.ptp(world.cars["v"], axis=1).max() == 0
            assert world.cars["v"].min() > 2
        x, y = world.cars["x"], world.cars["y"]
        apart = np.hypot(x[:, :, None] - x[:, None], y[:, :, None] - y[:, None]) + 99 * np.eye(16)
        assert apart.min() > 1.1 * kart.length
        assert (np.sort(world.traffic["rank"], axis=1) == np.arange(1, 17)).all()
    world.step(np.zeros((16, 16, 2)))
    assert (world.traffic["contact_with"] == 0).all()
    for race in range(16):
        places[np.arange(16), world.traffic["rank"][race] - 1] += 1
    assert (places == 1).all()  # over sixteen races each slot had each place once


def test_those_who_start_together_race_to_the_same_line(kart: Vehicle, straight_road: Track):
    """Wherever the line is between the gates, and wherever they start behind it."""
    config = RaceConfig(wreck="remove", start="rolling", spacing=4)
    world = make(straight_road, kart, races=16, cars_per_race=3, race=config)
    world.reset()
    assert len(np.unique(world.cars["next_gate"])) > 3
    assert (np.ptp(world.cars["next_gate"], axis=1) == 0).all()
    own = make(straight_road, kart, races=16, cars_per_race=3, race=RaceConfig(start="rolling", spacing=4))
    own.reset()
    assert (np.ptp(own.cars["next_gate"], axis=1) > 0).any()  # whose episodes are their own


def test_cars_of_a_grid_stand_behind_their_places_by_what_is_drawn(kart: Vehicle, straight_road: Track):
    def places(**options: float) -> np.ndarray:
        config = RaceConfig(start="grid", wreck="remove", **options)
        episodes = EpisodeConfig(time_limit=20.0, random_start=False)
        world = make(straight_road, kart, races=16, cars_per_race=2, race=config, episodes=episodes)
        world.reset()
        return np.sort(world.traffic["distance"], axis=1) / kart.length

    np.testing.assert_allclose(places(), np.tile([-2.5, -1.25], (16, 1)), rtol=1e-5)
    np.testing.assert_allclose(places(spacing=3), np.tile([-6, -3], (16, 1)), rtol=1e-5)
    behind = places() - places(jitter=0.5)
    assert ((behind >= 0) & (behind <= 0.5)).all()
    assert behind.std() > 0.1


def test_a_mixed_start_stands_or_rolls_by_what_is_drawn_for_the_race(wavy: Track, kart: Vehicle):
    def placed(start: str, **size: int) -> World:
        world = make(wavy, kart, cars_per_race=3, race=RaceConfig(start=start, wreck="remove"), **size)
        world.reset()
        return world

    mixed, grid, rolling = (placed(start, races=64) for start in ("mixed", "grid", "rolling"))
    stands = (mixed.cars["v"] == 0).all(axis=1)
    assert 0.3 < stands.mean() < 0.7
    assert mixed.cars[stands].tobytes() == grid.cars[stands].tobytes()
    assert mixed.cars[~stands].tobytes() == rolling.cars[~stands].tobytes()
    part = placed("mixed", races=9, first_race=20)
    assert part.cars.tobytes() == mixed.cars[20:29].tobytes()
    mixed.reset()
    assert ((mixed.cars["v"] == 0).all(axis=1) != stands).mean() > 0.2  # the next race is drawn anew


@pytest.mark.parametrize("wreck", ["remove", "obstacle"])
def test_a_race_is_over_when_all_are_out_and_starts_again_together(wavy: Track, kart: Vehicle, wreck: str):
    episodes = EpisodeConfig(time_limit=6.0, start_speed=(0.5, 0.5))
    world = make(wavy, kart, races=1, cars_per_race=3, race=RaceConfig(wreck=wreck, start="rolling"), episodes=episodes)
    world.reset()
    line_up(world, (100, 0, 6), (120, 8, 6), (140, 0, 6))  # the second is beside the road
    ends = []
    for _ in range(80):
        world.step(driver(world))
        ended = np.flatnonzero(world.final_cars["ended"][0])
        ends += [(int(i), Ending(world.final_cars["ended"][0, i]).label) for i in ended]
        if world.cars["episode"].max() == 1:
            break
        if len(ends) == 1:
            assert world.traffic["state"][0, 1] == (GONE if wreck == "remove" else STOPPED)
            still = world.cars["v"][0, 1]
    assert still == pytest.approx(0, abs=0.05)
    assert ends[0] == (1, "off_track")
    assert sorted(i for i, _ in ends) == [0, 1, 2]  # each was said once
    assert (world.cars["episode"] == 1).all()
    assert (world.traffic["state"] == RACING).all()


def test_those_behind_the_winner_have_a_time_of_grace(kart: Vehicle, straight_road: Track):
    episodes = EpisodeConfig(laps=1, start_speed=(0.5, 0.5), random_start=False)
    config = RaceConfig(wreck="remove", start="grid", grace=0.5, contact=False)
    world = make(straight_road, kart, races=1, cars_per_race=2, race=config, episodes=episodes)
    world.reset()
    finished = []
    for step in range(3000):
        world.step(driver(world, [[10.0], [5.0]]))
        finished += [
            (int(i), step, Ending(world.final_cars["ended"][0, i]).label)
            for i in np.flatnonzero(world.final_cars["ended"][0])
        ]
        if len(finished) == 2:
            break
    (first, won, how), (second, out, other) = finished
    assert (first, how, second, other) == (0, "laps_done", 1, "time_limit")
    assert out + 1 == math.ceil(1.5 * (won + 1))
