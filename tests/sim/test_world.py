"""A world of many cars: determinism, state, progress, gates, laps, endings."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from racing.errors import InputError
from racing.sim.episodes import EpisodeConfig
from racing.sim.grip import uniform_grip
from racing.sim.packing import Joined, pack_gates
from racing.sim.records import Ending
from racing.sim.track import Track
from racing.sim.vehicle import Vehicle
from racing.sim.world import RangeFinder, World
from tests.support.drivers import follow


def make(track: Track, vehicle: Vehicle, **options) -> World:
    speeds = [np.full(len(track.points), 0.3 * vehicle.max_speed)]
    options.setdefault("episodes", EpisodeConfig(time_limit=20.0))
    return World(
        [track], vehicle, start_speeds=speeds, **{"races": 64, "range_finder": RangeFinder(range=60.0), **options}
    )


def actions(steps: int, cars: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.uniform(-1, 1, (steps, cars, 2)).astype(np.float32) * [0.3, 0.6] + [0.0, 0.3]


def history(world: World, commands: np.ndarray) -> list[bytes]:
    world.reset()
    rows = []
    for command in commands:
        world.step(command)
        rows.append(world.cars.tobytes() + world.ranges.tobytes() + world.final_cars.tobytes())
    return rows


def test_bits_do_not_depend_on_threads(wavy: Track, kart: Vehicle):
    commands = actions(150, 256)
    one = history(make(wavy, kart, races=256), commands)
    two = history(make(wavy, kart, races=256, threads=2), commands)
    three = history(make(wavy, kart, races=256, threads=3), commands)
    assert one == two == three
    assert len(set(one)) == len(one)


@pytest.mark.parametrize("name", ["kart", "f1tenth_linear"])
def test_bits_do_not_depend_on_the_batch(wavy: Track, name: str, request: pytest.FixtureRequest):
    vehicle = request.getfixturevalue(name)
    commands = actions(120, 96)
    whole = make(wavy, vehicle, races=96, seed=7)
    part = make(wavy, vehicle, races=13, seed=7, first_race=29)
    whole.reset()
    part.reset()
    restarts = 0
    for command in commands:
        whole.step(command)
        part.step(command[29:42])
        assert part.cars.tobytes() == whole.cars[29:42].tobytes()
        assert part.ranges.tobytes() == whole.ranges[29:42].tobytes()
        restarts += int((part.final_cars["ended"] > 0).sum())
    assert restarts > 0


def test_a_car_among_others_in_its_race_drives_the_same(wavy: Track, kart: Vehicle):
    crowd = make(wavy, kart, races=8, cars_per_race=3)
    crowd.reset()
    assert crowd.cars.shape == (8, 3)
    starts = crowd.cars["s"]
    assert (np.ptp(starts, axis=1) > 10).all()  # cars of one race are spread out
    crowd.step(np.zeros((8, 3, 2)))
    assert (crowd.cars["progress_delta"] != 0).all()


def test_state_round_trip_continues_bit_identically(wavy: Track, kart: Vehicle):
    commands = actions(200, 64)
    first = make(wavy, kart)
    first.reseed(9)
    first.reset()
    for command in commands[:90]:
        first.step(command)
    state = first.get_state()
    second = make(wavy, kart)
    second.set_state(state)
    for command in commands[90:]:
        first.step(command)
        second.step(command)
    assert first.cars.tobytes() == second.cars.tobytes()
    assert first.ranges.tobytes() == second.ranges.tobytes()
    with pytest.raises(ValueError, match="does not fit"):
        make(wavy, kart, races=3).set_state(state)


def test_restarting_all_begins_with_the_first_episodes_again(wavy: Track, kart: Vehicle):
    world = make(wavy, kart)
    world.reset()
    first = world.cars.tobytes()
    world.reset()
    assert world.cars.tobytes() != first
    assert (world.cars["episode"] == 1).all()
    world.restart_all()
    world.reset()
    assert world.cars.tobytes() == first


def test_get_state_is_a_copy(wavy: Track, kart: Vehicle):
    world = make(wavy, kart)
    world.reset()
    state = world.get_state()
    before = state["cars"].copy()
    world.step(np.ones((64, 2)))
    assert state["cars"].tobytes() == before.tobytes()


@pytest.mark.parametrize("name", ["wavy", "eight"])
def test_laps_are_counted_and_timed(name: str, kart: Vehicle, request: pytest.FixtureRequest):
    track = request.getfixturevalue(name)
    world = make(track, kart, races=8, episodes=EpisodeConfig(laps=2, time_limit=400.0, start_speed=(0.0, 0.0)))
    world.reset()
    finished = np.zeros(8, bool)
    pace, lap_times = 8.0, np.zeros(8)
    for _ in range(int(400 / world.step_dt)):
        world.step(follow(world, pace))
        final = world.final_cars.reshape(-1)
        new = (final["ended"] > 0) & ~finished
        assert (final["ended"][new] == Ending.LAPS_DONE).all()
        assert (final["gates"][new] == 2 * len(track.gates) + 1).all()
        lap_times[new] = final["lap_time"][new]
        finished |= new
        if finished.all():
            break
    assert finished.all()
    np.testing.assert_allclose(lap_times, track.length / pace, rtol=0.04)


def test_progress_stays_on_its_branch_where_the_track_crosses_itself(eight: Track, kart: Vehicle):
    world = make(eight, kart, races=4, episodes=EpisodeConfig(start_speed=(0.0, 0.0)))
    world.reset()
    largest = 0.0
    for _ in range(int(eight.length / 8 / world.step_dt)):
        world.step(follow(world, 8.0))
        largest = max(largest, float(np.abs(world.final_cars["progress_delta"]).max()))
        assert (world.final_cars["ended"] == 0).all()
    assert largest < 2.0  # [m] a jump to the other branch would be tens of metres
    np.testing.assert_allclose(world.cars["progress"], eight.length, rtol=0.1)


@pytest.mark.parametrize("name", ["wavy", "eight"])
@pytest.mark.parametrize("shift", [-10, 0, 10])
def test_gates_have_the_arc_length_of_the_points_that_they_stand_at(
    shift: int, name: str, request: pytest.FixtureRequest
):
    """Also where the lap's first point lies some way behind the start line, or beyond it."""
    track = request.getfixturevalue(name)
    count = len(track.points)
    at = np.round(np.arange(1, len(track.gates) + 1) * count / len(track.gates)).astype(int) + shift
    ends = (track.left_edge, track.right_edge)
    gates = np.stack([edge[at % count] for edge in ends], axis=1)
    found = pack_gates(dataclasses.replace(track, gates=gates), np.float64)["s"]
    np.testing.assert_allclose(found, at % count * track.spacing)


