"""Greatest speed along a given closed line: the quasi-steady-state profile behind every reference lap.

Forward-backward method (Heilmeier et al., "Minimum curvature trajectory planning and control for an autonomous race
car", Vehicle System Dynamics 2020): the speed that grip allows in each bend, then what can be reached by
accelerating out of the bends and by braking into them. Grip is shared by the friction ellipse
(a_x / a_x_max)^2 + (a_y / a_y_max)^2 <= 1. Its longitudinal half-axis is what the tyres carry, which the brakes show
(max_brake, at most friction * g); the engine's limits cut the ellipse off, they do not shrink it.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from racing.errors import require
from racing.sim.kernels.kernel import kernel
from racing.sim.vehicle import GRAVITY, Vehicle

Array = npt.NDArray[np.float64]

MAX_PASSES = 20  # laps of the forward-backward iteration; two are the rule
TOLERANCE = 1e-9  # [m^2/s^2] change of squared speed at which it has converged


@kernel
def _reachable(
    squared: Array, curvature: Array, steps: Array, lateral: Array, longitudinal: Array, car: Array, forward: bool
) -> float:
    """One lap of lowering `squared` (M,) [m^2/s^2] to what its neighbour allows; returns the greatest change.

    lateral, longitudinal: (M,) half-axes of the ellipse. car: engine limit, power, drag, rolling (SI, per kg).
    """
    engine, power, drag, rolling = car
    count = squared.shape[0]
    first = np.argmin(squared)  # the slowest point binds its neighbours, never the other way round
    change = 0.0
    for n in range(count):
        here = (first + n) % count if forward else (first - n) % count
        there = (here + 1) % count if forward else (here - 1) % count
        share = min(1.0, squared[here] * abs(curvature[here]) / lateral[here])
        push = longitudinal[here] * np.sqrt(1.0 - share * share)
        resistance = drag * squared[here] + rolling
        if forward:
            push = min(push, engine, power / np.sqrt(squared[here])) - resistance
        else:
            push += resistance
        step = steps[here] if forward else steps[there]
        reach = max(squared[here] + 2.0 * push * step, 0.01)  # [m^2/s^2] resistance alone never stops the car
        if reach < squared[there]:
            change = max(change, squared[there] - reach)
            squared[there] = reach
    return change


def _steps(spacing: float | Array, count: int) -> Array:
    steps = np.array(np.broadcast_to(np.asarray(spacing, np.float64), (count,)))
    require(bool((steps > 0).all()), f"spacing must be > 0 m, got {steps.min()}; drop repeated points of the line")
    return steps


def speed_profile(curvature: Array, spacing: float | Array, vehicle: Vehicle, grip: Array | None = None) -> Array:
    """Greatest speeds [m/s] (M,) of `vehicle` on a closed line, flying lap.

    curvature: (M,) [1/m], either sign. spacing: distance [m] from each point to the next one, a number or (M,).
    grip: (M,) factor on the friction; None: 1.
    Limits: lateral friction * g; drive max_drive and, above switch_speed, constant power; brake max_brake; air drag and
    rolling resistance slow the car and help it to brake; max_speed. Acceleration between two points is that of the
    point where the speed is known. The tyre model does not matter: `linear` has the same friction-limited reference.
    Raises InputError if a curvature is not finite or a spacing not positive.
    """
    bend = np.ascontiguousarray(curvature, np.float64)
    require(bool(np.isfinite(bend).all()), "curvature must be finite, got NaN or infinity; drop repeated points")
    steps = _steps(spacing, len(bend))
    lateral = vehicle.max_lateral * (np.ones(len(bend)) if grip is None else np.asarray(grip, np.float64))
    squared = np.minimum(vehicle.max_speed**2, lateral / np.maximum(np.abs(bend), 1e-12))
    tyres = np.minimum(max(vehicle.max_brake, vehicle.max_drive), lateral)
    brakes = np.minimum(vehicle.max_brake, tyres)
    power = vehicle.max_drive * vehicle.switch_speed
    resistance = (vehicle.drag / vehicle.mass, vehicle.rolling * GRAVITY)
    drive = np.array([vehicle.max_drive, power, *resistance])
    brake = np.array([0.0, 0.0, *resistance])
    for _ in range(MAX_PASSES):
        change = _reachable(squared, bend, steps, lateral, tyres, drive, True)
        change = max(change, _reachable(squared, bend, steps, lateral, brakes, brake, False))
        if change < TOLERANCE:
            break
    return np.asarray(np.sqrt(squared))


def lap_time(speeds: Array, spacing: float | Array) -> float:
    """Time [s] of one lap at `speeds` (M,) [m/s]; exact for constant acceleration between neighbouring points."""
    steps = _steps(spacing, len(speeds))
    return float(np.sum(2.0 * steps / (speeds + np.roll(speeds, -1))))


def acceleration(speeds: Array, spacing: float | Array) -> Array:
    """Longitudinal acceleration [m/s^2] (M,) from each point to the next one, braking negative."""
    steps = _steps(spacing, len(speeds))
    return np.asarray((np.roll(speeds, -1) ** 2 - speeds**2) / (2.0 * steps))
