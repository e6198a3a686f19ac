"""Who takes part in a comparison of laps: runs, files, people, the optimal driver; the lap that each is compared by."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from racing.errors import InputError, require
from racing.evaluation.comparing.lap import Lap, lap_of
from racing.evaluation.comparing.recorded import best_recorded
from racing.evaluation.evaluate import Diverged, evaluate, evaluation_task
from racing.evaluation.files import FILES
from racing.evaluation.seeds import TEST_SEEDS
from racing.policies.loading import LoadedPolicy, evaluation_task_for, load_policy, tracks_and_vehicle
from racing.policies.scored import is_scored_policy
from racing.processes import usable_cores
from racing.runs.paths import RunPaths, where
from racing.sim.track import Track
from racing.sim.vehicle import Vehicle
from racing.tracks.reference_lap import reference_lap

OPTIMAL, PERSON = "optimal", "human:latest"  # the newest drive of a person, of racing play
TELEMETRY = FILES[1]
FILE = Path(TELEMETRY).suffix
HUMAN = "human"


@dataclass(frozen=True, kw_only=True)
class Driver:
    """Who takes part. lap: the best one. source: where it is from. config: resolved, of a run; else empty."""

    name: str
    lap: Lap
    source: str
    config: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where laps are compared. lead: the first policy, in whose environment the optimal driver drives."""

    track: Track
    vehicle: Vehicle
    lead: LoadedPolicy


def find_drivers(specs: Sequence[str], options: Mapping[str, Any]) -> tuple[list[Driver], Place]:
    """The drivers that `specs` mean, in their order, and where they drive.

    specs: what `load_policy` takes, `optimal`, `human:latest`, or a telemetry file; at least one is a policy. options:
    of conf/verbs/compare.yaml. A run's lap is that of its final evaluation; whoever has none on this track drives now.
    Raises InputError for what is none, for drivers of different tracks or cars, and for those without a complete lap.
    """
    outputs = Path(options["paths"]["outputs"])
    policies = {
        k: load_policy(spec, outputs, trust=options["trust"]) for k, spec in enumerate(specs) if not _is_other(spec)
    }
    require(len(policies) > 0, f"run must name a policy, got {', '.join(specs)}; add the one to compare with")
    for policy in policies.values():
        rule = f"run: {policy.name} drives no laps, its environment has no tracks"
        require(not is_scored_policy(policy), f"{rule}; compare policies that drive")
    place = _place(list(policies.values()), options["track"])
    drivers: list[Driver] = []
    for k, spec in enumerate(specs):
        own = policies.get(k)
        name = _name(spec) if own is None else own.name
        lap, source = _driven(spec, own, place, options)
        if lap is None:
            none = f"run: {name} must have a complete lap on {place.track.name}, it has none in {source}"
            remedy = "drive two laps in a row" if spec == PERSON else "train it longer"
            raise InputError(f"{none}; {remedy}, or leave it out")
        again = 1 + sum(driver.name.partition(" #")[0] == name for driver in drivers)
        name = f"{name} #{again}" if again > 1 else name
        config = {} if own is None else own.config
        drivers.append(Driver(name=name, lap=lap, source=source, config=config))
    return drivers, place


def _driven(spec: str, policy: LoadedPolicy | None, place: Place, options: Mapping[str, Any]) -> tuple[Lap | None, str]:
    """The best lap of a driver, None without any; and where it is from."""
    if policy is not None:
        return _recorded(policy, place) or _now(policy, place, options)
    if spec == OPTIMAL:
        return _now(None, place, options)
    if spec == PERSON:
        return _by_hand(place, Path(options["paths"]["outputs"]))
    lap, count = best_recorded(Path(spec).expanduser(), place.track)
    return lap, f"{count} drives in the file"


def _by_hand(place: Place, outputs: Path) -> tuple[Lap | None, str]:
    """The best lap of the newest drive there that has one. Raises InputError where nobody has driven."""
    from racing.viewer.cars.records import drives_at

    drives = drives_at(outputs, place.track, place.vehicle)
    none = f"run: {PERSON} must be a drive on {place.track.name} with {place.vehicle.name}, there is none"
    require(len(drives) > 0, f"{none}{where(outputs)}; drive one: racing play, then E")
    for path in drives:
        lap, _ = best_recorded(path, place.track)
        if lap is not None:
            return lap, f"the drive {path.parent.name}"
    return None, f"{len(drives)} drives, but for the first one of each"


