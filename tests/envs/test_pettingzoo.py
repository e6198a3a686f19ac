"""A race as PettingZoo's ParallelEnv: its own tests, and when cars leave it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("pettingzoo")
from pettingzoo.test import parallel_api_test, parallel_seed_test

from racing.envs.drivers import LineFollowers
from racing.envs.pettingzoo_env import RaceParallelEnv, parallel_env
from racing.envs.rendering import top_down
from racing.envs.task import NonFiniteAction
from racing.errors import InputError
from racing.sim.race.traffic import GONE, STOPPED

STRAIGHT_ON = np.zeros(2, np.float32)
AWAY = np.array([1, 1], np.float32)  # a full turn with full throttle: off the road soon


def make(cars: int = 3, **options) -> RaceParallelEnv:
    return parallel_env(**{"track": "oval", "cars": cars, "line": "centre", **options})


def all_do(env: RaceParallelEnv, action: np.ndarray = STRAIGHT_ON, **others: np.ndarray) -> Any:
    return env.step({agent: others.get(agent, action) for agent in env.agents})


def put_off_the_road(env: RaceParallelEnv, agent: str) -> None:
    """Move a car sideways."""
    number, track = env.possible_agents.index(agent), env.task.tracks[0]
    away = 9 * track.normals[env.task.cars["nearest"][number]]
    env.task.cars["x"][number] += away[0]
    env.task.cars["y"][number] += away[1]


def bits(seen: dict[str, np.ndarray]) -> dict[str, bytes]:
    return {agent: one.tobytes() for agent, one in seen.items()}


def drive_to_the_end(env: RaceParallelEnv, pace: float = 0.9, most: int = 2000) -> list[Any]:
    """What each step gave, with followers of the line in all cars."""
    count = len(env.possible_agents)
    followers = LineFollowers(np.arange(count), env.task.world, np.linspace(pace, 0.5, count))
    steps = []
    while env.agents:
        asked = followers.actions(env.task.world)
        steps.append(env.step({agent: asked[env.possible_agents.index(agent)] for agent in env.agents}))
        assert len(steps) < most
    return steps


# races end in a few steps, and begin anew in mid-race
@pytest.mark.parametrize("wreck", ["remove", "obstacle"])
def test_pettingzoos_own_tests_pass(wreck: str):
    parallel_api_test(make(race={"wreck": wreck}, episodes={"stall_time": 1.0}), num_cycles=100)


def test_the_same_seed_gives_the_same_race():
    parallel_seed_test(lambda: make(episodes={"stall_time": 1.0}), num_cycles=50)


def test_it_is_a_race_from_a_grid_with_the_cars_as_agents():
    env = make(cars=4)
    assert env.metadata["is_parallelizable"]
    assert env.possible_agents == ["car_0", "car_1", "car_2", "car_3"]
    assert env.agents == []
    seen, infos = env.reset(seed=1)
    assert list(seen) == list(infos) == env.agents == env.possible_agents
    assert all(env.observation_space(agent).contains(seen[agent]) for agent in seen)
    assert env.action_space("car_2").shape == (2,)
    assert (env.task.cars["v"] == 0).all()
    seen, rewards, terminated, truncated, infos = all_do(env, np.array([0, 1], np.float32))
    assert all(list(found) == env.agents for found in (seen, rewards, terminated, truncated, infos))
    assert sorted(info["rank"] for info in infos.values()) == [1, 2, 3, 4]
    assert set(infos["car_0"]) == {"progress", "laps", "rank", "contacts", "blame", "ended"}
    assert all(info["progress"] > 0 and info["ended"] == "running" for info in infos.values())
    assert not any((*terminated.values(), *truncated.values()))
    np.testing.assert_array_equal(env.state(), np.concatenate(list(seen.values())))
    rolling = make(race={"start": "rolling"})
    rolling.reset(seed=1)
    assert (rolling.task.cars["v"] > 1).all()


@pytest.mark.parametrize(("wreck", "state"), [("remove", GONE), ("obstacle", STOPPED)])
def test_who_leaves_the_road_is_terminated_and_leaves_the_agents(wreck: str, state: int):
    env = make(race={"wreck": wreck})
    env.reset(seed=1)
    all_do(env)
    put_off_the_road(env, "car_1")
    seen, rewards, terminated, truncated, infos = all_do(env)
    assert terminated == {"car_0": False, "car_1": True, "car_2": False}
    assert not any(truncated.values())
    assert infos["car_1"]["ended"] == "off_track"
    assert seen["car_1"][-21:].any()  # it still saw the others
    assert rewards["car_1"] < -1 < rewards["car_0"]
    assert env.agents == ["car_0", "car_2"]
    assert env.task.world.traffic["state"].tolist() == [[0, state, 0]]
    seen, rewards, terminated, truncated, infos = all_do(env)
    assert all(list(found) == ["car_0", "car_2"] for found in (seen, rewards, terminated, truncated, infos))


def test_a_wreck_stays_an_obstacle_to_the_others():
    for wreck, stays in (("obstacle", True), ("remove", False)):
        env = make(cars=2, race={"wreck": wreck}, episodes={"stall_time": 2.0}, observed={"ahead": 1, "behind": 0})
        env.reset(seed=1)
        first = env.task.world.traffic["rank"][0].argmin()
        ahead, after = f"car_{first}", f"car_{1 - first}"
        for _ in range(25):  # the one in front stands
            seen, *_ = all_do(env, STRAIGHT_ON, **{after: np.array([0, 0.2], np.float32) * (ahead in env.agents)})
        assert env.agents == [after]
        assert bool(seen[after][-1]) == stays
        x, y = (env.task.cars[name][first] for name in ("x", "y"))
        all_do(env)
        assert (x, y) == tuple(env.task.cars[name][first] for name in ("x", "y"))


def test_who_comes_home_and_who_has_no_time_left_is_truncated():
    env = make(laps=1, race={"grace": 0.1, "contact": False})
    env.reset(seed=2)
    steps = drive_to_the_end(env)
    ends = {}
    for number, (_, _, terminated, truncated, infos) in enumerate(steps):
        for agent, info in infos.items():
            assert agent not in ends
            assert not terminated[agent]
            assert truncated[agent] == (info["ended"] != "running")
            if truncated[agent]:
                ends[agent] = (info["ended"], info["laps"], number + 1)
    assert {agent: end[:2] for agent, end in ends.items()} == {
        "car_0": ("laps_done", 1),
        "car_1": ("time_limit", 0),
        "car_2": ("time_limit", 0),
    }
    home, over = ends["car_0"][2], ends["car_1"][2]
    assert over == ends["car_2"][2] == int(np.ceil(1.1 * home))
    assert env.agents == []


def test_after_the_end_and_in_mid_race_the_same_next_race_begins():
    rolling = {"race": {"start": "rolling"}, "episodes": {"stall_time": 1.0}}
    ended, broken = make(**rolling), make(**rolling)
    assert bits(ended.reset(seed=4)[0]) == bits(broken.reset(seed=4)[0])
    while ended.agents:
        all_do(ended)
    all_do(broken)
    for _ in range(3):
        one, other = ended.reset()[0], broken.reset()[0]
        assert bits(one) == bits(other)
        assert ended.agents == broken.agents == ended.possible_agents
        for _ in range(5):
            one, other = all_do(ended, AWAY), all_do(broken, AWAY)
            assert bits(one[0]) == bits(other[0])
            assert one[1:] == other[1:]
    one, other = ended.reset()[0], broken.reset()[0]
    assert bits(one) == bits(other) != bits(ended.reset()[0])  # also at once
    broken.reset()
    while ended.agents:
        all_do(ended)
    assert bits(ended.reset(seed=5)[0]) == bits(broken.reset(seed=5)[0])


def test_who_starts_where_goes_round_from_race_to_race():
    env = make()
    env.reset(seed=0)
    first = [env.task.world.traffic["rank"][0].tolist()]
    for _ in range(2):
        env.reset()
        first.append(env.task.world.traffic["rank"][0].tolist())
    assert (np.sort(first, axis=0) == np.array([[1], [2], [3]])).all()


def test_without_a_seed_no_two_are_alike():
    rolling = {"race": {"start": "rolling"}}
    assert bits(make(**rolling).reset()[0]) != bits(make(**rolling).reset()[0])
    env = make(**rolling)
    first, _ = env.reset(seed=3)
    where = env.task.cars["s"].copy()
    assert bits(env.reset(seed=4)[0]) != bits(first)
    assert (abs(env.task.cars["s"] - where) > 5).all()  # anywhere on the lap
    assert bits(env.reset(seed=3)[0]) == bits(make(**rolling).reset(seed=3)[0])


def test_the_picture_is_of_the_race_and_of_its_end_when_it_is_over():
    env = make(render_mode="rgb_array")
    env.reset(seed=1)
    assert env.render().shape == (480, 480, 3)
    all_do(env)
    for agent in env.possible_agents:
        put_off_the_road(env, agent)
    all_do(env)
    assert env.agents == []
    np.testing.assert_array_equal(env.render(), top_down(env.task.world, 0, ended=True))
    assert (env.render() != top_down(env.task.world, 0)).any()
    env.reset()
    np.testing.assert_array_equal(env.render(), top_down(env.task.world, 0))
    silent = make()
    silent.reset(seed=1)
    assert silent.render() is None
    env.close()


def test_actions_that_are_no_numbers_are_refused_and_nothing_moves():
    env = make()
    env.reset(seed=1)
    before = env.task.cars.tobytes()
    with pytest.raises(NonFiniteAction, match="car 1 got nan as number 0"):
        all_do(env, car_1=np.array([np.nan, 0], np.float32))
    assert env.task.cars.tobytes() == before
    with pytest.raises(KeyError, match="car_2"):
        env.step({"car_0": STRAIGHT_ON, "car_1": STRAIGHT_ON})


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"cars": 1}, "cars must be 2 or more, got 1; one alone is gymnasium.make"),
        ({"cars": 17}, r"cars(_per_race)? must be a whole number in \[1, 16\], got 17"),
        ({"race": {"wreck": "respawn"}}, "race.wreck must be remove or obstacle, got respawn; choose one"),
        (
            {"race": {"start": "pit"}},
            "race.start must be one of .*, mixed, got 'pit'; choose one",
        ),
        ({"race": {"glue": 1}}, "race.glue is no key"),
        ({"render_mode": "human"}, "render_mode must be one of .*, got 'human'; choose one"),
        ({"rubber": 1}, "env=race: .*rubber"),
        ({"track": "no_such_track"}, "no_such_track"),
    ],
)
def test_what_no_race_can_be(wrong: dict[str, Any], says: str):
    with pytest.raises(InputError, match=says):
        make(**wrong)
