"""Driving among others: who races against whom, whose rows the learner gets."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from omegaconf import OmegaConf

from racing.config import compose
from racing.envs.drivers import LineFollowers, PolicyDrivers
from racing.envs.race import RaceTask, alone, senses_of, sensors_alone, together
from racing.envs.rewards import REWARD_TERMS
from racing.envs.sensors import SensorsTask
from racing.envs.task import DrivingTask
from racing.errors import InputError
from racing.sim.records import Ending
from racing.sim.track import Track
from racing.sim.vehicle import Vehicle
from racing.tracks.catalog import load_track
from racing.tracks.optimal_lap import driver as lap_driver
from tests.envs.conftest import place

OBSERVED = {"ahead": 1, "behind": 1}


@pytest.fixture(scope="module")
def oval() -> Track:
    return load_track("oval")


@pytest.fixture
def make(oval: Track, kart: Vehicle):
    """make(races, **env): a task of races of two cars, unless it is said otherwise, on the oval."""

    def task(races: int = 8, **options) -> RaceTask:
        return RaceTask([oval], kart, **{"races": races, "cars": 2, "observed": OBSERVED, **options})

    return task


class Idle:
    """An opponent that notes what it was shown, and whose throttle is `throttle`."""

    def __init__(self, size: int, throttle: float = -1.0, name: str = "idle") -> None:
        self.name, self.shapes, self.throttle = name, {"observation": (size,)}, throttle
        self.seen: list[np.ndarray] = []

    def predict(self, observation: np.ndarray) -> np.ndarray:
        self.seen.append(observation.copy())
        return np.tile(np.array([0, self.throttle], np.float32), (len(observation), 1))


# alone


def test_cars_alone_neither_see_nor_touch_each_other(stadium: Track, kart: Vehicle):
    task = RaceTask([stadium], kart, races=8, cars=4, mix={"alone": 1}, observed=OBSERVED, race={"near": 1.0}, seed=1)
    task.reset()
    assert task.num_cars == 8
    inner, lone = task.task, SensorsTask([stadium], kart, races=8, seed=1)
    lone.reset()
    for i in range(8):  # all at the same place
        place(inner, i, x=100.0 + 0.3 * (i % 4), y=0.0, yaw=0.0, v=8.0 + i % 4, slip=0.0, yaw_rate=0.0)
    copy_cars(inner, lone, np.arange(8))
    ended = 0
    for asked in np.random.default_rng(0).uniform([-0.4, 0.3], [0.4, 1], (150, 8, 2)).astype(np.float32):
        step, theirs = task.step_batch(asked), lone.step_batch(asked)
        assert task.final_cars.tobytes() == lone.final_cars.tobytes()
        np.testing.assert_array_equal(step.final_observation[:, : lone.size], theirs.final_observation)
        np.testing.assert_array_equal(step.terms[:, : len(REWARD_TERMS)], theirs.terms)
        assert not step.terms[:, len(REWARD_TERMS) :].any()
        assert not step.observation[:, lone.size :].any()
        over = np.flatnonzero(step.terminated | step.truncated)
        copy_cars(inner, lone, over)  # other draws say where cars of a race start: from there on it is the same again
        for i in over:
            facts = task.last_episode(i)
            assert facts["alone"]
            assert facts["contacts"] == facts["steps_near"] == facts["faults"] == 0
        ended += len(over)
        task.world.ranges[...] = lone.world.ranges.reshape(task.world.ranges.shape)  # of those that were copied
    assert ended > 8


def copy_cars(source: SensorsTask, target: SensorsTask, which: np.ndarray) -> None:
    """Put cars of one task where those of another are, with what they measure."""
    target.cars[which] = source.cars[which]
    target.world.ranges.reshape(target.num_cars, -1)[which] = source.world.ranges.reshape(source.num_cars, -1)[which]


def test_alone_is_said_again_after_every_start(make):
    task = make(8, mix={"alone": 1, "self": 1})
    expected = np.repeat([1, 0], [4, 4]).reshape(4, 2)
    for begin in (task.reset, lambda: task.reseed(5), task.reset):
        begin()
        np.testing.assert_array_equal(task.world.traffic["alone"], expected)
    for _ in range(60):
        task.step_batch(np.tile([1.0, 1.0], (8, 1)))
        np.testing.assert_array_equal(task.world.traffic["alone"], expected)
    assert task.cars["episode"].max() >= 2


# the learner's rows


def test_rows_are_those_of_the_learners_cars(make, monkeypatch):
    task = make(8, mix={"alone": 1, "self": 1, "line": 2}, pace=[0.8, 0.8])
    assert isinstance(task, DrivingTask)
    assert task.seats.tolist() == [0, 1, 2, 3, 4, 6, 8, 10]
    assert task.num_cars == 8
    assert task.task.num_cars == 12
    assert senses_of(task) is task.task
    inner: list[Any] = []
    real = task.task.step_batch
    monkeypatch.setattr(task.task, "step_batch", lambda asked: inner.append((asked, real(asked))) or inner[-1][1])
    task.reset()
    ended = 0
    for asked in np.random.default_rng(0).uniform([-0.3, 0], 1, (60, 8, 2)).astype(np.float32):
        step = task.step_batch(asked)
        driven, whole = inner[-1]
        np.testing.assert_array_equal(driven[task.seats], asked)
        for field in dataclasses.fields(step):
            mine, all_rows = getattr(step, field.name), getattr(whole, field.name)
            assert (mine is None) == (all_rows is None)
            if mine is not None:
                np.testing.assert_array_equal(mine, all_rows[task.seats], err_msg=field.name)
        for name in ("cars", "final_cars"):
            np.testing.assert_array_equal(getattr(task, name), getattr(task.task, name)[task.seats])
        for i in np.flatnonzero(step.terminated | step.truncated):
            assert task.last_episode(i) == task.task.last_episode(task.seats[i])
            assert task.last_episode(i)["steps"] == task.final_cars["steps"][i]
            ended += i >= 4
    assert ended > 0
    followers = [7, 9, 11, 5]
    assert sorted(np.concatenate([driver.cars for driver in task.drivers])) == sorted(followers)


def test_paces_are_spread_over_races_and_the_cars_of_one_have_the_same(make, monkeypatch):
    planned: list[float] = []
    monkeypatch.setattr(lap_driver, "best_driver", lambda *args, **_: planned.append(args[3]))
    task = make(8, cars=4, mix={"line": 1}, pace=[0.4, 0.9])
    assert planned == pytest.approx([0.4, 0.5, 0.6, 0.7, 0.8, 0.9])
    (followers,) = task.drivers
    assert isinstance(followers, LineFollowers)
    paces = dict(zip(followers.cars.tolist(), followers._paces.tolist(), strict=True))
    assert [paces[4 * race + 1] for race in range(8)] == pytest.approx([0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.4, 0.5])
    assert all(paces[4 * race + k] == paces[4 * race + 1] for race in range(8) for k in (2, 3))
    assert make(2, mix={"line": 1}, pace=[0.6, 0.6]).drivers[0]._paces.tolist() == [0.6, 0.6]


def pooled(make, **options) -> RaceTask:
    pool = [Tanh(make().task.size), Tanh(make().task.size_alone)]
    return make(
        12, mix={"self": 1, "line": 1, "pool": 1}, pace=[0.95, 0.95], pool=["a", "b"], opponents=pool, **options
    )


class Tanh:
    """A policy that acts on all that it sees."""

    def __init__(self, size: int) -> None:
        self.name, self.shapes = "tanh", {"observation": (size,)}
        self.weights = np.random.default_rng(size).normal(0, 0.3, (size, 2)).astype(np.float32)

    def predict(self, observation: np.ndarray) -> np.ndarray:
        return np.tanh(observation @ self.weights + [0, 0.3])


def test_state_round_trip_amid_a_race_continues_bit_for_bit(make):
    """The followers remember which of them have come to the whole pace: without that they would drive otherwise."""
    first, second = pooled(make), pooled(make, seed=9)
    first.reset()
    second.reset()
    asked = np.random.default_rng(1).uniform([-0.1, 0], [0.1, 0.6], (450, 12, 2)).astype(np.float32)
    for actions in asked[:300]:
        first.step_batch(actions)
    (attacking,) = first.drivers[0].get_state()[0]
    assert attacking.any()
    state = first.get_state()
    second.set_state(state)
    for actions in asked[300:]:
        one, other = first.step_batch(actions), second.step_batch(actions)
        for field in dataclasses.fields(one):
            np.testing.assert_array_equal(getattr(one, field.name), getattr(other, field.name), err_msg=field.name)
        assert first.world.cars.tobytes() == second.world.cars.tobytes()
    assert state["drivers"][0][0][0].tobytes() == attacking.tobytes()  # a copy
    assert (first.cars["episode"] > 0).any()


def test_threads_change_nothing(make):
    one, two = (make(160, mix={"alone": 1, "self": 1, "line": 2}, pace=[0.8, 0.8], threads=n) for n in (1, 2))
    assert two.task.num_cars > 2 * 64
    assert one.reset()[0].tobytes() == two.reset()[0].tobytes()
    for actions in np.random.default_rng(1).uniform([-0.3, 0], 1, (60, 160, 2)).astype(np.float32):
        first, second = one.step_batch(actions), two.step_batch(actions)
        for field in ("observation", "reward", "final_observation", "terminated"):
            assert getattr(first, field).tobytes() == getattr(second, field).tobytes()
        assert one.world.cars.tobytes() == two.world.cars.tobytes()
    assert one.cars["episode"].max() > 0


# policies that do not learn


def test_each_policy_is_asked_once_a_step_about_its_own_cars(make):
    size = make().task.size
    pool = [Idle(size), Idle(size, throttle=1.0)]
    task = make(6, cars=3, mix={"pool": 1}, pool=["a", "b"], opponents=pool)
    assert all(isinstance(driver, PolicyDrivers) for driver in task.drivers)
    assert [driver.cars.tolist() for driver in task.drivers] == [[1, 2, 7, 8, 13, 14], [4, 5, 10, 11, 16, 17]]
    task.reset()
    for steps in range(1, 4):
        before = task.task.observe()
        task.step_batch(np.zeros((6, 2)))
        for driver, opponent in zip(task.drivers, pool, strict=True):
            assert len(opponent.seen) == steps
            np.testing.assert_array_equal(opponent.seen[-1], before[driver.cars])
    cars = task.task.cars
    slow, fast = (cars[driver.cars] for driver in task.drivers)
    assert fast["v"].mean() > slow["v"].mean() + 2
    assert task.drivers[0].get_state() is None


def test_a_policy_that_knows_the_sensors_alone_reads_those(make):
    sensors = make().task.size_alone
    opponent = Idle(sensors)
    task = make(4, mix={"pool": 1}, pool=["a"], opponents=[opponent])
    task.reset()
    before = task.task.observe()
    task.step_batch(np.zeros((4, 2)))
    np.testing.assert_array_equal(opponent.seen[0], before[[1, 3, 5, 7], :sensors])


def test_actions_of_a_policy_are_clipped(make):
    task = make(2, mix={"pool": 1}, pool=["a"], opponents=[Idle(make().task.size, throttle=5.0)])
    task.reset()
    assert task.drivers[0].actions(task.world, task.task.observe()).tolist() == [[0, 1], [0, 1]]


def test_nobody_looks_where_nobody_drives_by_what_it_sees(make, monkeypatch):
    task = make(4, mix={"line": 1}, pace=[0.8, 0.8])
    task.reset()
    looked: list[Any] = []
    real = task.task.observe
    monkeypatch.setattr(task.task, "observe", lambda *args, **how: looked.append(how) or real(*args, **how))
    task.step_batch(np.zeros((4, 2)))
    assert looked == [{}]  # once, after the step


# what is refused


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"cars": 17}, r"cars must be a whole number in \[1, 16\], got 17; 1: each car alone"),
        ({"races": 10, "cars": 4}, r"n_envs must be a multiple of env.cars=4, got 10; it counts the learner's cars"),
        ({"senses": "smell"}, "senses must be one of sensors, vision, got 'smell'; choose one"),
        ({"race": {"wreck": "remove"}}, "race.wreck must be respawn while training, got remove; leave it away"),
        ({"race": {"glue": 1}}, "race.glue is no key; use: start, wreck, contact"),
        ({"race": {"near": 2}}, r"race.near must be a number in \[0, 1\], got 2; it is a probability"),
        ({"pace": [0.2, 0.9]}, r"pace must be two shares .* 0.3 <= low <= high <= 1, got \[0.2, 0.9\]; e.g."),
        ({"pace": [0.9, 0.8]}, r"pace must be two shares .* got \[0.9, 0.8\]; e.g. \[0.7, 0.95\]"),
        ({"pace": 0.8}, "pace must be two shares .* got 0.8"),
        ({"pace": ["a", "b"]}, r"pace must be two shares .* got \['a', 'b'\]"),
        ({"mix": {"self": 0}}, "mix must have a share above 0"),
        ({"pool": ["one"]}, r"pool must name as many policies as drive, 0, got \['one'\]; only `racing train` finds"),
        ({"observed": {"ahead": 16}}, r"ahead must be a whole number in \[0, 15\], got 16"),
    ],
)
def test_what_no_race_can_be(make, wrong, says: str):
    with pytest.raises(InputError, match=says):
        make(**wrong)


def test_cars_that_cannot_slide_have_no_friction_of_bodies(make, kart: Vehicle, oval: Track):
    sliding = dataclasses.replace(kart, model="kinematic")
    with pytest.raises(InputError, match="body_friction must be 0 for cars of the kinematic model, which can't slide"):
        RaceTask([oval], sliding, races=4, cars=2)
    for rules in ({"body_friction": 0.0}, {"contact": False}):
        RaceTask([oval], sliding, races=4, cars=2, race=rules).reset()
    with pytest.raises(InputError, match="saturated or linear"):
        RaceTask([oval], sliding, races=4, cars=2, race={"body_friction": 0.0}, mix={"line": 1})


def test_a_policy_that_observes_something_else_is_refused(make):
    sizes = make().task
    says = rf"pool: idle must observe what env gives, .*\({sizes.size},\).*, or its sensors alone, got .*\(7,\).*; take"
    with pytest.raises(InputError, match=says):
        make(4, mix={"pool": 1}, pool=["a"], opponents=[Idle(7)])


# the same environment without opponents, and in races that start together


def test_one_car_alone_and_all_together_of_the_same_settings(make, oval: Track, kart: Vehicle):
    env = {"senses": "sensors", "cars": 4, "mix": {"pool": 1}, "pool": ["a"], "pace": [0.7, 0.9], "observed": OBSERVED}
    single = RaceTask([oval], kart, races=5, **alone(env))
    assert single.task.num_cars == 5
    assert single.task.world.cars_per_race == 1
    assert alone({"rays": 3}) == {"rays": 3}
    both = together(env | {"_target_": "x"}, [oval], kart, races=2, cars=3, rules={"start": "grid"}, seed=4)
    both.reset()
    assert both.world.cars.shape == (2, 3)
    assert both.world.race.together
    assert (both.world.cars["v"] == 0).all()
    assert both.observed.ahead == 1
    step = both.step_batch(np.zeros((6, 2)))
    assert step.observation.shape == (6, single.task.size)
    single.reset()
    assert (single.step_batch(np.zeros((5, 2))).observation[:, -14:] == 0).all()


def test_a_single_learner_races_against_opponents_or_alone(make):
    against = make(1, cars=3, mix={"self": 1, "line": 1}, pace=[0.8, 0.8])
    assert against.seats.tolist() == [0]
    assert against.task.num_cars == 3
    single = make(1, cars=3, mix={"self": 1})
    assert single.task.num_cars == 1
    for task in (against, single):
        task.reset()
        assert task.step_batch(np.zeros((1, 2))).reward.shape == (1,)
        assert Ending(task.final_cars["ended"][0]) == Ending.RUNNING


@pytest.mark.parametrize("changes", [[], ["env.rays=19", "env.preview=3"], ["env.motion=[slip,steering]"]])
@pytest.mark.parametrize("group", ["mlp", "race", "race_vision"])
def test_the_values_of_the_sensors_alone_are_counted_without_a_task(oval: Track, kart: Vehicle, group: str, changes):
    cfg = compose("train", [f"env={group}", "++env.line=centre", *changes])
    env: Any = OmegaConf.to_container(cfg.env, resolve=True)
    task = together(env, [oval], kart, races=1, cars=2, rules={})
    assert sensors_alone(env) == getattr(task, "size_alone", 0)
    assert (sensors_alone(env) > 0) == (group != "race_vision")
