"""Lines to follow around a track: its centre, the reference lap's, the optimal lap's."""

from __future__ import annotations

import numpy as np

from racing.errors import InputError
from racing.sim.speed_profile import speed_profile
from racing.sim.track import Raceline, Track, grip_along
from racing.sim.vehicle import Vehicle

LINES = ("centre", "reference", "optimal")


def centre_line(track: Track, vehicle: Vehicle) -> Raceline:
    """The centreline, as fast as the vehicle can follow it."""
    grip = grip_along(track, track.points)
    return Raceline(np.zeros(len(track.points)), speed_profile(track.curvature, track.spacing, vehicle, grip))


def line_of(line: str, track: Track, vehicle: Vehicle) -> Raceline:
    """The line of the reference lap, or of the optimal one. Raises InputError where the latter cannot be had."""
    from racing.tracks.optimal_lap.lap import NotSolved, optimal_lap  # solvers, only where the line is wanted
    from racing.tracks.reference_lap import raceline_of, reference_lap

    if line == "reference":
        reference = reference_lap(track, vehicle)
        return raceline_of(track, reference.points, reference.speed)
    try:
        lap = optimal_lap(track, vehicle)
    except NotSolved as error:
        raise InputError(
            f"line=optimal must be a lap that is solved for, {track.name}: {error}; take reference"
        ) from error
    return raceline_of(track, lap.points, lap.speed)
