"""BatchPPO does what Stable-Baselines3's PPO does, only in another order; checked against slow plain formulas."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.logger import KVWriter, Logger

from racing.algos.ppo import BatchPPO
from racing.envs.sensors import SensorsTask
from racing.envs.vec_env import RacingVecEnv
from racing.errors import InputError
from racing.sim.track import Track
from racing.sim.vehicle import Vehicle
from tests.algos.conftest import NUM_ENVS, TinyEnv
from tests.envs.conftest import stadium  # noqa: F401  (a fixture)

STEPS, GAMMA, LAMBDA = 12, 0.9, 0.8


@pytest.fixture
def collected(ppo):
    """A model with a full buffer, and the environment with its history."""
    env = TinyEnv()
    model = ppo(
        env, n_steps=STEPS, batch_size=STEPS * NUM_ENVS, gamma=GAMMA, gae_lambda=LAMBDA, log_std_init=[0.3, -0.5]
    )
    model.learn(STEPS * NUM_ENVS)  # one rollout and one update, so that the value function is not its initial one
    env.history.clear()
    _, callback = model._setup_learn(STEPS * NUM_ENVS, None, reset_num_timesteps=False)
    assert model.collect_rollouts(env, callback, model.rollout_buffer, STEPS)
    return model, env


@pytest.fixture
def make_world(stadium: Track, kart: Vehicle):  # noqa: F811
    def make(races: int = 16, seed: int = 0, **options) -> RacingVecEnv:
        return RacingVecEnv(SensorsTask([stadium], kart, races=races, seed=seed, **options))

    return make


class Rows(KVWriter):
    """Keeps what the logger writes."""

    def __init__(self, rows: list[dict]) -> None:
        self.rows = rows

    def write(self, key_values: dict, key_excluded: dict, step: int = 0) -> None:
        self.rows.append(dict(key_values))


def values_of(model: PPO, observation: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return model.policy.predict_values(torch.as_tensor(observation)).numpy().reshape(-1)


def test_the_buffer_holds_what_happened(collected):
    model, env = collected
    buffer = model.rollout_buffer
    assert len(env.history) == STEPS
    for t, (driven, step) in enumerate(env.history):
        np.testing.assert_array_equal(driven, np.clip(buffer.actions[t], -1, 1))
        if t + 1 < STEPS:
            np.testing.assert_array_equal(buffer.observations[t + 1], step.observation)
    assert (np.abs(buffer.actions) > 1).any()  # the clipping was needed
    np.testing.assert_array_equal(model._last_obs, env.history[-1][1].observation)


def test_values_and_log_probabilities_are_those_of_the_policy(collected):
    model, _ = collected
    buffer = model.rollout_buffer
    for t in range(STEPS):
        with torch.no_grad():
            values, log_prob, _ = model.policy.evaluate_actions(
                torch.as_tensor(buffer.observations[t]), torch.as_tensor(buffer.actions[t])
            )
        np.testing.assert_allclose(buffer.values[t], values.numpy().reshape(-1), atol=1e-5)
        np.testing.assert_allclose(buffer.log_probs[t], log_prob.numpy(), atol=1e-4)


def test_advantages_and_returns_against_the_slow_formula(collected):
    """Sum of (gamma lambda)^k delta_(t+k) up to the episode's end; only a truncation bootstraps at its end."""
    model, env = collected
    buffer = model.rollout_buffer
    after = values_of(model, env.history[-1][1].observation)
    ends = {"terminated": 0, "truncated": 0}
    for i in range(NUM_ENVS):
        for t in range(STEPS):
            advantage, weight = 0.0, 1.0
            for k in range(t, STEPS):
                step = env.history[k][1]
                if step.terminated[i]:
                    following = 0.0
                elif step.truncated[i]:
                    following = float(values_of(model, step.final_observation[i : i + 1])[0])
                else:
                    following = float(buffer.values[k + 1, i] if k + 1 < STEPS else after[i])
                advantage += weight * (step.reward[i] + GAMMA * following - buffer.values[k, i])
                weight *= GAMMA * LAMBDA
                if step.terminated[i] or step.truncated[i]:
                    ends["terminated" if step.terminated[i] else "truncated"] += 1
                    break
            assert buffer.advantages[t, i] == pytest.approx(advantage, abs=1e-4)
            assert buffer.returns[t, i] == pytest.approx(advantage + buffer.values[t, i], abs=1e-4)
    assert all(ends.values())


def stock_like(ours: BatchPPO, env: TinyEnv) -> PPO:
    """Stable-Baselines3's PPO with all settings of ours."""
    names = ("learning_rate", "clip_range", "policy_kwargs", "n_steps", "batch_size", "n_epochs", "gamma", "gae_lambda")
    names += ("ent_coef", "vf_coef", "max_grad_norm", "target_kl")
    return PPO("MlpPolicy", env, device="cpu", **{name: getattr(ours, name) for name in names})


