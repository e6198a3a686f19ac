"""Lines to follow around a track: its centre, the reference lap's, the optimal lap's."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np

from racing.errors import InputError, missing_package, warn_once
from racing.sim.speed_profile import speed_profile
from racing.sim.track import Raceline, Track, grip_along
from racing.sim.vehicle import Vehicle

if TYPE_CHECKING:
    from racing.tracks.optimal_lap.lap import OptimalLap
    from racing.tracks.reference_lap import ReferenceLap

LINES = ("centre", "reference", "optimal", "best")  # best: optimal where that can be had, else reference


def centre_line(track: Track, vehicle: Vehicle) -> Raceline:
    """The centreline, as fast as the vehicle can follow it."""
    grip = grip_along(track, track.points)
    return Raceline(np.zeros(len(track.points)), speed_profile(track.curvature, track.spacing, vehicle, grip))


def lines_of(line: str, tracks: Sequence[Track], vehicle: Vehicle) -> list[Raceline]:
    """Of each track the line of its reference lap, of the optimal one, or the best of these that can be had.

    Raises InputError where `optimal` cannot be had. `best` is the line of the reference lap there, which stderr tells,
    and for vehicles without tyres.
    """
    from racing.tracks.optimal_lap.lap import NotSolved, known_optimal_lap, optimal_lap  # solvers, only where wanted
    from racing.tracks.reference_lap import raceline_of, reference_lap

    optimal = line == "optimal" or (line == "best" and vehicle.model != "kinematic")
    unknown = [track.name for track in tracks if optimal and known_optimal_lap(track, vehicle) is None]
    if unknown and find_spec("casadi") is not None:
        which = _some(unknown)
        print(f"solving for the optimal lap of {which}, which is kept; some seconds each", file=sys.stderr, flush=True)
    found, without, why = [], [], ""
    for track in tracks:
        lap: OptimalLap | ReferenceLap
        try:
            lap = optimal_lap(track, vehicle) if optimal else reference_lap(track, vehicle)
        except (ModuleNotFoundError, NotSolved) as error:
            why = missing_package(error) or str(error)
            if line == "optimal":
                rule = f"line=optimal must be a lap that is solved for, {track.name}: {why}"
                raise InputError(f"{rule}; take reference") from error
            without.append(track.name)
            lap = reference_lap(track, vehicle)
        found.append(raceline_of(track, lap.points, lap.speed))
    if without:
        rule = f"warning: no optimal lap of {_some(without)}, {why}"
        warn_once(f"{rule}; env.line=best is the line of the reference lap there")
    return found


def _some(names: Sequence[str]) -> str:
    """The first of them, and how many more there are."""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more
