"""The policy for frames: one extractor for both heads, or an asymmetric (privileged) critic."""

from __future__ import annotations

from typing import Any

import torch as th
from stable_baselines3.common.policies import ActorCriticPolicy
from torch import nn

WIDTH = 128  # hidden units of the privileged critic


class VisionPolicy(ActorCriticPolicy):
    """Stable-Baselines3's actor-critic; `predict` and the exported file need the observation alone.

    privileged: size of the privileged observation, which only the critic sees, while training (Pinto et al. 2018,
    asymmetric actor critic, arXiv 1710.06542); 0: the critic sees what the policy sees.
    """

    def __init__(self, *arguments: Any, privileged: int = 0, **named: Any) -> None:
        """See the class."""
        self._privileged = privileged
        super().__init__(*arguments, **named)

    def _build(self, lr_schedule: Any) -> None:
        if self._privileged:
            self.privileged_critic = nn.Sequential(
                nn.Linear(self._privileged, WIDTH),
                nn.Tanh(),
                nn.Linear(WIDTH, WIDTH),
                nn.Tanh(),
                nn.Linear(WIDTH, 1),
            )
        super()._build(lr_schedule)
        # Only now: orthogonal initialisation does not take weights that are laid out so.
        self.features_extractor.cnn.to(memory_format=th.channels_last)
