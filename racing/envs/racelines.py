"""Lines to follow around a track: its centre, the reference lap's, the optimal lap's."""

from __future__ import annotations

import numpy as np

from racing.errors import InputError, missing_package, warn_once
from racing.sim.speed_profile import speed_profile
from racing.sim.track import Raceline, Track, grip_along
from racing.sim.vehicle import Vehicle

LINES = ("centre", "reference", "optimal", "best")  # best: optimal where that can be had, else reference


def centre_line(track: Track, vehicle: Vehicle) -> Raceline:
    """The centreline, as fast as the vehicle can follow it."""
    grip = grip_along(track, track.points)
    return Raceline(np.zeros(len(track.points)), speed_profile(track.curvature, track.spacing, vehicle, grip))


def line_of(line: str, track: Track, vehicle: Vehicle) -> Raceline:
    """The line of the reference lap, of the optimal one, or the best that can be had, the latter first.

    Raises InputError where `optimal` cannot be had; where it is `best` that is said, on stderr.
    """
    from racing.tracks.optimal_lap.lap import NotSolved, optimal_lap  # solvers, only where the line is wanted
    from racing.tracks.reference_lap import raceline_of, reference_lap

    if line != "reference" and (line == "optimal" or vehicle.model != "kinematic"):
        try:
            lap = optimal_lap(track, vehicle)
            return raceline_of(track, lap.points, lap.speed)
        except (ModuleNotFoundError, NotSolved) as error:
            if line == "optimal" and isinstance(error, ModuleNotFoundError):
                raise
            why = missing_package(error) or str(error)
            rule = f"line=optimal must be a lap that is solved for, {track.name}: {why}; take reference"
            if line == "optimal":
                raise InputError(rule) from error
            warn_once(f"warning: {track.name}: no optimal lap, {why}; line=best is that of its reference lap")
    reference = reference_lap(track, vehicle)
    return raceline_of(track, reference.points, reference.speed)
