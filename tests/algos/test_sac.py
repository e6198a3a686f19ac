"""SAC: the losses of Stable-Baselines3 where their settings are the same, and what differs."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from stable_baselines3 import SAC
from stable_baselines3.common.logger import Logger

from racing.algos.critics import StackedCritics, StackedLayerNorm, StackedLinear
from racing.algos.sac import squashed_sample
from racing.envs.sensors import SensorsTask
from racing.envs.vec_env import RacingVecEnv
from racing.errors import InputError
from racing.sim.track import Track
from racing.sim.vehicle import Vehicle
from tests.algos.conftest import TinyEnv

SMALL = {"buffer_size": 2000, "learning_starts": 100, "batch_size": 64, "gradient_steps": 1, "net_arch": [32, 32]}


def test_it_learns_saves_and_loads_as_stock_sac(sac, wavy: Track, kart: Vehicle, tmp_path):
    env = RacingVecEnv(SensorsTask([wavy], kart, races=8))
    model = sac(env, **SMALL)
    before = [parameter.clone() for parameter in model.policy.actor.parameters()]
    model.learn(600)
    assert not all(torch.equal(a, b) for a, b in zip(before, model.policy.actor.parameters(), strict=True))
    model.save(tmp_path / "policy.zip")
    loaded = SAC.load(tmp_path / "policy.zip", device="cpu")
    observation = np.random.default_rng(0).uniform(-1, 1, (100, 10)).astype(np.float32)
    expected = model.predict(observation, deterministic=True)[0]
    np.testing.assert_array_equal(loaded.predict(observation, deterministic=True)[0], expected)
    assert (np.abs(expected) <= 1).all()


def test_the_same_seed_gives_the_same_bytes(sac, wavy: Track, kart: Vehicle):
    def train(seed: int) -> list[bytes]:
        model = sac(RacingVecEnv(SensorsTask([wavy], kart, races=8, seed=seed)), seed=seed, **SMALL)
        model.learn(300)
        return [value.numpy().tobytes() for value in model.policy.state_dict().values()]

    first = train(1)
    assert first == train(1)
    assert first != train(2)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"tau": 0}, "algo.tau must be a number in [1e-06, 1], got 0"),
        ({"gamma": -0.1}, "algo.gamma must be"),
        ({"buffer_size": 0}, "algo.buffer_size must be a whole number"),
        ({"gradient_steps": 1.5}, "algo.gradient_steps must be a whole number"),
        ({"learning_rate": 2}, "algo.learning_rate must be a number in"),
        ({"ent_coef": "automatic"}, "algo.ent_coef must be a number in [0, 1000], got 'automatic'"),
        ({"ent_coef": "auto_0.0"}, "algo.ent_coef=auto_0.0 must start above 0"),
        ({"ent_coef": -1.0}, "algo.ent_coef must be"),
        ({"target_entropy": "automatic"}, "algo.target_entropy must be a number in [-1000, 1000], got 'automatic'"),
        ({"critic_norm": "batch"}, "algo.critic_norm must be one of layer, none, got 'batch'"),
        ({"policy_delay": 0}, "algo.policy_delay must be a whole number"),
        ({"n_steps": 0}, "algo.n_steps must be a whole number"),
        ({"net_arch": "big"}, "algo.net_arch must be a list"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else None,
)
def test_wrong_settings_are_refused(sac, changes, says):
    with pytest.raises(InputError) as caught:
        sac(TinyEnv(), **changes)
    assert says in str(caught.value)


@pytest.mark.parametrize("ent_coef", [0.1, "auto", "auto_0.5", 0])
def test_temperatures(sac, ent_coef):
    assert sac(TinyEnv(), ent_coef=ent_coef).ent_coef == ent_coef


@pytest.mark.parametrize("target_entropy, is_then", [("auto", -2.0), (-4, -4.0)])
def test_target_entropies(sac, target_entropy, is_then):
    assert sac(TinyEnv(), target_entropy=target_entropy).target_entropy == is_then


def plain(sac):
    """A model that updates as Stable-Baselines3's, and a batch for it."""
    same = {"n_steps": 1, "policy_delay": 1, "critic_norm": "none", "net_arch": [16, 16], "ent_coef": 0.3}
    model = sac(TinyEnv(), **same)
    draw = np.random.default_rng(0)

    def tensor(*shape: int) -> torch.Tensor:
        return torch.as_tensor(draw.uniform(-1, 1, shape), dtype=torch.float32)

    batch = SimpleNamespace(
        observations=tensor(64, 4),
        actions=tensor(64, 2),
        next_observations=tensor(64, 4),
        dones=(tensor(64, 1) > 0.5).float(),
        rewards=tensor(64, 1),
        discounts=torch.full((64, 1), 0.9),
    )
    return model, batch


def as_separate(stacked: StackedCritics, index: int) -> torch.nn.Sequential:
    """One of the critics, of torch's own layers."""
    layers: list[torch.nn.Module] = []
    for layer in stacked.layers:
        if isinstance(layer, StackedLinear):
            made: torch.nn.Module = torch.nn.Linear(*layer.weight.shape[1:])
            made.weight.data, made.bias.data = layer.weight.data[index].T.clone(), layer.bias.data[index, 0].clone()
        elif isinstance(layer, StackedLayerNorm):
            made = torch.nn.LayerNorm(layer.weight.shape[-1])
            made.weight.data, made.bias.data = layer.weight.data[index, 0].clone(), layer.bias.data[index, 0].clone()
        else:
            made = layer
        layers.append(made)
    return torch.nn.Sequential(*layers)


