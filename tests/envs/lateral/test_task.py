"""The task: actions, the observation's numbers by name, rewards that are the challenge's costs, complete state."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env as check_gymnasium
from stable_baselines3.common.env_checker import check_env as check_sb3

from racing.envs.lateral.observation import AHEAD, NAMES
from racing.envs.lateral.task import LateralTask
from racing.envs.task import DrivingTask, Part
from racing.envs.vec_env import RacingVecEnv
from racing.errors import InputError

ID = "racing/Lateral-v0"


def make(races: int = 3, **settings: Any) -> LateralTask:
    return LateralTask(races=races, **{"route_count": 5, "holdout_routes": 3, **settings})


def actions(steps: int, cars: int = 3, size: float = 0.3) -> np.ndarray:
    return np.random.default_rng(0).normal(0, size, (steps, cars, 1)).astype(np.float32)


def test_it_is_a_driving_task():
    task = make()
    assert isinstance(task, DrivingTask)
    assert (task.action_space.shape, task.observation_space.shape, len(set(NAMES))) == ((1,), (46,), 46)
    assert len(task.reward_terms) == len(task.weights) == 2


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, lambda last, pid: last + 0.25 * 0.5),
        ({"action": "absolute"}, lambda last, pid: last * 0 + 2 * 0.5),
        ({"action": "residual"}, lambda last, pid: pid + 0.5 * 0.5),
        ({"action": "delta", "action_scale": 1.0}, lambda last, pid: last + 0.5),
    ],
)
def test_what_an_action_means(settings: dict, expected: Any):
    task = make(**settings)
    observation, _ = task.reset()
    last, pid = (observation[:, NAMES.index(name)] for name in ("steer", "pid_steer"))
    task.step_batch(np.full((3, 1), 0.5, np.float32))
    np.testing.assert_allclose(task.world.steer[:, 100], np.clip(expected(last, pid), -2, 2), rtol=1e-6)
    task.step_batch(np.full((3, 1), 99.0, np.float32))
    assert np.abs(task.world.steer).max() <= 2.0


def test_the_observation_by_name():
    task = make()
    task.reset()
    for action in actions(30):
        seen = task.step_batch(action).observation
    world, t = task.world, task.world.now
    assert t == 130
    plan, y, u = world.routes.plans[world.chosen], world.lataccel, world.steer
    np.testing.assert_array_equal(u[:, :100], world.routes.steer[world.chosen])  # which no controller is told
    target, roll, speed, acceleration = plan[:, t].T

    def hold(row: int) -> np.ndarray:
        gain = 1.75 * plan[:, row, 2] ** 2 / (plan[:, row, 2] ** 2 + 9)
        return np.clip((plan[:, row, 0] - plan[:, row, 1]) / np.maximum(gain, 0.3), -2, 2)

    errors = plan[:, 20 : t + 1, 0] - y[:, 19:t]
    now = y[:, t - 1]
    expected = {
        "error": target - now,
        "lataccel": now,
        "lataccel_change": 4 * (now - y[:, t - 2]),
        "error_integral": errors.sum(1) / 10,
        "error_change": 4 * (errors[:, -1] - errors[:, -2]),
        "steer": u[:, t - 1],
        "steer_change": 4 * (u[:, t - 1] - u[:, t - 2]),
        "pid_steer": 0.195 * errors[:, -1] + 0.1 * errors.sum(1) - 0.053 * (errors[:, -1] - errors[:, -2]),
        "feed_forward": hold(t),
        "speed": speed / 35,
        "acceleration": acceleration / 3,
        "roll_lataccel": roll,
        **{f"target_ahead_{k}": plan[:, t + k, 0] - now for k in AHEAD},
        **{f"feed_forward_ahead_{k}": hold(t + k) - u[:, t - 1] for k in AHEAD},
        **{f"lataccel_{k}_ago": 4 * (y[:, t - k] - now) for k in (3, 4, 5, 6)},
        **{f"steer_{k}_ago": 4 * (u[:, t - k] - u[:, t - 1]) for k in (3, 4, 5, 6)},
    }
    assert tuple(expected) == NAMES
    for k, (name, values) in enumerate(expected.items()):
        wanted = np.clip(values, -2, 2) if name == "pid_steer" else values
        np.testing.assert_allclose(seen[:, k], wanted, atol=2e-6, err_msg=name)


def test_what_the_log_commanded_is_not_told():
    """Where a controller begins, it takes what holds the plan of three rows later for what was commanded."""
    task = make(holdout_routes=2)
    first, _ = task.reset()
    plan = task.world.routes.plans[task.world.chosen]
    gain = 1.75 * plan[:, 102, 2] ** 2 / (plan[:, 102, 2] ** 2 + 9)
    believed = (plan[:, 102, 0] - plan[:, 102, 1]) / gain
    np.testing.assert_allclose(first[:, NAMES.index("steer")], believed, rtol=1e-6)
    assert np.abs(believed - task.world.steer[:, 99]).max() > 1e-4
    task.step_batch(np.zeros((3, 1), np.float32))
    np.testing.assert_allclose(task.world.steer[:, 100], believed)


@pytest.mark.parametrize("action", ["delta", "residual"])
def test_what_a_driver_tells_a_student_is_within_its_actions(action: str):
    """Imitated to the letter, it drives as the controller does, where its commands change slowly enough."""
    task = make(part=Part.TEST, action=action, action_scale=4.0)
    drive = task.driver(task.driver_names[0], reach=(0.15, 0.15))
    task.reset()
    step = None
    while step is None or not step.truncated.all():
        told = drive()
        assert np.abs(told).max() <= 1
        step = task.step_batch(told)
    own = [task.last_episode(i)["total_cost"] for i in range(3)]
    assert own == pytest.approx([row["total_cost"] for row in task.references()["feed_forward"]])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "optimal"}, "driver must be one of feed_forward, pid, preview_pid, mpc, got 'optimal'"),
        ({"name": "pid", "pace": 0.9}, "pace is a share of a lap's speed, pid drives none"),
    ],
)
def test_drivers_that_it_has_not_are_refused(arguments: dict, message: str):
    with pytest.raises(InputError, match=message):
        make().driver(**arguments)


def test_rewards_are_the_challenge_s_costs():
    env = RacingVecEnv(make())
    env.reset()
    rewards = np.zeros(3)
    for k, action in enumerate(actions(400)):
        step = env.step_batch(action)
        rewards += step.reward
        assert step.truncated.all() == (k == 399)
        assert not step.terminated.any()
    for i, episode in enumerate(env.take_episodes()):
        assert (episode["steps"], episode["ended"]) == (400, "route_done")
        assert episode["total_cost"] == pytest.approx(50 * episode["lataccel_cost"] + episode["jerk_cost"])
        assert -rewards[i] * 500 / 400 == pytest.approx(episode["total_cost"], rel=1e-5)
        assert -episode["terms"]["jerk"] * 500 / 400 == pytest.approx(episode["jerk_cost"], rel=1e-5)
        assert episode["route"].startswith("generated/0/0000")


def test_the_last_observation_of_an_episode_is_its_own():
    task = make()
    task.reset()
    chosen = task.world.chosen.copy()
    for action in actions(400):
        step = task.step_batch(action)
    assert not np.array_equal(step.observation, step.final_observation)
    routes = task.world.routes
    np.testing.assert_allclose(step.final_observation[:, 9], routes.plans[chosen, 500, 2] / 35, rtol=1e-6)
    np.testing.assert_allclose(step.observation[:, 9], routes.plans[task.world.chosen, 100, 2] / 35, rtol=1e-6)


@pytest.mark.parametrize(
    ("driver", "before", "steps"),
    [*(("feed_forward", k, 900) for k in (0, 399, 400, 555)), ("mpc", 5, 12), ("mpc", 0, 3)],
)
def test_state_continues_bit_for_bit(driver: str, before: int, steps: int):
    given = actions(steps)
    whole, other = RacingVecEnv(make(seed=1)), RacingVecEnv(make(seed=2))
    drive, drive_other = (env.task.driver(driver) for env in (whole, other))
    whole.reset()
    for action in given[:before]:
        drive()
        whole.step_batch(action)
    other.set_state(whole.get_state())
    for action in given[before:]:
        assert drive().tobytes() == drive_other().tobytes()
        first, second = whole.step_batch(action), other.step_batch(action)
        assert first.observation.tobytes() == second.observation.tobytes()
        assert first.reward.tobytes() == second.reward.tobytes()
    assert whole.take_episodes() == other.take_episodes()


def test_what_step_returns_may_be_changed():
    calm, rough = make(), make()
    calm.reset()
    rough.reset()[0][:] = 9
    for action in actions(405):
        expected, mine = calm.step_batch(action), action.copy()
        step = rough.step_batch(mine)
        assert step.observation.tobytes() == expected.observation.tobytes()
        for array in (step.observation, step.final_observation, step.reward, step.terms, step.truncated, mine):
            array[:] = 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"action": "torque"}, "action must be one of delta, absolute, residual"),
        ({"action_scale": 0}, "action_scale must be a number"),
        ({"reward": {"speed": 1}}, "reward.speed is no reward term"),
        ({"reward": {"jerk": "much"}}, "reward.jerk must be a finite number"),
        ({"route_count": 0}, "route_count"),
        ({"dynamics": ""}, "dynamics must be default or an ONNX file"),
        ({"conditions": {"tyres": {"life": 5.0}}}, "conditions are of cars on tracks"),
        ({"mpc": {"samples": 7}}, "mpc.samples must be even, got 7"),
        ({"mpc": {"horizon": 41}}, r"mpc.horizon must be a whole number in \[2, 40\], got 41; 10 is the default"),
        ({"mpc": {"elites": 3}}, "mpc.elites is no key; use: samples, horizon, iterations, seed"),
    ],
)
def test_wrong_values_are_refused(settings: dict, message: str):
    with pytest.raises(InputError, match=message):
        make(**settings)


def test_routes_of_a_folder(folder: Path):
    task = make(routes=str(folder), holdout_routes=2)
    task.reset()
    assert task.world.routes.names == (str(folder / "00000.csv"),)
    assert make(routes=str(folder), holdout_routes=2, part=Part.TEST).world.fixed


def test_gymnasium_and_stable_baselines_check_it():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        env = gymnasium.make(ID, route_count=3, render_mode="rgb_array")
        check_gymnasium(env.unwrapped)
        check_sb3(env)
    assert env.metadata["render_fps"] == 10
    with pytest.raises(InputError, match="unknown key 'env.rays'"):
        gymnasium.make(ID, rays=3)


def test_a_car_of_many_drives_what_a_single_one_does():
    many = gymnasium.make_vec(ID, num_envs=3, route_count=5)
    single = gymnasium.make(ID, route_count=5, first_race=1)
    expected, seen = many.reset(seed=4)[0][1], single.reset(seed=4)[0]
    np.testing.assert_array_equal(seen, expected)
    for action in actions(400):
        observations, rewards, _, truncated, infos = many.step(action)
        seen, reward, _, over, info = single.step(action[1])
        assert (reward, over) == (rewards[1], truncated[1])
    np.testing.assert_array_equal(seen, infos["final_obs"][1])
    assert info["total_cost"] == infos["final_info"]["total_cost"][1]
    np.testing.assert_array_equal(single.reset()[0], observations[1])


def test_the_picture_shows_the_plan_and_what_became_of_it():
    env = gymnasium.make(ID, route_count=1, render_mode="rgb_array")
    env.reset(seed=0)
    before = env.render()
    assert (before.shape, before.dtype) == ((480, 480, 3), np.uint8)
    for _ in range(60):
        env.step(np.array([0.2], np.float32))
    after = env.render()
    blue = (after[..., 2] > 180) & (after[..., 0] < 60)
    assert 200 < blue.sum() < 4000
    assert not np.array_equal(before, after)
    for _ in range(340):
        last = env.render()
        *_, truncated, _ = env.step(np.array([0.0], np.float32))
    assert truncated
    ended = env.render()  # of the episode that has ended: moved on by one row
    assert np.abs(ended[:, :-8].astype(int) - last[:, 3:-5]).mean() < 6
    env.reset()
    assert not np.array_equal(env.render(), ended)
