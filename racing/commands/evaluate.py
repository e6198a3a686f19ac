"""`racing evaluate`: drive a trained policy from unseen starts and report its laps."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from racing.commands.evaluate_conditions import check_conditions, conditions_label, in_conditions, with_settings
from racing.commands.evaluate_race import check_race
from racing.commands.evaluate_scores import POLICY
from racing.commands.evaluate_sweep import (
    check_randomize,
    evaluate_sweeps,
    given_ranges,
    report_sweeps,
    swept_parameters,
)
from racing.commands.options import made_folder, short_hash, usual_options, verb_options
from racing.config import choices, compose_run
from racing.envs.task import require_driver
from racing.errors import InputError, is_number, require, require_number
from racing.evaluation.files import write_files
from racing.evaluation.tables import episode_line, print_several, print_table
from racing.runs.paths import IN_RUN
from racing.training.sizes import check_evaluation_size

if TYPE_CHECKING:
    from racing.evaluation.evaluate import Policy, Task
    from racing.evaluation.result import Evaluation
    from racing.policies.loading import LoadedPolicy
    from racing.sim.track import Track
    from racing.sim.vehicle import Vehicle

EXAMPLES = """usage: racing evaluate [key=value ...]

Drive a trained policy from unseen starts and report its laps.

examples:
  racing evaluate                                        the newest run, 100 starts on its own track
  racing evaluate run=my-run-1a2b3c4d episodes=20        a run by name (or directory, or MLflow run id)
  racing evaluate run=first,second track=oval,technical  several runs, each on several tracks, and a table of all
  racing evaluate run=policy.onnx                        an exported file; needs neither the run nor torch
  racing evaluate track=maps/esp.yaml vehicle=f1tenth    somewhere else, with another car
  racing evaluate track=[oval,technical] format=json     several tracks; JSON on stdout and nothing else
  racing evaluate driver=optimal track=circuit           what is possible: a controller at the physical limit
  racing evaluate env=lateral driver=mpc                 the controls challenge by a controller, without any run
  racing evaluate randomize.friction=[0.8,1] randomize.command_delay=0.05     cars that differ from the vehicle
  racing evaluate sweep=friction values=[0.6,0.8,1]      how a policy degrades: one evaluation for each value
  racing evaluate conditions=stint laps=20               tyres that wear, lap by lap
  racing evaluate settings={dynamics:tinyphysics.onnx}   env=lateral: on other dynamics than the policy learnt on
  racing evaluate video=true                             and a video of the best lap: lap.mp4
  racing evaluate env=race run=[first,second]            against each other: win shares, overtakes, contacts
