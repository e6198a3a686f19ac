"""What training, evaluation and export know of an environment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

F = npt.NDArray[np.float32]
B = npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class StepResult:
    """What one environment step of N cars gave. All arrays are copies with one row per car.

    observation: (N, ...), of the next episode's start where an episode ended.
    reward: (N,) float32.
    terms: (N, T) float32, unweighted reward terms in the order of racing.envs.sensors.REWARD_TERMS.
    terminated, truncated: (N,) bool.
    final_observation: (N, ...), the ended episode's last one; valid where an episode ended.
    """

    observation: Any
    reward: F
    terms: F
    terminated: B
    truncated: B
    final_observation: Any
    final_privileged: F | None = None  # (N, P) as final_observation, where there are privileged observations
