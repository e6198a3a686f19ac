"""PPO's loss against plain formulas, on numbers and without an environment."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from racing.algos.distillation import ImitationTargets, imitation_loss
from racing.algos.losses import gaussian_entropy, gaussian_log_prob, minibatch_stats, normalized, ppo_loss
from racing.algos.rollout import RolloutTensors

B, A = 64, 2
SETTINGS = {"clip_range": 0.2, "vf_coef": 0.5, "ent_coef": 0.01}


def rand(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def mean() -> torch.Tensor:
    return rand(B, A, seed=1)


@pytest.fixture
def log_std() -> torch.Tensor:
    return torch.tensor([-0.5, 0.3])


@pytest.fixture
def value() -> torch.Tensor:
    return rand(B, seed=2)


@pytest.fixture
def batch(mean: torch.Tensor, log_std: torch.Tensor) -> RolloutTensors:
    actions = mean + log_std.exp() * rand(B, A, seed=3)
    old_log_prob = gaussian_log_prob(actions, mean, log_std) - 0.3 * rand(B, seed=4)  # ratios beyond both ends
    return RolloutTensors(actions, old_log_prob, advantages=rand(B, seed=5), returns=rand(B, seed=6))


def test_density_and_entropy_are_those_of_torch(batch: RolloutTensors, mean: torch.Tensor, log_std: torch.Tensor):
    expected = torch.distributions.Independent(torch.distributions.Normal(mean, log_std.exp()), 1)
    torch.testing.assert_close(gaussian_log_prob(batch.actions, mean, log_std), expected.log_prob(batch.actions))
    torch.testing.assert_close(gaussian_entropy(log_std), expected.entropy()[0])


def test_the_loss_is_that_of_the_paper(
    batch: RolloutTensors, mean: torch.Tensor, log_std: torch.Tensor, value: torch.Tensor
):
    """Sample by sample: min(ratio * advantage, clip(ratio) * advantage), (return - value)^2, entropy."""
    terms = ppo_loss(batch, mean, log_std, value, **SETTINGS)
    surrogate = squared = clipped = kl = 0.0
    for b in range(B):
        log_prob = 0.0
        for a in range(A):
            std = math.exp(log_std[a])
            z = float(batch.actions[b, a] - mean[b, a]) / std
            log_prob -= 0.5 * z**2 + math.log(std) + 0.5 * math.log(2 * math.pi)
        ratio = math.exp(log_prob - float(batch.old_log_prob[b]))
        advantage = float(batch.advantages[b])
        surrogate += min(ratio * advantage, min(max(ratio, 0.8), 1.2) * advantage) / B
        squared += float(batch.returns[b] - value[b]) ** 2 / B
        clipped += (abs(ratio - 1) > 0.2) / B
        kl += (ratio - 1 - math.log(ratio)) / B
    entropy = sum(0.5 * math.log(2 * math.pi * math.e * math.exp(log_std[a]) ** 2) for a in range(A))
    assert 0.1 < clipped < 0.9
    assert float(terms.policy) == pytest.approx(-surrogate, abs=1e-5)
    assert float(terms.value) == pytest.approx(squared, abs=1e-5)
    assert float(terms.total) == pytest.approx(-surrogate + 0.5 * squared - 0.01 * entropy, abs=1e-5)
    expected = {"policy_loss": -surrogate, "value_loss": squared, "approx_kl": kl, "clip_fraction": clipped}
    assert minibatch_stats(terms, 0.2) == pytest.approx(expected, abs=1e-5)


def test_a_clipped_ratio_has_no_gradient(batch: RolloutTensors, log_std: torch.Tensor, value: torch.Tensor):
    """Where the ratio is beyond the range already, in the direction that the advantage asks for."""
    mean = batch.actions.clone().requires_grad_()
    above = gaussian_log_prob(batch.actions, batch.actions - 0.1, log_std)
    batch = replace(batch, old_log_prob=above - 1.0, advantages=torch.ones(B))
    ppo_loss(batch, mean - 0.1, log_std, value, **SETTINGS).policy.backward()
    assert mean.grad is not None
    assert not mean.grad.any()
    ppo_loss(replace(batch, advantages=-torch.ones(B)), mean - 0.1, log_std, value, **SETTINGS).policy.backward()
    assert mean.grad.all()


@pytest.mark.parametrize("weight", [1.0, 0.25])
def test_imitation_replaces_the_policy_loss_by_its_weight(
    batch: RolloutTensors, mean: torch.Tensor, log_std: torch.Tensor, value: torch.Tensor, weight: float
):
    alone = ppo_loss(batch, mean, log_std, value, **SETTINGS)
    teacher_actions = rand(B, A, seed=7).clamp(-1, 1)
    targets = ImitationTargets(teacher_actions, torch.tensor(weight), distillation_weight=3.0)
    terms = ppo_loss(replace(batch, imitation=targets), mean, log_std, value, **SETTINGS)
    imitation = float(imitation_loss(mean, teacher_actions))
    assert (float(terms.policy), float(terms.value)) == (float(alone.policy), float(alone.value))
    assert float(terms.imitation) == imitation
    rest = float(alone.total) - float(alone.policy)
    expected = (1 - weight) * float(alone.policy) + weight * 3.0 * imitation + rest
    assert float(terms.total) == pytest.approx(expected, abs=1e-5)
    assert minibatch_stats(terms, 0.2)["imitation_loss"] == imitation


def test_a_minibatch_has_the_samples_asked_for(batch: RolloutTensors):
    targets = ImitationTargets(rand(B, A, seed=7), torch.tensor(0.5), 1.0)
    indices = torch.tensor([5, 3, 60])
    part = replace(batch, imitation=targets).minibatch(indices)
    assert len(part) == 3
    for name in ("actions", "old_log_prob", "advantages", "returns"):
        assert torch.equal(getattr(part, name), getattr(batch, name)[indices])
    assert part.imitation is not None
    assert torch.equal(part.imitation.teacher_actions, targets.teacher_actions[indices])
    assert batch.minibatch(indices).imitation is None


def test_normalized_advantages():
    values = normalized(torch.tensor([1.0, 2.0, 6.0]))
    np.testing.assert_allclose(values, (np.array([1, 2, 6]) - 3) / np.std([1, 2, 6], ddof=1), atol=1e-6)
    assert torch.equal(normalized(torch.tensor([4.0])), torch.tensor([4.0]))  # its deviation would be NaN