"""
LATEST = "latest"  # run= that nobody named
LISTS = ("run", "track", "sweep", "values")  # keys of which several values are driven
FORMATS = ("table", "json", "csv")
MAX_EPISODES = 100_000
# How `track` is read, see racing.tracks.catalog.load_tracks -> what means as it is.
READING: dict[str, Any] = {
    "scale": 1.0,
    "reverse": False,
    "half_width": None,
    "metres_per_pixel": None,
    "grip": None,
    "columns": None,
}


def main(argv: Sequence[str]) -> int:
    """Entry point of the verb; returns the exit code."""
    options = parse(argv)
    if options is None:
        return 0
    if options["env"] == "race":
        race(options)
        return 0
    chosen = each_run(options)
    policies = [_policy(of_one, Path(of_one["paths"]["outputs"])) for of_one in chosen]  # before any of them drives
    from racing.commands.evaluate_scores import evaluate_scores, evaluator_for
    from racing.policies.scored import is_scored_policy

    own = [evaluator_for(p, o) if is_scored_policy(p) else None for o, p in zip(chosen, policies, strict=True)]
    results = [
        (p.name, evaluate(o, p) if evaluator is None else evaluate_scores(o, p, evaluator))
        for o, p, evaluator in zip(chosen, policies, own, strict=True)
    ]
    if len(results) > 1 and options["format"] == "table" and not swept_parameters(options):
        print_several(results)
    return 0


def race(options: Mapping[str, Any]) -> None:
    """Drive all that `run` names against others."""
    from racing.commands.evaluate_race import evaluate_races
    from racing.evaluation.race.suites import Place
    from racing.policies.scored import is_scored_policy
    from racing.tracks.reference_lap import reference_lap

    policies = [_policy(of_one, Path(of_one["paths"]["outputs"])) for of_one in each_run(options)]
    for policy in policies:
        rule = f"env=race is of cars on tracks, policy {policy.name} drives none"
        require(not is_scored_policy(policy), f"{rule}; leave it away")
    tracks, vehicle = _place(policies[0], options)
    require(len(tracks) == 1, f"track must be one to race on, got {len(tracks)}; name one by track=")
    reference = reference_lap(tracks[0], vehicle).time_s
    place = Place(
        track=tracks[0],
        vehicle=vehicle,
        reference=reference,
        env=policies[0].config["env"],
        randomize=given_ranges(options),
    )
    folder = output_folder(policies[0], [tracks[0].name], vehicle.name, options)
    evaluate_races(options, policies, place, folder)


def parse(argv: Sequence[str]) -> dict[str, Any] | None:
    """The options of conf/verbs/evaluate.yaml, checked; None after printing help. Raises InputError."""
    options = verb_options("evaluate", argv, EXAMPLES, lists=LISTS)
    if options is not None:
        check(options)
    return options


def check_there(options: Mapping[str, Any]) -> None:
    """Raise InputError unless the policy and the track that the options name can be read here."""
    from racing.commands.evaluate_scores import evaluator_for
    from racing.policies.scored import is_scored_policy

    policy = _policy(options, Path(options["paths"]["outputs"]))
    if is_scored_policy(policy):
        evaluator_for(policy, options)
    else:
        _place(policy, options)


def each_run(options: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The options of each run that `run` names: one, or a list of them."""
    return [{**options, "run": run} for run in runs_of(options)]


def runs_of(options: Mapping[str, Any]) -> list[Any]:
    """What `run` names, as a list."""
    return options["run"] if isinstance(options["run"], list) else [options["run"]]


def check(options: Mapping[str, Any]) -> None:
    """Raise InputError unless the options of conf/verbs/evaluate.yaml are in their ranges."""
    limits = {"episodes": (1, MAX_EPISODES), "laps": (1, 1000), "seed": (0, (1 << 29) - 1)}
    for name, (low, high) in limits.items():
        value = options[name]
        whole = isinstance(value, int) and not isinstance(value, bool) and low <= value <= high
        require(whole, f"{name} must be a whole number in {low}..{high}, got {value!r}; see racing evaluate --help")
    check_evaluation_size(
        "episodes", "laps", options["episodes"], options["laps"], telemetry=options["telemetry"] is True
    )
    known = ", ".join(FORMATS)
    require(options["format"] in FORMATS, f"format must be one of {known}, got {options['format']!r}; choose one")
    require_number("pace", options["pace"], 0.3, 1, remedy="it is a share of the optimal lap's speed")
    alone = options["driver"] != POLICY or options["pace"] == 1
    require(alone, f"pace={options['pace']} must come with driver=optimal; a policy has its own pace")
    runs = runs_of(options)
    place = options["driver"] != POLICY and runs == [LATEST]  # nobody's but the driver's
    envs = [name for name in choices("env") if place or name == "race"]
    fits = options["env"] is None or options["env"] in envs
    remedy = f"null, or one of {', '.join(envs)}" if place else "choose one, or name a driver= and no run"
    require(fits, f"env must be {'a name in conf/env' if place else 'null or race'}, got {options['env']!r}; {remedy}")
    fits = bool(runs) and not any(run is None or isinstance(run, dict | list) for run in runs)
    require(fits, f"run must be a run, a file or a list of them, got {options['run']!r}; see racing runs list")
    check_race(options, runs)
    alone = options["out"] is None or len(runs) == 1 or options["env"] == "race"
    require(alone, f"out={options['out']} is for one run, got {len(runs)}; leave it away, each has its own folder")
    track, vehicle = options["track"], options["vehicle"]
    names = [track] if track is None or isinstance(track, str) else track
    fits = isinstance(names, list) and all(name is None or isinstance(name, str) for name in names)
    require(fits, f"track must be a name, a path or a list of them, got {track!r}; see racing tracks list")
    named = vehicle is None or isinstance(vehicle, str)
    require(named, f"vehicle must be a name in conf/vehicle, got {vehicle!r}; quote a name that looks like a number")
    for name in ("telemetry", "reverse", "video", "trust"):
        require(isinstance(options[name], bool), f"{name} must be true or false, got {options[name]!r}; choose one")
    seen = options["telemetry"] or not options["video"]
    require(seen, "video=true must come with telemetry=true, it is made from it; leave telemetry=false away")
    for name in ("scale", "half_width", "metres_per_pixel"):
        value = options[name]
        number = (value is None and name != "scale") or (is_number(value) and value > 0)
        require(number, f"{name} must be a number > 0, got {value!r}; see racing evaluate --help")
    check_randomize(options)
    check_conditions(options)
    for name, default in READING.items():
        own = options["track"] is None and options[name] != default
        require(not own, f"{name}={options[name]} must come with track=...; the run's own track keeps its settings")