def test_a_car_that_cuts_the_course_gets_no_lap(wavy: Track, kart: Vehicle):
    open_field = dataclasses.replace(wavy, left=wavy.left + 1e3, right=wavy.right + 1e3)
    grid = dataclasses.replace(wavy.clearance, values=np.full_like(wavy.clearance.values, 50.0))
    field = dataclasses.replace(open_field, clearance=grid)
    world = make(
        field,
        kart,
        races=1,
        episodes=EpisodeConfig(random_start=False, start_lateral_offset=0.0, start_speed=(0.0, 0.0)),
    )
    world.reset()
    gates = []
    for step in range(900):  # half the lap on the road, then straight across the infield to the start line
        command = follow(world, 8.0)
        if step > 450:
            car = world.cars[0, 0]
            aim = field.points[-8] - [car["x"], car["y"]]
            angle = (np.arctan2(aim[1], aim[0]) - car["yaw"] + np.pi) % (2 * np.pi) - np.pi
            command[:, 0] = np.clip(2 * angle, -1, 1)
        world.step(command)
        gates.append(int(world.cars["gates"][0, 0]))
    assert 5 < gates[450] < len(field.gates)
    assert world.cars["laps"][0, 0] == 0
    assert gates[-1] < len(field.gates)


def test_episodes_end_for_the_stated_reasons(wavy: Track, kart: Vehicle):
    def first_ending(command, **episode) -> set[str]:
        world = make(wavy, kart, races=16, episodes=EpisodeConfig(**episode))
        world.reset()
        for _ in range(400):
            world.step(np.tile(command, (16, 1)))
            codes = world.final_cars["ended"]
            if codes.any():
                return {Ending(c).label for c in np.unique(codes) if c}
        return set()

    assert first_ending([1.0, 1.0]) == {"off_track"}
    assert first_ending([0.0, -1.0], stall_time=2.0) == {"stalled"}
    assert first_ending([0.0, -1.0], time_limit=3.0) == {"time_limit"}
    assert first_ending([0.0, -1.0]) == set()


