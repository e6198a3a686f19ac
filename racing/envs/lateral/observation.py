"""What a policy sees: 46 numbers, each scaled by hand to about [-1, 1], by name."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from racing.envs.lateral.controllers import Pid
from racing.envs.lateral.default_model import GAIN, GAIN_SPEED, LEAST_GAIN, feed_forward
from racing.envs.lateral.rules import CONTROL_START, MOST_STEER
from racing.envs.lateral.world import LateralWorld
from racing.sim.kernels.kernel import kernel

AHEAD = (1, 2, 3, 4, 5, 6, 8, 10, 13, 17, 22, 30, 40)  # rows ahead at which the plan is seen
OLDER = (3, 4, 5, 6)  # rows back at which lateral acceleration and steering are seen, beside those of 1 and 2
NAMES = (
    *("error", "lataccel", "lataccel_change", "error_integral", "error_change", "steer", "steer_change"),
    *("pid_steer", "feed_forward", "speed", "acceleration", "roll_lataccel"),
    *(f"target_ahead_{k}" for k in AHEAD),
    *(f"feed_forward_ahead_{k}" for k in AHEAD),
    *(f"lataccel_{k}_ago" for k in OLDER),
    *(f"steer_{k}_ago" for k in OLDER),
)
LEAD = 3  # rows that steering is ahead of what it does
BOUND = 10.0  # what lies beyond is clipped
# Scales: [m/s^2] of lateral accelerations and of their changes, [m/s^2] of the integral's sum, and so on.
CHANGE, INTEGRAL, STEER_CHANGE, SPEED, ACCELERATION = 4.0, 0.1, 4.0, 1 / 35.0, 1 / 3.0
_AHEAD, _OLDER = np.array(AHEAD), np.array(OLDER)


def believed_steer(plans: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Commands (R, CONTROL_START) of the rows before a controller steers, as it takes them to be.

    The challenge does not tell controllers what its log commanded. What holds the target of LEAD rows later is near it.
    plans: (R, ROWS, 4), see racing.envs.lateral.routes.routes.Routes.
    """
    target, roll, speed, _ = np.moveaxis(plans[:, LEAD : LEAD + CONTROL_START], 2, 0)
    held: npt.NDArray[np.float64] = feed_forward(target, roll, speed)
    return np.clip(held, -MOST_STEER, MOST_STEER)


def observe(
    world: LateralWorld, steer: npt.NDArray[Any], pid: Pid, command: npt.NDArray[Any]
) -> npt.NDArray[np.float32]:
    """Observations (N, 46) at the world's present row t, where y is the lateral acceleration and u the steering so far.

    name                  value                                                        scaling
    error                 target of row t - y[t-1]                                     m/s^2
    lataccel              y[t-1]                                                       m/s^2
    lataccel_change       y[t-1] - y[t-2]                                              m/s^2 * 4
    error_integral        sum of the errors of rows 20 .. t                            m/s^2 / 10
    error_change          error - that of the row before                               m/s^2 * 4
    steer                 u[t-1]                                                       -2 .. 2
    steer_change          u[t-1] - u[t-2]                                              * 4
    pid_steer             what the challenge's PID would command                       -2 .. 2
    feed_forward          what holds the target in the steady state                    -2 .. 2
    speed                 of row t                                                     / (35 m/s)
    acceleration          of row t                                                     / (3 m/s^2)
    roll_lataccel         lateral acceleration by the road's roll, of row t            m/s^2
    target_ahead_k        target of row t + k - y[t-1]                                 m/s^2
    feed_forward_ahead_k  what holds it - u[t-1]                                       -2 .. 2
    lataccel_k_ago        y[t-k] - y[t-1]                                              m/s^2 * 4
    steer_k_ago           u[t-k] - u[t-1]                                              * 4

    steer: (N, COST_END) u; before row CONTROL_START what `believed_steer` says.
    pid: the challenge's, updated for this row; command: (N,) what it says.
    """
    out = np.empty((world.num_cars, len(NAMES)), np.float32)
    plans, lataccel = world.routes.plans, world.lataccel
    fill(plans, world.chosen, steer, lataccel, world.now, pid.error, pid.integral, pid.change, command, out)
    return out


@kernel
def hold(lataccel: Any, roll: Any, speed: Any) -> Any:
    """Steering command of `feed_forward`, clipped to what can be commanded."""
    gain = GAIN * speed**2 / (speed**2 + GAIN_SPEED**2)
    return min(max((lataccel - roll) / max(gain, LEAST_GAIN), -MOST_STEER), MOST_STEER)


@kernel
def fill(
    plans: Any,
    chosen: Any,
    steer: Any,
    lataccel: Any,
    now: Any,
    error: Any,
    integral: Any,
    change: Any,
    command: Any,
    out: Any,
) -> None:
    """Fill out (N, 46); arguments as in `observe`."""
    for i in range(len(chosen)):
        plan, row = plans[chosen[i]], out[i]
        y, u = lataccel[i, now - 1], steer[i, now - 1]
        target, roll, speed, acceleration = plan[now, 0], plan[now, 1], plan[now, 2], plan[now, 3]
        row[0], row[1], row[2] = error[i], y, (y - lataccel[i, now - 2]) * CHANGE
        row[3], row[4] = integral[i] * INTEGRAL, change[i] * CHANGE
        row[5], row[6] = u, (u - steer[i, now - 2]) * STEER_CHANGE
        row[7] = min(max(command[i], -MOST_STEER), MOST_STEER)
        row[8] = hold(target, roll, speed)
        row[9], row[10], row[11] = speed * SPEED, acceleration * ACCELERATION, roll
        k = 12
        for j in range(len(_AHEAD)):
            there = plan[now + _AHEAD[j]]
            row[k] = there[0] - y
            row[k + len(_AHEAD)] = hold(there[0], there[1], there[2]) - u
            k += 1
        k += len(_AHEAD)
        for j in range(len(_OLDER)):
            row[k] = (lataccel[i, now - _OLDER[j]] - y) * CHANGE
            row[k + len(_OLDER)] = (steer[i, now - _OLDER[j]] - u) * STEER_CHANGE
            k += 1
        for k in range(len(row)):
            row[k] = min(max(row[k], np.float32(-BOUND)), np.float32(BOUND))
