"""Solve for the optimal lap: coarse from the reference lap, then finer from what came before, until both agree.

A local optimum without certificate. Of twelve starts on two circuits (the reference lap slow and fast, random lines,
the road's edges) nine converged, on each circuit to the same 0.1 ms.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from racing.sim.track import Track
from racing.sim.vehicle import Vehicle
from racing.tracks.optimal_lap.equations import Motion
from racing.tracks.optimal_lap.errors import NotSolved
from racing.tracks.optimal_lap.program import Mesh, Program, Trajectory, radau_points
from racing.tracks.optimal_lap.smooth_line import SmoothLine, base_line, corridor, grip_across
from racing.tracks.reference_lap import ReferenceLap, reference_lap

Array = npt.NDArray[np.float64]

# Rounding of the friction circle and smoothness (as in Program), tried in this order. Less costs iterations and moves
# the lap by less than 0.02 %; a singular program, such as one with much room and little grip, needs more.
ROUNDINGS = ((4e-3, 5e-3), (1e-2, 1e-2), (1e-2, 3e-2))
AGREE = 0.002  # largest relative difference of the lap times of two meshes
FINER = 3  # times that the mesh may be halved after the first
SOLVED = "Solve_Succeeded"
# Of IPOPT; nothing else is changed. All quantities are scaled by us.
OPTIONS: dict[str, Any] = {
    "linear_solver": "mumps",
    "tol": 1e-6,
    "max_iter": 300,
    "print_level": 0,
    "sb": "yes",
    "nlp_scaling_method": "none",
    "bound_relax_factor": 1e-9,
    "acceptable_iter": 0,  # solved or not, nothing between
}
WARM = {"mu_strategy": "monotone", "mu_init": 1e-3}
# How the coarse program is begun, until it is solved: share of the reference lap's speed, and IPOPT's options.
COLD = (
    (0.97, {"mu_strategy": "adaptive", "mu_init": 0.1}),
    (0.92, {"mu_strategy": "monotone", "mu_init": 1e-2}),
    (0.8, {"mu_strategy": "adaptive", "mu_init": 0.1}),
)


@dataclass(frozen=True, eq=False)
class Solution:
    """The finest trajectory, and its base line. step: of its mesh [m]. iterations: of all meshes together."""

    base: SmoothLine
    trajectory: Trajectory
    step: float
    iterations: int


def first_step(base: SmoothLine, vehicle: Vehicle) -> float:
    """Length [m] of the coarse mesh's intervals: several in the tightest bend, about a thousand in a lap at most."""
    return float(max(min(0.7 * base.least_radius(), 4.4 * vehicle.reference_width), base.length / 1000))


def solve(
    track: Track, vehicle: Vehicle, margin: float, near: Solution | None = None, max_slip: float | None = None
) -> Solution:
    """Minimum lap time with the car's centre at least `margin` [m] from the road's edge.

    near: the solution of another margin, from which this one is solved with as fine a mesh in one go, if it can.
    max_slip: greatest slip angle of the body [rad]; None: any.
    Takes 1 to 10 s of CPU time. Raises NotSolved, InputError for a vehicle without tyres.
    """
    lap = reference_lap(track, vehicle)
    base = base_line(track, vehicle, lap)

    def program_of(step: float, rounding: tuple[float, float]) -> Program:
        return Program(Motion(vehicle, rounding[0]), _mesh(track, base, lap, step, margin), rounding[1], max_slip)

    def warm(step: float, known: Trajectory) -> tuple[Trajectory, int]:
        for rounding in ROUNDINGS:
            program = program_of(step, rounding)
            with contextlib.suppress(NotSolved):
                return _run(program, _onto(known, program, base.length), WARM)
        raise NotSolved(f"IPOPT solves no program with intervals of {step:.2f} m")

    if near is not None:
        with contextlib.suppress(NotSolved):
            trajectory, iterations = warm(near.step, near.trajectory)
            return Solution(base, trajectory, near.step, iterations)
    step = first_step(base, vehicle)
    coarse, iterations = _cold(program_of(step, ROUNDINGS[1]))
    for _ in range(FINER):
        step /= 2
        fine, more = warm(step, coarse)
        iterations += more
        if abs(fine.time_s / coarse.time_s - 1) < AGREE:
            return Solution(base, fine, step, iterations)
        coarse = fine
    raise NotSolved(f"two meshes still disagree at {step:.2f} m")