def _is_other(spec: str) -> bool:
    """Whether it means a driver without a policy."""
    return spec in (OPTIMAL, PERSON) or spec.endswith(FILE)


def _name(spec: str) -> str:
    """Name of a driver without a policy: of an evaluation's telemetry that of the run and the evaluation."""
    if spec == PERSON:
        return HUMAN
    path = Path(spec).expanduser().absolute()
    if path.name != TELEMETRY:
        return path.stem
    run = RunPaths.of(path)
    return path.parent.name if run is None else f"{run.folder.name}/{path.parent.name}"


def _place(policies: Sequence[LoadedPolicy], named: str | None) -> Place:
    """Where the policies drive. named: as track=. Raises InputError where they have different tracks or cars."""
    lead = policies[0]
    places = [tracks_and_vehicle(policy, named) for policy in policies]
    (track, *more), vehicle = places[0]
    several = f"run: {lead.name} has {1 + len(more)} tracks"
    require(not more, f"{several}; name the one to compare on by track=")
    for policy, (tracks, car) in zip(policies[1:], places[1:], strict=True):
        both = f"run: {policy.name} and {lead.name} have tracks of their own"
        require(any(same_track(one, track) for one in tracks), f"{both}; name the one to compare on by track=")
        for key, value in asdict(car).items():
            own = asdict(vehicle)[key]
            differs = f"its vehicle.{key} is {value}, not {own}"
            rule = f"run: {policy.name} must have the car of {lead.name}, {differs}"
            require(value == own, f"{rule}; compare drivers of one car")
    return Place(track=track, vehicle=vehicle, lead=lead)


def same_track(one: Track, other: Track) -> bool:
    """Whether two tracks are one circuit with one grip, whatever they are called and were read from."""
    return all(np.array_equal(a, b) for a, b in zip(_shape(one), _shape(other), strict=True))


def _shape(track: Track) -> list[Any]:
    grip = np.zeros(0) if track.grip is None else track.grip.values
    return [track.points, track.gates, track.clearance.values, grip]


def _recorded(policy: LoadedPolicy, place: Place) -> tuple[Lap | None, str] | None:
    """The best lap of a run's final evaluation; None where that was not driven on this track."""
    run, agent = policy.run, policy.name.partition("@")[2]
    steps = None if run is None else run.summary.get("total_steps")
    if run is None or not isinstance(steps, int):
        return None
    path = run.paths.evaluation(steps, agent) / TELEMETRY
    if not path.is_file():
        return None
    tracks = tracks_and_vehicle(policy)[0]
    if not any(same_track(track, place.track) for track in tracks):
        return None
    lap, count = best_recorded(path, place.track)
    if lap is None and len(tracks) > 1:  # it may have been held out
        return None
    return lap, f"{count} starts of its final evaluation"


def _now(policy: LoadedPolicy | None, place: Place, options: Mapping[str, Any]) -> tuple[Lap | None, str]:
    """The best lap of as many starts as an evaluation has, driven now. policy: None for the optimal driver."""
    reference = [reference_lap(place.track, place.vehicle).time_s]
    size = {"races": options["episodes"], "laps": options["laps"], "seed": TEST_SEEDS + options["seed"]}
    size["threads"] = usable_cores()
    where: tuple[Any, ...] = ([place.track], place.vehicle, reference)
    if policy is None:
        from racing.tracks.optimal_lap.driver import best_driver

        task = evaluation_task(place.lead.config["env"], *where, **size)
        repeat = round(task.world.step_dt / place.vehicle.control_period)
        driver = best_driver([place.track], place.vehicle, repeat, 1.0, partial(print, file=sys.stderr))
        result = evaluate(lambda _: driver.actions(task.cars), task, reference)
    else:
        task = evaluation_task_for(policy, *where, **size)
        try:
            result = evaluate(policy.predict, task, reference)
        except Diverged as error:
            raise InputError(f"run: {policy.name}: {error}") from error
    best = result.best_episode()
    number = result.episodes[best]["flying_lap"]
    lap = None if number is None else lap_of(result.telemetry_table(best), number, place.track)
    return lap, f"{options['episodes']} starts, driven now"
