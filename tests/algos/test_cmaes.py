"""CMA-ES: the strategy on functions whose optimum is known, a population as its policies, fair generations."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import KVWriter, Logger

from racing.algos.cmaes import EvolvedPolicy, lap_score
from racing.algos.evolution.population import Population, count_weights
from racing.algos.evolution.strategy import Strategy
from racing.envs.race import RaceTask
from racing.envs.sensors import SensorsTask
from racing.envs.vec_env import RacingVecEnv
from racing.envs.vision import VisionTask
from racing.errors import InputError
from racing.sim.track import Track
from racing.sim.vehicle import Vehicle

NOISY = {"mass": [0.8, 1.2], "ray_noise": [0.1, 1.0], "command_delay": [0.0, 0.3]}
SMALL = {"population": 8, "starts": 2, "horizon": {"start": 20, "grow": 1.5, "end": 60}}


class Calm(BaseCallback):
    """Lets everything happen."""

    def _on_step(self) -> bool:
        return True


def judged(model: Any, weights: np.ndarray) -> tuple[Any, Any]:
    """What `drive` gives."""
    callback = Calm()
    callback.init_callback(model)
    return model.drive(weights, callback)


class Kept(KVWriter):
    """Keeps what the logger writes, by name."""

    def __init__(self) -> None:
        self.values: dict[str, list[float]] = {}

    def write(self, key_values: dict[str, Any], key_excluded: dict[str, Any], step: int = 0) -> None:
        for name, value in key_values.items():
            self.values.setdefault(name, []).append(value)

    def close(self) -> None:
        pass


@pytest.fixture
def model_of(cmaes, wavy: Track, kart: Vehicle):
    """model_of(env={}, **changes): a small model, ready to learn."""

    def make(env: dict[str, Any] | None = None, tracks: list[Track] | None = None, **changes: Any):
        settings = SMALL | changes
        cars = settings["population"] * settings["starts"]
        task = SensorsTask(tracks or [wavy], kart, races=cars, seed=5, **(env or {}))
        model = cmaes(RacingVecEnv(task), **settings)
        model.set_logger(Logger(None, [Kept()]))
        return model

    return make


def minimum(function, generations: int, **settings: Any) -> float:
    """The least value at the mean within so many generations."""
    strategy = Strategy(np.full(10, 1.0), 0.5, seed=3, **settings)
    least = np.inf
    for _ in range(generations):
        points = strategy.ask()
        strategy.tell(points, -function(points))
        least = min(least, float(function(strategy.mean[None])[0]))
    return least


@pytest.mark.parametrize("diagonal", [False, True])
def test_the_sphere_is_solved(diagonal: bool):
    assert minimum(lambda x: (x**2).sum(1), 149, candidates=16, diagonal=diagonal) < 1e-8


def test_a_narrow_valley_across_all_axes_is_solved():
    """Only with a whole covariance, drawn from along its own axes."""
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(10, 10)))[0]
    scale = 10.0 ** np.linspace(0, 4, 10)

    def valley(x: np.ndarray) -> np.ndarray:
        return (scale * (x @ turn) ** 2).sum(1)

    assert minimum(valley, 300, candidates=16) < 1e-8
    assert minimum(valley, 300, candidates=16, diagonal=True) > 1e-3


def test_noise_slows_the_steps_down():
    """Learning-rate adaptation gets nearer to the optimum under noise than the plain strategy does."""
    noise = np.random.default_rng(0)

    def found(lr_adapt: bool) -> float:
        strategy = Strategy(np.full(10, 1.0), 0.5, candidates=10, seed=3, lr_adapt=lr_adapt)
        for _ in range(1500):
            points = strategy.ask()
            strategy.tell(points, -(points**2).sum(1) - noise.normal(size=10))
        return float((strategy.mean**2).sum())

    assert found(True) < 0.5 * found(False)


@pytest.mark.parametrize("diagonal", [False, True])
def test_a_strategy_continues_from_its_state(diagonal: bool):
    def evolve(strategy: Strategy, generations: int) -> Strategy:
        for _ in range(generations):
            points = strategy.ask()
            strategy.tell(points, -np.abs(points - 3).sum(1))
        return strategy

    settings = {"candidates": 9, "seed": 4, "diagonal": diagonal}
    first = evolve(Strategy(np.zeros(7), 0.3, **settings), 20)
    state = first.state_dict()
    again = Strategy(np.ones(7), 2.0, **settings)
    again.load_state_dict(state)
    assert np.array_equal(evolve(again, 20).ask(), evolve(first, 20).ask())
    assert not np.array_equal(first.ask(), evolve(Strategy(np.zeros(7), 0.3, **settings | {"seed": 5}), 40).ask())
    third = Strategy(np.ones(7), 2.0, **settings)
    third.load_state_dict(state)  # what was loaded went on in memory of its own
    assert third.generation == 20
    assert np.array_equal(evolve(third, 20).ask(), first.ask())
    for other in (settings | {"candidates": 8}, settings | {"diagonal": not diagonal}):
        with pytest.raises(ValueError, match="of another size, or of another version"):
            Strategy(np.zeros(7), 0.3, **other).load_state_dict(state)


@pytest.mark.parametrize("hidden", [0, 5])
def test_a_population_acts_as_each_of_its_policies(hidden: int, wavy: Track, kart: Vehicle):
    task = SensorsTask([wavy], kart, races=1)
    draw = np.random.default_rng(0)
    policy = EvolvedPolicy(task.observation_space, task.action_space, hidden=hidden)
    weights = draw.normal(size=(6, count_weights(policy.sizes)))
    observation = draw.uniform(-1, 1, (18, task.size)).astype(np.float32)
    actions = Population(weights, policy.sizes).act(observation)
    assert actions.shape == (18, 2)
    for k in range(6):
        policy.weights = weights[k]
        np.testing.assert_array_equal(policy.weights, weights[k].astype(np.float32))
        rows = slice(3 * k, 3 * k + 3)
        expected = policy.predict(observation[rows], deterministic=True)[0]
        np.testing.assert_allclose(actions[rows], expected, rtol=0, atol=1e-6)
    assert np.abs(actions).max() > 0.9


def test_all_policies_have_the_same_starts_and_new_ones_each_generation(wavy: Track, eight: Track, kart: Vehicle):
    tracks = [wavy, eight, wavy]
    task = SensorsTask(tracks, kart, races=8, seed=3, randomize=NOISY)
    larger = SensorsTask(tracks, kart, races=12, seed=3, randomize=NOISY)
    env = RacingVecEnv(task)
    env.reset()
    seen, all_starts = [], larger.reset()[0]
    for first in (0, 4, 8):
        observation = env.reset_alike(first, 4, 30)
        expected = all_starts[first : first + 4]
        np.testing.assert_array_equal(observation, np.concatenate([expected, expected]))
        np.testing.assert_array_equal(task.cars["track"], [(first + i % 4) % 3 for i in range(8)])
        seen += [row.tobytes() for row in observation]
        for _ in range(35):
            step = env.step_batch(np.zeros((8, 2)))
            np.testing.assert_array_equal(step.observation[:4], step.observation[4:])  # noise, new starts and all
    assert len(set(seen)) == 12
    env.task.world.restart_all()
    np.testing.assert_array_equal(env.reset(), larger.reset_alike(0, 12, 30)[0][:8])


def test_episodes_last_to_the_horizon_until_all_begins_anew(wavy: Track, kart: Vehicle):
    task = SensorsTask([wavy], kart, races=4, episodes={"time_limit": 2.0, "time_limit_min": 1.0})
    env = RacingVecEnv(task)

    def longest() -> int:
        for _ in range(40):
            env.step_batch(np.zeros((4, 2)))
        return max(episode["steps"] for episode in env.take_episodes())

    env.reset_alike(0, 2, 25)
    assert longest() == 25
    task.world.restart_all()
    env.reset()
    assert 10 < longest() <= 20


def test_only_episodes_that_count_are_recorded(wavy: Track, kart: Vehicle):
    def driven(counted: np.ndarray | None) -> list[dict]:
        env = RacingVecEnv(SensorsTask([wavy], kart, races=4))
        env.reset_alike(0, 4, 10)
        for step in range(20):
            env.step_batch(np.zeros((4, 2)), counted if step < 10 else None)
        return env.take_episodes()

    every = driven(None)
    assert [episode["steps"] for episode in every] == [10] * 8
    assert driven(np.array([True, False, True, False])) == [every[0], every[2], *every[4:]]


@pytest.mark.parametrize("fitness", ["return", "progress", "lap_time"])
def test_a_policy_is_judged_alike_wherever_it_stands(fitness: str, model_of):
    """Equal policies have equal fitness; permuted policies have permuted fitness."""
    model = model_of({"randomize": NOISY, "rays": 3}, fitness=fitness)
    draw = np.random.default_rng(0)
    count = count_weights(model.policy.sizes)
    weights = draw.normal(size=(8, count)) * 0.3
    values, reached = judged(model, weights)
    assert len(set(values)) >= 7
    order = draw.permutation(8)
    moved, also = judged(model, weights[order])
    np.testing.assert_array_equal(moved, values[order])
    np.testing.assert_array_equal(also, reached[order])
    same, _ = judged(model, np.repeat(weights[:1], 8, axis=0))
    assert set(same) == {values[0]}


@pytest.mark.parametrize("horizon", [10, 40])
def test_the_first_episode_counts_up_to_the_horizon(horizon: int, model_of):
    """A policy that does nothing, against its cars driven by hand; it leaves the road between 10 and 40 steps."""
    model = model_of(horizon={"start": horizon, "grow": 1.0, "end": horizon})
    values, reached = judged(model, np.zeros((8, count_weights(model.policy.sizes))))
    env = RacingVecEnv(SensorsTask(model.env.task.tracks, model.env.task.vehicle, races=2, seed=0))
    env.reset()
    returns, driving, steps = np.zeros(2), np.ones(2, bool), 0
    while steps < horizon and driving.any():
        steps += 1
        step = env.step_batch(np.zeros((2, 2)))
        returns += np.where(driving, step.reward, 0)
        driving &= ~step.terminated
    np.testing.assert_allclose(values, returns.mean(), rtol=1e-5)
    assert set(reached) == {horizon == 10} == {driving.all()}
    assert model.num_timesteps == 16 * steps
    assert (steps < horizon) == (horizon == 40)  # a generation is over with its last episode


def test_each_generation_has_starts_of_its_own(model_of):
    model = model_of()
    weights = np.zeros((8, count_weights(model.policy.sizes)))
    first, again = judged(model, weights)[0], judged(model, weights)[0]
    assert np.array_equal(first, again)
    model.evolution.tell(model.evolution.ask(), np.arange(7))
    assert not np.array_equal(judged(model, weights)[0], first)


def test_a_lap_is_worth_more_than_any_way_to_it():
    scores = [lap_score({"laps": laps, "lap_time": time, "progress": way}) for laps, time, way in LAPS]
    assert scores == sorted(scores)
    assert len(set(scores)) == len(scores)


LAPS = [(0, 0.0, 0.0), (0, 0.0, 10.0), (0, 0.0, 7000.0), (1, 400.0, 7000.0), (1, 40.0, 1000.0), (2, 39.0, 2000.0)]


def test_the_horizon_grows_with_those_who_reach_it(model_of):
    model = model_of(horizon={"start": 4, "grow": 1.5, "end": 8})
    model.learn(16 * (4 + 6 + 8 + 8))
    (kept,) = model.logger.output_formats
    assert kept.values["train/horizon"] == [4, 6, 8, 8]
    assert all(0.3 < share <= 1 for share in kept.values["train/survivors"])
    long = model_of(horizon={"start": 2000, "grow": 1.5, "end": 4000})  # nobody gets there
    long.learn(1)
    assert long.horizon == 2000


def test_the_mean_is_what_is_kept(model_of):
    model = model_of()
    assert not model.policy.weights.any()
    model.learn(1)
    np.testing.assert_array_equal(model.policy.weights, model.evolution.mean.astype(np.float32))
    assert model.policy.weights.any()
    (kept,) = model.logger.output_formats
    values, _ = judged(model_of(), np.zeros((8, len(model.policy.weights))))
    assert kept.values["train/fitness_of_mean"] == [values[0]]


def test_weights_that_it_was_given_are_left_in_small_steps(model_of):
    fresh, given = model_of(), model_of()
    given.policy.weights = np.full(len(given.policy.weights), 0.25)
    for model in (fresh, given):
        model.learn(1)
    assert np.abs(given.policy.weights - 0.25).max() < 0.15  # 0.05 times a few
    assert 0.7 < given.evolution.sigma / 0.05 < 1.4
    assert 0.7 < fresh.evolution.sigma / 0.1 < 1.4


def test_evolution_that_diverged_ends(model_of):
    model = model_of()
    state = model.evolution.state_dict()
    model.evolution.load_state_dict({**state, "_sigma": 1e7})
    with pytest.raises(InputError, match=r"step size must stay below 1e\+06, it grew to .*algo.lr_adapt=false"):
        model.learn(1)


def test_it_ends_after_so_many_generations(model_of):
    model = model_of(generations=3)
    model.learn(10_000_000)
    assert model.evolution.generation == 3


def test_evolution_raises_the_fitness(model_of):
    model = model_of(population=24, starts=4, horizon={"start": 100, "grow": 1.5, "end": 100}, generations=25)
    model.learn(10_000_000)
    (kept,) = model.logger.output_formats
    of_mean = kept.values["train/fitness_of_mean"]
    assert np.mean(of_mean[-5:]) > np.mean(of_mean[:5]) + 1
    assert kept.values["train/fitness_best"][-1] >= kept.values["train/fitness_mean"][-1]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"hidden": -1}, "algo.hidden must be a whole number"),
        (
            {"hidden": 60_000},
            "weights, evolution takes at most 2,000; lower it, or learn by gradients: algo=sac or algo=ppo",
        ),
        ({"hidden": 30, "covariance": "full"}, "algo.covariance=full takes at most 300 weights, algo.hidden makes 392"),
        ({"covariance": "round"}, "algo.covariance must be one of auto, full, diagonal, got 'round'"),
        ({"covariance": "diagonal", "lr_adapt": True}, "algo.lr_adapt needs the full covariance"),
        ({"lr_adapt": 1}, "algo.lr_adapt must be true or false, got 1"),
        ({"population": 4}, "algo.population must be a whole number in [5"),
        ({"starts": 0}, "algo.starts must be a whole number"),
        ({"starts": 3}, "algo.n_envs must be algo.population * algo.starts = 24, got 16; write algo.n_envs=24"),
        ({"sigma": 0}, "algo.sigma must be a number"),
        ({"init_sigma": "small"}, "algo.init_sigma must be a number"),
        ({"generations": 0}, "algo.generations must be a whole number"),
        ({"fitness": "rank"}, "algo.fitness=rank is of races against others; use env=race, or one of return, progress"),
        ({"fitness": "speed"}, "algo.fitness must be one of return, progress, lap_time, match, rank, got 'speed'"),
        ({"horizon": {"start": 10, "grow": 0.5, "end": 20}}, "algo.horizon.grow must be a number in [1, 100]"),
        ({"horizon": {"start": 30, "grow": 2, "end": 20}}, "algo.horizon.start must be <= end 20, got 30"),
        ({"horizon": {"begin": 30}}, "algo.horizon.begin is no key; use: start, grow, end"),
        ({"horizon": 30}, "algo.horizon must be a group of keys"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_wrong_settings_are_refused(cmaes, changes: dict, says: str, wavy: Track, kart: Vehicle):
    with pytest.raises(InputError) as caught:
        cmaes(RacingVecEnv(SensorsTask([wavy], kart, races=16)), **SMALL | changes)
    assert says in str(caught.value)


@pytest.mark.parametrize("task", [VisionTask, RaceTask])
def test_frames_and_races_are_refused(task: Any, cmaes, wavy: Track, kart: Vehicle):
    with pytest.raises(InputError, match="alone or each in a race of its own, got frames or other races; use env=mlp"):
        cmaes(RacingVecEnv(task([wavy], kart, races=16)), **SMALL)


def test_the_covariance_is_whole_where_it_can_be(cmaes, wavy: Track, kart: Vehicle):
    def diagonal(hidden: int, covariance: str) -> bool:
        env = RacingVecEnv(SensorsTask([wavy], kart, races=16))
        return cmaes(env, hidden=hidden, covariance=covariance, **SMALL).settings["diagonal"]

    assert [diagonal(22, "auto"), diagonal(23, "auto"), diagonal(0, "diagonal")] == [
        False,
        True,
        True,
    ]  # 288, 301 weights


def test_hidden_units_begin_apart(model_of):
    """Otherwise all of them would stay alike; the action begins at zero."""
    model = model_of(hidden=4)
    first = model.policy.net[0].weight
    assert len(torch.unique(first)) == first.numel()
    assert not model.policy.predict(np.ones((1, 10), np.float32), deterministic=True)[0].any()
