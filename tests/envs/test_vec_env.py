"""RacingVecEnv keeps Stable-Baselines3's contract, gives copies away, and continues from its state bit for bit."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import VecMonitor

from racing.envs.rewards import REWARD_TERMS
from racing.envs.task import DrivingTask
from racing.envs.vec_env import RacingVecEnv
from racing.envs.vision import VisionTask
from racing.sim.records import Ending
from tests.envs.conftest import place


@pytest.fixture
def make_env(make_task):
    """make_env(races=8, **env): short episodes that end in every way."""

    def make(races: int = 8, **options) -> RacingVecEnv:
        options.setdefault(
            "episodes", {"time_limit": 3.0, "stall_time": 1.0, "start_lateral_offset": 1.0, "start_heading_error": 0.3}
        )
        return RacingVecEnv(make_task(races, **options))

    return make


def commands(steps: int, cars: int = 8, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1, 1, (steps, cars, 2)).astype(np.float32)


def drive(env: RacingVecEnv, actions: np.ndarray) -> list[tuple]:
    """What step() gave, as plain values that compare exactly."""
    rows = []
    for action in actions:
        observation, reward, done, infos = env.step(action)
        rows.append((observation.tobytes(), reward.tobytes(), done.tobytes(), _plain(infos)))
    return rows


def _plain(infos: list[dict]) -> str:
    return repr([{k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in info.items()} for info in infos])


def test_shapes_types_and_spaces(make_env):
    env = make_env()
    observation = env.reset()
    assert observation.shape == (8, *env.observation_space.shape)
    assert observation.dtype == env.observation_space.dtype == np.float32
    for action in commands(60):
        observation, reward, done, infos = env.step(action)
        assert (reward.shape, done.shape, done.dtype, len(infos)) == ((8,), (8,), np.bool_, 8)
        assert all(env.observation_space.contains(row) for row in observation)
    assert all(env.action_space.contains(action) for action in commands(1)[0])


def test_ended_episodes_carry_their_last_observation_and_say_how_they_ended(make_env):
    env = make_env()
    observation = env.reset()
    seen = set()
    for action in commands(200):
        observation, _, done, infos = env.step(action)
        for i in range(8):
            assert ("terminal_observation" in infos[i]) == done[i]
            if done[i]:
                episode = infos[i]["racing"]
                seen.add(episode["ended"])
                truncated = episode["ended"] in ("time_limit", "laps_done")
                assert infos[i]["TimeLimit.truncated"] is truncated
                last = infos[i]["terminal_observation"]
                final = env.task.world.final_cars.reshape(-1)[i]
                assert last[7] == final["v"] * np.float32(1 / 35)
                assert final["steps"] == infos[i]["episode"]["l"]
                assert not np.array_equal(last, observation[i])
                assert infos[i]["episode"] == {"r": episode["reward"], "l": episode["steps"], "t": 0.0}
    assert {"off_track", "time_limit"} <= seen <= {ending.label for ending in Ending}


def test_accounts_of_episodes_add_up(make_env):
    env = make_env()
    env.reset()
    rewards, steps = np.zeros(8), np.zeros(8, int)
    checked = 0
    for action in commands(120):
        _, reward, done, infos = env.step(action)
        rewards += reward
        steps += 1
        for i in np.flatnonzero(done):
            episode = infos[i]["racing"]
            assert episode["reward"] == pytest.approx(rewards[i], abs=1e-5)
            assert sum(episode["terms"].values()) == pytest.approx(rewards[i], abs=1e-4)
            assert set(episode["terms"]) == set(REWARD_TERMS)
            assert episode["steps"] == steps[i]
            rewards[i] = steps[i] = 0
            checked += 1
    assert checked > 20
    assert len(env.take_episodes()) == checked
    assert env.take_episodes() == []


def test_what_step_returns_is_not_touched_later_and_may_be_changed(make_env):
    calm, rough = make_env(), make_env()
    actions = commands(80)
    kept = [calm.reset()]
    bytes_then = [kept[0].tobytes()]
    expected = []
    for action in actions:
        observation, reward, done, infos = calm.step(action)
        expected.append((observation.tobytes(), reward.tobytes(), done.tobytes(), _plain(infos)))
        kept.append(observation)
        bytes_then.append(observation.tobytes())
    assert [array.tobytes() for array in kept] == bytes_then
    rough.reset()[:] = 7
    for action, row in zip(actions, expected, strict=True):
        mine = action.copy()
        observation, reward, done, infos = rough.step(mine)
        assert (observation.tobytes(), reward.tobytes(), done.tobytes(), _plain(infos)) == row
        observation[:], reward[:], done[:], mine[:] = 99, 99, True, 99
        for info in infos:
            info.get("terminal_observation", np.zeros(1))[:] = 99
            info.get("racing", {}).get("terms", {}).clear()


def test_state_continues_bit_for_bit_with_the_accounts_of_running_episodes(make_env):
    actions = commands(160)
    whole = make_env()
    whole.reset()
    drive(whole, actions[:70])
    state = whole.get_state()
    rest = drive(whole, actions[70:])
    assert any("racing" in row[3] for row in rest)
    other = make_env(seed=5)  # a seed that differs shows whether the state is complete, but for the seed itself
    other.task.world.reseed(0)
    other.reset()
    other.set_state(state)
    assert drive(other, actions[70:]) == rest
    assert other.take_episodes() == whole.take_episodes()
    whole.set_state(state)  # the state was not changed by either
    assert drive(whole, actions[70:]) == rest


def test_a_state_of_another_size_is_refused(make_env):
    small, large = make_env(4), make_env(8)
    with pytest.raises(ValueError, match="does not fit"):
        large.set_state(small.get_state())


@pytest.mark.slow
def test_what_a_critic_may_see_comes_with_each_observation(make_env, stadium, kart):
    assert make_env().privileged is None
    assert make_env().stack == 1
    task = VisionTask([stadium], kart, races=3, width=16, height=16, frame_stack=2, episodes={"time_limit": 0.5})
    env = RacingVecEnv(task)
    assert env.stack == 2
    assert env.privileged.shape == (3, task.privileged_size) == (3, 10)
    assert not env.privileged.any()  # before the first reset

    def sensed() -> np.ndarray:
        return task.sensors.observe()

    env.reset()
    np.testing.assert_array_equal(env.privileged, sensed())
    for action in commands(7, 3):
        step = env.step_batch(action)
        np.testing.assert_array_equal(env.privileged, sensed())
        assert env.privileged is step.privileged
    other = RacingVecEnv(VisionTask([stadium], kart, races=3, width=16, height=16, frame_stack=2))
    other.set_state(env.get_state())
    np.testing.assert_array_equal(other.privileged, env.privileged)
    assert step.truncated.sum() == 0 < len(env.take_episodes())


def test_both_tasks_are_driving_tasks(make_task, stadium, kart):
    for task in (make_task(), VisionTask([stadium], kart, races=1, width=16, height=16)):
        assert isinstance(task, DrivingTask)
        assert len(task.reward_terms) == len(task.weights)


def test_seeds(make_env):
    actions = commands(40)

    def from_seed(seed: int) -> list:
        env = make_env()
        env.seed(seed)
        return [env.reset().tobytes(), *drive(env, actions)]

    assert from_seed(3) == from_seed(3)
    assert from_seed(3)[0] != from_seed(4)[0]
    env = make_env(seed=3)
    assert env.reset().tobytes() != env.reset().tobytes()  # without a seed, the next episodes
    env.seed(3)
    assert [env.reset().tobytes(), *drive(env, actions)] == from_seed(3)


def test_reset_forgets_running_episodes(make_env):
    env = make_env()
    env.reset()
    drive(env, commands(5))
    env.reset()
    for i in range(8):
        place(env.task, i, x=0.0, y=50.0)  # far off the road
    _, reward, done, infos = env.step(commands(1)[0])
    assert done.all()
    assert [info["episode"]["l"] for info in infos] == [1] * 8
    np.testing.assert_allclose([info["episode"]["r"] for info in infos], reward, rtol=1e-6)


def test_attributes_and_methods_belong_to_the_batch(make_env):
    env = make_env(4)
    assert env.get_attr("render_mode") == [None] * 4
    assert env.env_method("take_episodes", indices=[0, 1]) == [[], []]
    env.set_attr("mark", 3)
    assert env.get_attr("mark", 2) == [3]
    assert env.env_is_wrapped(VecMonitor) == [False] * 4
    assert env.get_images()[0].shape == (480, 480, 3)


def test_stock_ppo_learns_on_it(make_env):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = PPO("MlpPolicy", VecMonitor(make_env()), n_steps=16, batch_size=64, n_epochs=2, seed=0, device="cpu")
        before = model.policy.state_dict()["action_net.weight"].clone()
        model.learn(512)
    assert model.num_timesteps == 512
    assert len(model.ep_info_buffer) > 5
    assert not np.array_equal(before, model.policy.state_dict()["action_net.weight"])
