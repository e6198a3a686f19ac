"""One car as a Gymnasium environment."""

from __future__ import annotations

import subprocess
import sys
import warnings

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env as check_gymnasium
from gymnasium.vector import AutoresetMode
from PIL import Image
from stable_baselines3.common.env_checker import check_env as check_sb3

import racing  # noqa: F401  (registers the environments)
from racing.envs.rewards import REWARD_TERMS
from racing.envs.vec_env import RacingVecEnv
from racing.errors import InputError

ID = "racing/Sensors-v0"


@pytest.fixture(scope="module")
def env():
    made = gymnasium.make(ID, track="oval", render_mode="rgb_array")
    yield made
    made.close()


def test_both_checkers_pass_without_a_warning(env):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_gymnasium(env.unwrapped)
        check_sb3(env)


def test_the_defaults_are_the_ten_sensors_of_a_kart_on_the_circuit():
    env = gymnasium.make(ID)
    assert env.observation_space.shape == (10,)
    assert (env.action_space.low == -1).all()
    assert (env.action_space.high == 1).all()
    assert env.unwrapped.task.vehicle.name == "kart"
    assert [track.name for track in env.unwrapped.task.tracks] == ["circuit"]


def test_it_says_that_the_next_episode_begins_in_the_same_step(env):
    assert env.metadata["autoreset_mode"] is RacingVecEnv.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP


def test_keys_of_the_configuration_are_arguments():
    env = gymnasium.make(
        ID, track="mini", vehicle="f1tenth", rays=108, field_of_view=270.0, episodes={"laps": 1, "random_start": False}
    )
    assert env.unwrapped.task.world.episodes.laps == 1
    assert env.unwrapped.task.world.episodes.start_speed == (0.5, 1.0)  # as in conf/env/mlp.yaml
    assert env.observation_space.shape == (111,)
    assert env.unwrapped.task.vehicle.name == "f1tenth"
    for wrong in ({"track": "ovall"}, {"vehicle": "tractor"}, {"rays": 0}, {"beauty": 1}):
        with pytest.raises(InputError):
            gymnasium.make(ID, **wrong)


def test_the_same_seed_gives_the_same_episodes_and_another_seed_others(env):
    def drive(seed: int) -> list[bytes]:
        rows = [env.reset(seed=seed)[0].tobytes()]
        for _ in range(30):
            observation, reward, terminated, truncated, _ = env.step(np.array([0.3, 1.0], np.float32))
            rows.append(observation.tobytes() + np.float64(reward).tobytes())
            if terminated or truncated:
                rows.append(env.reset()[0].tobytes())
        return rows

    first = drive(1)
    assert first == drive(1)
    assert first[0] != drive(2)[0]


def test_an_episode_ends_with_its_own_last_observation(env):
    observation, _ = env.reset(seed=0)
    terminated = False
    while not terminated:
        before = observation
        observation, reward, terminated, truncated, info = env.step(np.array([1.0, 1.0], np.float32))
        assert not truncated
    assert info["ended"] == "off_track"
    weights = dict(zip(REWARD_TERMS, env.unwrapped.task.weights, strict=True))
    assert reward == pytest.approx(weights["off_track"], abs=0.5)
    assert abs(observation[7] - before[7]) < 4 / 35  # [m/s] not the speed of a new start


def test_the_picture_shows_grass_road_and_car(env):
    env.reset(seed=0)
    picture = env.render()
    assert picture.shape == (480, 480, 3)
    assert picture.dtype == np.uint8
    red = (picture[..., 0] > 150) & (picture[..., 1] < 90) & (picture[..., 2] < 90)
    gray = np.ptp(picture.astype(int), axis=2) < 12
    green = picture[..., 1] > picture[..., 0].astype(int) + 20
    assert 0 < red.sum() < 400
    assert gray.mean() > 0.02
    assert green.mean() > 0.5
    for _ in range(10):
        env.step(np.array([0.0, 1.0], np.float32))
    assert not np.array_equal(env.render(), picture)


def test_importing_racing_is_enough_to_make_it_and_imports_no_torch():
    code = "import sys, racing, gymnasium; gymnasium.spec('racing/Sensors-v0'); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.fixture(scope="module")
def seeing():
    made = gymnasium.make("racing/Vision-v0", track="oval", vehicle="kart", render_mode="rgb_array", line="centre")
    yield made
    made.close()


def test_both_checkers_pass_for_the_camera(seeing):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_gymnasium(seeing.unwrapped)
        check_sb3(seeing)
    assert seeing.observation_space["vision"].shape == (84, 84, 3)
    assert seeing.observation_space["telemetry"].shape == (9,)


@pytest.mark.slow
def test_the_camera_is_configured_by_arguments():
    env = gymnasium.make(
        "racing/Vision-v0", track="oval", grayscale=True, frame_stack=4, width=40, height=36, line="centre",
        telemetry=False, camera={"pitch": 35.0},
    )  # fmt: skip
    assert list(env.observation_space.spaces) == ["vision"]
    first, _ = env.reset(seed=3)
    assert first["vision"].shape == (36, 40, 4)
    assert all((first["vision"][..., k] == first["vision"][..., 0]).all() for k in range(4))
    second, *_ = env.step(np.array([0.0, 1.0], np.float32))
    assert (second["vision"][..., :3] == first["vision"][..., 1:]).all()
    assert (second["vision"][..., 3] != second["vision"][..., 2]).any()
    assert env.unwrapped.task.camera.lens.pitch == pytest.approx(np.radians(35))
    for wrong in ({"frame_stack": 0}, {"width": 7}, {"camera": {"pitch": "down"}}, {"texture": "marble"}, {"rays": 0}):
        with pytest.raises(InputError):
            gymnasium.make("racing/Vision-v0", track="oval", line="centre", **wrong)
    with pytest.raises(InputError, match="render_mode must be one of"):
        gymnasium.make("racing/Vision-v0", disable_env_checker=True, render_mode="ansi")


def test_the_picture_shows_the_race_from_above_and_what_the_driver_sees(seeing):
    observation, _ = seeing.reset(seed=0)
    picture = seeing.render()
    assert (picture.shape, picture.dtype) == ((480, 960, 3), np.uint8)
    sensors = gymnasium.make(ID, track="oval", render_mode="rgb_array")
    sensors.reset(seed=0)
    np.testing.assert_array_equal(picture[:, :480], sensors.render())
    driver = np.asarray(Image.fromarray(picture[:, 480:]).resize((84, 84), Image.Resampling.BOX), int)
    assert np.abs(driver - observation["vision"]).mean() < 5
    assert np.abs(driver[:, ::-1] - observation["vision"]).mean() > 8