def test_turning_back_is_the_wrong_way(wavy: Track, kart: Vehicle):
    world = make(wavy, kart, races=1, episodes=EpisodeConfig(start_speed=(0.0, 0.0)))
    world.reset()
    world.cars["yaw"] += np.pi
    for _ in range(400):
        world.step(np.array([[0.0, 0.3]]))
        if world.final_cars["ended"][0, 0]:
            break
    assert world.final_cars["ended"][0, 0] in (Ending.WRONG_WAY, Ending.OFF_TRACK)
    assert world.final_cars["progress"][0, 0] < -5


@pytest.mark.parametrize("field", ["x", "y", "yaw"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_car_that_is_nowhere_is_off_the_track_and_its_next_episode_somewhere(
    field: str, value: float, wavy: Track, kart: Vehicle
):
    world = make(wavy, kart, races=2)
    world.reset()
    world.cars[field][0] = value
    world.step(np.zeros((2, 2)))
    assert world.final_cars["ended"].tolist() == [[Ending.OFF_TRACK], [Ending.RUNNING]]
    assert all(np.isfinite(world.cars[name]).all() for name in ("x", "y", "yaw", "v", "s", "lateral"))


def test_starts_spread_over_lap_width_and_speed(wavy: Track, kart: Vehicle):
    world = make(
        wavy,
        kart,
        races=400,
        episodes=EpisodeConfig(start_lateral_offset=0.5, start_heading_error=0.2, start_speed=(0.2, 0.8)),
    )
    world.reset()
    cars = world.cars
    assert np.histogram(cars["s"], 10, (0, wavy.length))[0].min() > 15
    assert 2.0 < np.abs(cars["lateral"]).max() < 0.5 * 6.0
    assert 0.1 < np.abs(cars["heading_error"]).max() < 0.21
    share = cars["v"] / (0.3 * kart.max_speed)
    assert 0.19 < share.min() < 0.25
    assert 0.75 < share.max() < 0.81
    first = cars["s"].copy()
    world.reset()
    assert (world.cars["s"] != first).mean() > 0.9


def test_several_tracks_in_one_world(wavy: Track, eight: Track, kart: Vehicle):
    both = World(
        [wavy, eight],
        kart,
        races=6,
        range_finder=RangeFinder(range=50.0),
        episodes=EpisodeConfig(random_start=False, start_lateral_offset=0.0, start_heading_error=0.0),
    )
    alone = World(
        [eight],
        kart,
        races=3,
        range_finder=RangeFinder(range=50.0),
        episodes=EpisodeConfig(random_start=False, start_lateral_offset=0.0, start_heading_error=0.0),
    )
    both.reset()
    alone.reset()
    assert both.cars["track"].ravel().tolist() == [0, 1, 0, 1, 0, 1]
    np.testing.assert_array_equal(both.ranges[1::2], alone.ranges)


def test_tracks_are_joined_one_after_another(wavy: Track, eight: Track, kart: Vehicle):
    """Grids of seven tracks, two of them with grip: each begins where the one before it ends."""
    slippery = dataclasses.replace(wavy, grip=uniform_grip(0.5))
    tracks = [wavy, eight, slippery, eight, wavy, slippery, eight]
    world = World(tracks, kart, races=7)
    for name, whole, sizes in (
        ("point", world.points, [len(track.points) for track in tracks]),
        ("gate", world._gates, [len(track.gates) for track in tracks]),
        ("grid", world._grid, [track.clearance.values.size for track in tracks]),
    ):
        assert world.track_table[f"{name}_start"].tolist() == [sum(sizes[:number]) for number in range(7)]
        assert len(whole) == sum(sizes)
    np.testing.assert_array_equal(world._grid, np.concatenate([track.clearance.values.ravel() for track in tracks]))
    size = slippery.grip.values.size
    assert world.track_table["grip_start"].tolist() == [0, 0, 1, 0, 0, 1 + size, 0]
    assert len(world._grip) == 1 + 2 * size


def test_joining_looks_at_each_part_once():
    """Thousands of circuits are joined: what is before a part must not be counted for each."""
    looked = []

    class Part(np.ndarray):
        def __len__(self) -> int:
            looked.append(self)
            return super().__len__()

    joined = Joined()
    starts = [joined.add(np.full(number, number).view(Part)) for number in range(50)]
    assert len(looked) == 50
    assert starts == [sum(range(number)) for number in range(50)]
    assert np.bincount(joined.whole()).tolist() == list(range(50))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"races": 0}, "races must be >= 1, got 0"),
        ({"action_repeat": 0}, r"action_repeat must be a whole number in \[1, 1000\], got 0"),
        ({"cars_per_race": 0}, r"cars_per_race must be a whole number in \[1, 16\], got 0"),
    ],
)
def test_sizes_are_checked(wavy: Track, kart: Vehicle, change: dict, message: str):
    with pytest.raises(InputError, match=message):
        make(wavy, kart, **change)
    with pytest.raises(InputError, match=r"^rays must be a whole number in \[1, 4096\], got 0; 7 is the default"):
        RangeFinder(rays=0)


