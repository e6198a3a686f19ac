"""Races: what a car sees and touches does not depend on its slot, the threads, or how races are spread over worlds."""

from __future__ import annotations

import math

import numpy as np
import pytest

from racing.errors import InputError
from racing.sim.episodes import EpisodeConfig
from racing.sim.race.config import RaceConfig
from racing.sim.race.traffic import GONE, RACING, STOPPED
from racing.sim.records import Ending
from racing.sim.track import Track, build_track
from racing.sim.variation.config import VariationConfig
from racing.sim.vehicle import Vehicle
from racing.sim.world import RangeFinder, World


@pytest.fixture(scope="module")
def straight_road() -> Track:
    """Two straights of 150 m along x, joined by half circles of 20 m radius; 12 m wide."""
    along, turn = np.arange(0, 150, 2.0), np.arange(-math.pi / 2, math.pi / 2, 0.1)
    end = np.column_stack([150 + 20 * np.cos(turn), 20 + 20 * np.sin(turn)])
    way = np.vstack([np.column_stack([along, 0 * along]), end])
    points = np.vstack([way, [150, 40] - way])
    half = np.full(len(points), 6.0)
    return build_track("stadium", points, half, half)


def make(track: Track, vehicle: Vehicle, **options) -> World:
    speeds = [np.full(len(track.points), 0.3 * vehicle.max_speed)]
    options.setdefault("episodes", EpisodeConfig(time_limit=20.0))
    finder = RangeFinder(rays=9, range=60.0)
    return World(
        [track], vehicle, start_speeds=speeds, **{"races": 8, "cars_per_race": 4, "range_finder": finder, **options}
    )


def commands(steps: int, shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (rng.uniform(-1, 1, (steps, *shape, 2)) * [0.3, 0.6] + [0.0, 0.3]).astype(np.float32)


def bits(world: World) -> bytes:
    kept = (world.cars, world.ranges, world.final_cars, world.traffic, world.final_traffic)
    return b"".join(array.tobytes() for array in kept)


def place(world: World, slot: int, race: int = 0, **values: float) -> None:
    for name, value in values.items():
        world.cars[name][race, slot] = value


def line_up(world: World, *places: tuple[float, float, float]) -> None:
    """Put the cars of the first race at (arc length [m], lateral offset [m], speed [m/s]), along the track."""
    track = world.tracks[0]
    for slot, (s, lateral, v) in enumerate(places):
        index = round(s / track.spacing) % len(track.points)
        x, y = track.points[index] + lateral * track.normals[index]
        yaw = math.remainder(track.heading[index], math.tau)
        place(world, slot, x=x, y=y, yaw=yaw, v=v, s=index * track.spacing, nearest=index, slip=0, yaw_rate=0, steer=0)


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


def driver(world: World, speed: float | list = 10.0) -> np.ndarray:
    """Back to the centreline, at half throttle up to `speed` [m/s]."""
    cars, speed = world.cars.reshape(-1), np.reshape(speed, -1)
    steer = np.clip(-0.1 * cars["lateral"] - 1.5 * cars["heading_error"] + 3 * curvature(world), -1, 1)
    return np.column_stack([steer, np.where(cars["v"] < speed, 0.5, 0.0)])


def curvature(world: World) -> np.ndarray:
    track = world.tracks[0]
    return track.curvature[(world.cars["nearest"].reshape(-1) + 2) % len(track.points)]


def test_bad_rules_are_refused(wavy: Track, kart: Vehicle):
    for options, says in (
        ({"cars_per_race": 17}, r"^cars_per_race must be a whole number in \[1, 16\], got 17"),
        ({"cars_per_race": 0}, r"^cars_per_race must be a whole number in \[1, 16\], got 0"),
    ):
        with pytest.raises(InputError, match=says):
            make(wavy, kart, **options)
    for options, says in (
        ({"start": "flying"}, "^start must be one of scattered, grid, rolling, got 'flying'"),
        ({"wreck": "stay"}, "^wreck must be one of respawn, remove, obstacle, got 'stay'"),
        ({"restitution": 2}, r"^restitution must be a number in \[0, 1\], got 2"),
        ({"near": -1}, r"^near must be a number in \[0, 1\], got -1"),
    ):
        with pytest.raises(InputError, match=says):
            RaceConfig(**options)


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
