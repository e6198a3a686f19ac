"""Races: what a car sees and touches does not depend on its slot, the threads, or how races are spread over worlds."""

from __future__ import annotations

import numpy as np
import pytest

from racing.errors import InputError
from racing.sim.episodes import EpisodeConfig
from racing.sim.race.config import RaceConfig
from racing.sim.records import Ending
from racing.sim.track import Track
from racing.sim.variation.config import VariationConfig
from racing.sim.vehicle import Vehicle
from racing.sim.world import World
from tests.sim.race.worlds import bits, commands, driver, line_up, make


def test_races_that_are_alike_are_those_of_a_larger_world(wavy: Track, kart: Vehicle):
    asked, crowded = commands(60, (3, 4)), RaceConfig(start="rolling", near=1.0, window=7.0)
    alike, part = make(wavy, kart, races=6, race=crowded), make(wavy, kart, races=3, first_race=17, race=crowded)
    alike.reset()
    alike.restart_all(17, 3)
    restarts = 0
    for world in (alike, part):
        world.reset()
    for command in asked:
        alike.step(np.concatenate([command, command]))
        part.step(command)
        for name in ("cars", "ranges", "final_cars", "traffic"):
            assert getattr(alike, name).tobytes() == 2 * getattr(part, name).tobytes(), name
        restarts += int((part.final_cars["ended"] > 0).sum())
    assert restarts > 5


def test_bits_depend_neither_on_threads_nor_on_how_races_are_spread(wavy: Track, kart: Vehicle):
    asked, crowded = commands(120, (40, 4)), RaceConfig(start="rolling", near=1.0, window=7.0)
    whole, threaded = (make(wavy, kart, races=40, threads=threads, race=crowded) for threads in (1, 2))
    part = make(wavy, kart, races=5, first_race=17, race=crowded)
    for world in (whole, threaded, part):
        world.reset()
    touched = restarts = 0
    for command in asked:
        whole.step(command)
        threaded.step(command)
        part.step(command[17:22])
        assert bits(threaded) == bits(whole)
        for name in ("cars", "ranges", "final_cars", "traffic"):
            assert getattr(part, name).tobytes() == getattr(whole, name)[17:22].tobytes(), name
        touched += int((whole.traffic["contact_with"] != 0).sum())
        restarts += int((whole.final_cars["ended"] > 0).sum())
    assert touched > 20
    assert restarts > 100


def test_state_round_trip_amid_contacts_continues_bit_for_bit(wavy: Track, kart: Vehicle):
    crowded = RaceConfig(start="rolling", near=1.0, window=7.0)
    first, second = (make(wavy, kart, race=crowded) for _ in range(2))
    first.reset()
    asked = commands(200, (8, 4))
    at = 0
    while at < 100 or not (first.traffic["contact_with"] != 0).any():
        first.step(asked[at % 200])
        at += 1
    second.set_state(first.get_state())
    for command in asked:
        first.step(command)
        second.step(command)
        assert bits(first) == bits(second)


def test_cars_that_swap_slots_swap_results(wavy: Track, kart: Vehicle):
    order = np.array([2, 0, 3, 1])
    one, other = (make(wavy, kart, races=1, episodes=EpisodeConfig(time_limit=0.0)) for _ in range(2))
    one.reset()
    line_up(one, (50, 0.3, 14), (55, -0.3, 8), (60, 0.5, 11), (64, 0.0, 5))
    other.set_state(one.get_state())
    for name in ("cars", "ranges", "traffic"):
        getattr(other, name)[0] = getattr(one, name)[0, order]
    touched = 0
    for throttle in np.random.default_rng(0).uniform(-0.3, 0.8, (40, 4)):
        one.step(np.column_stack([driver(one)[:, 0], throttle]))
        other.step(np.column_stack([driver(other)[:, 0], throttle[order]]))
        touched += int((one.traffic["contact_with"] != 0).sum())
        for name in ("x", "y", "yaw", "v", "slip", "progress"):
            np.testing.assert_allclose(other.cars[name][0], one.cars[name][0, order], atol=2e-3, err_msg=name)
        np.testing.assert_allclose(other.ranges[0], one.ranges[0, order], atol=0.05)
        assert (one.final_cars["ended"] == 0).all()
    assert touched > 4


