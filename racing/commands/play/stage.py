"""Who drives on the page of `racing play`, and where: found, read and tried once before it opens."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from racing.commands.play.options import DRIVERS, LATEST, runs_of
from racing.commands.tracks.inspect import vehicle_for
from racing.config import compose_run
from racing.errors import InputError, require
from racing.evaluation.evaluate import Diverged
from racing.policies.loading import LoadedPolicy, load_policy, tracks_and_vehicle
from racing.policies.scored import is_scored_policy
from racing.runs.checkpoints import Checkpoints
from racing.runs.directory import RunDirectory, all_runs
from racing.runs.paths import where
from racing.tracking.run_record import local_run
from racing.tracks.catalog import load_track
from racing.tracks.reference_lap import reference_lap
from racing.viewer.drivers import Driver, Place, optimal_driver, policy_driver
from racing.viewer.overview import Overview, listed_run
from racing.viewer.stage import Stage
from racing.viewer.stages import Stages

OWN = {"driver": DRIVERS[0], "track": None, "reverse": False, "scale": 1.0, "vehicle": None, "trust": False}


def make_stages(options: Mapping[str, Any]) -> Stages:
    """All that the server shows. Without a run on this disk, where none was named, the page of runs alone.

    Raises InputError as `make_stage`.
    """
    outputs = Path(options["paths"]["outputs"])
    nothing = options["driver"] == DRIVERS[0] and options["run"] == LATEST and not all_runs(outputs)

    def make(name: str) -> Stage:
        run = listed_run(outputs, name)
        require(run is not None, f"run {name[:40]!r} is none of those at /runs; choose one there")
        return make_stage({**options, **OWN, "run": name})

    return Stages(None if nothing else make_stage(options), make, Overview(outputs))


def make_stage(options: Mapping[str, Any]) -> Stage:
    """Who drives where. Raises InputError for what cannot be found, or does not drive laps."""
    news: list[str] = []
    policies = _policies(options, news.append)
    track, vehicle = _where(policies, options)
    reference = reference_lap(track, vehicle)
    place = Place(track=track, vehicle=vehicle, reference_s=reference.time_s, seed=options["seed"])
    conditions = policies[0].config["env"].get("conditions") if policies else None
    drivers = _drivers(policies, place, options)
    stage = Stage(place, drivers, reference, Path(options["paths"]["outputs"]), conditions, news)
    try:
        for car in stage.session()[0].cars:  # what does not fit is said now; kernels are compiled or loaded
            car.step()
    except Diverged as error:
        raise InputError(f"{error}; lower its learning rate") from error
    return stage


def _policies(options: Mapping[str, Any], say: Callable[[str], None]) -> list[LoadedPolicy]:
    """Those that `run` names; of the other drivers the first one says where it is, if it is named."""
    if options["driver"] != DRIVERS[0] and options["run"] == LATEST:
        return []
    outputs = Path(options["paths"]["outputs"])
    policies = [_policy(str(run), outputs, options, say) for run in runs_of(options)]
    for policy in policies:
        rule = f"racing play shows cars on circuits, policy {policy.name} (env=lateral) drives none"
        require(not is_scored_policy(policy), f"{rule}; use racing evaluate run={policy.name}{where(outputs)}")
    return policies


def _policy(spec: str, outputs: Path, options: Mapping[str, Any], say: Callable[[str], None]) -> LoadedPolicy:
    """The policy of a run, which is followed where it is being trained. say: takes a line about each newer one."""
    run = unfinished(spec, outputs)
    if run is None:
        return load_policy(spec, outputs, options["backend"], trust=options["trust"])
    from racing.commands.play.follow import Follower  # torch

    follower = Follower(run, say, trust=options["trust"])
    follower.keep_looking()
    return follower.policy(trust=options["trust"])


def unfinished(spec: str, outputs: Path) -> RunDirectory | None:
    """The run on this disk that `spec` means, where it has checkpoints but no policy yet; None for all else."""
    if spec.startswith("models:/") or Path(spec).suffix in (".onnx", ".zip") or "@" in spec:
        return None
    try:
        run = local_run(spec, outputs)
    except InputError:  # said by whoever loads policies
        return None
    waits = run.exists and not run.finished and not run.paths.policy_onnx.is_file()
    return run if waits and Checkpoints(run.path).all() else None


def _where(policies: Sequence[LoadedPolicy], options: Mapping[str, Any]) -> tuple[Any, Any]:
    """The track and the vehicle."""
    reading = {"reverse": options["reverse"], "scale": options["scale"]}
    if not policies:
        track = load_track(options["track"] or "circuit", **reading)
        return track, vehicle_for(options["vehicle"], track)
    tracks, vehicle = tracks_and_vehicle(policies[0], options["track"], options["vehicle"], **reading)
    return tracks[0], vehicle


def _drivers(policies: Sequence[LoadedPolicy], place: Place, options: Mapping[str, Any]) -> list[Driver]:
    if options["driver"] == "human":
        return []
    if options["driver"] == "policy":
        return [policy_driver(policy, place) for policy in policies]
    from racing.tracks.optimal_lap.driver import best_driver

    env = policies[0].config["env"] if policies else compose_run(["env=mlp"])["env"]
    repeat = env.get("action_repeat", 2)
    say = partial(print, file=sys.stderr)
    return [optimal_driver(best_driver([place.track], place.vehicle, repeat, options["pace"], say), place, env)]
