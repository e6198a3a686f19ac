"""`racing evaluate` of policies whose environment says itself what an episode costs."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from racing.commands.options import made_folder, short_hash, usual_options
from racing.errors import InputError, require
from racing.runs.paths import IN_RUN

if TYPE_CHECKING:
    from racing.envs.task import Driver
    from racing.evaluation.evaluator import Policy
    from racing.evaluation.scores.evaluator import Scored, ScoreEvaluator
    from racing.policies.loading import LoadedPolicy

POLICY = "policy"  # driver= that is none of the environment's
USED = ("run", "driver", "env", "backend", "episodes", "format", "telemetry", "out", "trust", "settings", "paths")


def evaluator_for(policy: LoadedPolicy, options: Mapping[str, Any]) -> ScoreEvaluator:
    """The evaluator of a policy. Raises InputError for options that mean nothing there, and values off range."""
    from racing.policies.scored import score_evaluator

    default = usual_options("evaluate")
    for name in set(default) - set(USED):
        rule = f"{name}={options[name]} is of cars on tracks, policy {policy.name} drives none"
        require(options[name] == default[name], f"{rule}; leave it away")
    episodes, own = options["episodes"], policy.config.get("eval", {}).get("episodes")
    if episodes == default["episodes"] and own is not None:
        episodes = own
    return score_evaluator(policy, episodes, driven=options["driver"] != POLICY)


def evaluate_scores(options: Mapping[str, Any], policy: LoadedPolicy, evaluator: ScoreEvaluator) -> Mapping[str, Any]:
    """Drive, report, write files; returns averages."""
    from racing.evaluation.evaluate import Diverged
    from racing.evaluation.seeds import TEST_SEEDS

    drive, name = policy.predict, policy.name
    if options["driver"] != POLICY:
        task: Any = evaluator.task()
        name, drive = options["driver"], blindly(task.driver(options["driver"]))
    try:
        result = evaluator.evaluate(drive, TEST_SEEDS, telemetry=options["telemetry"])
    except Diverged as error:
        raise InputError(f"policy {policy.name}: {error}") from error
    files = evaluator.write(result, output_folder(policy, options, result), name)
    report(result, evaluator, options, name, files)
    return result.summary


def blindly(driver: Driver) -> Policy:
    """A driver, which knows the state of its task, as a policy."""
    return lambda _: driver()


def output_folder(policy: LoadedPolicy, options: Mapping[str, Any], result: Scored) -> Path:
    """Where the files go, made if missing; named by what was driven. Raises InputError if it cannot be made."""
    if options["out"] is not None:
        return made_folder(Path(str(options["out"])))
    how = options["backend"] if options["driver"] == POLICY else options["driver"]
    label = f"{policy.name}-{len(result.episodes)}-episodes-{how}"
    label += f"-{short_hash(options['settings'])}" if options["settings"] else ""
    root = policy.run.path if policy.run else Path(options["paths"]["outputs"])
    return made_folder(root / IN_RUN.evaluations / re.sub(r"[^\w.+\-]", "_", label))


def report(
    result: Scored, evaluator: ScoreEvaluator, options: Mapping[str, Any], policy: str, files: Sequence[Path]
) -> None:
    """Print the result in the wanted format."""
    if options["format"] == "json":
        paths = [str(path) for path in files]
        print(json.dumps({"policy": policy, "summary": result.summary, "files": paths, "episodes": result.episodes}))
        return
    if options["format"] == "csv":
        print(files[0].read_text(), end="")
        return
    for episode in result.episodes:
        costs = "  ".join(f"{cost.name} {episode[cost.name]:9.{cost.digits}f}" for cost in evaluator.costs)
        print(f"{episode['episode']:5d}  {costs}  {episode[result.task.episode_name]}")
    print_table(result.summary, evaluator, policy)
    for path in files:
        print(path)


def print_table(summary: Mapping[str, Any], evaluator: ScoreEvaluator, policy: str) -> None:
    """Means with 95 % intervals and medians of each cost, below them the references', as a table."""
    from rich.console import Console
    from rich.table import Table

    facts = ", ".join(f"{name} {summary[name]}" for name in evaluator.task().facts() if "sha256" not in name)
    title = f"{policy}: {summary['episodes']} episodes, {facts}"
    table = Table("", "mean", "95 % interval", "median", title=title, title_justify="left")
    for column in table.columns[1:]:
        column.justify = "right"
    for cost in evaluator.costs:
        name, form = cost.name, f".{cost.digits}f"
        low, high = summary[f"{name}_low"], summary[f"{name}_high"]
        interval = "" if low is None else f"{low:{form}} .. {high:{form}}"
        table.add_row(name, f"{summary[name]:{form}}", interval, f"{summary[f'{name}_median']:{form}}")
    for reference, values in summary["references"].items():
        table.add_section()
        for cost in evaluator.costs:
            numbers = (f"{values[key]:.{cost.digits}f}" for key in (cost.name, f"{cost.name}_median"))
            mean, median = numbers
            table.add_row(f"{reference} {cost.name}", mean, "", median)
    Console(soft_wrap=True).print(table)
