"""`env.randomize`: one group of keys for cars and cameras, and what was drawn stands in an episode's facts."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest

import racing.envs.gym_env  # noqa: F401  (registers the environments)
from racing.config import build, compose
from racing.envs.sensors import SensorsTask
from racing.envs.vec_env import RacingVecEnv
from racing.envs.vision import AMPLITUDES, VisionTask
from racing.errors import InputError
from racing.renamed_keys import VARIED, upgraded
from racing.sim.camera.camera import Randomize
from racing.sim.track import Track
from racing.sim.variation.config import LIMITS
from racing.sim.vehicle import Vehicle


def full_throttle(task: SensorsTask, steps: int):
    """Yield each step's ended cars."""
    task.reset()
    for _ in range(steps):
        step = task.step_batch(np.tile([0.1, 1.0], (task.num_cars, 1)))
        yield np.flatnonzero(step.terminated | step.truncated)


def test_an_episode_s_facts_hold_what_was_drawn_for_it(wavy: Track, kart: Vehicle):
    task = SensorsTask([wavy], kart, races=32, randomize={"mass": [0.5, 1.5], "ray_noise": None, "friction": 0.9})
    seen = []
    drawn = None
    for ended in full_throttle(task, 80):
        for i in ended:
            facts = task.last_episode(i)
            assert set(facts["randomize"]) == {"mass", "friction"}
            assert facts["randomize"]["friction"] == pytest.approx(0.9)
            assert drawn is None or facts["randomize"]["mass"] == drawn[i]
            seen.append(facts["randomize"]["mass"])
        drawn = task.world.variations["mass"].reshape(-1).copy()
    assert len(seen) > 32
    assert len(set(seen)) == len(seen)
    assert 0.5 <= min(seen) < 0.7
    assert 1.3 < max(seen) <= 1.5


def test_without_it_nothing_is_drawn(wavy: Track, kart: Vehicle):
    task = SensorsTask([wavy], kart, races=8, randomize=dict.fromkeys(LIMITS))
    assert task.world.variations is None
    ended = [i for of_step in full_throttle(task, 60) for i in of_step]
    assert ended
    assert "randomize" not in task.last_episode(ended[-1])


def test_the_episodes_of_a_vector_environment_hold_it_too(wavy: Track, kart: Vehicle):
    env = RacingVecEnv(SensorsTask([wavy], kart, races=8, randomize={"power": [0.5, 1.0]}))
    env.reset()
    for _ in range(80):
        env.step(np.tile([0.1, 1.0], (8, 1)).astype(np.float32))
    episodes = env.take_episodes()
    assert episodes
    assert all(0.5 <= episode["randomize"]["power"] <= 1.0 for episode in episodes)


def test_a_camera_s_keys_and_a_car_s_stand_side_by_side(wavy: Track, kart: Vehicle):
    assert not set(AMPLITUDES) & set(LIMITS)
    size = {"width": 16, "height": 16, "texture": "drawn"}
    task = VisionTask([wavy], kart, races=4, randomize={"noise": 0.5, "pitch": 2.0, "mass": [0.8, 1.2]}, **size)
    assert task.camera.randomize == Randomize(noise=0.5, pitch=np.radians(2.0))
    assert task.world.variation.names == ["mass"]
    assert task.randomize == {"mass": [0.8, 1.2], "noise": 0.5, "pitch": 2.0}
    with pytest.raises(
        InputError, match="^randomize has no 'nois', it has mass, .*, ray_dropout, height, .*, blur; cor"
    ):
        VisionTask([wavy], kart, races=4, randomize={"nois": 0.5}, **size)
    with pytest.raises(InputError, match=r"^randomize\.mass must"):
        VisionTask([wavy], kart, races=4, randomize={"mass": 0.0}, **size)


AMPLITUDE = {"height": 0.3, "pitch": 8.0, "yaw": 9.0, "field_of_view": 0.2, "brightness": 0.4, "contrast": 0.7}


