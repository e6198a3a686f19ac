"""Distillation: a student imitates a teacher that knows more: a policy that sees more, or a driver that has planned.

The student drives, and the teacher says what it would have done at each of these places (DAgger, Ross et al. 2011,
arXiv 1011.0686), while the weight of the imitation is annealed from 1 to 0 and PPO's own objective takes over (as in
kickstarting, Schmitt et al. 2018, arXiv 1803.03835).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch as th

# A vector environment as it stands, and the share of the imitation that is over, [0, 1] -> (N, A) float32 actions in
# [-1, 1] that the teacher would take there.
Teacher = Callable[[Any, float], npt.NDArray[np.float32]]


@dataclass(frozen=True)
class ImitationTargets:
    """What the teacher would have done in B samples, and how much that counts now."""

    teacher_actions: th.Tensor  # (B, A) in [-1, 1]
    weight: th.Tensor  # () w of `blend`, [0, 1]
    distillation_weight: float  # of the imitation loss against the policy loss

    def minibatch(self, indices: th.Tensor) -> ImitationTargets:
        """Those of the samples `indices`."""
        return replace(self, teacher_actions=self.teacher_actions[indices])

    def loss(self, mean: th.Tensor) -> th.Tensor:
        """() imitation loss of the student's mean actions (B, A)."""
        return imitation_loss(mean, self.teacher_actions)

    def blend(self, policy_loss: th.Tensor, imitation: th.Tensor) -> th.Tensor:
        """() what the actor minimizes: the imitation loss replaces the policy loss. The critic learns as ever."""
        return (1 - self.weight) * policy_loss + self.weight * self.distillation_weight * imitation


@dataclass(frozen=True)
class Imitation:
    """A teacher, and how long and how strongly it is imitated.

    teacher: what it would do where the student is, see `Teacher`
    distillation_weight: of the imitation loss against the policy loss, >= 0
    distillation_fraction: of the training over which the imitation's weight falls linearly from 1 to 0, [0, 1]
    """

    teacher: Teacher
    distillation_weight: float
    distillation_fraction: float

    def weight(self, progress: float) -> float:
        """The imitation's weight when `progress` of the training is done, both in [0, 1]."""
        return max(0.0, 1.0 - progress / self.distillation_fraction) if self.distillation_fraction else 0.0

    def labels(self, progress: float, env: Any) -> npt.NDArray[np.float32] | None:
        """(N, A) the teacher's actions in `env` as it stands; None when the imitation does not count any more."""
        weight = self.weight(progress)
        return self.teacher(env, 1.0 - weight) if weight else None

    def targets(self, progress: float, teacher_actions: th.Tensor | None) -> ImitationTargets | None:
        """Of a rollout; None when the imitation does not count any more.

        progress: share of the training that is done, [0, 1]
        teacher_actions: (B, A) the labels of its steps
        """
        weight = self.weight(progress)
        if weight == 0.0 or teacher_actions is None:
            return None
        return ImitationTargets(teacher_actions, th.tensor(weight, dtype=th.float32), self.distillation_weight)


def imitation_loss(mean: th.Tensor, teacher_actions: th.Tensor) -> th.Tensor:
    """() mean squared difference of the student's mean to the teacher's actions, both (B, A).

    Where the teacher's action is at a limit and the mean is beyond it there is none: it is clipped to the same action.
    """
    error = mean - teacher_actions
    same = ((teacher_actions >= 1) & (error > 0)) | ((teacher_actions <= -1) & (error < 0))
    return error.masked_fill(same, 0.0).square().sum(-1).mean()
