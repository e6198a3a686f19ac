"""Followers of the optimal lap's line: how fast they are, and for whom they brake."""

from __future__ import annotations

import numpy as np
import pytest

from racing.envs.drivers import (
    COMFORTABLE,
    HEADWAY,
    HELD_UP,
    MOST_PACES,
    STANDSTILL,
    LineFollowers,
    spread_paces,
)
from racing.envs.sensors import SensorsTask
from racing.errors import InputError
from racing.sim.race.traffic import BESIDE, GONE, RACING, STOPPED
from racing.sim.track import Track
from racing.sim.vehicle import Vehicle
from racing.tracks.catalog import load_track
from racing.tracks.optimal_lap import driver
from racing.tracks.optimal_lap.lap import limits

LENGTH, WIDTH, DRIVE, BRAKE = 1.9, 1.4, 4.5, 8.5  # of the kart: [m], [m], [m/s^2], [m/s^2]


@pytest.fixture(scope="module")
def oval() -> Track:
    return load_track("oval")


@pytest.fixture(scope="module")
def behind(oval: Track, kart: Vehicle) -> tuple[SensorsTask, LineFollowers]:
    """A race of three whose first car is a follower."""
    task = SensorsTask([oval], kart, races=1, cars=3)
    return task, LineFollowers(np.array([0]), task.world, np.array([0.8]))


def test_each_laps_at_its_pace(oval: Track, kart: Vehicle):
    paces = np.array([0.8, 0.6, 0.95])
    task = SensorsTask([oval], kart, races=3)
    task.reset()
    followers = LineFollowers(np.arange(3), task.world, paces)
    for _ in range(1300):
        assert not task.step_batch(followers.actions(task.world)).terminated.any()
        if task.cars["laps"].min() >= 4:
            break
    (limit,) = limits([oval], kart)
    np.testing.assert_allclose(task.cars["best_lap"], limit / paces, rtol=0.03)


@pytest.mark.parametrize(("fast", "slow"), [(0.8, 0.6), (0.95, 0.8)])
def test_they_brake_behind_slower_ones_touch_nobody_and_keep_to_the_road(
    oval: Track, kart: Vehicle, fast: float, slow: float
):
    races = 12
    task = SensorsTask([oval], kart, races=races, cars=2, seed=1, episodes={"start_speed": (0.3, 0.5)})
    task.reset()
    ahead, behind = np.arange(1, 2 * races, 2), np.arange(0, 2 * races, 2)
    followers = LineFollowers(np.arange(2 * races), task.world, np.tile([fast, slow], races))
    nearest = np.full(races, np.inf)
    for _ in range(900):
        task.step_batch(followers.actions(task.world))
        nearest = np.minimum(nearest, task.world.traffic["gap_ahead"][:, 0])
    traffic = task.world.traffic.reshape(-1)
    assert (task.cars["episode"] == 0).all()
    assert (traffic["contacts"] == 0).all()
    assert (nearest < 25).sum() >= races / 2  # they have come up to the slow ones
    assert (traffic["rank"][behind] != traffic["rank"][ahead]).all()
    laps = task.cars["progress"].reshape(races, 2)
    assert (laps[:, 0] - laps[:, 1] < oval.length).all()  # and nobody has driven through one


def put(task: SensorsTask, *cars: tuple[float, float, float]) -> None:
    """The cars at (arc length [m], left of the raceline [m], speed [m/s]), along the track."""
    task.reset()
    track = task.tracks[0]
    for i, (s, left, v) in enumerate(cars):
        record, index = task.cars[i : i + 1], round(s / track.spacing) % len(track.points)
        where = track.points[index] + left * track.normals[index]
        values = {"x": where[0], "y": where[1], "yaw": track.heading[index], "v": v, "lateral": left, "s": s}
        for name, value in {**values, "nearest": index, "slip": 0, "yaw_rate": 0, "steer": 0, "steps": 1}.items():
            record[name] = value


def throttle(follower: LineFollowers, task: SensorsTask) -> float:
    return float(follower.actions(task.world)[0, 1])


S, V = 200.0, 5.0  # on the line, slower than planned
AWAY = (100.0, 0.0, 10.0)  # behind, as the lap is 560 m long


