"""Solve the optimal laps that ship with the circuits, and print the table of docs/reference_laps.md.

    python docs/make_optimal_laps.py [TRACK[:SCALE][@VEHICLE] ...]

Without arguments: the shipped circuits, whose laps are written to racing/tracks/optimal_lap/shipped/.
"""

from __future__ import annotations

import sys
import time

from racing.commands.tracks.inspect import vehicle_for
from racing.config import load_group
from racing.tracks.catalog import load_track, shipped
from racing.tracks.lap_files import write_lap
from racing.tracks.optimal_lap.driver import driven_lap
from racing.tracks.optimal_lap.lap import SHIPPED, NotSolved, cache_path, compute_optimal_lap
from racing.tracks.reference_lap import reference_lap

COLUMNS = (
    "track",
    "scale",
    "vehicle",
    "reference [s]",
    "limit [s]",
    "limit / reference",
    "driven [s]",
    "above the limit",
    "solved in [CPU s]",
)


def row(spec: str, *, keep: bool) -> str:
    """One line of the table."""
    place, _, vehicle_name = spec.partition("@")
    name, _, scale = place.partition(":")
    track = load_track(name, scale=float(scale or 1))
    vehicle = load_group("vehicle", vehicle_name) if vehicle_name else vehicle_for(None, track)
    reference = reference_lap(track, vehicle).time_s
    label = f"| {track.name} | {scale or 1} | {vehicle.name} | {reference:.2f} |"
    began = time.process_time()
    try:
        lap = compute_optimal_lap(track, vehicle)
    except NotSolved as error:
        return f"{label} - | - | - | - | {error} |"
    took = time.process_time() - began
    if keep:
        SHIPPED.mkdir(exist_ok=True)
        write_lap(SHIPPED / cache_path(track, vehicle).name, lap)
    driven = driven_lap(track, vehicle, lap)
    seen = "- | -" if driven is None else f"{driven:.2f} | {driven / lap.limit_s - 1:.2%}"
    return f"{label} {lap.limit_s:.2f} | {lap.limit_s / reference:.4f} | {seen} | {took:.1f} |"


if __name__ == "__main__":
    print(f"| {' | '.join(COLUMNS)} |", "|" + "---|" * len(COLUMNS), sep="\n")
    for given in sys.argv[1:] or sorted(shipped()):
        print(row(given, keep=len(sys.argv) == 1), flush=True)
