"""The camera environment: what an observation holds, when episodes begin and end, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest

from racing.envs.vec_env import RacingVecEnv
from racing.envs.vision import TELEMETRY, VisionTask, telemetry_of
from racing.errors import InputError
from racing.sim.track import Track
from racing.sim.vehicle import GRAVITY, Vehicle

SIZE = 24


@pytest.fixture
def make(stadium: Track, kart: Vehicle):
    """make(races=6, **env): a small camera on the stadium."""

    def made(races: int = 6, **options) -> VisionTask:
        return VisionTask([stadium], kart, races=races, **{"width": SIZE, "height": SIZE} | options)

    return made


def drive(task: VisionTask, steps: int, seed: int = 0):
    """Steps of random driving that leaves the road here and there."""
    rng = np.random.default_rng(seed)
    for _ in range(steps):
        yield task.step_batch(rng.uniform(-1, 1, (task.num_cars, 2)).astype(np.float32))


@pytest.mark.parametrize("grayscale, stack, channels", [(False, 1, 3), (True, 4, 4), (False, 2, 6)])
def test_shapes_and_types(make, grayscale: bool, stack: int, channels: int):
    task = make(grayscale=grayscale, frame_stack=stack)
    (observation, _), space = task.reset(), task.observation_space
    assert observation["vision"].shape == (6, SIZE, SIZE, channels)
    assert observation["vision"].dtype == np.uint8
    assert observation["telemetry"].shape == (6, len(TELEMETRY)) == (6, 9)
    assert space["vision"].shape == (SIZE, SIZE, channels)
    assert space.contains({key: array[2] for key, array in observation.items()})


def test_a_stack_of_sixteen_frames_is_the_longest(make):
    assert make(races=1, frame_stack=16, grayscale=True).reset()[0]["vision"].shape == (1, SIZE, SIZE, 16)
    with pytest.raises(InputError, match=r"^frame_stack must be a whole number in \[1, 16\], got 17"):
        make(races=1, frame_stack=17)


def test_without_telemetry(make):
    task = make(telemetry=False)
    assert list(task.reset()[0]) == list(task.observation_space.spaces) == ["vision"]


@pytest.mark.parametrize("grayscale", [True, False])
def test_stacks_hold_the_frames_of_this_episode_oldest_first(make, grayscale: bool):
    """Against frames that are taken one by one."""
    stack, channels = 3, 1 if grayscale else 3
    task = make(grayscale=grayscale, frame_stack=stack, episodes={"time_limit": 1.0})
    seen = [[frame] * stack for frame in frames(task.reset()[0], channels)]
    ends = 0
    for step in drive(task, 40):
        now = frames(step.observation, channels)
        ended = step.terminated | step.truncated
        for i in range(task.num_cars):
            before = seen[i]
            seen[i] = [now[i]] * stack if ended[i] else [*before[1:], now[i]]
            expected = np.concatenate(seen[i], axis=2)
            np.testing.assert_array_equal(step.observation["vision"][i], expected)
            if ended[i]:
                last = step.final_observation["vision"][i]
                np.testing.assert_array_equal(last[..., :-channels], np.concatenate(before[1:], axis=2))
                assert not np.array_equal(last[..., -channels:], now[i])  # not the next episode's start
                ends += 1
    assert ends > 5


def frames(observation: dict, channels: int) -> list[np.ndarray]:
    """The newest frame of every car."""
    return [vision[..., -channels:].copy() for vision in observation["vision"]]


def test_a_start_at_a_place_is_seen_from_there(make):
    """The whole stack is its first frame, not what was seen before."""
    task = make(races=2, frame_stack=3)
    task.reset()
    list(drive(task, 5))
    observation, privileged = task.start_at(40.0, 0.3)
    assert task.cars["s"] == pytest.approx([40, 40], abs=task.tracks[0].spacing)
    for stack in observation["vision"]:
        assert np.array_equal(stack, np.tile(stack[..., -3:], 3))
    assert np.array_equal(*observation["vision"])
    assert np.array_equal(privileged, task.sensors.observe())


def test_the_last_frame_of_an_episode_is_where_the_car_was(make):
    task = make(races=4, episodes={"time_limit": 0.5, "time_limit_min": 0.5})
    task.reset()
    *_, step = drive(task, 5)
    assert step.truncated.all()
    cars = task.world.final_cars
    np.testing.assert_array_equal(step.final_observation["vision"], task.camera.render(cars))
    np.testing.assert_allclose(step.final_observation["telemetry"], telemetry_of(cars.reshape(-1), task.vehicle))


def test_telemetry_is_what_the_car_feels(make, kart: Vehicle):
    task = make()
    task.reset()
    *_, step = drive(task, 3)
    cars, columns = task.world.cars.reshape(-1), dict(zip(TELEMETRY, step.observation["telemetry"].T, strict=True))
    for name, expected in {
        "speed": cars["v"] / kart.max_speed,
        "longitudinal_g": cars["ax"] / GRAVITY,
        "lateral_g": cars["ay"] / GRAVITY,
        "slip": cars["slip"],
        "yaw_rate": cars["yaw_rate"] * kart.max_speed / (4 * kart.max_lateral),
        "steering_angle": cars["steer"] / kart.max_steer,
        "steering_command": cars["steering_command"],
        "throttle_command": cars["throttle_command"],
        "steering_change": cars["steering_change"],
    }.items():
        np.testing.assert_allclose(columns[name], expected, rtol=1e-5, atol=1e-6, err_msg=name)
    assert np.abs(step.observation["telemetry"]).max() <= 10


def test_rewards_and_sensors_are_those_of_the_sensors_environment(make):
    task = make(reward={"progress": 1.0, "overspeed": -0.5}, preview=12)
    task.reset()
    for step in drive(task, 4):
        np.testing.assert_allclose(step.reward, step.terms @ task.weights, rtol=1e-6)
        np.testing.assert_array_equal(step.privileged, task.sensors.observe())
    assert step.privileged.shape == (6, task.privileged_size) == (6, 7 + 3 + 24)


def test_bytes_do_not_depend_on_threads_or_batch(make):
    def run(races: int, threads: int) -> np.ndarray:
        task = make(races=races, threads=threads, grayscale=True, frame_stack=2, randomize={"noise": 0.2, "yaw": 5.0})
        task.reset()
        steps = [np.ones((races, 2), np.float32) * np.sin(np.arange(races))[:, None].astype(np.float32)] * 10
        return np.stack([task.step_batch(actions).observation["vision"][:8] for actions in steps])

    first = run(128, 1)
    np.testing.assert_array_equal(first, run(128, 2))
    np.testing.assert_array_equal(first, run(8, 1))


def test_state_continues_bit_for_bit(make):
    first, second = (RacingVecEnv(make(frame_stack=3, grayscale=True)) for _ in range(2))
    first.reset()
    second.reset()
    for _ in drive(first.task, 7):
        pass
    second.set_state(first.get_state())
    for one, other in zip(drive(first.task, 9, 1), drive(second.task, 9, 1), strict=True):
        for key in ("vision", "telemetry"):
            np.testing.assert_array_equal(one.observation[key], other.observation[key])


def test_returned_frames_are_copies(make):
    task = make(frame_stack=2)
    first = task.reset()[0]["vision"]
    kept = first.copy()
    for _ in drive(task, 2):
        pass
    np.testing.assert_array_equal(first, kept)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"frame_stack": 0}, "^frame_stack must be"),
        ({"frame_stack": 1.5}, "^frame_stack must be"),
        ({"width": 7}, "^width must be"),
        ({"height": "big"}, "^height must be"),
        ({"grayscale": 1}, "^grayscale must be true or false"),
        ({"telemetry": None}, "^telemetry must be true or false"),
        ({"texture": "photo"}, "^texture must be one of"),
        ({"texture": "picture"}, "picture"),
        ({"camera": {"pitch": -60}}, r"^camera\.pitch must"),
        ({"randomize": {"nois": 1}}, "nois"),
        ({"randomize": {"noise": 2}}, r"^randomize\.noise must"),
    ],
)
def test_what_cannot_be_seen_is_refused(make, options: dict, message: str):
    with pytest.raises(InputError, match=message):
        make(**options)