def test_all_start_at_a_place(wavy: Track, kart: Vehicle):
    """In the middle of the road, straight ahead, at a share of the start speed, with rays as any start there has."""
    world = make(wavy, kart, races=2)
    world.reset()
    number = int(world.cars["episode"][0, 0])
    world.start_at(300.0, 0.5)
    for car in world.cars[:, 0]:
        assert car["s"] == pytest.approx(300, abs=wavy.spacing)
        assert abs(car["lateral"]) < 0.01
        assert abs(car["heading_error"]) < 1e-4
        assert car["v"] == pytest.approx(0.5 * world.points["speed"][car["nearest"]])
        assert (car["steps"], car["laps"], car["gates"], car["episode"]) == (0, 0, 0, number + 1)
    assert world.ranges[0].tolist() == world.ranges[1].tolist()
    assert world.ranges.min() > 0
    with pytest.raises(ValueError, match=r"use reset\(\)"):
        make(wavy, kart, races=1, cars_per_race=2).start_at(0.0, 0.0)


def test_a_share_of_starts_stands(wavy: Track, kart: Vehicle):
    world = make(wavy, kart, races=400, episodes=EpisodeConfig(start_speed=(0.5, 0.8), standing_start_prob=0.25))
    world.reset()
    assert 0.18 < (world.cars["v"] == 0).mean() < 0.32
    assert world.cars["v"][world.cars["v"] > 0].min() > 0.1 * kart.max_speed


def test_time_limits_are_drawn_from_their_range(wavy: Track, kart: Vehicle):
    world = make(wavy, kart, races=200, episodes=EpisodeConfig(time_limit=20.0, time_limit_min=5.0))
    world.reset()
    limits = world.cars["max_steps"] * world.step_dt
    assert 5.0 <= limits.min() < 6.0
    assert 19.0 < limits.max() <= 20.1