def test_cars_that_keep_their_distance_drive_as_if_alone(wavy: Track, kart: Vehicle):
    config = RaceConfig(rays_see_cars=False)
    crowd, alone = make(wavy, kart, races=1, race=config), make(wavy, kart, races=4, cars_per_race=1)
    crowd.reset()
    alone.reset()
    line_up(crowd, (0, 0, 5), (200, 1, 5), (400, 0, 5), (600, -1, 5))
    crowd.step(np.zeros((4, 2)))
    alone.cars[:, 0] = crowd.cars[0]
    for throttle in np.random.default_rng(0).uniform(-0.3, 0.8, (40, 4)):
        command = np.column_stack([driver(crowd)[:, 0], throttle])
        crowd.step(command)
        alone.step(command)
        assert crowd.cars[0].tobytes() == alone.cars[:, 0].tobytes()
        assert crowd.ranges[0].tobytes() == alone.ranges[:, 0].tobytes()


def test_gaps_and_ranks_count_unwrapped_distance(kart: Vehicle, wavy: Track):
    world = make(wavy, kart, races=1, cars_per_race=3)
    world.reset()
    line_up(world, (0, 0, 6), (wavy.length - 10, 0, 6), (20, 0, 6))
    world.traffic["distance"][0] = 0, wavy.length - 10, 20  # the second has almost won a lap
    world.step(np.zeros((3, 2)))
    first, second, third = world.traffic[0]
    assert first["gap_ahead"] == pytest.approx(20, abs=1.5)
    assert first["gap_behind"] == pytest.approx(10, abs=1.5)
    assert second["gap_ahead"] == first["gap_behind"]
    assert second["gap_behind"] == pytest.approx(wavy.length)  # nobody within half a lap
    assert [first["rank"], second["rank"], third["rank"]] == [3, 1, 2]


def test_what_one_wins_on_another_that_one_loses(wavy: Track, kart: Vehicle):
    world = make(wavy, kart, races=64, cars_per_race=2)
    world.reset()
    won = 0.0
    for command in commands(100, (64, 2)):
        world.step(command)
        np.testing.assert_allclose(world.final_traffic["won"].sum(axis=1), 0, atol=1e-5)
        won += float(np.abs(world.final_traffic["won"]).sum())
    assert won > 10


def test_a_contact_is_noted_once_at_both_cars_with_the_blame_behind(wavy: Track, kart: Vehicle):
    world = make(wavy, kart, races=1, cars_per_race=3)
    world.reset()
    line_up(world, (50, 0, 15), (53, 0, 9), (300, 0, 9))
    blamed = []
    for _ in range(8):
        world.step(np.zeros((3, 2)))
        if world.traffic["contact_with"].any():
            blamed.append(
                [world.traffic[name][0].tolist() for name in ("contact_with", "blame", "ran_into", "closing")]
            )
    touched, blame, ran_into, closing = blamed[0]
    assert touched == [2, 1, 0]
    assert blame == [1, 0, 0]
    assert closing[0] == closing[1] == pytest.approx(6, abs=0.5)
    assert ran_into == [closing[0], 0, 0]
    assert world.traffic["contact_with"][0].tolist() == [0, 0, 0]  # it is over
    assert world.traffic["contacts"][0, 2] == 0
    assert world.traffic["contacts"][0, 0] == world.traffic["contacts"][0, 1] >= 1


def braking_needed(world: World, *places: tuple[float, float, float]) -> np.ndarray:
    """(C,) [m/s^2] of cars that were at (arc length [m], lateral offset [m], speed [m/s]) a step ago."""
    line_up(world, *places)
    world.step(np.zeros((len(places), 2)))
    return world.final_traffic["braking_needed"][0]