def prepare(model: PPO, weights: dict[str, torch.Tensor], rollout: Any) -> list[dict]:
    """Give a model the weights and the rollout; returns the list that its records will be in."""
    rows: list[dict] = []
    model.policy.load_state_dict(weights)
    model.set_logger(Logger(None, [Rows(rows)]))
    model._current_progress_remaining = 0.7
    for name in ("observations", "actions", "rewards", "values", "log_probs", "advantages", "returns"):
        getattr(model.rollout_buffer, name)[:] = getattr(rollout, name)
    model.rollout_buffer.full = True
    if isinstance(model, BatchPPO):
        model.rollout_buffer.privileged = None
        model.rollout_buffer.finalize()
    return rows


def perturbed(model: PPO, scale: float) -> dict[str, torch.Tensor]:
    """Weights that are not those that drove: ratios differ from 1, some are clipped."""
    generator = torch.Generator().manual_seed(1)
    state = model.policy.state_dict()
    return {name: value + scale * torch.randn(value.shape, generator=generator) for name, value in state.items()}


@pytest.mark.parametrize(
    "changes",
    [{}, {"ent_coef": 0.05, "vf_coef": 0.3}, {"max_grad_norm": 0.01}, {"clip_range": 0.02}],
    ids=["default", "entropy", "gradient clipping", "ratio clipping"],
)
def test_an_update_is_that_of_stock_ppo(collected, ppo, changes):
    """Equal weights and buffers, one minibatch of everything, two epochs: equal weights afterwards."""
    model, env = collected
    options = {"n_steps": STEPS, "batch_size": STEPS * NUM_ENVS, "n_epochs": 2, "gamma": GAMMA, "gae_lambda": LAMBDA}
    ours = ppo(env, **options | changes)
    stock = stock_like(ours, env)
    weights = perturbed(model, 0.02)
    records = [prepare(one, weights, model.rollout_buffer) for one in (ours, stock)]
    for one in (ours, stock):
        one.train()
    for name, value in stock.policy.state_dict().items():
        assert not torch.equal(value, weights[name])
        np.testing.assert_allclose(ours.policy.state_dict()[name], value, atol=1e-5, err_msg=name)
    (told,) = records[0]  # at once, at the step of this update
    for name in ("train/approx_kl", "train/clip_fraction", "train/value_loss", "train/policy_loss", "train/std"):
        assert np.isfinite(told[name])
    expected = stock.logger.name_to_value["train/explained_variance"]
    assert told["train/explained_variance"] == pytest.approx(float(expected), abs=1e-5)


