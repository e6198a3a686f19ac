"""Routes that are made up: bends, replanning, speeds and roll whose statistics are those of comma's routes.

of the rows that count                          generated       comma's
target, standard deviation [m/s^2]              0.461           0.462
target, 1st and 99th percentile [m/s^2]         -1.43, 1.55     -1.80, 1.90
target's jerk, as a jerk_cost                   12.4            about 19
speed, mean and deviation [m/s]                 22.6, 9.4       23.4, 9.2
least total_cost without noise and delay, mean  6.55            6.88
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from racing.envs.lateral.default_model import CUBIC, feed_forward
from racing.envs.lateral.kernels import sum_decaying
from racing.envs.lateral.routes.routes import Routes
from racing.envs.lateral.rules import CONTROL_START, MOST_STEER, ROWS, STEP_S

Array = npt.NDArray[Any]

SPEEDS = ((0.17, 4.0, 12.0), (0.31, 14.0, 24.0), (0.52, 26.0, 34.0))  # share of routes, from [m/s], to [m/s]
WARM_UP = 200  # rows before the first, after which averages have settled
BENDS = 0.1  # [1/s] at which bends begin
LOG_DELAY = 3  # rows that the log's steering is ahead of the target


def generate_routes(numbers: Sequence[int], seed: int) -> Routes:
    """Make up the routes of these numbers; each follows from its number and the seed alone.

    The steering commands of their logs are those that follow the target on the default dynamics, roughly.
    """
    made = [generate_route(number, seed) for number in numbers]
    plans = np.stack(made)
    target, roll, speed = plans[:, LOG_DELAY : LOG_DELAY + CONTROL_START, :3].transpose(2, 0, 1)
    wanted = feed_forward(target, roll, speed)
    steer = wanted - CUBIC * wanted**3
    return Routes(
        names=tuple(f"generated/{seed}/{number:05d}.csv" for number in numbers),
        plans=plans,
        steer=np.clip(steer, -MOST_STEER, MOST_STEER),
        source="generated",
    )


def generate_route(number: int, seed: int) -> npt.NDArray[np.float64]:
    """(ROWS, 4) target, roll, speed, acceleration, see `Routes`."""
    rng = np.random.RandomState([seed, number])  # whose streams stay what they are in all versions of numpy
    rows = WARM_UP + ROWS
    acceleration, speed = speeds(rng, rows)
    target = bends(rng, speed) + replanning(rng, rows)
    smooth = lag(target, 1.0)
    roll = 0.33 * smooth + wander(rng, rows, 0.18, 15.0)
    return np.stack([target, roll, speed, acceleration], axis=1)[WARM_UP:]


def speeds(rng: np.random.RandomState, rows: int) -> tuple[Array, Array]:
    """Accelerations [m/s^2] and speeds [m/s] (rows,): a regime, about which the car speeds up and slows down."""
    shares = np.cumsum([share for share, _, _ in SPEEDS])
    _, low, high = SPEEDS[int(np.searchsorted(shares, rng.random_sample() * shares[-1], side="right"))]
    usual = rng.uniform(low, high)
    push, speed, acceleration = wander(rng, rows, 0.4, 4.0), np.empty(rows), np.empty(rows)
    now = usual
    for k in range(rows):
        acceleration[k] = push[k] + 0.05 * (usual - now)  # back to the usual speed within 20 s
        now = max(now + acceleration[k] * STEP_S, 1.0)
        speed[k] = now
    return acceleration, speed


def bends(rng: np.random.RandomState, speed: Array) -> Array:
    """Lateral accelerations [m/s^2] (rows,) of bends that begin at random, each with a smooth way in and out."""
    time = np.arange(len(speed)) * STEP_S
    total = np.zeros(len(speed))
    for _ in range(rng.poisson(BENDS * time[-1])):
        begin, length = rng.uniform(-5.0, time[-1]), 1.5 + rng.gamma(2.0, 1.8)
        way_in, way_out = rng.uniform(0.5, 1.6, 2)
        size = rng.gamma(0.75, 0.65) * (1 if rng.random_sample() < 0.5 else -1)
        total += size * 0.5 * (np.tanh((time - begin) / way_in) - np.tanh((time - begin - length) / way_out))
    most = 0.3 + 0.06 * speed**2  # slow cars cannot
    bent: Array = most * np.tanh(total / most)
    return bent


def replanning(rng: np.random.RandomState, rows: int) -> Array:
    """What the planner adds (rows,) [m/s^2]: jumps when it changes its mind, which it takes back slowly, and jitter."""
    changes = (rng.random_sample(rows) < 0.045) * np.clip(rng.standard_t(3.0, rows), -8, 8) * 0.12
    level = np.cumsum(changes)
    added: Array = lag(level - lag(level, 4.0), 0.12) + rng.normal(0.0, 0.013, rows)
    return added


def wander(rng: np.random.RandomState, rows: int, deviation: float, time: float) -> Array:
    """An Ornstein-Uhlenbeck process (rows,) about 0. deviation: in the steady state. time: [s] that it remembers."""
    keep = np.exp(-STEP_S / time)
    noise = rng.normal(0.0, deviation * np.sqrt(1 - keep**2), rows)
    noise[0] = rng.normal(0.0, deviation)
    return decaying_sum(noise, keep)


def lag(values: Array, time: float) -> Array:
    """Values (rows,) behind a first-order lag of `time` [s], from rest at the first of them."""
    keep = np.exp(-STEP_S / time)
    behind: Array = values[0] + decaying_sum((1 - keep) * (values - values[0]), keep)
    return behind


def decaying_sum(values: Array, keep: float) -> Array:
    """y[k] = keep * y[k - 1] + values[k]."""
    out = np.empty(len(values))
    sum_decaying(values, keep, out)
    return out
