"""`env.conditions`: what policies sense of them, what rewards and facts say."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest

import racing.envs.gym_env  # noqa: F401  (registers the environments)
from racing.config import build, compose, compose_run
from racing.envs.race import RaceTask
from racing.envs.rewards import CONDITION_TERMS, RACE_TERMS, REWARD_TERMS
from racing.envs.sensors import SensorsTask
from racing.envs.vision import TELEMETRY, VisionTask
from racing.errors import InputError
from racing.renamed_keys import NO_CONDITIONS, upgraded
from racing.sim.conditions.config import SENSES
from racing.sim.records import Ending
from racing.sim.track import Track
from racing.sim.vehicle import Vehicle

WORN = {"life": 500.0, "start_wear": [0.2, 0.8], "optimal_temperature": 80.0, "temperature_window": 40.0}
CHANGING = {"tyres": WORN, "fuel": {"start": [1, 8]}, "weather": {"start_wetness": [0, 1]}}
STEER = [0.1, 0.6]


def drive(task: SensorsTask | VisionTask, steps: int, action=STEER):
    task.reset()
    for _ in range(steps):
        step = task.step_batch(np.tile(np.array(action, np.float32), (task.num_cars, 1)))
    return step


def test_policies_sense_what_is_named_scaled_after_all_else(wavy: Track, kart: Vehicle):
    plain = SensorsTask([wavy], kart, races=6, preview=2, conditions=CHANGING)
    task = SensorsTask([wavy], kart, races=6, preview=2, conditions={**CHANGING, "sensed": SENSES})
    seen, blind = drive(task, 3), drive(plain, 3)
    assert task.observation_names == [*plain.observation_names, *SENSES]
    assert task.size == task.size_alone == plain.size + 5
    np.testing.assert_array_equal(seen.observation[:, : plain.size], blind.observation)
    own = task.world.conditions.reshape(-1)
    expected = [
        own["wear"],
        (own["temperature"] - 80.0) / 40.0,
        own["fuel"] / (0.1 * kart.mass),
        own["wetness"],
        own["damage"],
    ]
    np.testing.assert_allclose(seen.observation[:, plain.size :], np.stack(expected, axis=1), rtol=1e-5)
    assert np.ptp(own["wear"]) > 0.1


def test_the_last_observation_is_that_of_the_tyres_that_it_ended_with(wavy: Track, kart: Vehicle):
    sensed = {"tyres": {"life": 20.0, "start_wear": 0.25}, "sensed": "tyre_wear"}
    task = SensorsTask(
        [wavy], kart, races=8, conditions=sensed, episodes={"time_limit": 1.0, "start_lateral_offset": 0.0}
    )
    step = drive(task, 10, [0.3, 0.0])
    assert step.truncated.all()
    final = step.final_observation[:, -1]
    np.testing.assert_allclose(final, task.world.final_conditions["wear"].reshape(-1))
    assert (final > 0.255).all()
    np.testing.assert_allclose(step.observation[:, -1], 0.25)
    facts = task.last_episode(3)["conditions"]
    assert facts["tyre_wear"] == pytest.approx(final[3])
    assert set(facts) == set(SENSES)


def test_what_is_sensed_of_a_car_that_does_not_change_is_zero(wavy: Track, kart: Vehicle):
    task = SensorsTask([wavy], kart, races=2, conditions={"sensed": ["wetness", "fuel"]})
    assert task.world.conditions is None
    assert task.observation_names[-2:] == ["fuel", "wetness"]
    np.testing.assert_array_equal(drive(task, 2).observation[:, -2:], 0)
    assert "conditions" not in task.last_episode(0)


def test_wear_is_a_reward_term(wavy: Track, kart: Vehicle):
    reward = {"progress": 0.0, "tyre_wear": -100.0}
    task = SensorsTask([wavy], kart, races=4, conditions={"tyres": {"life": 50.0}}, reward=reward)
    step = drive(task, 3, [0.4, 0.3])
    assert task.reward_terms == (*REWARD_TERMS, *CONDITION_TERMS)
    worn = task.world.final_conditions["wear_delta"].reshape(-1)
    np.testing.assert_allclose(step.reward, -100.0 * worn, rtol=1e-5)
    assert (worn > 0).all()
    assert SensorsTask([wavy], kart, races=4, reward=reward).reward_terms == REWARD_TERMS  # nothing wears there


def test_damage_is_a_reward_term_and_ends_an_episode_for_good(wavy: Track, kart: Vehicle):
    """The cars of a race pushed into each other: those that are ruined retire, which is no time limit."""
    rules = {"damage": {"closing_speed": 2.0}, "sensed": ["damage"]}
    race = {"near": 1.0, "window": 8.0}
    task = SensorsTask([wavy], kart, races=8, cars=4, race=race, conditions=rules, reward={"damage": -1.0})
    assert task.reward_terms == (*REWARD_TERMS, *RACE_TERMS, *CONDITION_TERMS)
    task.reset()
    retired = 0
    for _ in range(60):
        step = task.step_batch(np.random.default_rng(1).uniform(-0.2, 1, (32, 2)))
        hurt = task.world.final_conditions["damage_delta"].reshape(-1)
        np.testing.assert_allclose(step.reward, -hurt, atol=1e-6)
        out = task.final_cars["ended"] == Ending.RETIRED
        assert step.terminated[out].all()
        assert not step.truncated[out].any()
        np.testing.assert_allclose(step.final_observation[out, task.size_alone - 1], 1.0)
        np.testing.assert_array_equal(step.observation[out, task.size_alone - 1], 0.0)
        retired += int(out.sum())
    assert retired > 0


def test_a_camera_s_car_feels_them_beside_its_other_telemetry(wavy: Track, kart: Vehicle):
    task = VisionTask([wavy], kart, races=3, width=32, height=32, conditions={**CHANGING, "sensed": ["tyre_wear"]})
    assert task.observation_names == [*TELEMETRY, "tyre_wear"]
    assert task.observation_space["telemetry"].shape == (10,)
    felt = drive(task, 2).observation["telemetry"]
    np.testing.assert_allclose(felt[:, 9], task.world.conditions["wear"].reshape(-1), rtol=1e-6)
    plain = VisionTask([wavy], kart, races=3, width=32, height=32, conditions=CHANGING)
    np.testing.assert_array_equal(drive(plain, 2).observation["telemetry"], felt[:, :9])


def test_the_group_of_conf_is_what_earlier_versions_did(wavy: Track, kart: Vehicle):
    env = compose_run(["env=mlp"])["env"]
    assert env["conditions"] == NO_CONDITIONS
    before = {key: value for key, value in env.items() if key != "conditions"}
    assert upgraded({"env": before})["env"] == env


@pytest.mark.parametrize("name", ["stint", "rain", "drying", "damage"])
def test_each_choice_of_conf_drives(wavy: Track, kart: Vehicle, name: str):
    cfg = compose("train", [f"conditions={name}", "env=race"])
    task = build(cfg.env)(tracks=[wavy], vehicle=kart, races=12)
    assert isinstance(task, RaceTask)
    assert task.world.conditions is not None
    task.reset()
    step = task.step_batch(np.zeros((12, 2), np.float32))
    assert np.isfinite(step.observation).all()
    assert set(task.world.condition_rules.sensed) <= set(task.task.observation_names)


def test_gymnasium_takes_them(wavy: Track):
    env = gymnasium.make("racing/Sensors-v0", track="circuit", conditions={"weather": {"start_wetness": 1.0}})
    env.reset(seed=1)
    assert env.unwrapped.task.world.conditions["wetness"][0, 0] == 1
    with pytest.raises(InputError, match=r"conditions.weather.start_wetness must be a number or \[low, high\]"):
        gymnasium.make("racing/Sensors-v0", track="circuit", conditions={"weather": {"start_wetness": 2}})