def fix_permutations(monkeypatch: pytest.MonkeyPatch, epochs: int) -> None:
    """Both PPOs put the same rows into the same minibatches: ours counts them by step, stock PPO by environment."""
    rng = np.random.default_rng(5)
    ours = [rng.permutation(STEPS * NUM_ENVS) for _ in range(epochs)]
    stock = iter([(rows % NUM_ENVS) * STEPS + rows // NUM_ENVS for rows in ours])
    mine = iter([torch.as_tensor(rows) for rows in ours])
    monkeypatch.setattr(np.random, "permutation", lambda _: next(stock))
    monkeypatch.setattr(torch, "randperm", lambda _, device: next(mine).to(device))


def count_gradient_steps(model: PPO) -> list[None]:
    """A list that grows by one at each step of the model's optimizer."""
    steps: list[None] = []
    model.policy.optimizer.register_step_post_hook(lambda *_: steps.append(None))
    return steps


@pytest.mark.parametrize("target_kl", [None, 0.005], ids=["all epochs", "target_kl reached in the middle"])
def test_updates_by_minibatches_are_those_of_stock_ppo(collected, ppo, monkeypatch, target_kl):
    """Three minibatches an epoch in the same order; the first one's KL divergence is 0, later ones pass the target."""
    model, env = collected
    epochs, size = 4, STEPS
    options = {"n_steps": STEPS, "batch_size": size, "n_epochs": epochs, "gamma": GAMMA, "gae_lambda": LAMBDA}
    options |= {"learning_rate": 2e-3, "log_std_init": [-1.0, 0.0]}  # far enough in an epoch for the target
    ours = ppo(env, **options, target_kl=target_kl, normalize_advantage_per_mini_batch=True)
    stock = stock_like(ours, env)
    weights = perturbed(model, 0.0)
    made, updates = [], []
    for one in (ours, stock):
        prepare(one, weights, model.rollout_buffer)
        made.append(count_gradient_steps(one))
    fix_permutations(monkeypatch, epochs)
    for one in (ours, stock):
        one.train()
        updates.append(one._n_updates)
    steps = len(made[0])
    assert steps == len(made[1])
    assert updates[0] == updates[1]
    if target_kl is None:
        assert steps == epochs * NUM_ENVS
    else:
        assert (
            NUM_ENVS < steps < epochs * NUM_ENVS and steps % NUM_ENVS
        )  # not in the first epoch, nor at the end of one
    for name, value in stock.policy.state_dict().items():
        np.testing.assert_allclose(ours.policy.state_dict()[name], value, atol=1e-5, err_msg=name)


def test_advantages_are_normalised_over_the_rollout_unless_told_otherwise(collected, ppo):
    """The two differ as soon as there is more than one minibatch."""
    model, env = collected
    results = []
    for per_mini_batch in (False, True):
        ours = ppo(env, n_steps=STEPS, batch_size=STEPS, normalize_advantage_per_mini_batch=per_mini_batch)
        prepare(ours, perturbed(model, 0.0), model.rollout_buffer)
        torch.manual_seed(3)
        ours.train()
        results.append(ours.policy.state_dict()["action_net.weight"])
    assert not torch.allclose(*results, atol=1e-4)


def test_a_small_target_kl_ends_the_update_early(ppo):
    counts = {}
    for target in (None, 1e-6):
        model = ppo(TinyEnv(), n_steps=STEPS, batch_size=STEPS, n_epochs=10, target_kl=target)
        model.learn(STEPS * NUM_ENVS)
        counts[target] = model._n_updates
    assert counts[None] == 10
    assert counts[1e-6] < 10


def test_the_same_seed_gives_the_same_bytes(ppo, make_world):
    def train(seed: int) -> list[bytes]:
        model = ppo(make_world(seed=seed), seed=seed, n_steps=16, batch_size=64)
        model.learn(3 * 16 * 16)
        return [value.numpy().tobytes() for value in model.policy.state_dict().values()]

    first = train(3)
    assert first == train(3)
    assert first != train(4)


def test_its_optimizer_has_the_epsilon_of_stock_ppo(ppo, make_world):
    """Stable-Baselines3 sets it only where no other setting of the optimizer is given."""
    ours = ppo(make_world(), n_steps=16, batch_size=64)
    stock = PPO("MlpPolicy", make_world(), n_steps=16, device="cpu")
    (group,), (wanted,) = ours.policy.optimizer.param_groups, stock.policy.optimizer.param_groups
    assert group["eps"] == wanted["eps"] == 1e-5
    assert group["fused"]


def test_stock_ppo_reads_the_saved_file(ppo, make_world, tmp_path):
    model = ppo(make_world(), n_steps=16, batch_size=64)
    model.learn(512)
    model.save(tmp_path / "policy.zip")
    loaded = PPO.load(tmp_path / "policy.zip", device="cpu")
    assert type(loaded) is PPO
    observation = np.random.default_rng(0).uniform(-1, 1, (100, 10)).astype(np.float32)
    np.testing.assert_allclose(
        loaded.predict(observation, deterministic=True)[0], model.predict(observation, deterministic=True)[0], atol=1e-6
    )
    loaded.set_env(make_world())
    loaded.learn(256)  # and goes on learning


def test_our_own_class_loads_and_goes_on(ppo, make_world, tmp_path):
    model = ppo(make_world(), n_steps=16, batch_size=64)
    model.learn(256)
    model.save(tmp_path / "policy.zip")
    loaded = BatchPPO.load(tmp_path / "policy.zip", env=make_world(), device="cpu")
    loaded.learn(256, reset_num_timesteps=False)
    assert loaded.num_timesteps == 512


@pytest.mark.slow
def test_it_learns_to_drive(ppo, make_world):
    env = make_world(64, reward={"progress": 0.1, "off_track": -3.0}, episodes={"time_limit": 20.0, "stall_time": 5.0})
    model = ppo(env, n_steps=64, batch_size=1024, n_epochs=5)
    progress = []

    def drive(steps: int) -> None:
        env.take_episodes()
        model.learn(steps, reset_num_timesteps=False)
        progress.append(np.mean([episode["progress"] for episode in env.take_episodes()]))

    drive(12_288)
    drive(61_440)
    drive(12_288)
    assert progress[2] > 2 * progress[0]
    assert progress[2] > 100  # [m] within 20 s


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"gamma": 1.5}, "algo.gamma must be a number in [0, 1], got 1.5"),
        ({"gamma": float("nan")}, "algo.gamma must be a number in [0, 1], got nan"),
        ({"learning_rate": 0}, "algo.learning_rate must be a number in"),
        ({"learning_rate": 1e-4, "learning_rate_end": 1e-3}, "algo.learning_rate_end must be <="),
        ({"n_steps": 1}, "algo.n_steps must be a whole number"),
        ({"n_epochs": 2.5}, "algo.n_epochs must be a whole number"),
        ({"batch_size": 7}, "algo.batch_size must divide algo.n_steps * algo.n_envs"),
        ({"clip_range": -0.1}, "algo.clip_range must be"),
        ({"ent_coef": "auto"}, "algo.ent_coef must be a number"),
        ({"target_kl": 0}, "algo.target_kl must be"),
        ({"log_std_init": [0.0]}, "algo.log_std_init must be 2 numbers"),
        ({"net_arch": [64, "big"]}, "sizes must be a whole number"),
        ({"activation": "sine"}, "algo.activation must be one of"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else None,
)
def test_wrong_settings_are_refused(ppo, changes, says):
    with pytest.raises(InputError) as caught:
        ppo(TinyEnv(), **{"batch_size": 32} | changes)
    assert says in str(caught.value)
