"""CMA-ES against opponents: the same ones for all policies, and who is ahead of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import Logger

from racing.algos.cmaes import RACE_FITNESS
from racing.algos.evolution.population import count_weights
from racing.envs.race import RaceTask
from racing.envs.vec_env import RacingVecEnv
from racing.errors import InputError
from racing.sim.track import Track
from racing.sim.vehicle import Vehicle
from tests.support.processes import points, state_bytes
from tests.support.signals import stopped_run, train, trained_run

SMALL: dict[str, Any] = {"population": 6, "starts": 3, "horizon": {"start": 60, "grow": 1.0, "end": 60}}
CARS = 18


class Calm(BaseCallback):
    """Lets everything happen."""

    def _on_step(self) -> bool:
        return True


class Hasty:
    """An opponent: straight ahead with a throttle of its own."""

    def __init__(self, size: int, throttle: float) -> None:
        self.name, self.shapes, self.throttle = "hasty", {"observation": (size,)}, throttle

    def predict(self, observation: np.ndarray) -> np.ndarray:
        return np.tile(np.array([0, self.throttle], np.float32), (len(observation), 1))


def race_task(track: Track, kart: Vehicle, races: int = CARS, **options: Any) -> RaceTask:
    """Races of two against a pool of two, unless it is said otherwise."""
    size = RaceTask([track], kart, races=2, cars=2).task.size
    pool = {"mix": {"pool": 1}, "pool": ["a", "b"], "opponents": [Hasty(size, -1.0), Hasty(size, 0.5)]}
    return RaceTask([track], kart, races=races, **{"cars": 2, "seed": 5, **pool, **options})


def test_who_is_ahead_by_hand():
    won, lap = np.array([[50.0, 40, 20], [30, 40, 20], [10, 40, 20]]), np.array([100.0, 100, 200])
    np.testing.assert_allclose(RACE_FITNESS["match"](won, lap), [20 + 0.2 * 100, 0, -20])
    np.testing.assert_allclose(RACE_FITNESS["rank"](won, lap), [1, 0.5, 0])


@pytest.mark.parametrize("line", [False, True])
def test_all_policies_meet_the_same_opponents_from_the_same_starts(line: bool, wavy: Track, kart: Vehicle):
    followers: dict[str, Any] = {"mix": {"line": 1}, "pool": [], "opponents": [], "pace": [0.4, 0.9]}
    task = race_task(wavy, kart, races=12, **followers if line else {})
    env = RacingVecEnv(task)
    env.reset()
    seen = set()
    for first in (0, 6):
        observation = env.reset_alike(first, 6, 40)
        np.testing.assert_array_equal(observation[:6], observation[6:])
        seen |= {row.tobytes() for row in observation}
        for _ in range(60):  # beyond the horizon and the first episodes
            step = env.step_batch(np.tile([0.05, 0.5], (12, 1)))
            np.testing.assert_array_equal(step.observation[:6], step.observation[6:])
        cars = task.world.cars
        assert cars[:6].tobytes() == cars[6:].tobytes()
        assert cars["episode"].max() > 0
    assert len(seen) == 12


def test_opponents_go_round_with_the_starts(wavy: Track, kart: Vehicle):
    task = race_task(wavy, kart, races=6)
    task.reset_alike(3, 3, 40)  # starts 3, 4, 5, 3, 4, 5 of a row in which the policies take turns
    assert [driver.cars.tolist() for driver in task.drivers] == [[3, 9], [1, 5, 7, 11]]
    paces = {"mix": {"line": 1}, "pool": [], "opponents": [], "pace": [0.4, 0.9]}
    lines = race_task(wavy, kart, races=12, cars=3, **paces)
    lines.reset_alike(4, 4, 40)
    (followers,) = lines.drivers
    levels = [0.4, 0.5, 0.6, 0.7, 0.8, 0.9]
    expected = [levels[(4 + race % 4) % 6] for race in range(12) for _ in range(2)]
    assert followers._paces.tolist() == pytest.approx(expected)  # type: ignore[attr-defined]


def test_what_is_won_counts_to_the_end_of_the_own_episode_and_of_all_of_the_rivals(wavy: Track, kart: Vehicle):
    task = race_task(wavy, kart, races=6)
    env = RacingVecEnv(task)
    env.reset()
    env.reset_alike(0, 6, 50)
    own, rivals, racing = np.zeros(6), np.zeros(6), np.ones(6, bool)
    for _ in range(50):
        env.step_batch(np.tile([0.3, 0.6], (6, 1)))
        moved = task.world.final_cars["progress_delta"]
        own += np.where(racing, moved[:, 0], 0)
        rivals += moved[:, 1]
        racing &= task.world.final_cars["ended"][:, 0] == 0
    assert task.standing is not None
    np.testing.assert_allclose(task.standing.won, np.stack([own, rivals], axis=1), rtol=1e-5)
    first = [episode["progress"] for episode in env.take_episodes()[:6]]
    assert sorted(first) == pytest.approx(sorted(own.tolist()), rel=1e-4)
    assert not racing.any()
    np.testing.assert_allclose(task.standing.lap, wavy.length, rtol=1e-6)


@pytest.mark.parametrize("fitness", ["match", "rank", "progress"])
def test_a_policy_is_judged_alike_wherever_it_stands(fitness: str, cmaes, wavy: Track, kart: Vehicle):
    model = cmaes(RacingVecEnv(race_task(wavy, kart)), **SMALL | {"fitness": fitness})
    model.set_logger(Logger(None, []))
    callback = Calm()
    callback.init_callback(model)
    draw = np.random.default_rng(0)
    weights = draw.normal(size=(6, count_weights(model.policy.sizes))) * 0.3
    values, reached = model.drive(weights, callback)
    order = draw.permutation(6)
    moved, also = model.drive(weights[order], callback)
    np.testing.assert_array_equal(moved, values[order])
    np.testing.assert_array_equal(also, reached[order])
    assert len(set(values)) > 1, values
    if fitness != "progress":
        assert model.num_timesteps == 2 * 60 * CARS  # to the horizon, whoever is out
    won, lap = model.env.task.standing.won, model.env.task.standing.lap
    if fitness in RACE_FITNESS:
        np.testing.assert_allclose(moved, RACE_FITNESS[fitness](won, lap).reshape(6, 3).mean(1))


def test_one_car_a_race_is_alone(cmaes, wavy: Track, kart: Vehicle):
    """As a first phase, with the observation of races."""
    alone: dict[str, Any] = {"cars": 1, "mix": {"alone": 1}, "pool": [], "opponents": []}
    task = race_task(wavy, kart, observed={"ahead": 1}, **alone)
    model = cmaes(RacingVecEnv(task), **SMALL | {"fitness": "progress", "generations": 1})
    model.set_logger(Logger(None, []))
    model.learn(10_000_000)
    assert model.evolution.generation == 1
    with pytest.raises(InputError, match="algo.fitness=match is of races against others; use env=race, or one of"):
        cmaes(RacingVecEnv(task), **SMALL | {"fitness": "match"})


@pytest.mark.parametrize(
    "options",
    [
        {"mix": {"alone": 1}, "pool": [], "opponents": []},
        {"mix": {"self": 1}, "pool": [], "opponents": []},
        {"mix": {"pool": 1, "self": 1}},
        {"league": {"choice": "hard"}},
    ],
    ids=["alone", "self", "mixed", "league"],
)
def test_races_that_are_not_the_same_for_all_are_refused(options: dict[str, Any], cmaes, wavy: Track, kart: Vehicle):
    with pytest.raises(InputError, match="got frames or other races; use env=mlp_preview or env=mlp, env=race with"):
        cmaes(RacingVecEnv(race_task(wavy, kart, **options)), **SMALL)


@pytest.mark.slow
def test_a_training_against_line_followers_continues_exactly(tmp_path: Path):
    run = ["algo=cmaes", "env=race", "env.cars=2", "env.line=centre", "env.mix={alone:0,self:0,line:1,pool:0}"]
    run += ["algo.fitness=match", "algo.population=8", "algo.starts=4", "algo.n_envs=32", "algo.horizon.start=40"]
    run += ["algo.horizon.end=40", "algo.total_timesteps=12800", "eval.every_steps=0", "checkpoint.every=1280"]
    run += ["hardware=cpu", "name=evolved", "track=oval", "eval.episodes=2"]
    calm = trained_run(tmp_path / "calm", *run)
    stopped = stopped_run(6000, tmp_path / "stopped", *run)
    assert train(tmp_path / "stopped", *run) == 0
    assert state_bytes(stopped, 12800) == state_bytes(calm, 12800)
    assert points(stopped) == points(calm)