def test_it_drives_on_where_nobody_is_in_its_way(behind):
    task, follower = behind
    put(task, (S, 0, V), AWAY, AWAY)
    task.world.traffic["state"][0, 1:] = GONE
    alone = follower.actions(task.world)
    assert alone[0, 1] > 0.99
    aside = BESIDE * WIDTH + 0.05
    for other in ((S + 6, aside, 0), (S + 6, -aside, 0), (S, aside, 0), (S - 6, 0, 10), (S - 6, 0, 30)):
        put(task, (S, 0, V), other, AWAY)
        np.testing.assert_array_equal(follower.actions(task.world), alone)
    put(task, (S, 0, V), (S + 4, aside - 0.1, 0), AWAY)
    assert throttle(follower, task) == -1


def test_it_brakes_for_wrecks_and_not_for_those_who_are_gone_or_drive_as_if_alone(behind):
    task, follower = behind
    for state, alone, brakes in ((RACING, 0, True), (STOPPED, 0, True), (GONE, 0, False), (RACING, 1, False)):
        put(task, (S, 0, V), (S + 4, 0, 0), AWAY)
        traffic = task.world.traffic[0, 1:2]
        traffic["state"], traffic["alone"] = state, alone
        assert (throttle(follower, task) == -1) == brakes
        traffic["alone"] = 0


WANTED = STANDSTILL * LENGTH + HEADWAY * V  # [m] behind one that is as fast


@pytest.mark.parametrize(("share", "expected"), [(0.5, 0.75), (0.2, 0.96), (1.2, -0.44 * DRIVE / BRAKE), (3.0, -1.0)])
def test_how_much_throttle_is_left_is_the_intelligent_driver_models(behind, share: float, expected: float):
    task, follower = behind
    put(task, (S, 0, V), (S + LENGTH + WANTED / share, 0, V), AWAY)
    assert throttle(follower, task) == pytest.approx(expected, abs=2e-3)


def test_it_leaves_more_room_to_those_that_it_closes_in_on(behind, kart: Vehicle):
    task, follower = behind
    closing = V * 2 / (2 * np.sqrt(DRIVE * COMFORTABLE * kart.max_lateral))
    put(task, (S, 0, V), (S + LENGTH + 2 * (WANTED + closing), 0, V - 2), AWAY)
    assert throttle(follower, task) == pytest.approx(0.75, abs=2e-3)
    put(task, (S, 0, V), (S + LENGTH + 2 * STANDSTILL * LENGTH, 0, 40), AWAY)  # far faster: it is soon gone
    assert throttle(follower, task) == pytest.approx(0.75, abs=2e-3)


def test_of_several_ahead_the_one_that_leaves_least_counts(behind):
    task, follower = behind
    near, far = ((S + LENGTH + WANTED / share, 0, V) for share in (0.5, 0.3))
    for others in ((near, far), (far, near)):
        put(task, (S, 0, V), *others)
        assert throttle(follower, task) == pytest.approx(0.75, abs=2e-3)


def test_in_a_bend_it_brakes_with_what_cornering_leaves_of_the_grip(behind, kart: Vehicle):
    task, follower = behind
    for share, expected in ((0.8, -0.2 * kart.max_lateral / BRAKE), (1.1, 0.0), (0.1, -1.0)):
        put(task, (S, 0, V), (S + 3, 0, 0), AWAY)
        task.cars["yaw_rate"][0] = -share * kart.max_lateral / V
        assert throttle(follower, task) == pytest.approx(expected, abs=1e-3)


def test_the_start_line_hides_nobody(behind):
    task, follower = behind
    length = task.tracks[0].length
    put(task, (length - 2, 0, V), (2, 0, 0), AWAY)
    assert throttle(follower, task) == -1


@pytest.mark.parametrize("cars", [1, 2])
def test_it_starts_from_standing_beside_the_line(oval: Track, kart: Vehicle, cars: int):
    """Wheels that are turned far leave no grip to the drive of a moving car; one that stands would stay there."""
    race = {"start": "grid", "wreck": "remove"}
    task = SensorsTask([oval], kart, races=2, cars=cars, race=race, episodes={"start_speed": (0, 0)})
    task.reset()
    followers = LineFollowers(np.arange(2 * cars), task.world, np.full(2 * cars, 0.8))
    for _ in range(50):
        task.step_batch(followers.actions(task.world))
    assert (task.cars["v"] > 5).all()


