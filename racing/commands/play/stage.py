"""What the page of `racing play` shows: found, read and tried once before it opens."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from racing.commands.play.cars import alone_stage, race_stage
from racing.commands.play.options import HUMAN, LATEST, POLICY, RACE, runs_of
from racing.config import compose_run
from racing.envs.task import is_scored, require_driver
from racing.errors import InputError, require
from racing.evaluation.evaluate import Diverged
from racing.evaluation.evaluators import scored
from racing.policies.foreign_code import refuse_foreign_code
from racing.policies.loading import LoadedPolicy, load_policy
from racing.policies.scored import is_scored_policy, task_of
from racing.runs.checkpoints import Checkpoints
from racing.runs.directory import RunDirectory, all_runs
from racing.tracking.run_record import local_run
from racing.viewer.overview import Overview, listed_run
from racing.viewer.scores.stage import ScoreStage, scored_driver, scored_policy
from racing.viewer.stage import Stage, View
from racing.viewer.stages import Stages

OWN = {"driver": POLICY, "track": None, "reverse": False, "scale": 1.0, "vehicle": None, "trust": False, "env": None}
CARS_ONLY = {"track": None, "vehicle": None, "reverse": False, "scale": 1.0, "seed": 0}  # what others leave as it is


def make_stages(options: Mapping[str, Any]) -> Stages:
    """All that the server shows. Without a run on this disk, where none was named, the page of runs alone.

    Raises InputError as `make_stage`.
    """
    outputs = Path(options["paths"]["outputs"])
    nothing = options["driver"] == POLICY and options["run"] == LATEST and not all_runs(outputs)

    def found(name: str) -> RunDirectory:
        run = listed_run(outputs, name)
        if run is None:
            raise InputError(f"run {name[:40]!r} is none of those at /runs; choose one there")
        return run

    def make(name: str) -> Stage:
        return make_stage({**options, **OWN, "run": found(name).name})

    def view(name: str) -> View:
        config = found(name).config
        refuse_foreign_code(config, f"run {name}")
        return View.SCORES if "env" in config and scored(config["env"]) else View.CARS

    return Stages(None if nothing else make_stage(options), make, view, Overview(outputs))


def make_stage(options: Mapping[str, Any]) -> Stage:
    """What is driven, and who drives. Raises InputError for what cannot be found, or does not fit."""
    news: list[str] = []
    if options["env"] == RACE:
        stage: Stage = race_stage(options, news)
    else:
        policies = _policies(options, news.append)
        of_one = task_of(policies[0])
        others = [POLICY] if is_scored(of_one) else [POLICY, HUMAN]
        require_driver(of_one, options["driver"], others)
        stage = _score_stage(policies, options, news) if is_scored(of_one) else alone_stage(policies, options, news)
    try:
        stage.session().try_out()  # what does not fit is said now; kernels are compiled or loaded
    except Diverged as error:
        raise InputError(f"{error}; lower its learning rate") from error
    return stage


def _policies(options: Mapping[str, Any], say: Callable[[str], None]) -> list[LoadedPolicy]:
    """Those that `run` names; of drivers that need none, without a run, an untrained one that says where they drive.

    All of them drive on circuits, or none.
    """
    if options["driver"] != POLICY and options["run"] == LATEST:
        config = compose_run([f"env={options['env'] or 'mlp'}"])
        return [LoadedPolicy(name="driver", backend="none", shapes={}, predict=lambda _: _, config=config)]
    outputs = Path(options["paths"]["outputs"])
    policies = [_policy(str(run), outputs, options, say) for run in runs_of(options)]
    kinds = [is_scored_policy(policy) for policy in policies]
    for policy, kind in zip(policies, kinds, strict=True):
        rule = f"run: {policy.name} and {policies[0].name} must both drive circuits, or neither"
        require(kind == kinds[0], f"{rule}; show them on two pages")
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


def _score_stage(policies: list[LoadedPolicy], options: Mapping[str, Any], news: list[str]) -> ScoreStage:
    """Policies beside each other, or one driver of the first one's environment."""
    for name, usual in CARS_ONLY.items():
        rule = f"{name}={options[name]} is of cars on tracks, {policies[0].name} drives none"
        require(options[name] == usual, f"{rule}; leave it away")
    require(options["pace"] == 1 or options["driver"] != POLICY, f"pace={options['pace']} must come with driver=")
    if options["driver"] == POLICY:
        drivers = [scored_policy(policy) for policy in policies]
    else:
        drivers = [scored_driver(options["driver"], policies[0], options["pace"])]
    stage = ScoreStage(", ".join(driver.name for driver in drivers), drivers, news=news)
    first, *rest = (car.task.facts() | {"episodes": str(car.task.episode_names)} for car in stage.session().cars)
    for driver, facts in zip(drivers[1:], rest, strict=True):
        differs = next((name for name in first if facts[name] != first[name]), None)
        rule = f"run: {driver.name} and {drivers[0].name} must drive the same, their {differs} differ"
        require(differs is None, f"{rule}; show them on two pages")
    return stage