def evaluate(options: Mapping[str, Any], policy: LoadedPolicy) -> Mapping[str, Any]:
    """Drive, report, write files; returns averages. Raises InputError for a policy that cannot drive here."""
    from racing.tracks.reference_lap import reference_lap

    tracks, vehicle = _place(policy, options)
    tracks = tracks[: options["episodes"]]
    laps = [reference_lap(track, vehicle) for track in tracks]
    place = (tracks, vehicle, [lap.time_s for lap in laps])
    given = given_ranges(options)
    if swept_parameters(options):
        drive = partial(_driven, policy, *place, {**options, "telemetry": False})
        sweeps = evaluate_sweeps(options, lambda randomize: drive({**given, **randomize})[1])
        folder = output_folder(policy, [track.name for track in tracks], vehicle.name, options)
        report_sweeps(sweeps, options, policy.name, folder)
        return sweeps[0].summaries[0]
    task, result = _driven(policy, *place, options, given)
    folder = output_folder(policy, [track.name for track in tracks], vehicle.name, options)
    best = result.best_episode()
    number = best % len(tracks)
    driven = task if options["video"] else None
    files = write_files(result, folder, policy.name, tracks[number], laps[number], driven)
    report(result, options, policy.name, files)
    return result.summary


def _driven(
    policy: LoadedPolicy,
    tracks: Sequence[Track],
    vehicle: Vehicle,
    times: Sequence[float],
    options: Mapping[str, Any],
    randomize: Mapping[str, Any],
) -> tuple[Task, Evaluation]:
    """What was driven and how. times: reference laps [s] of `tracks`. randomize: keys of `env.randomize`."""
    from racing.evaluation.evaluate import Diverged, evaluate
    from racing.evaluation.seeds import TEST_SEEDS
    from racing.tracks.optimal_lap.lap import limits

    seed = TEST_SEEDS + options["seed"]
    size = {"races": options["episodes"], "laps": options["laps"], "seed": seed, "randomize": randomize}
    task, drive = _at_the_wheel(policy, tracks, vehicle, times, options, size)
    try:
        return task, evaluate(drive, task, times, limits(tracks, vehicle), telemetry=options["telemetry"])
    except Diverged as error:
        raise InputError(f"policy {policy.name}: {error}") from error


def _policy(options: Mapping[str, Any], outputs: Path) -> LoadedPolicy:
    """The policy that drives, or whose place a driver takes; without a run that of an untrained one."""
    from racing.policies.loading import LoadedPolicy, load_policy
    from racing.policies.scored import task_of

    if options["driver"] == POLICY or options["run"] != LATEST:
        policy = load_policy(str(options["run"]), outputs, options["backend"], trust=options["trust"])
    else:
        config = compose_run([f"env={options['env'] or 'mlp'}"])
        policy = LoadedPolicy(name="driver", backend="none", shapes={}, predict=lambda _: _, config=config)
    if options["driver"] != POLICY:
        require_driver(task_of(policy), options["driver"], [POLICY])
    return in_conditions(with_settings(policy, options), options)


