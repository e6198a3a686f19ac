"""PPO's objective as pure functions of tensors: B samples of a minibatch, A actions."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch as th

from racing.algos.rollout import RolloutTensors

HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)


@dataclass(frozen=True)
class LossTerms:
    """The loss of a minibatch, and what it is made of; all () but log_ratio."""

    total: th.Tensor  # what is minimized
    policy: th.Tensor  # clipped surrogate objective, negated
    value: th.Tensor  # mean squared error of the value function
    log_ratio: th.Tensor  # (B,) log of the probability ratio between the new and the old policy
    imitation: th.Tensor | None  # imitation loss; None without a teacher


def ppo_loss(
    batch: RolloutTensors,
    mean: th.Tensor,
    log_std: th.Tensor,
    value: th.Tensor,
    *,
    clip_range: float,
    vf_coef: float,
    ent_coef: float,
) -> LossTerms:
    """Compute the loss of PPO (eq. 9 of Schulman et al. 2017, negated), and of imitation where there is a teacher.

    batch: a minibatch of the rollout
    mean: (B, A) of the new policy's Gaussian
    log_std: (A,) of the new policy's Gaussian
    value: (B,) predicted by the new value function
    clip_range: epsilon of the clipped surrogate objective (eq. 7)
    vf_coef, ent_coef: c1 and c2, weights of the value loss and the entropy bonus
    """
    log_ratio = gaussian_log_prob(batch.actions, mean, log_std) - batch.old_log_prob
    ratio = log_ratio.exp()
    clipped_ratio = ratio.clamp(1 - clip_range, 1 + clip_range)
    policy = -th.min(batch.advantages * ratio, batch.advantages * clipped_ratio).mean()
    value_loss = (batch.returns - value).square().mean()
    actor, imitation = policy, None
    if batch.imitation is not None:
        imitation = batch.imitation.loss(mean)
        actor = batch.imitation.blend(policy, imitation)
    total = actor + vf_coef * value_loss
    if ent_coef:
        total = total - ent_coef * gaussian_entropy(log_std)
    return LossTerms(total, policy, value_loss, log_ratio, imitation)


def gaussian_log_prob(actions: th.Tensor, mean: th.Tensor, log_std: th.Tensor) -> th.Tensor:
    """(B,) log density of `actions` (B, A) under a diagonal Gaussian, mean (B, A), log_std (A,)."""
    error = (actions - mean) * (-log_std).exp()
    return -(0.5 * error * error + log_std + HALF_LOG_2PI).sum(-1)


def gaussian_entropy(log_std: th.Tensor) -> th.Tensor:
    """() entropy of a diagonal Gaussian, log_std (A,)."""
    return (log_std + 0.5 + HALF_LOG_2PI).sum()


def normalized(advantages: th.Tensor) -> th.Tensor:
    """`advantages` (B,) with mean 0 and standard deviation 1; a single one has none, and stays as it is."""
    if len(advantages) == 1:  # https://github.com/DLR-RM/stable-baselines3/issues/325
        return advantages
    return (advantages - advantages.mean()) / (advantages.std() + 1e-8)


@th.no_grad()
def minibatch_stats(terms: LossTerms, clip_range: float) -> dict[str, float]:
    """What is logged of a minibatch, by name: losses, KL divergence between old and new policy, share clipped."""
    ratio = terms.log_ratio.exp()
    stats = {
        "policy_loss": terms.policy.item(),
        "value_loss": terms.value.item(),
        # The k3 estimator of http://joschu.net/blog/kl-approx.html: unbiased, and never negative.
        "approx_kl": float((ratio - 1 - terms.log_ratio).mean()),
        "clip_fraction": float(((ratio - 1).abs() > clip_range).float().mean()),
    }
    return stats if terms.imitation is None else stats | {"imitation_loss": terms.imitation.item()}
