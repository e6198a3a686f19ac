"""Many cars as a Gymnasium vector environment: the same as a loop of single ones."""

from __future__ import annotations

import multiprocessing

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from stable_baselines3.common.vec_env import DummyVecEnv

from racing.envs.vec_env import RacingVecEnv
from racing.envs.vector_env import SensorsVectorEnv

ID = "racing/Sensors-v0"
OPTIONS = {"track": "oval", "line": "centre"}


def make(**options):
    return gymnasium.make_vec(ID, num_envs=4, **OPTIONS | options)


@pytest.fixture(scope="module")
def cars():
    return make()


@pytest.fixture(scope="module")
def vec_env(cars):
    return RacingVecEnv(cars.unwrapped.task)


def test_make_vec_makes_the_native_batch(cars):
    assert isinstance(cars.unwrapped, SensorsVectorEnv)
    assert cars.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP
    assert cars.metadata["render_fps"] == 10
    assert cars.single_observation_space == gymnasium.make(ID, **OPTIONS).observation_space
    assert cars.observation_space.contains(cars.reset(seed=0)[0])


def test_it_is_a_loop_of_single_environments_over_the_ends_of_episodes(cars):
    """Gymnasium's own loop, whose environment i drives as car i of the batch."""
    singles = [lambda i=i: gymnasium.make(ID, first_race=i, **OPTIONS) for i in range(4)]
    loop = SyncVectorEnv(singles, autoreset_mode=AutoresetMode.SAME_STEP)
    np.testing.assert_array_equal(cars.reset(seed=5)[0], loop.reset(seed=[5] * 4)[0])
    generator, ended = np.random.default_rng(0), np.zeros(4, int)
    for _ in range(150):
        actions = generator.uniform([-0.3, 0.5], 1, (4, 2)).astype(np.float32)
        (*mine, infos), (*theirs, known) = cars.step(actions), loop.step(actions)
        for own, other in zip(mine, theirs, strict=True):
            np.testing.assert_array_equal(own, other)
        ended += mine[2] | mine[3]
        assert infos.keys() >= known.keys()
        for i in np.flatnonzero(mine[2] | mine[3]):
            np.testing.assert_array_equal(infos["final_obs"][i], known["final_obs"][i])
        for key in known.keys() - {"final_obs", "final_info"}:
            np.testing.assert_array_equal(infos[key], known[key], err_msg=key)
        for key, value in known.get("final_info", {}).items():
            np.testing.assert_array_equal(infos["final_info"][key], value)
    assert (ended > 1).all()


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["vector_entry_point", "sync"])
def test_without_a_seed_nobody_repeats_and_with_one_everybody_does(mode):
    cars = make(vectorization_mode=mode)
    unseeded = [cars.reset()[0], make(vectorization_mode=mode).reset()[0]]
    assert len(np.unique(np.concatenate(unseeded), axis=0)) == 8
    first = cars.reset(seed=3)[0]
    following = cars.reset()[0]
    np.testing.assert_array_equal(cars.reset(seed=3)[0], first)
    np.testing.assert_array_equal(cars.reset()[0], following)
    assert (following != first).any()


@pytest.mark.slow
def test_unseeded_environments_of_stable_baselines3_differ():
    envs = DummyVecEnv([lambda: gymnasium.make(ID, **OPTIONS)] * 4)
    assert len(np.unique(envs.reset(), axis=0)) == 4
    envs.seed(7)
    first = envs.reset()
    envs.seed(7)
    np.testing.assert_array_equal(envs.reset(), first)


def test_the_seed_of_a_single_environment_gives_the_episodes_that_it_always_gave():
    """Of the world under that seed: the batch's first car."""
    env = gymnasium.make(ID, **OPTIONS)
    np.testing.assert_array_equal(env.reset(seed=11)[0], make().reset(seed=11)[0][0])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_an_action_that_is_no_number_is_an_error_with_car_and_value(cars, vec_env, value):
    single = gymnasium.make(ID, disable_env_checker=True, **OPTIONS)
    single.reset(seed=0)
    with pytest.raises(ValueError, match=f"car 0 got {value} as number 1"):
        single.step(np.array([0.0, value], np.float32))
    actions = np.zeros((4, 2), np.float32)
    actions[2, 0] = value
    with pytest.raises(ValueError, match=f"car 2 got {value} as number 0"):
        cars.step(actions)
    vec_env.reset()
    with pytest.raises(ValueError, match=f"car 2 got {value} as number 0"):
        vec_env.step(actions)


def test_it_says_what_it_does_not_take(cars):
    with pytest.raises(ValueError, match="seed must be one number"):
        cars.reset(seed=[1, 2, 3, 4])
    with pytest.raises(ValueError, match="reset_mask"):
        cars.reset(options={"reset_mask": np.ones(4, bool)})
    with pytest.raises(ValueError, match=r"got 'human'.*pygame"):
        SensorsVectorEnv(render_mode="human", **OPTIONS)


def test_a_picture_of_the_first_car_where_one_was_asked_for(cars):
    assert cars.unwrapped.render() is None
    seen = SensorsVectorEnv(num_envs=2, render_mode="rgb_array", **OPTIONS)
    seen.reset(seed=0)
    (picture,) = seen.render()
    np.testing.assert_array_equal(picture, seen.task.render())
    assert gymnasium.make(ID, **OPTIONS).unwrapped.render() is None


def test_processes_of_a_fork_server_know_the_environments():
    """As Stable-Baselines3's SubprocVecEnv starts them: where the script imports racing is all the same."""
    process = multiprocessing.get_context("forkserver").Process(target=gymnasium.spec, args=(ID,))
    process.start()
    process.join(60)
    assert process.exitcode == 0


def test_a_window_shows_what_rgb_array_gives(monkeypatch):
    pytest.importorskip("pygame", reason="pip install pygame-ce")
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    with pytest.warns(UserWarning, match="HumanRendering"):
        env = gymnasium.make(ID, render_mode="human", **OPTIONS)
    env.reset(seed=0)
    env.step(np.zeros(2, np.float32))
    assert env.render() is None
    env.close()