def _place(policy: LoadedPolicy, options: Mapping[str, Any]) -> tuple[list[Track], Vehicle]:
    """The tracks and the vehicle that are driven."""
    from racing.commands.tracks.inspect import vehicle_for
    from racing.policies.loading import tracks_and_vehicle

    reading = {name: options[name] for name in READING}
    tracks, vehicle = tracks_and_vehicle(policy, options["track"], options["vehicle"], **reading)
    if policy.backend == "none" and options["track"] is not None and options["vehicle"] is None:
        vehicle = vehicle_for(None, tracks[0])
    return tracks, vehicle


def _at_the_wheel(
    policy: LoadedPolicy,
    tracks: Sequence[Track],
    vehicle: Vehicle,
    times: Sequence[float],
    options: Mapping[str, Any],
    size: Mapping[str, Any],
) -> tuple[Task, Policy]:
    """What is driven, and who drives: the policy, or a driver of its environment. size: of `evaluation_task`."""
    from racing.evaluation.evaluate import evaluation_task
    from racing.policies.loading import evaluation_task_for

    if options["driver"] == POLICY:
        return evaluation_task_for(policy, tracks, vehicle, times, **size), policy.predict
    task = evaluation_task(policy.config["env"], tracks, vehicle, times, **size)
    driver = task.driver(options["driver"], pace=options["pace"])
    return task, lambda _: driver()


def output_folder(policy: Any, tracks: Sequence[str], vehicle: str, options: Mapping[str, Any]) -> Path:
    """Where the files go, made if missing; named by what was driven. Raises InputError if it cannot be made."""
    if options["out"] is not None:
        folder = Path(str(options["out"]))
    else:
        place = "+".join(tracks) if len(tracks) <= 3 else f"{len(tracks)}-tracks-{short_hash(tracks)}"
        label = f"{place}{reading_label(options)}-{vehicle}-seed{options['seed']}"
        usual = usual_options("evaluate")
        for name, unit in (("episodes", "starts"), ("laps", "laps")):
            label += f"-{options[name]}{unit}" if options[name] != usual[name] else ""
        label += f"-{options['backend']}" if options["backend"] != usual["backend"] else ""
        if policy.run is None or policy.name != policy.run.name:  # a file, or one of several agents
            label = f"{policy.name}-{label}"
        if options["env"] == "race":
            others = [str(run) for run in runs_of(options)[1:]]
            label += f"-race-{short_hash(others)}" if others else "-race"
        label += conditions_label(options)
        given = given_ranges(options)
        label += f"-randomize_{short_hash(given)}" if given else ""
        if options["driver"] != POLICY:
            label += f"-{options['driver']}-pace{options['pace']:g}"
        root = policy.run.path if policy.run else Path(options["paths"]["outputs"])
        folder = root / IN_RUN.evaluations / re.sub(r"[^\w.+\-]", "_", label)
    return made_folder(folder)


def reading_label(options: Mapping[str, Any]) -> str:
    """How the track is read, where it is not read as it is, for the name of a folder."""
    label = "-reverse" if options["reverse"] else ""
    label += f"-x{options['scale']:g}" if options["scale"] != 1 else ""
    for name in ("half_width", "metres_per_pixel"):
        label += f"-{name}{options[name]:g}" if options[name] is not None else ""
    label += f"-grip_{Path(str(options['grip'])).name}" if options["grip"] is not None else ""
    if options["columns"] is not None:
        label += f"-columns_{short_hash(options['columns'])}"
    return label


def report(result: Any, options: Mapping[str, Any], policy: str, files: Sequence[Path]) -> None:
    """Print the result in the wanted format."""
    if options["format"] == "json":
        paths = [str(path) for path in files]
        print(json.dumps({"policy": policy, "summary": result.summary, "files": paths, "episodes": result.episodes}))
    elif options["format"] == "csv":
        print(files[0].read_text(), end="")
    else:
        for episode in result.episodes:
            print(episode_line(episode))
        print_table(result.summary, policy)
        for path in files:
            print(path)
