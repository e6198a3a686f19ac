"""The optimal lap as a nonlinear program: periodic, in the spatial domain, by Radau collocation.

Intervals of equal length; in each the states are polynomials through DEGREE Radau points and the end of the interval
before, the controls constant. Lap time = integral of dt/ds. (Formulation as in Christ, Wischnewski, Heilmeier,
Lohmann: "Time-optimal trajectory planning for a race car considering variable tyre-road friction coefficients", Vehicle
System Dynamics 2021; collocation as in CasADi's documentation, Andersson et al., Math. Prog. Comp. 2019.)

The derivatives are made for one interval and mapped over all: an expression graph of a few hundred operations in place
of one with hundreds of thousands. IPOPT gets them as its options jac_g, grad_f and hess_lag.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from racing.sim.vehicle import GRAVITY, Vehicle
from racing.tracks.optimal_lap.equations import STATES, STEER, XI, Motion, N, U

Array = npt.NDArray[np.float64]
Index = npt.NDArray[np.int64]

DEGREE = 3
SIZE, CONTROLS = len(STATES), 2
BLOCK = SIZE * DEGREE + CONTROLS  # unknowns of an interval: the states at its points, its controls
LINKS = SIZE + CONTROLS  # of the interval before: its last state, its controls
PARAMETERS = 4  # a point's curvature and the three coefficients of its grip
MAX_HEADING = 1.0  # [rad] of the car to the line


@dataclass(frozen=True, eq=False)
class Mesh:
    """Where the program looks: N intervals of `step` [m] with DEGREE points each; all arrays (N, DEGREE, ...).

    s: arc length [m]. curvature: of the base line [1/m]. low, high: least and largest offset [m].
    grip: (N, DEGREE, 3) coefficients, see racing.tracks.optimal_lap.smooth_line.grip_across.
    speed: of the reference lap [m/s].
    """

    step: float
    s: Array
    curvature: Array
    low: Array
    high: Array
    grip: Array
    speed: Array


@dataclass(frozen=True, eq=False)
class Trajectory:
    """States (N, DEGREE, 6) at the mesh's points s (N, DEGREE), controls (N, 2) of its intervals; lap time [s]."""

    s: Array
    states: Array
    controls: Array
    time_s: float


def radau_points(length: float, step: float) -> tuple[float, Array]:
    """The step [m] nearest to `step` that divides the lap, and the arc lengths (N, DEGREE) of all Radau points [m]."""
    import casadi

    count = max(8, round(length / step))
    shares = np.array(casadi.collocation_points(DEGREE, "radau"))
    return length / count, (np.arange(count)[:, None] + shares) * length / count


