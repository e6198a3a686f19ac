"""Which policy of a pool the learner meets: what it wins on each, how often each is drawn, who joins and who goes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from racing.envs.drivers import PolicyDrivers
from racing.envs.pool.encounters import Encounters
from racing.envs.pool.pool import NEWEST, OLDEST, Member, Pool, PoolConfig, make_pool
from racing.envs.race import RaceTask, alone
from racing.errors import InputError
from racing.sim.records import Ending
from racing.sim.track import Track
from racing.sim.vehicle import Vehicle
from racing.tracks.catalog import load_track

LENGTH, WINDOW, LAP = 2.0, 40.0, 500.0
CAR = np.dtype([("s", "f4"), ("progress_delta", "f4"), ("ended", "i4"), ("track", "i4"), ("episode", "i4")])


def world(*cars: tuple[float, float, int]) -> Any:
    """One race of cars (s, moved, ended)."""
    records = np.array([[(*car, 0, 0) for car in cars]], CAR)
    table = np.array([(LAP,)], [("length", "f4")])
    return SimpleNamespace(
        final_cars=records, cars=records, track_table=table, window=WINDOW, vehicle=SimpleNamespace(length=LENGTH)
    )


def drive(encounters: Encounters, *steps: Any) -> list[list[float]]:
    """Points of the encounters that end, step by step."""
    return [encounters.add(step)[1].tolist() for step in steps]


RUNNING, OFF, DONE = Ending.RUNNING, Ending.OFF_TRACK, Ending.LAPS_DONE
FAR = (250.0, 0.0, RUNNING)


@pytest.mark.parametrize(
    ("own", "other", "points"),
    [
        (1.5, 0.0, 1.0),  # 3 m in two steps, more than a length
        (0.0, 1.5, 0.0),
        (1.0, 0.2, 0.5),  # 1.6 m
        (1.0, 0.0, 0.5),  # exactly a length
    ],
)
def test_whoever_wins_more_than_a_length_wins_the_encounter(own: float, other: float, points: float):
    near = world((490.0, own, RUNNING), (10.0, other, RUNNING))  # 20 m apart, across the line
    assert drive(Encounters(np.array([0]), 2), near, near, world((0.0, 0.0, RUNNING), FAR)) == [[], [], [points]]


@pytest.mark.parametrize(
    ("own", "other", "points"),
    [(OFF, RUNNING, 0.0), (RUNNING, OFF, 1.0), (RUNNING, Ending.STALLED, 1.0), (OFF, OFF, 1.0), (DONE, RUNNING, 1.0)],
)
def test_whoever_leaves_the_road_loses_it(own: int, other: int, points: float):
    """Where both do, or an episode is over otherwise, what was won counts: here 9 m by the first car."""
    end = world((100.0, 9.0, own), (90.0, 0.0, other))
    assert drive(Encounters(np.array([0]), 2), end, world((100.0, 0.0, RUNNING), FAR)) == [[points], []]


def test_who_is_far_away_is_not_met():
    passing = world((100.0, 30.0, RUNNING), (141.0, 0.0, OFF))
    assert drive(Encounters(np.array([0]), 2), passing, passing) == [[], []]


def test_exchanging_two_cars_exchanges_what_they_win():
    draw = np.random.default_rng(0)
    there, back = Encounters(np.array([0]), 2), Encounters(np.array([0]), 2)
    won: list[float] = []
    for _ in range(400):
        ended = draw.choice([RUNNING, OFF, DONE], 2, p=[0.9, 0.05, 0.05])
        cars = [(float(draw.uniform(0, 150)), float(draw.uniform(0, 2)), int(end)) for end in ended]
        mine, theirs = there.add(world(*cars))[1].tolist(), back.add(world(*cars[::-1]))[1].tolist()
        assert [1 - points for points in mine] == theirs
        won += mine
    assert {0.0, 0.5, 1.0} == set(won)


def test_a_share_is_of_twenty_encounters_at_least_and_the_last_hundred_tell():
    member = Member("a", PolicyDrivers(np.zeros(0, int), np.zeros))
    assert member.share == 0.5
    member.add(np.ones(5))
    assert member.share == (5 + 7.5) / 20
    member.add(np.ones(45))
    assert member.games == 5 * 0.99**45 + 45
    assert member.share == 1
    for _ in range(1000):
        member.add(np.zeros(1))
    assert member.games == pytest.approx(100, rel=1e-3)
    assert member.share < 0.01


@pytest.mark.parametrize(
    ("choice", "power", "weights"),
    [
        ("hard", 2.0, [0.64, 0.25, 0.04]),  # (1 - x)^2
        ("hard", 1.0, [0.8, 0.5, 0.2]),
        ("hard", 0.0, [1, 1, 1]),
        ("even", 2.0, [0.16, 0.25, 0.16]),  # x (1 - x)
        ("equal", 2.0, [1, 1, 1]),
    ],
)
def test_weights_by_hand(choice: str, power: float, weights: list[float]):
    pool = small_pool(PoolConfig(choice=choice, power=power), 3)
    for member, share in zip(pool.members, (0.2, 0.5, 0.8), strict=True):
        member.games, member.points = 100.0, 100 * share
    np.testing.assert_allclose(pool.weights(), np.array(weights) / sum(weights))


def test_where_nobody_can_win_anything_all_are_met_alike():
    pool = small_pool(PoolConfig(choice="hard"), 2)
    for member in pool.members:
        member.games = member.points = 50.0
    assert pool.weights().tolist() == [0.5, 0.5]


def small_pool(config: PoolConfig, members: int) -> Pool:
    """Of policies from files, which drive a car each in 40 races of two."""
    nobody = np.zeros(0, int)
    drivers = [PolicyDrivers(nobody, lambda seen: np.zeros((len(seen), 2), np.float32)) for _ in range(members)]
    pool = make_pool(config, np.arange(1, 80, 2)[:, None], np.arange(40), list("abc")[:members], drivers)
    pool.revive = lambda weights: lambda seen: np.tile(weights["action"], (len(seen), 1))
    return pool


GRID = SimpleNamespace(rules={"seed": 3}, cars={"episode": np.zeros((40, 2), int)}, cars_per_race=2)


def test_the_two_oldest_and_the_eight_newest_snapshots_stay_and_files_always_do():
    pool = small_pool(PoolConfig(snapshots=0.1), 2)
    for number in range(12):
        pool.join(GRID, f"snapshot {number}", {"action": np.full(2, number / 20, np.float32)})  # type: ignore[arg-type]
        pool.who[:] = np.arange(40) % len(pool.members)
    kept = [0, 1, *range(4, 12)]
    assert len(kept) == OLDEST + NEWEST
    assert [member.name for member in pool.members] == ["a", "b", *(f"snapshot {number}" for number in kept)]
    names = [pool.members[number].name for number in pool.who]
    pool.fights.near[:] = True
    pool.join(GRID, "snapshot 12", {"action": np.full(2, 0.6, np.float32)})  # type: ignore[arg-type]
    after = [pool.members[number].name for number in pool.who]
    gone = [name == "snapshot 4" for name in names]
    assert sum(gone) == 3
    assert [new for new, lost in zip(after, gone, strict=True) if not lost] == [n for n in names if n != "snapshot 4"]
    assert (~pool.fights.near[:, 0]).tolist() == gone  # theirs end without a result
    actions = pool.actions(None, np.zeros((80, 3), np.float32)).reshape(40, 2)  # type: ignore[arg-type]
    expected = [float(name.partition(" ")[2] or 0) / 20 for name in after]
    np.testing.assert_allclose(actions[:, 0], expected, atol=1e-6)


def test_a_policy_joins_where_it_has_won_enough_since_the_last_time():
    pool = small_pool(PoolConfig(snapshots=0.1, joins_above=0.55), 1)
    pool.encounters, pool.won = 20, 12.0
    assert not pool.due(0.09)
    assert pool.due(0.1)
    assert (pool.periods, pool.encounters, pool.won) == (1, 0, 0.0)
    assert not pool.due(0.19)
    pool.encounters, pool.won = 20, 11.0  # exactly 0.55
    assert not pool.due(0.3)  # and the account begins anew
    assert (pool.periods, pool.encounters) == (3, 0)
    pool.encounters, pool.won = 19, 19.0  # too few
    assert not pool.due(0.4)
    assert not small_pool(PoolConfig(choice="hard"), 1).due(0.5)
    assert small_pool(PoolConfig(snapshots=0.5), 0).due(0.0)  # the first one of an empty pool


# in a task


class Steady:
    """A policy that aims at the second preview point and holds a speed [m/s]."""

    def __init__(self, kart: Vehicle, size: int, speed: float) -> None:
        self.name, self.shapes, self.speed, self.top = "steady", {"observation": (size,)}, speed, kart.max_speed
        self.gain = kart.wheelbase / (kart.sensor_range / 10) / kart.max_steer

    def predict(self, observation: np.ndarray) -> np.ndarray:
        asked = [self.gain * observation[:, 11], 0.5 * (self.speed - self.top * observation[:, 7])]
        return np.clip(np.stack(asked, axis=1), -1, 1)


@pytest.fixture(scope="module")
def oval() -> Track:
    return load_track("oval")


def task_of(oval: Track, kart: Vehicle, seed: int = 0, **league: Any) -> RaceTask:
    rules: dict[str, Any] = {"cars": 2, "observed": {"ahead": 1, "behind": 1}, "preview": 8}
    rules |= {"preview_spacing": kart.sensor_range / 10, "episodes": {"time_limit": 12.0, "time_limit_min": 8.0}}
    size = RaceTask([oval], kart, races=2, **rules).task.size
    opponents = [Steady(kart, size, 9.0), Steady(kart, size, 15.0)]
    pool = {"pool": ["slow", "fast"], "opponents": opponents, "mix": {"pool": 1}, "league": league}
    task = RaceTask([oval], kart, races=24, seed=seed, **rules, **pool)
    if task.league is not None:
        task.league.revive = lambda weights: Steady(kart, size, float(weights["speed"])).predict
    return task


@pytest.fixture
def learner(kart: Vehicle) -> Callable[[np.ndarray], np.ndarray]:
    """A policy that is as fast as between the two."""
    return Steady(kart, 0, 12.0).predict


def test_harder_ones_are_met_more_often(oval: Track, kart: Vehicle, learner: Any):
    task = task_of(oval, kart, choice="hard")
    observation, _ = task.reset()
    met = np.zeros(2)
    for _ in range(900):
        observation = task.step_batch(learner(observation)).observation
        assert task.league is not None
        met += np.bincount(task.league.who, minlength=2)
    slow, fast = task.league.members
    assert slow.share > 0.6 > 0.4 > fast.share
    assert task.league.encounters > 40
    assert met[1] > 1.5 * met[0]
    assert len(np.unique(task.cars["episode"])) > 1


def test_without_league_each_has_its_own_races_as_ever(oval: Track, kart: Vehicle):
    task = task_of(oval, kart, choice="equal", snapshots=0.0)
    assert task.league is None
    assert [driver.cars.tolist()[:3] for driver in task.drivers] == [[1, 5, 9], [3, 7, 11]]


def test_state_round_trip_with_snapshots_continues_bit_for_bit(oval: Track, kart: Vehicle, learner: Any):
    first, second = (task_of(oval, kart, seed, choice="even", snapshots=0.1) for seed in (0, 9))
    seen, _ = first.reset()
    second.reset()
    assert first.league is not None
    assert second.league is not None
    for step in range(300):
        seen = first.step_batch(learner(seen)).observation
        if step == 150:
            first.league.join(first.world, "snapshot 150", {"speed": np.array(11.0)})
    state = first.get_state()
    assert {member.name for member in first.league.members} == {"slow", "fast", "snapshot 150"}
    assert 2 in first.league.who
    second.set_state(state)
    again = seen
    for _ in range(300):
        one, other = first.step_batch(learner(seen)), second.step_batch(learner(again))
        seen, again = one.observation, other.observation
        for field in dataclasses.fields(one):
            np.testing.assert_array_equal(getattr(one, field.name), getattr(other, field.name), err_msg=field.name)
        np.testing.assert_array_equal(first.league.who, second.league.who)
    assert first.league.figures() == second.league.figures()
    assert (first.league.who != np.array(state["drivers"][0]["who"])).any()


def test_an_empty_pool_stands_still_until_the_first_one_joins(oval: Track, kart: Vehicle):
    rules = {"cars": 2, "mix": {"pool": 1}, "league": {"snapshots": 0.5}}
    task = RaceTask([oval], kart, races=4, **rules)  # type: ignore[arg-type]
    task.reset()
    assert task.league is not None
    task.step_batch(np.zeros((4, 2)))
    task.league.revive = lambda weights: lambda seen: np.tile(weights["action"], (len(seen), 1))
    assert task.league.due(0.0)
    task.league.join(task.world, "snapshot 0", {"action": np.ones(2, np.float32)})
    before = task.task.cars["v"][1::2].copy()
    for _ in range(5):
        task.step_batch(np.zeros((4, 2)))
    assert (task.task.cars["v"][1::2] > before).all()


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"league": {"choice": "best"}}, "league.choice must be one of equal, hard, even, got 'best'; choose one"),
        ({"league": {"power": -1}}, r"league.power must be a number in \[0, 100\], got -1; 2 is usual"),
        ({"league": {"snapshots": 2}}, r"league.snapshots must be a number in \[0, 1\], got 2"),
        ({"league": {"joins": 1}}, "league.joins is no key; use: choice, power, snapshots, joins_above"),
        ({"league": {"choice": "hard"}, "mix": {"self": 1}}, "league must be left as it is without mix.pool; raise"),
        ({"league": {"choice": "hard"}, "mix": {"pool": 1}}, "mix.pool must be above 0 exactly where pool names"),
    ],
)
def test_what_no_league_can_be(oval: Track, kart: Vehicle, wrong: dict[str, Any], says: str):
    with pytest.raises(InputError, match=says):
        RaceTask([oval], kart, races=4, cars=2, **wrong)


def test_alone_there_is_no_league():
    assert alone({"cars": 4, "league": {"choice": "hard"}, "rays": 7}) == {"cars": 1, "rays": 7}