def test_who_closes_in_on_its_own_path_needs_to_brake(straight_road: Track, kart: Vehicle):
    """v^2 / 2 s: 6 m/s faster, with 12 m between the bumpers, is 1.5 m/s^2, less what drag takes of the 6 m/s."""
    world = make(straight_road, kart, races=1, cars_per_race=3)
    world.reset()
    free = 12 + kart.length + 6 * world.step_dt  # a step later 12 m are left
    needed = braking_needed(world, (50, 0, 21), (50 + free, 0, 15), (300, 0, 9))
    (s, ahead, _), (v, slower, _) = (world.final_cars[name][0].tolist() for name in ("s", "v"))
    assert needed.tolist() == [pytest.approx((v - slower) ** 2 / 2 / (ahead - s - kart.length), rel=1e-4), 0, 0]
    assert needed[0] == pytest.approx(1.5, rel=0.1)
    assert braking_needed(world, (50, 0, 15), (50 + free, 0, 21), (300, 0, 9)).tolist() == [0, 0, 0]  # it falls back
    assert braking_needed(world, (50, 0, 21), (50 + free, 2, 15), (300, 0, 9)).tolist() == [0, 0, 0]  # it passes beside
    far = 1 + kart.sensor_range / 3 + 6 * world.step_dt
    assert braking_needed(world, (50, 0, 21), (50 + far, 0, 15), (300, 0, 9)).tolist() == [0, 0, 0]  # out of the window
    world.traffic["alone"] = True
    assert braking_needed(world, (50, 0, 21), (50 + free, 0, 15), (300, 0, 9)).tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("rules", "out"),
    [
        ({}, 0),
        ({"disqualify": 4.0}, Ending.RETIRED),
        ({"disqualify": 9.0}, 0),
        ({"disqualify": 4.0, "wreck": "remove"}, 0),
    ],
)
def test_who_runs_into_another_is_out_if_the_rules_say_so(wavy: Track, kart: Vehicle, rules: dict, out: int):
    """While training: in races to a finish everybody drives on. The one in front, who is not to blame, always does."""
    world = make(wavy, kart, races=1, cars_per_race=3, race=RaceConfig(**rules))
    world.reset()
    line_up(world, (50, 0, 15), (53, 0, 9), (300, 0, 9))
    ended = np.zeros(3, int)
    for _ in range(8):
        world.step(np.zeros((3, 2)))
        ended = np.maximum(ended, world.final_cars["ended"][0])
        if world.final_traffic["contact_with"].any():
            break
    assert world.final_traffic["closing"][0, 0] == pytest.approx(6, abs=0.5)
    assert ended.tolist() == [out, 0, 0]


def test_bad_rules_are_refused(wavy: Track, kart: Vehicle):
    for options, says in (
        ({"cars_per_race": 17}, r"^cars_per_race must be a whole number in \[1, 16\], got 17"),
        ({"cars_per_race": 0}, r"^cars_per_race must be a whole number in \[1, 16\], got 0"),
    ):
        with pytest.raises(InputError, match=says):
            make(wavy, kart, **options)
    for options, says in (
        ({"start": "flying"}, "^start must be one of scattered, grid, rolling, mixed, got 'flying'"),
        ({"wreck": "stay"}, "^wreck must be one of respawn, remove, obstacle, got 'stay'"),
        ({"restitution": 2}, r"^restitution must be a number in \[0, 1\], got 2"),
        ({"disqualify": -1}, r"^disqualify must be a number in \[0, 1000\] m/s, got -1"),
        ({"near": -1}, r"^near must be a number in \[0, 1\], got -1"),
    ):
        with pytest.raises(InputError, match=says):
            RaceConfig(**options)


@pytest.mark.parametrize("masses", [(1.0, 1.0), (2.0, 0.5), (0.5, 2.0)])
def test_a_blow_moves_a_light_car_more_than_a_heavy_one(straight_road: Track, kart: Vehicle, masses):
    """A dead blow from behind at 8 m/s: both go on with the share of it that the mass of the one behind is of both."""
    vary, dead = VariationConfig(mass=[0.5, 2.0]), RaceConfig(restitution=0.0)
    world = make(straight_road, kart, races=1, cars_per_race=2, race=dead, variation=vary)
    world.reset()
    assert world.variations is not None
    world.variations["mass"][0] = masses
    line_up(world, (40.0, 0.0, 8.0), (40.0 + kart.length, 0.0, 0.0))
    world.step(np.zeros((1, 2, 2)))
    assert (world.traffic["contact_with"] != 0).all()
    np.testing.assert_allclose(world.cars["v"][0], 8.0 * masses[0] / sum(masses), atol=0.25)
