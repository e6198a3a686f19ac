"""`racing tracks validate | preview`: check tracks by rule and by eye."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from racing.errors import InputError, require
from racing.tracks.measure import mean_width

if TYPE_CHECKING:
    from racing.sim.track import Track
    from racing.sim.vehicle import Vehicle

SMALL = 4.0  # [m] width below which a road is for 1:10 cars


def vehicle_for(name: str | None, track: Track) -> Vehicle:
    """Load the vehicle of that name, else the default for the road's width."""
    from racing.config import load_group

    vehicle: Vehicle = load_group("vehicle", str(name or ("f1tenth" if mean_width(track) < SMALL else "kart")))
    return vehicle


def validate(options: argparse.Namespace, names: Sequence[str], load: Callable[[str], Track]) -> int:
    """Print one line per finding; returns 2 if one of them is fatal or a track cannot be loaded."""
    unfit = 0
    for name in names:
        try:
            with _warnings() as said:
                track = load(name)
        except InputError as error:
            if len(names) == 1:
                raise
            print(f"error: {name}: {error}")
            unfit += 1
            continue
        unfit += _validate(track, options, said)
    if len(names) > 1:
        print(f"{len(names)} tracks: {len(names) - unfit} valid, {unfit} not")
    return 2 if unfit else 0


@contextmanager
def _warnings() -> Iterator[list[str]]:
    """Collect what the readers of tracks warn of, instead of logging it."""
    said: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("racing.tracks")
    before, logger.propagate = logger.propagate, False
    logger.addHandler(handler)
    try:
        yield said
    finally:
        logger.removeHandler(handler)
        logger.propagate = before


def _validate(track: Track, options: argparse.Namespace, said: Sequence[str]) -> bool:
    """Print the findings, the lap of the reference controller and the verdict; returns whether one is fatal.

    said: warnings of the reader.
    """
    from racing.tracks.reference_driver import drive_round
    from racing.tracks.validation import drive_findings, findings

    vehicle = vehicle_for(options.vehicle, track)
    found = findings(track, vehicle)
    driven = ""
    if options.drive and not any(finding.fatal for finding in found):
        (drive,) = drive_round([track], vehicle)
        found += drive_findings(track, vehicle, drive)
        driven = f", driven in {drive.lap_time_s:.1f} s from standing" if drive.lap_time_s is not None else ""
    for line in (*found, *(f"warning: {text}" for text in said)):
        print(line)
    fatal = sum(finding.fatal for finding in found)
    verdict = f"not valid: {fatal} error{'s' * (fatal > 1)}" if fatal else "valid"
    print(f"{track.name} for {vehicle.name}: {verdict}, {len(found) + len(said) - fatal} warnings{driven}")
    return fatal > 0


def preview(options: argparse.Namespace, names: Sequence[str], load: Callable[[str], Track]) -> int:
    """Draw one track with its reference line, or several on a sheet."""
    from racing.tracks.preview import save_preview, save_sheet
    from racing.tracks.reference_lap import reference_lap

    require(bool(names), "racing tracks preview needs a NAME or --all; see racing tracks list")
    tracks = []
    for name in names:
        try:
            tracks.append(load(name))
        except InputError as error:
            if not options.all:
                raise
            print(f"skipped: {error}", file=sys.stderr)
    path = options.out or Path(f"{tracks[0].name if len(tracks) == 1 else 'tracks'}.png")
    require(path.suffix.lower() == ".png", f"--out must end in .png, got {path}; rename it")
    try:
        if len(tracks) > 1:
            save_sheet(tracks, path)
        else:
            save_preview(tracks[0], path, reference_lap(tracks[0], vehicle_for(options.vehicle, tracks[0])))
    except OSError as error:
        raise InputError(f"{path} cannot be written ({error}); choose another --out") from None
    print(f"wrote {path}")
    return 0


def reference(track: Track, vehicle_name: str | None, *, optimal: bool) -> int:
    """Print the reference lap, or the optimal one; returns the exit code."""
    from racing.tracks.reference_lap import reference_lap

    vehicle = vehicle_for(vehicle_name, track)
    lap = reference_lap(track, vehicle)
    speeds = f"{lap.speed.min():.1f} to {lap.speed.max():.1f} m/s"
    if not optimal:
        print(f"{track.name}, {vehicle.name}: {lap.time_s:.2f} s on a line of {lap.length_m:.1f} m, {speeds}")
        return 0
    return _optimal(track, vehicle, lap.time_s)


def _optimal(track: Track, vehicle: Vehicle, reference_s: float) -> int:
    """Print the optimal lap, solved for where it is not known; exit code 1 where there is no solution."""
    from racing.tracks.optimal_lap.driver import driven_lap
    from racing.tracks.optimal_lap.lap import NotSolved, optimal_lap

    place = f"{track.name}, {vehicle.name}"
    try:
        lap = optimal_lap(track, vehicle)
    except NotSolved as error:
        print(f"racing tracks reference: {place}: no optimal lap: {error}", file=sys.stderr)
        return 1
    speeds = f"{lap.speed.min():.1f} to {lap.speed.max():.1f} m/s"
    print(f"{place}: limit {lap.limit_s:.2f} s, {lap.limit_s / reference_s:.4f} x reference {reference_s:.2f} s")
    driven = driven_lap(track, vehicle, lap)
    if driven is None:
        print("the simulator's car could not drive it: the limit is a bound that was not confirmed")
        return 0
    above = driven / lap.limit_s - 1
    print(f"driven in the simulator: {driven:.2f} s, {above:.2%} above it, on a line of {lap.length_m:.1f} m, {speeds}")
    return 0