@pytest.mark.parametrize("name", AMPLITUDE)
def test_a_camera_that_is_set_up_as_another_one_s_draw_says_sees_the_same(wavy: Track, kart: Vehicle, name: str):
    """The drawn values are the ones that pictures are made with: here they are put into the lens, or into the bytes."""
    size = {"width": 32, "height": 24, "texture": "drawn"}
    task = VisionTask([wavy], kart, races=3, seed=4, randomize={name: AMPLITUDE[name]}, **size)
    seen = task.reset()[0]["vision"]
    assert list(task.drawn(np.arange(3))) == [name]
    drawn = task.drawn(np.arange(3))[name]
    assert abs(drawn).max() <= AMPLITUDE[name]
    assert len(set(drawn)) == 3
    for i, off in enumerate(drawn):
        camera, cars = {"field_of_view": 90.0, "pitch": 26.0, "above": 3.4 * kart.width}, {}
        if name == "height":
            camera["above"] *= 1 + off
        elif name == "field_of_view":
            camera["field_of_view"] *= 1 + off
        elif name == "pitch":
            camera["pitch"] += off
        elif name == "yaw":
            cars["yaw"] = np.radians(off)
        other = VisionTask([wavy], kart, races=3, seed=4, camera=camera, **size)
        other.reset()
        for key, more in cars.items():
            other.world.cars[key] += np.float32(more)
        gain = 1 + off if name == "contrast" else 1.0
        shift = 255 * off if name == "brightness" else 0.0
        plain = other.camera.render()[i].astype(float)
        expected = np.floor(np.clip(gain * (plain - 127.5) + 127.5 + shift, 0, 255) + 0.5).astype(int)
        difference = abs(seen[i].astype(int) - expected)
        assert difference.mean() < 0.5, (i, off)
        assert (difference <= 1).mean() > 0.95


def test_what_a_camera_draws_is_a_fact_of_an_episode_too(wavy: Track, kart: Vehicle):
    amplitudes = {"color": 0.2, "blur": 0.5, "noise": 0.1, "power": [0.5, 0.9]}
    task = VisionTask([wavy], kart, races=8, randomize=amplitudes, width=8, height=8)
    before = None
    for ended in full_throttle(task, 60):
        for i in ended:
            facts = task.last_episode(i)["randomize"]
            assert list(facts) == ["power", "color_red", "color_green", "color_blue", "noise", "blur"]
            assert {name: values[i] for name, values in before.items()} == facts
            assert len({facts["color_red"], facts["color_green"], facts["color_blue"]}) == 3
            assert 0 <= facts["blur"] <= facts["noise"] * 5
            assert facts["noise"] == 0.1
        before = task.drawn(np.arange(8))
    assert task.world.cars["episode"].sum() > 4
    gray = VisionTask([wavy], kart, races=2, randomize={"color": 0.2, "blur": 0.5}, width=8, height=8, grayscale=True)
    gray.reset()
    assert list(gray.drawn(np.arange(2))) == ["blur"]


@pytest.mark.parametrize("name", ["mlp", "mlp_preview", "vision"])
def test_every_choice_has_all_keys_and_differs_in_nothing(name: str):
    group = compose("train", [f"env={name}"]).env.randomize
    assert [key for key in group if key in LIMITS] == list(LIMITS) == list(VARIED)
    assert all(group[key] is None for key in LIMITS)
    assert ([key for key in group if key not in LIMITS] == list(AMPLITUDES)) == (name == "vision")


def test_a_key_of_the_command_line_reaches_the_world(wavy: Track, kart: Vehicle):
    make = build(compose("train", ["env=mlp", "env.randomize.friction=[0.6,1.1]", "env.randomize.mass=1.2"]).env)
    task = make(tracks=[wavy], vehicle=kart, races=2)
    assert task.world.variation.bounds("friction") == (0.6, 1.1)
    assert task.world.variation.bounds("mass") == (1.2, 1.2)
    assert task.world.variation.names == ["mass", "friction"]
    env = gymnasium.make("racing/Sensors-v0", track="oval", randomize={"throttle_lag": 0.2})
    assert env.unwrapped.task.world.variation.names == ["throttle_lag"]


def test_configurations_of_earlier_versions_differ_in_nothing():
    none = dict.fromkeys(LIMITS)
    assert upgraded({"env": {"rays": 7}})["env"]["randomize"] == none
    seeing = {"env": {"rays": 7, "randomize": {"noise": 0.1, "blur": 0.0}}}
    assert upgraded(seeing)["env"]["randomize"] == {"noise": 0.1, "blur": 0.0, **none}
    assert upgraded({"env": {"rays": 7}})["env"]["randomize"] is not upgraded({"env": {"rays": 7}})["env"]["randomize"]
    present = {"env": {"rays": 7, "randomize": {**none, "mass": [1, 2]}, "conditions": {}}}
    assert upgraded(present) == present
