"""A lap at some pace as the simulator drives it: states, commands, and the gains that keep a car on it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.interpolate import CubicSpline

from racing.sim.track import grip_along
from racing.tracks.optimal_lap.equations import Motion
from racing.tracks.optimal_lap.lap import OptimalLap
from racing.tracks.optimal_lap.regulator import refined
from racing.tracks.optimal_lap.simulation import HEADING, OFFSET, STEER, Simulation, turned
from racing.tracks.reference_lap import ReferenceLap

Array = npt.NDArray[np.float64]
First = Callable[[Any, Simulation, Array, float], Array]  # lap, ..., arc lengths (K,), pace -> states (K, 6)

FOLLOWED = 0.5  # of `Plan.missed`: below, the regulator keeps cars on the plan


@dataclass(frozen=True, eq=False)
class Plan:
    """A pace along the line. All arrays (K, ...), evenly spaced in time over the lap.

    s: (K,) arc length [m]. states: (K, 6). commands: (K, 2) steering angle [rad] and acceleration [m/s^2] to ask for.
    gains: (K, 2, 6), deviation -> what is taken from the commands.
    missed: greatest deviation after one step from the plan, in units of the regulator's; large: it cannot be driven.
    """

    s: Array
    states: Array
    commands: Array
    gains: Array
    missed: float

    def at(self, s: Array, length: float) -> Array:
        """Rows (M, 6 + 2 + 12), states, commands and gains, at arc lengths s (M,) of a line of `length` [m]."""
        table = np.hstack([self.states, self.commands, self.gains.reshape(len(self.s), -1)])
        return np.asarray(periodic_spline(self.s, table, length)(s))


def periodic_spline(s: Array, table: Array, length: float) -> CubicSpline:
    """The periodic cubic spline through the rows of `table` (K, M) at s (K,)."""
    return CubicSpline(np.append(s, s[0] + length), np.vstack([table, table[:1]]), bc_type="periodic")


def plan(simulation: Simulation, lap: OptimalLap | ReferenceLap, pace: float, aside: Array | None = None) -> Plan:
    """The lap at `pace` times its speed, as the simulator drives it, and the regulator around it.

    aside: (N,) offset [m] from the lap's line that is wanted at each of its points; None: 0.
    """
    vehicle, line, step_dt = simulation.vehicle, simulation.line, simulation.step_dt
    table = np.arange(len(lap.points) + 1) * line.length / len(lap.points)
    slow = 1 / (pace * np.append(lap.speed, lap.speed[0]))
    time = np.concatenate([[0.0], np.cumsum(np.diff(table) * (slow[1:] + slow[:-1]) / 2)])
    count = round(time[-1] / step_dt)
    at = np.arange(count) * time[-1] / count

    def place_at(t: Array) -> Array:
        turns = np.floor(t / time[-1])
        return np.asarray(np.interp(t - turns * time[-1], time, table) + turns * line.length)

    def column(values: Array, t: Array) -> Array:
        return _along(lap, simulation, place_at(t), values)

    s = place_at(at)
    commands = np.zeros((count, 2))
    speed, ahead = pace * column(lap.speed, at), pace * column(lap.speed, at + step_dt)
    commands[:, 1] = (ahead - speed) / step_dt + vehicle.drag / vehicle.mass * speed**2
    if isinstance(lap, OptimalLap) and pace == 1.0:
        commands[:, 1] = column(lap.demand, at + step_dt / 2)

    def missed(states: Array) -> Callable[[Array, Array], Array]:
        wanted = periodic_spline(s, states, line.length)

        def after(deviations: Array, commands: Array) -> Array:
            there, moved = simulation.step(s, states + deviations, commands)
            difference = moved - wanted(there)
            difference[:, HEADING] = turned(difference[:, HEADING])
            return np.asarray(difference)

        return after

    def planned(first: First) -> Plan:
        states = first(lap, simulation, s, pace)
        commands[:, 0] = first(lap, simulation, place_at(at + step_dt / 2), pace)[:, STEER]
        if aside is not None:
            states[:, OFFSET] = _along(lap, simulation, s, aside)
        return Plan(s, *refined(missed, states, commands, vehicle))

    best = planned(steady_states if isinstance(lap, ReferenceLap) else slower_states)
    if isinstance(lap, OptimalLap) and best.missed >= FOLLOWED:  # who slides at the limit is no guess for who rolls
        best = min(best, planned(steady_states), key=lambda plan: plan.missed)
    return best


def steady_states(lap: OptimalLap | ReferenceLap, simulation: Simulation, s: Array, pace: float) -> Array:
    """States (K, 6) that hold `pace` times the lap's speed on its line at arc lengths s (K,)."""
    points, _, bend = simulation.line.frame(s)
    grip = grip_along(simulation.track, points)
    speed = pace * _along(lap, simulation, s, lap.speed)
    return np.asarray(Motion(simulation.vehicle).steady(speed, bend, np.ones(len(s)) if grip is None else grip).T)


def slower_states(lap: OptimalLap, simulation: Simulation, s: Array, pace: float) -> Array:
    """States (K, 6) of an optimal lap at arc lengths s (K,), at `pace` times its speed."""
    motion = Motion(simulation.vehicle)
    columns = (lap.speed, lap.slip, lap.yaw_rate, lap.steer)
    speed, slip, yaw_rate, steer = (_along(lap, simulation, s, column) for column in columns)
    linear = motion.vehicle.model == "linear"
    u, w = (speed, slip) if linear else (speed * np.cos(slip), speed * np.sin(slip))
    return np.asarray(motion.slower(np.stack([np.zeros(len(s)), -slip, u, w, yaw_rate, steer]), pace).T)


def _along(lap: OptimalLap | ReferenceLap, simulation: Simulation, s: Array, column: Array) -> Array:
    """A column (N,) of the lap's points, or one beside them, at arc lengths s (K,)."""
    length, count = simulation.line.length, len(lap.points)
    return np.interp(s, np.arange(count) * length / count, column, period=length)
