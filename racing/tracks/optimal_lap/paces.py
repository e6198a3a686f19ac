"""A lap planned at several paces, and at the one that is wanted: computed once, and kept on disk."""

from __future__ import annotations

import contextlib
import hashlib
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from racing.sim.vehicle import Vehicle
from racing.tracks.lap_files import lap_path, read_lap, write_lap
from racing.tracks.optimal_lap.calm_line import inwards_of, wider_of
from racing.tracks.optimal_lap.lap import OptimalLap
from racing.tracks.optimal_lap.plan import FOLLOWED, plan
from racing.tracks.optimal_lap.simulation import Simulation
from racing.tracks.reference_lap import ReferenceLap

Array = npt.NDArray[np.float64]

VERSION = 2  # part of the key on disk: raise it when the same lap would give other plans
PACES = (0.3, 0.5, 0.7, 0.85, 0.9)  # shares of the lap's speed for which there are plans, beside the pace wanted
FINER = 4  # places of a plan, per point of the lap


@dataclass(frozen=True, eq=False)
class PacePlans:
    """Rows as `Plan.at` at S places that lie evenly along the line, FINER for each point of the lap.

    paces: (P,) shares of the lap's speed, rising; the last is that of a calm car.
    calm: (P, S, 20) of each of them, beside the line as racing.tracks.optimal_lap.calm_line says.
    whole: (S, 20) at the pace that is wanted; (0, 20) where that is one of a calm car, and where it cannot be driven.
    """

    paces: Array
    calm: Array
    whole: Array


def pace_plans(simulation: Simulation, lap: OptimalLap | ReferenceLap, pace: float) -> tuple[PacePlans, bool]:
    """The plans of `lap`, up to `pace` times its speed, and whether they are new: else they were on disk."""
    path = lap_path(
        "plans", VERSION, simulation.track, [*_named(simulation.vehicle, lap), simulation.action_repeat, pace]
    )
    found = read_lap(PacePlans, path)
    if found is not None:
        return found, False
    found = compute_pace_plans(simulation, lap, pace)
    with contextlib.suppress(OSError):
        write_lap(path, found)
    return found, True


def compute_pace_plans(simulation: Simulation, lap: OptimalLap | ReferenceLap, pace: float) -> PacePlans:
    """As `pace_plans`, without the disk."""
    length = simulation.line.length
    s = np.arange(FINER * len(lap.points)) * length / (FINER * len(lap.points))
    wider = wider_of(simulation, lap)
    aside = inwards_of(simulation, lap) + wider
    plans = {p: plan(simulation, lap, p, aside) for p in [p for p in PACES if p < pace] + [min(pace, PACES[-1])]}
    good = [p for p, found in plans.items() if found.missed < FOLLOWED]
    paces = [p for p in plans if p <= max(good, default=PACES[0])]
    calm = np.stack([plans[p].at(s, length) for p in paces])
    whole = np.zeros((0, calm.shape[2]))
    if pace > PACES[-1]:
        full = plan(simulation, lap, pace, wider if isinstance(lap, ReferenceLap) else None)
        whole = full.at(s, length) if full.missed < FOLLOWED else whole
    return PacePlans(np.array(paces), calm, whole)


def _named(vehicle: Vehicle, lap: OptimalLap | ReferenceLap) -> list[float | str]:
    values = [getattr(vehicle, field.name) for field in fields(vehicle) if field.name != "name"]
    arrays = (np.asarray(getattr(lap, field.name)) for field in fields(lap))
    return [*values, type(lap).__name__, hashlib.sha256(b"".join(array.tobytes() for array in arrays)).hexdigest()]
