"""Who drives on a circuit, and where: each alone, or all in a race."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from racing.commands.play.options import HUMAN, POLICY, runs_of
from racing.commands.tracks.inspect import vehicle_for
from racing.config import compose_run
from racing.evaluation.race.driving import line_entrant
from racing.evaluation.race.suites import CARS
from racing.league.contenders import canonical, find_contenders, pace_of
from racing.policies.loading import LoadedPolicy, tracks_and_vehicle
from racing.sim.track import Track
from racing.sim.vehicle import Vehicle
from racing.tracks.catalog import load_track
from racing.tracks.reference_lap import reference_lap
from racing.viewer.cars.drivers import Driver, Place, policy_driver, task_driver
from racing.viewer.cars.race import Grid
from racing.viewer.cars.stage import AloneStage, RaceStage


def alone_stage(policies: Sequence[LoadedPolicy], options: Mapping[str, Any], news: list[str]) -> AloneStage:
    """Each in a world of its own: policies, or a driver of the first one's environment. Raises InputError."""
    track, vehicle = _where(policies[0], options)
    reference = reference_lap(track, vehicle)
    place = Place(track=track, vehicle=vehicle, reference_s=reference.time_s, seed=options["seed"])
    env = policies[0].config["env"]
    conditions = None if policies[0].backend == "none" else env.get("conditions")
    drivers: list[Driver] = []
    if options["driver"] == POLICY:
        drivers = [policy_driver(policy, place) for policy in policies]
    elif options["driver"] != HUMAN:
        drivers = [task_driver(options["driver"], options["pace"], place, env)]
    return AloneStage(place, reference, Path(options["paths"]["outputs"]), drivers, conditions, news=news)


def _where(policy: LoadedPolicy, options: Mapping[str, Any]) -> tuple[Track, Vehicle]:
    """The track and the vehicle: those of a policy, of an untrained one those that are named."""
    reading = {"reverse": options["reverse"], "scale": options["scale"]}
    if policy.backend == "none":
        track = load_track(options["track"] or "circuit", **reading)
        return track, vehicle_for(options["vehicle"], track)
    tracks, vehicle = tracks_and_vehicle(policy, options["track"], options["vehicle"], **reading)
    return tracks[0], vehicle


def race_stage(options: Mapping[str, Any], news: list[str]) -> RaceStage:
    """All that `run` names in one race: policies, and line@PACE, followers of the optimal lap's line.

    Raises InputError for what is none, and for policies that cannot race each other.
    """
    specs, outputs = [str(run) for run in runs_of(options)], Path(options["paths"]["outputs"])
    reading = {"reverse": options["reverse"], "scale": options["scale"]}
    track = None if options["track"] is None else load_track(options["track"], **reading)
    paces = [pace_of(spec) for spec in specs]
    if all(pace is not None for pace in paces):
        track = track or load_track("circuit")
        vehicle, env = vehicle_for(None, track), compose_run(["env=race"])["env"]
        entrants = [line_entrant(pace) for pace in paces if pace is not None]
        names = [canonical(spec) for spec in specs]
    else:
        found, where = find_contenders(specs, outputs, track, trust=options["trust"])
        track, vehicle, env = where.track, where.vehicle, where.env
        entrants, names = [one.entrant for one in found], [one.name for one in found]
    reference = reference_lap(track, vehicle)
    place = Place(track=track, vehicle=vehicle, reference_s=reference.time_s, seed=options["seed"])
    cars = options["cars"] or (len(specs) if len(specs) > 1 else CARS)
    grid = Grid(entrants=entrants, names=names, env=env, laps=options["laps"], cars=cars)
    return RaceStage(place, reference, outputs, grid, news=news)