def test_who_was_held_up_settles_again(oval: Track, kart: Vehicle):
    task = SensorsTask([oval], kart, races=1, cars=2)
    task.reset()
    follower = LineFollowers(np.array([0]), task.world, np.array([0.95]))
    task.world.traffic["state"][0, 1] = GONE
    for _ in range(400):
        task.world.traffic["state"][0, 1] = GONE
        task.step_batch(np.vstack([follower.actions(task.world), [[0, 0]]]))
    assert follower.get_state()[0][0].tolist() == [True]
    while (asked := throttle(follower, task)) < 0.3:
        task.step_batch(np.vstack([follower.actions(task.world), [[0, 0]]]))
        task.world.traffic["state"][0, 1] = GONE
    task.world.traffic["state"][0, 1] = RACING
    for less, goes_on in ((HELD_UP / 2, True), (HELD_UP * 2, False)):
        wanted = STANDSTILL * LENGTH + HEADWAY * task.cars["v"][0]
        task.cars[1] = task.cars[0]
        task.cars["s"][1] += LENGTH + wanted / np.sqrt(1 - asked + less)
        assert throttle(follower, task) == pytest.approx(asked - less, abs=2e-3)
        assert follower.get_state()[0][0].tolist() == [goes_on]


def test_it_remembers_who_has_come_to_the_whole_pace(oval: Track, kart: Vehicle):
    task = SensorsTask([oval], kart, races=3)
    task.reset()
    one, other = (LineFollowers(np.arange(3), task.world, np.array([0.95, 0.8, 0.95])) for _ in range(2))
    for _ in range(400):
        task.step_batch(one.actions(task.world))
    memory = one.get_state()
    assert [len(driver[0]) for driver in memory] == [0, 2]  # by pace: up to 0.9 there is nothing to remember
    assert memory[1][0].all()
    assert (one.actions(task.world) != other.actions(task.world)).any()
    other.set_state(one.get_state())
    np.testing.assert_array_equal(other.actions(task.world), one.actions(task.world))


def test_paces_are_spread_in_turn():
    assert spread_paces([0.7, 0.95], 8).tolist() == pytest.approx([0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 0.7, 0.75])
    assert spread_paces([0.7, 0.95], 2).tolist() == pytest.approx([0.7, 0.75])
    assert spread_paces((0.8, 0.8), 3).tolist() == [0.8] * 3
    assert len(np.unique(spread_paces([0.3, 1], 100))) == MOST_PACES


@pytest.mark.parametrize(("count", "solved"), [(3, True), (4, False)])
def test_of_many_tracks_no_optimal_laps_are_solved_for(oval, kart, monkeypatch, count: int, solved: bool):
    asked = []
    monkeypatch.setattr(driver, "best_driver", lambda *args, solve, **_: asked.append((args[2:4], solve)))
    task = SensorsTask([oval] * count, kart, races=count, action_repeat=3)
    LineFollowers(np.array([0, 1]), task.world, np.array([0.5, 0.5]))
    assert asked == [((3, 0.5), solved)]


@pytest.mark.parametrize("pace", [0.29, 1.01])
def test_a_pace_has_a_range(behind, pace: float):
    with pytest.raises(InputError, match=r"pace must be a number in \[0.3, 1\], got"):
        LineFollowers(np.array([0]), behind[0].world, np.array([pace]))


@pytest.mark.parametrize("wet", [False, True])
def test_they_keep_to_the_road_where_grip_is_lost(oval: Track, kart: Vehicle, wet: bool):
    """Half of the friction is lost: at the pace of a dry road they would slide off in the first bend."""
    rain = {"weather": {"start_wetness": 1.0, "drying_time": 1e6, "line_drying_time": 1e6, "grip_loss": 0.5}}
    episodes = {"start_lateral_offset": 0.0, "start_heading_error": 0.0, "start_speed": [0.2, 0.4]}
    task = SensorsTask([oval], kart, races=4, conditions=rain if wet else {}, episodes=episodes)
    follower = LineFollowers(np.arange(4), task.world, np.full(4, 0.9))
    task.reset()
    for _ in range(300):
        ended = task.step_batch(follower.actions(task.world)).terminated
        assert not ended.any()
    pace = task.cars["progress"] / (300 * task.world.step_dt)
    assert (pace > (14 if wet else 20)).all()
    assert (pace < (20 if wet else 30)).all()