@pytest.mark.parametrize("critic_norm", ["layer", "none"])
def test_stacked_critics_are_as_many_networks(sac, critic_norm: str):
    model = sac(TinyEnv(), critic_norm=critic_norm, net_arch=[16, 8])
    critics = model.critic
    for parameter in critics.parameters():  # also those that begin as ones and zeros
        parameter.data += 0.1 * torch.randn_like(parameter)
    observation, actions = torch.randn(7, 4), torch.rand(7, 2) * 2 - 1
    values = critics(observation, actions)
    assert [tuple(value.shape) for value in values] == [(7, 1)] * 2
    assert not torch.allclose(*values)
    for index, value in enumerate(values):
        separate = as_separate(critics, index)
        torch.testing.assert_close(separate(torch.cat([observation, actions], 1)), value, rtol=0, atol=1e-6)
        norms = [layer for layer in separate if isinstance(layer, torch.nn.LayerNorm)]
        assert len(norms) == (2 if critic_norm == "layer" else 0)


def test_the_losses_are_those_of_stable_baselines(sac):
    """Its formulas, written with its own distribution and separate networks, on the same noise."""
    model, batch = plain(sac)
    critics = [as_separate(model.critic, i) for i in range(2)]
    targets = [as_separate(model.critic_target, i) for i in range(2)]

    torch.manual_seed(7)
    with torch.no_grad():
        next_actions, next_log_prob = model.actor.action_log_prob(batch.next_observations)
        following = torch.cat([batch.next_observations, next_actions], 1)
        next_values = torch.cat([q(following) for q in targets], 1).min(1, keepdim=True)[0]
        next_values = next_values - 0.3 * next_log_prob[:, None]
        wanted = batch.rewards + (1 - batch.dones) * batch.discounts * next_values
        begin = torch.cat([batch.observations, batch.actions], 1)
        expected = 0.5 * sum(torch.nn.functional.mse_loss(q(begin), wanted) for q in critics)
    torch.manual_seed(7)
    torch.testing.assert_close(model._update_critics(batch), expected)

    critics = [as_separate(model.critic, i) for i in range(2)]
    torch.manual_seed(8)
    actions, log_prob = model.actor.action_log_prob(batch.observations)
    values = torch.cat([q(torch.cat([batch.observations, actions], 1)) for q in critics], 1).min(1)[0]
    expected = (0.3 * log_prob - values).mean().detach()
    torch.manual_seed(8)
    torch.testing.assert_close(model._update_actor(batch.observations)["actor_loss"], expected)


def test_an_update_changes_the_networks_that_it_is_of(sac):
    def state(model) -> dict[str, list[torch.Tensor]]:
        networks = {"actor": model.actor, "critic": model.critic, "target": model.critic_target}
        return {name: [p.detach().clone() for p in network.parameters()] for name, network in networks.items()}

    def changed(before, after) -> set[str]:
        return {name for name in before if any(map(lambda a, b: not a.equal(b), before[name], after[name]))}

    model, batch = plain(sac)
    before = state(model)
    model._update_critics(batch)
    assert changed(before, state(model)) == {"critic"}
    between = state(model)
    model._update_actor(batch.observations)
    assert changed(between, state(model)) == {"actor"}


def test_the_actor_waits_for_the_critics(sac):
    """policy_delay counts over all updates, not over those of a call."""
    model, batch = plain(sac)
    model.policy_delay = 3
    model.set_logger(Logger(None, []))
    model.replay_buffer = SimpleNamespace(sample=lambda size: batch)
    steps: list[str] = []
    critics, actor = model._update_critics, model._update_actor
    model._update_critics = lambda batch: steps.append("c") or critics(batch)
    model._update_actor = lambda observations: steps.append("a") or actor(observations)
    for _ in range(4):
        model.train(2)
    assert "".join(steps) == "cccacccacc"


@pytest.mark.parametrize("spread", [0.05, 0.5, 2.0])
def test_the_density_of_a_squashed_action(spread: float):
    """Against torch's own transformed distribution; also where tanh is flat."""
    mean, log_std = torch.linspace(-3, 3, 14, dtype=torch.float64).reshape(7, 2), torch.full((7, 2), math.log(spread))
    actions, log_prob = squashed_sample(mean, log_std.double())
    gauss = torch.distributions.Normal(mean, log_std.exp().double())
    squash = torch.distributions.TanhTransform(cache_size=1)
    squashed = torch.distributions.TransformedDistribution(gauss, [squash])
    inside = actions.abs() < 1 - 1e-9
    assert inside.any()
    expected = squashed.log_prob(torch.where(inside, actions, torch.zeros_like(actions)))
    rows = inside.all(1)
    torch.testing.assert_close(log_prob[rows], expected.sum(1)[rows], rtol=1e-4, atol=1e-4)
    assert log_prob.isfinite().all()


def test_the_targets_follow_the_critics_by_tau(sac):
    model, batch = plain(sac)
    model.set_logger(Logger(None, []))
    model.replay_buffer = SimpleNamespace(sample=lambda size: batch)
    before = [parameter.clone() for parameter in model.critic_target.parameters()]
    model.train(1)
    followed = zip(before, model.critic_target.parameters(), model.critic.parameters(), strict=True)
    for old, target, critic in followed:
        torch.testing.assert_close(target, 0.99 * old + 0.01 * critic)  # tau of conf/algo/sac.yaml
    assert any(not old.equal(target) for old, target in zip(before, model.critic_target.parameters(), strict=True))


@pytest.mark.parametrize(("target_entropy", "rises"), [(-50.0, False), (50.0, True)])
def test_the_temperature_rises_where_there_is_too_little_entropy(sac, target_entropy: float, rises: bool):
    model = sac(TinyEnv(), ent_coef="auto_0.5", target_entropy=target_entropy)
    observation = torch.randn(32, 4)
    model._update_actor(observation)
    assert (float(model._temperature()) > 0.5) == rises