class Program:
    """Minimum lap time of `motion` over `mesh`.

    smoothness: weight of the squared steering rate and of the squared jumps of the demand, both as shares of their
    ranges, in seconds per metre and per jump: without it the optimum is singular on straights, and IPOPT chatters.
    max_slip: greatest slip angle of the body [rad]; None: any, so that the car may brake by drifting.
    """

    def __init__(self, motion: Motion, mesh: Mesh, smoothness: float, max_slip: float | None = None) -> None:
        self.motion, self.mesh, self.smoothness, self.max_slip = motion, mesh, smoothness, max_slip
        self.scale = _scale(motion.vehicle)
        self.control_scale = np.array([motion.vehicle.max_steer_rate, motion.vehicle.max_brake])
        self._build()

    def pack(self, states: Array, controls: Array) -> Array:
        """Unknowns (N * BLOCK,) of states (N, DEGREE, 6) and controls (N, 2)."""
        scaled = (states / self.scale).reshape(len(states), -1)
        return np.concatenate([scaled, controls / self.control_scale], axis=1).ravel()

    def unpack(self, unknowns: Array) -> Trajectory:
        """The trajectory that `unknowns` (N * BLOCK,) stand for."""
        blocks = unknowns.reshape(-1, BLOCK)
        states = blocks[:, : SIZE * DEGREE].reshape(-1, DEGREE, SIZE)
        before = np.roll(states[:, -1], 1, axis=0)
        time = float(self._time(blocks.T, before.T, self._parameters).full().sum())
        return Trajectory(self.mesh.s, states * self.scale, blocks[:, SIZE * DEGREE :] * self.control_scale, time)

    def _build(self) -> None:
        import casadi

        mesh, count = self.mesh, len(self.mesh.s)
        self._parameters = np.concatenate([mesh.curvature[..., None], mesh.grip], axis=2).reshape(count, -1).T
        block, before = casadi.SX.sym("block", BLOCK), casadi.SX.sym("before", LINKS)
        parameters = casadi.SX.sym("parameters", DEGREE * PARAMETERS)
        time, cost, defects, limits = self._interval(block, before, parameters)
        rows = casadi.vertcat(defects, limits)
        self.rows, self.equal = rows.numel(), defects.numel()
        self._time = casadi.Function("time", [block, before[:SIZE], parameters], [time]).map(count)

        arguments = [before, block, parameters]
        unknown = casadi.MX.sym("unknown", count * BLOCK)
        blocks = casadi.reshape(unknown, BLOCK, count)
        previous = [count - 1, *range(count - 1)]
        all_arguments = [blocks[-LINKS:, previous], blocks, casadi.DM(self._parameters)]
        constraint = casadi.Function("constraint", arguments, [rows]).map(count)
        objective = casadi.Function("objective", arguments, [cost]).map(count)
        self.nlp = {
            "x": unknown,
            "f": casadi.sum2(objective(*all_arguments)),
            "g": casadi.reshape(constraint(*all_arguments), -1, 1),
        }
        self.derivatives = self._derivatives(arguments, all_arguments, cost, rows)

    def _interval(self, block: Any, before: Any, parameters: Any) -> tuple[Any, Any, Any, Any]:
        """Lap time, cost, collocation defects (= 0) and limits (<= 0) of one interval."""
        import casadi

        car, step = self.motion.vehicle, self.mesh.step
        slopes, _, weights = casadi.collocation_coeff(casadi.collocation_points(DEGREE, "radau"))
        control = block[SIZE * DEGREE :] * self.control_scale
        states = [before[:SIZE] * self.scale]
        states += [block[SIZE * j : SIZE * (j + 1)] * self.scale for j in range(DEGREE)]
        time, defects, limits = 0, [], []
        for j in range(DEGREE):
            curvature, *grip = (parameters[PARAMETERS * j + i] for i in range(PARAMETERS))
            state = states[j + 1]
            factor = grip[0] + state[N] * (grip[1] + state[N] * grip[2])
            pace, slope = self.motion.slope(state, control, curvature, factor)
            polynomial = sum(slopes[i, j] * states[i] for i in range(DEGREE + 1))
            defects.append((step * slope - polynomial) / self.scale)
            time += step * weights[j] * pace
            limits.append(control[1] * state[U] / (car.max_drive * car.switch_speed) - 1)  # power
            if self.max_slip is not None:
                along, across = self.motion.velocity(state)
                widest = np.tan(self.max_slip) * along
                limits += [(way * across - widest) / self.scale[U] for way in (1, -1)]
        jump = block[-1] - before[-1]
        cost = time + self.smoothness * (step * block[-2] ** 2 + jump**2)
        return time, cost, casadi.vertcat(*defects), casadi.vertcat(*limits)

    def _derivatives(self, arguments: list[Any], all_arguments: list[Any], cost: Any, rows: Any) -> dict[str, Any]:
        import casadi

        count = len(self.mesh.s)
        full = casadi.vertcat(*arguments[:2])
        multipliers, factor = casadi.SX.sym("multipliers", self.rows), casadi.SX.sym("factor")
        jacobian = casadi.jacobian(rows, full)
        hessian = casadi.triu(casadi.hessian(factor * cost + casadi.dot(multipliers, rows), full)[0])
        first = np.arange(count)[:, None] * BLOCK
        place = np.concatenate([np.roll(first, 1) + BLOCK - LINKS + np.arange(LINKS), first + np.arange(BLOCK)], axis=1)
        unknown, nothing, everything = self.nlp["x"], casadi.MX.sym("nothing", 0), count * BLOCK

        def mapped(matrix: Any, *more: tuple[Any, Any]) -> Any:
            """Entries of a matrix of one interval, for all intervals; more: (symbol, its value in all intervals)."""
            symbols, values = zip(*more, strict=True) if more else ((), ())
            function = casadi.Function("entries", [*arguments, *symbols], [matrix.nz[:]]).map(count)
            return casadi.reshape(function(*all_arguments, *values), -1, 1)

        row, column = (np.array(places) for places in jacobian.sparsity().get_triplet())
        at = (np.arange(count)[:, None] * self.rows + row).ravel()
        jac = _scatter(at, place[:, column].ravel(), (count * self.rows, everything), mapped(jacobian))

        lam_f, lam_g = casadi.MX.sym("lam_f"), casadi.MX.sym("lam_g", count * self.rows)
        row, column = (np.array(places) for places in hessian.sparsity().get_triplet())
        a, b = place[:, row].ravel(), place[:, column].ravel()
        each = (multipliers, casadi.reshape(lam_g, self.rows, count)), (factor, casadi.repmat(lam_f, 1, count))
        hess = _scatter(np.minimum(a, b), np.maximum(a, b), (everything, everything), mapped(hessian, *each))

        slope = casadi.densify(casadi.gradient(cost, full))
        gradient = _scatter(place.ravel(), np.zeros(place.size, int), (everything, 1), mapped(slope))
        f, g = self.nlp["f"], self.nlp["g"]
        names = ["x", "p", "lam_f", "lam_g"]
        return {
            "jac_g": casadi.Function("jac_g", [unknown, nothing], [g, jac], names[:2], ["g", "jac_g_x"]),
            "grad_f": casadi.Function("grad_f", [unknown, nothing], [f, gradient], names[:2], ["f", "grad_f_x"]),
            "hess_lag": casadi.Function(
                "hess_lag", [unknown, nothing, lam_f, lam_g], [hess], names, ["triu_hess_gamma_x_x"]
            ),
        }

    def bounds(self) -> Mapping[str, Array]:
        """Least and greatest values of unknowns and constraints, as `casadi.nlpsol` names them."""
        car, mesh, count = self.motion.vehicle, self.mesh, len(self.mesh.s)
        low = np.full((count, DEGREE, SIZE), -np.inf)
        low[..., N], low[..., XI] = mesh.low, -MAX_HEADING
        low[..., U], low[..., STEER] = 0.3 * mesh.speed.min(), -car.max_steer
        high = np.full((count, DEGREE, SIZE), np.inf)
        high[..., N], high[..., XI] = mesh.high, MAX_HEADING
        high[..., U], high[..., STEER] = car.max_speed, car.max_steer
        rate, demand = np.full(count, car.max_steer_rate), self._most_demand()
        least = np.full((count, self.rows), -np.inf)
        least[:, : self.equal] = 0.0
        return {
            "lbx": self.pack(low, np.stack([-rate, -np.minimum(car.max_brake, demand)], axis=1)),
            "ubx": self.pack(high, np.stack([rate, np.minimum(car.max_drive, demand)], axis=1)),
            "lbg": least.ravel(),
            "ubg": np.zeros(count * self.rows),
        }

    def _most_demand(self) -> Array:
        """(N,) greatest demand [m/s^2] that saturated tyres turn into a shift of load (racing.sim.dynamics, 14)."""
        if self.motion.vehicle.model != "saturated":
            return np.full(len(self.mesh.s), np.inf)
        ends = np.stack([self.mesh.low, self.mesh.high])
        constant, slope, bend = np.moveaxis(self.mesh.grip, -1, 0)
        grip = (constant + ends * (slope + ends * bend)).min(axis=(0, 2))
        return np.asarray(grip * self.motion.vehicle.max_lateral)


def _scatter(rows: Index, columns: Index, shape: tuple[int, int], values: Any) -> Any:
    """The sparse matrix with values[i] at rows[i], columns[i]; what falls on the same place is added."""
    import casadi

    key = columns.astype(np.int64) * shape[0] + rows
    places, inverse = np.unique(key, return_inverse=True)
    pattern = casadi.Sparsity.triplet(*shape, (places % shape[0]).tolist(), (places // shape[0]).tolist())
    adder = casadi.Sparsity.triplet(len(places), len(key), inverse.tolist(), list(range(len(key))))
    return casadi.MX(pattern, casadi.mtimes(casadi.DM(adder, 1), values))


def _scale(vehicle: Vehicle) -> Array:
    """What the states are divided by, so that all are of order 1. Small cars turn quicker on tighter lines."""
    quick = GRAVITY / (vehicle.max_speed / 2)  # [rad/s] yaw rate of 1 g at half the top speed
    across = 0.2 if vehicle.model == "linear" else 0.06 * vehicle.max_speed / 2
    return np.array([vehicle.reference_width, 0.15, vehicle.max_speed / 2, across, 2 * quick, 0.15])
