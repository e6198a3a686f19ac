"""The linear-quadratic regulator around a periodic plan, and the plan made such that the simulator follows it.

What a step does to a deviation is measured by finite differences of the simulator's own steps. The gains follow from
the periodic Riccati equation (Anderson, Moore: Optimal Control, Linear Quadratic Methods, 1990). Where the steps do not
lead from state to state, the plan is moved to where the regulated car settles, until they do.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from racing.sim.vehicle import GRAVITY, Vehicle
from racing.tracks.optimal_lap.simulation import SIZE

Array = npt.NDArray[np.float64]
Missed = Callable[[Array, Array, Array], Array]  # states (K, 6), deviations from them, commands -> deviations after

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
            missed_now = np.abs(missed(tried[0], 0 * error, tried[1])) * np.sqrt(cost)
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
    count = len(commands)
    nothing = np.zeros((count, SIZE))
    a, b = np.empty((count, SIZE, SIZE)), np.empty((count, SIZE, 2))
    for index, size in enumerate(0.1 / np.sqrt(cost)):
        by = nothing + size * np.eye(SIZE)[index]
        a[..., index] = (missed(states, by, commands) - missed(states, -by, commands)) / (2 * size)
    for index, size in enumerate(0.1 / np.sqrt(effort)):
        by = size * np.eye(2)[index]
        b[..., index] = (missed(states, nothing, commands + by) - missed(states, nothing, commands - by)) / (2 * size)
    return a, b, missed(states, nothing, commands)


def _regulator(a: Array, b: Array, error: Array, cost: Array, effort: Array) -> tuple[Array, Array]:
    """Gains (K, 2, 6) and constants (K, 2) of the periodic linear-quadratic regulator of x' = a x + b u + error.

    u = -(gain x + constant). cost (6,), effort (2,): weights of the squares of x and u.
    """
    count = len(a)
    gains, constants = np.empty((count, 2, SIZE)), np.empty((count, 2))
    value, slope = np.diag(10 * cost), np.zeros(SIZE)
    for _ in range(RICCATI_LAPS):
        for k in range(count - 1, -1, -1):
            ahead = value @ error[k] + slope
            square, mixed = np.diag(effort) + b[k].T @ value @ b[k], b[k].T @ value @ a[k]
            solved = np.linalg.solve(square, np.column_stack([mixed, b[k].T @ ahead]))
            gains[k], constants[k] = solved[:, :SIZE], solved[:, SIZE]
            slope = a[k].T @ ahead - mixed.T @ constants[k]
            value = np.diag(cost) + a[k].T @ value @ a[k] - mixed.T @ gains[k]
            value = (value + value.T) / 2
    return gains, constants


def _settled(
    a: Array, b: Array, error: Array, regulator: tuple[Array, Array], low: Array, high: Array
) -> tuple[Array, Array]:
    """Deviations (K, 6) and changes of the commands (K, 2), in [low, high], of the lap on which the car settles."""
    gains, constants = regulator
    deviations, changes = np.empty((len(a), SIZE)), np.empty((len(a), 2))
    x = np.zeros(SIZE)
    for _ in range(RICCATI_LAPS):
        for k in range(len(a)):
            deviations[k], changes[k] = x, np.clip(-(gains[k] @ x + constants[k]), low[k], high[k])
            x = a[k] @ x + b[k] @ changes[k] + error[k]
    return deviations, changes


def _weights(vehicle: Vehicle) -> tuple[Array, Array]:
    """1 / (deviation that weighs as much as another)^2: (6,) of the states, (2,) of the commands."""
    half = vehicle.max_speed / 2
    quick = GRAVITY / half  # [rad/s] yaw rate of 1 g at half the top speed
    across = 0.1 if vehicle.model == "linear" else 0.025 * half
    states = np.array([0.055 * vehicle.reference_width, 0.03, 0.03 * half, across, 0.35 * quick, 0.2])
    commands = np.array([0.05 * quick + 0.01, 0.15 * GRAVITY])
    return 1 / states**2, 1 / commands**2
