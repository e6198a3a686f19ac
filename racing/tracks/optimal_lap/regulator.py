"""The linear-quadratic regulator around a periodic plan, and the plan made such that the simulator follows it.

What a step does to a deviation is measured by finite differences of the simulator's own steps. The gains follow from
the periodic Riccati equation (Anderson, Moore: Optimal Control, Linear Quadratic Methods, 1990). Where the steps do not
lead from state to state, the plan is moved to where the regulated car settles, until they do.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from racing.sim.kernels.kernel import kernel
from racing.sim.vehicle import GRAVITY, Vehicle
from racing.tracks.optimal_lap.simulation import SIZE

Array = npt.NDArray[np.float64]
# States (K, 6) of a plan -> (deviations from them (K, 6), commands (K, 2) -> deviations one step later)
Missed = Callable[[Array], Callable[[Array, Array], Array]]

REFINEMENTS = 20  # at most, of a plan, until the simulator's own steps lead from state to state
REFINED, TRUST = 0.05, 5.0  # deviations, in units of the regulator's: what a step may miss; largest change at once
SHORTER = 4  # tries of a shorter change, where one makes it worse
# Weights while a plan is refined, as shares of those of the regulator: place and speed hold, the rest is free.
FREE, EASY = np.array([1.0, 1e-3, 1.0, 1e-3, 1e-3, 1e-3]), 1e-3
RICCATI_LAPS = 3  # after which the gains repeat from lap to lap


def refined(missed: Missed, states: Array, commands: Array, vehicle: Vehicle) -> tuple[Array, Array, Array, float]:
    """States and commands that lead from each to the next in the simulator, near the given; gains; what they miss."""
    cost, effort = _weights(vehicle)
    low, high = np.array([[-vehicle.max_steer, -vehicle.max_brake], [vehicle.max_steer, vehicle.max_drive]])
    share = 1.0
    a, b, error = _linearized(missed, states, commands, cost, effort)
    for _ in range(REFINEMENTS):
        misses = np.abs(error) * np.sqrt(cost)
        if float(misses.max()) < REFINED:
            break
        regulator = _regulator(a, b, error, FREE * cost, EASY * effort)
        deviations, changes = _settled(a, b, error, regulator, low - commands, high - commands)
        share = min(2 * share, 1.0, TRUST / float((np.abs(deviations) * np.sqrt(cost)).max()))
        for _ in range(SHORTER):
            tried = states + share * deviations, commands + share * changes
            missed_now = np.abs(missed(tried[0])(0 * error, tried[1])) * np.sqrt(cost)
            if float((missed_now**2).sum()) < float((misses**2).sum()):
                break
            share /= 4
        states, commands = tried
        a, b, error = _linearized(missed, states, commands, cost, effort)
    left = float((np.abs(error) * np.sqrt(cost)).max())
    return states, commands, _regulator(a, b, error, cost, effort)[0], left


def _linearized(
    missed: Missed, states: Array, commands: Array, cost: Array, effort: Array
) -> tuple[Array, Array, Array]:
    """What a step makes of deviations (K, 6, 6), of changes of the commands (K, 6, 2), and of neither (K, 6)."""
    count, after = len(commands), missed(states)
    nothing = np.zeros((count, SIZE))
    a, b = np.empty((count, SIZE, SIZE)), np.empty((count, SIZE, 2))
    for index, size in enumerate(0.1 / np.sqrt(cost)):
        by = nothing + size * np.eye(SIZE)[index]
        a[..., index] = (after(by, commands) - after(-by, commands)) / (2 * size)
    for index, size in enumerate(0.1 / np.sqrt(effort)):
        by = size * np.eye(2)[index]
        b[..., index] = (after(nothing, commands + by) - after(nothing, commands - by)) / (2 * size)
    return a, b, after(nothing, commands)


def _regulator(a: Array, b: Array, error: Array, cost: Array, effort: Array) -> tuple[Array, Array]:
    """Gains (K, 2, 6) and constants (K, 2) of the periodic linear-quadratic regulator of x' = a x + b u + error.

    u = -(gain x + constant). cost (6,), effort (2,): weights of the squares of x and u.
    """
    gains, constants = np.empty((len(a), 2, SIZE)), np.empty((len(a), 2))
    _riccati(a, b, error, np.diag(cost), np.diag(effort), gains, constants)
    return gains, constants


@kernel
def _riccati(a: Any, b: Any, error: Any, cost: Any, effort: Any, gains: Any, constants: Any) -> None:
    """Fill gains (K, 2, 6) and constants (K, 2), see `_regulator`; cost (6, 6), effort (2, 2)."""
    value, slope = 10 * cost, np.zeros(SIZE)
    for _ in range(RICCATI_LAPS):
        for k in range(len(a) - 1, -1, -1):
            step, push = a[k], b[k]
            ahead = value @ error[k] + slope
            held = push.T @ value
            square, mixed, rest = effort + held @ push, held @ step, push.T @ ahead
            det = square[0, 0] * square[1, 1] - square[0, 1] * square[1, 0]
            for n in range(SIZE):
                gains[k, 0, n] = (square[1, 1] * mixed[0, n] - square[0, 1] * mixed[1, n]) / det
                gains[k, 1, n] = (square[0, 0] * mixed[1, n] - square[1, 0] * mixed[0, n]) / det
            constants[k, 0] = (square[1, 1] * rest[0] - square[0, 1] * rest[1]) / det
            constants[k, 1] = (square[0, 0] * rest[1] - square[1, 0] * rest[0]) / det
            slope = step.T @ ahead - mixed.T @ constants[k]
            value = cost + step.T @ value @ step - mixed.T @ gains[k]
            value = (value + value.T) / 2


def _settled(
    a: Array, b: Array, error: Array, regulator: tuple[Array, Array], low: Array, high: Array
) -> tuple[Array, Array]:
    """Deviations (K, 6) and changes of the commands (K, 2), in [low, high], of the lap on which the car settles."""
    deviations, changes = np.empty((len(a), SIZE)), np.empty((len(a), 2))
    _drive(a, b, error, *regulator, low, high, deviations, changes)
    return deviations, changes


@kernel
def _drive(
    a: Any, b: Any, error: Any, gains: Any, constants: Any, low: Any, high: Any, deviations: Any, changes: Any
) -> None:
    """Fill deviations (K, 6) and changes (K, 2), see `_settled`."""
    x = np.zeros(SIZE)
    for _ in range(RICCATI_LAPS):
        for k in range(len(a)):
            wanted = -(gains[k] @ x + constants[k])
            for n in range(2):
                changes[k, n] = min(max(wanted[n], low[k, n]), high[k, n])
            deviations[k] = x
            x = a[k] @ x + b[k] @ changes[k] + error[k]


def _weights(vehicle: Vehicle) -> tuple[Array, Array]:
    """1 / (deviation that weighs as much as another)^2: (6,) of the states, (2,) of the commands."""
    half = vehicle.max_speed / 2
    quick = GRAVITY / half  # [rad/s] yaw rate of 1 g at half the top speed
    across = 0.1 if vehicle.model == "linear" else 0.025 * half
    states = np.array([0.055 * vehicle.reference_width, 0.03, 0.03 * half, across, 0.35 * quick, 0.2])
    commands = np.array([0.05 * quick + 0.01, 0.15 * GRAVITY])
    return 1 / states**2, 1 / commands**2
