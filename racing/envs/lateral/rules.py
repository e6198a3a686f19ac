"""The rules of the controls challenge: its constants, tokens and costs.

Source: tinyphysics.py of https://github.com/commaai/controls_challenge at be8edfa (2025-07-25).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

STEP_S = 0.1  # [s] of a row
CONTEXT = 20  # rows that the dynamics see; the controller is called from row CONTEXT on
CONTROL_START = 100  # first row that the controller steers; before it the log does, and the plan is followed exactly
COST_END = 500  # first row that does not count
STEPS = COST_END - CONTROL_START  # that are steered in an episode
PLAN = 49  # rows ahead that the plan shows: t + 1 .. t + 49
ROWS = COST_END + PLAN + 1  # of a route that matter: what is observed after the last step sees so far
MOST_STEER = 2.0  # [-] steering command, right positive
MOST_LATACCEL = 5.0  # [m/s^2] that tokens stand for
MOST_CHANGE = 0.5  # [m/s^2] between two rows
VOCABULARY = 1024  # tokens
TEMPERATURE = 0.8  # of the softmax over the dynamics' logits
TRACKING_WEIGHT = 50.0  # of lataccel_cost in total_cost
GRAVITY = 9.81  # [m/s^2]

# In float64: float32 bins give other costs.
BINS = np.linspace(-MOST_LATACCEL, MOST_LATACCEL, VOCABULARY)  # [m/s^2] that each token stands for


def encode(lataccel: Array) -> npt.NDArray[np.int64]:
    """Tokens of lateral accelerations [m/s^2]: the first bin that is not below; what lies outside is clipped."""
    clipped = np.clip(lataccel, -MOST_LATACCEL, MOST_LATACCEL)
    return np.searchsorted(BINS, clipped, side="left").astype(np.int64)


def step_costs(error: Array, change: Array) -> tuple[Array, Array]:
    """What a step adds to total_cost, times STEPS: (lataccel, jerk), whose means over an episode's steps sum to it.

    error: [m/s^2] target - lateral acceleration after the step. change: [m/s^2] of the lateral acceleration in the
    step; that of an episode's first step does not count: give 0.
    """
    per_change = 100.0 / STEP_S**2 * STEPS / (STEPS - 1)  # the challenge divides these by one less
    return TRACKING_WEIGHT * 100.0 * error**2, per_change * change**2


def costs(target: Array, lataccel: Array) -> dict[str, Array]:
    """lataccel_cost, jerk_cost and total_cost of episodes; target, lataccel: [m/s^2] (..., STEPS) of their steps."""
    tracking = np.mean((target - lataccel) ** 2, axis=-1) * 100
    jerk = np.mean((np.diff(lataccel, axis=-1) / STEP_S) ** 2, axis=-1) * 100
    return {"lataccel_cost": tracking, "jerk_cost": jerk, "total_cost": tracking * TRACKING_WEIGHT + jerk}
