"""What a wet road looks like."""

from __future__ import annotations

import numpy as np
import pytest

from racing.envs.vision import VisionTask
from racing.sim.camera.camera import Camera
from racing.sim.camera.weather import DARKER
from racing.sim.track import Track
from racing.sim.vehicle import Vehicle


def seen(track: Track, vehicle: Vehicle, wetness: float | None, gray: bool = False) -> tuple[VisionTask, Camera]:
    weather = {} if wetness is None else {"weather": {"start_wetness": wetness, "drying_time": 1e6}}
    episodes = {"start_speed": [0, 0], "start_lateral_offset": 0.0, "start_heading_error": 0.0}
    task = VisionTask(
        [track], vehicle, races=2, width=48, height=48, grayscale=gray, conditions=weather, episodes=episodes
    )
    task.reset()
    return task, task.camera


@pytest.mark.parametrize("gray", [False, True])
def test_a_wet_road_is_darker_and_mirrors_the_sky_far_ahead(wavy: Track, kart: Vehicle, gray: bool):
    dry, wet = (seen(wavy, kart, wetness, gray)[1].render()[0].astype(float) for wetness in (None, 1.0))
    middle = 24
    np.testing.assert_allclose(wet[47, middle], dry[47, middle] * (1 - DARKER), atol=1.5)  # before the car: no glare
    assert (wet[44, middle] < dry[44, middle]).all()
    horizon = int(np.argmax(np.abs(np.diff(dry[:, 0, -1])) > 20)) + 1  # first row of ground: grass ends the sky
    assert (wet[horizon + 1, middle] > wet[44, middle] + 20).all()  # glare
    assert np.ptp(wet[0, middle]) <= np.ptp(dry[0, middle])  # the sky is grayer


def test_a_road_that_is_dry_looks_like_one_that_is_never_wet(wavy: Track, kart: Vehicle):
    task, camera = seen(wavy, kart, 1.0)
    never = seen(wavy, kart, None)[1].render()
    np.testing.assert_array_equal(camera.render(wetness=np.zeros(2)), never)
    assert (camera.render() != never).any()
    task.world.conditions["wetness"] = [[0.0], [1.0]]
    np.testing.assert_array_equal(camera.render()[0], never[0])


def test_spray_grows_with_speed(wavy: Track, kart: Vehicle):
    task, camera = seen(wavy, kart, 1.0)
    spread = []
    for speed in (0.0, 10.0, 20.0):
        cars = task.world.cars.copy()
        cars["v"] = speed
        spread.append(camera.render(cars, wetness=np.ones(2)).std())
    assert spread[0] > 1.05 * spread[1] > 1.1 * spread[2]


def test_frames_of_ended_episodes_show_the_road_that_they_ended_on(wavy: Track, kart: Vehicle):
    weather = {"weather": {"rain_start": 0.0, "wetting_time": 0.2, "start_wetness": 0.0}}
    task = VisionTask([wavy], kart, races=2, width=32, height=32, conditions=weather, episodes={"time_limit": 1.0})
    task.reset()
    for _ in range(10):
        step = task.step_batch(np.zeros((2, 2), np.float32))
    assert step.truncated.all()
    assert task.world.conditions["wetness"].max() == 0
    ended = task.camera.render(task.world.final_cars, wetness=task.world.final_conditions["wetness"])
    np.testing.assert_array_equal(step.final_observation["vision"], ended)
    np.testing.assert_array_equal(step.observation["vision"], task.camera.render())
