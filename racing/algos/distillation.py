"""Distillation: a student that sees little imitates a teacher that sees more (the privileged observation).

The student drives, and the teacher says what it would have done at each of these places (DAgger, Ross et al. 2011,
arXiv 1011.0686), while the weight of the imitation is annealed from 1 to 0 and PPO's own objective takes over (as in
kickstarting, Schmitt et al. 2018, arXiv 1803.03835).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch as th

Teacher = Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]]  # (n, P) privileged -> (n, A) actions


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

    teacher: (n, P) float32 privileged observations -> (n, A) float32 actions in [-1, 1]
    distillation_weight: of the imitation loss against the policy loss, >= 0
    distillation_fraction: of the training over which the imitation's weight falls linearly from 1 to 0, [0, 1]
    """

    teacher: Teacher
    distillation_weight: float
    distillation_fraction: float

    def weight(self, progress: float) -> float:
        """The imitation's weight when `progress` of the training is done, both in [0, 1]."""
        return max(0.0, 1.0 - progress / self.distillation_fraction) if self.distillation_fraction else 0.0

    def targets(self, progress: float, privileged: th.Tensor) -> ImitationTargets | None:
        """Label a rollout, once for all its epochs; None when the imitation does not count any more.

        progress: share of the training that is done, [0, 1]
        privileged: (B, P) what the teacher sees
        """
        weight = self.weight(progress)
        if weight == 0.0:
            return None
        actions = th.as_tensor(self.teacher(privileged.cpu().numpy()), device=privileged.device)
        return ImitationTargets(actions, th.tensor(weight, dtype=th.float32), self.distillation_weight)


def imitation_loss(mean: th.Tensor, teacher_actions: th.Tensor) -> th.Tensor:
    """() mean squared difference of the student's mean to the teacher's actions, both (B, A).

    Where the teacher's action is at a limit and the mean is beyond it there is none: it is clipped to the same action.
    """
    error = mean - teacher_actions
    same = ((teacher_actions >= 1) & (error > 0)) | ((teacher_actions <= -1) & (error < 0))
    return error.masked_fill(same, 0.0).square().sum(-1).mean()