def _mesh(track: Track, base: SmoothLine, lap: ReferenceLap, step: float, margin: float) -> Mesh:
    step, s = radau_points(base.length, step)
    flat = s.ravel()
    low, high = corridor(base, flat, track, margin)
    grip = grip_across(base, flat, track, low, high)
    speed = np.interp(flat / base.length, np.arange(len(lap.speed)) / len(lap.speed), lap.speed, period=1.0)
    return Mesh(
        step=step,
        s=s,
        curvature=base.frame(s)[2],
        low=low.reshape(s.shape),
        high=high.reshape(s.shape),
        grip=grip.reshape(*s.shape, 3),
        speed=speed.reshape(s.shape),
    )


def _cold(program: Program) -> tuple[Trajectory, int]:
    for pace, options in COLD[:-1]:
        with contextlib.suppress(NotSolved):
            return _run(program, _guess(program, pace), options)
    pace, options = COLD[-1]
    return _run(program, _guess(program, pace), options)


def _run(program: Program, guess: Array, options: Mapping[str, Any]) -> tuple[Trajectory, int]:
    """The solution and the iterations that it took."""
    import casadi

    chosen = {f"ipopt.{name}": value for name, value in (OPTIONS | dict(options)).items()}
    solver = casadi.nlpsol("lap", "ipopt", program.nlp, {"print_time": False, **chosen, **program.derivatives})
    found = solver(x0=guess, **program.bounds())
    stats = solver.stats()
    if stats["return_status"] != SOLVED:
        raise NotSolved(f"IPOPT ended with {stats['return_status']} after {stats['iter_count']} iterations")
    return program.unpack(found["x"].full().ravel()), int(stats["iter_count"])


def _guess(program: Program, pace: float) -> Array:
    """The reference lap at `pace` times its speed, in steady state at each point."""
    mesh, car = program.mesh, program.motion.vehicle
    speed = pace * mesh.speed
    states = np.moveaxis(program.motion.steady(speed, mesh.curvature, mesh.grip[..., 0]), 0, -1)
    states[..., 0] = np.clip(0.0, mesh.low, mesh.high)
    end, steer = speed[:, -1], states[:, -1, -1]
    demand = (end**2 - np.roll(end, 1) ** 2) / (2 * mesh.step) + car.drag / car.mass * end**2
    turn = (steer - np.roll(steer, 1)) / mesh.step * end
    bounds = program.bounds()
    low, high = (bounds[name].reshape(len(end), -1)[:, -2:] * program.control_scale for name in ("lbx", "ubx"))
    high[:, 1] = np.minimum(high[:, 1], car.max_drive * car.switch_speed / end)
    return program.pack(states, np.clip(np.stack([turn, demand], axis=1), 0.9 * low, 0.9 * high))


def _onto(trajectory: Trajectory, program: Program, length: float) -> Array:
    """The trajectory at the points of another mesh on the same base line."""
    s, mesh = trajectory.s.ravel(), program.mesh
    old = trajectory.states.reshape(len(s), -1)
    states = np.stack([np.interp(mesh.s, s, column, period=length) for column in old.T], axis=-1)
    middle = (np.arange(len(trajectory.controls)) + 0.5) * length / len(trajectory.controls)
    new = (np.arange(len(mesh.s)) + 0.5) * mesh.step
    controls = np.stack([np.interp(new, middle, column, period=length) for column in trajectory.controls.T], axis=1)
    return program.pack(states, controls)
