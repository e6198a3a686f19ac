"""`racing reproduce`: re-run a past run from its record and verify that the result is identical; or vary it."""

from __future__ import annotations

import hashlib
import json
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

from omegaconf import OmegaConf
from rich.markup import escape

from racing.commands import command_line
from racing.commands.options import verb_options
from racing.commands.reproduce.plan import (
    Rows,
    Task,
    beginning,
    code_differences,
    conf_differences,
    fitting_overrides,
    plan,
    recorded_config,
)
from racing.config import compose_run
from racing.errors import InputError, require
from racing.files import write_atomic
from racing.renamed_keys import key_of
from racing.runs.directory import RunDirectory, all_runs, reopen_run, run_path
from racing.runs.identity import identity
from racing.runs.paths import where
from racing.runs.provenance import collect, differences
from racing.tracking.compare import compare, config_differences, print_results, results
from racing.tracking.run_record import local_record

EXAMPLES = """usage: racing reproduce [run=...] [key=value ...]

Re-run a past run from its own record, and verify that the result is identical.

examples:
  racing reproduce                                         the newest run
  racing reproduce run=0123456789abcdef0123456789abcdef    a run by its MLflow id (or directory, or name)
  racing reproduce run=... paths.outputs=/tmp/x tracking=none hardware=cpu    elsewhere, on other hardware
  racing reproduce run=... checkout=true                   with the code that it was trained with
  racing reproduce run=... algo.learning_rate=5e-4         a variation: a run of its own, shown beside the original
  racing reproduce run=... -cd FOLDER experiment=mine      the same with your own groups, choices and experiments

exit code 0: EQUAL, or a variation is done; 1: DIFFERENT
"""
OWN_KEYS = ("run", "checkout", "fresh", "trust", "paths.outputs")
REPORT = "reproduction.json"
AGAIN = ".again"  # behind the directory's name of a run that is trained again


def main(argv: Sequence[str]) -> int:
    """Entry point of the verb; returns the exit code."""
    line = command_line.parse(argv, only=("--help", "--config-dir"))
    overrides = command_line.with_sources(line)
    own = [override for override in overrides if override.partition("=")[0] in OWN_KEYS]
    options = verb_options("reproduce", ["--help"] if "--help" in line.options else own, EXAMPLES)
    if options is None:
        return 0
    for name in ("checkout", "fresh", "trust"):
        require(isinstance(options[name], bool), f"{name} must be true or false, got {options[name]!r}; choose one")
    given = any(argument.startswith("paths.outputs=") for argument in own)
    task = plan(options, [override for override in overrides if override not in own], given)
    if options["checkout"]:
        return at_commit(task)
    return vary(task) if task.changes else repeat(task)


def repeat(task: Task) -> int:
    """Train again with the recorded configuration and the present code, and compare; returns the exit code."""
    from racing.training.observer import TrainingObserver
    from racing.training.trainer import train

    config = recorded_config(task)
    task.require_own(config)
    directory = RunDirectory(run_path(task.outputs, config["name"], config, AGAIN))
    code = code_differences(task, config, directory if directory.finished and not task.fresh else None)
    conf = conf_differences(task.original)
    if conf:
        print_rows("conf/ would compose another configuration now; the recorded one is used", conf)
    print_rows("what differs from the record", code)
    tags = {"racing.reproduces": task.reference}
    try:
        cfg = OmegaConf.create(config | {"init_from": beginning(task.original)})
        run = train(cfg, task.overrides(), suffix=AGAIN, observer=TrainingObserver(tags))
    except InputError as error:
        if not any("no such key" in row for row in conf):
            raise
        raise InputError(f"{error}; the code has changed since: checkout=true runs it as it was") from error
    return conclude(task, run, conf, code)


def conclude(task: Task, run: RunDirectory, conf: Rows, code: Rows) -> int:
    """Compare a finished reproduction with its original; print and record the result. 0: equal, 1: not."""
    again = local_record(run)
    comparison = compare(task.original, again)
    print("\n".join(comparison.lines()))
    if not comparison.equal:
        print_results(comparison.results)
    report = comparison.as_dict() | {
        "original": {"name": task.original.name, "run_id": task.original.run_id, "uri": task.original.uri},
        "again": {"name": again.name, "run_id": again.run_id},
        "differences": {"configuration": conf, "code": code},
    }
    text = json.dumps(report, indent=2) + "\n"
    file = run.path / REPORT
    said = again.tags.get("racing.reproduction")
    if said != comparison.verdict or not file.exists() or file.read_text() != text:
        write_atomic(file, text)
        tags = {"racing.reproduces": task.reference, "racing.reproduction": comparison.verdict}
        amend(run, tags, REPORT, verdict=comparison.verdict, original=task.reference)
    print(f"report   {file}")
    return 0 if comparison.equal else 1


def vary(task: Task) -> int:
    """Train what the original's overrides and the new ones describe, as a run of its own; returns the exit code."""
    from racing.training.observer import TrainingObserver
    from racing.training.teacher import train_with_teacher

    original, overrides = task.original, fitting_overrides(task)
    config = compose_run(overrides)
    task.require_own(config)
    config |= {"paths": config["paths"] | {"outputs": str(task.outputs)}, "fresh": task.fresh}
    same_weights = config["init_from"] is not None and "init_from" not in map(key_of, task.changes)
    if same_weights:
        config["init_from"] = original.config.get("init_from")
    rows = config_differences(identity(original.config), identity(config))
    said = " ".join(task.changes)
    require(bool(rows), f"{said} must change something, {original.name} is so already; leave it away to reproduce it")
    print_rows(f"a variation of {original.name}", rows)
    if same_weights:
        config["init_from"] = beginning(original)
    observer = TrainingObserver({"racing.parent": task.reference})
    run = train_with_teacher(OmegaConf.create(config), overrides, observer=observer)
    print_results(results(original.summary, run.summary), ("original", "variation"))
    return 0


def at_commit(task: Task) -> int:
    """Do it with the code of the original, in a work tree; returns the exit code."""
    from racing.commands.reproduce import worktree

    original = task.original
    rule = f"checkout=true runs code that the record of {original.name} brings along, and it was not trained here"
    require(task.trust or task.trained_here, f"{rule}; trust=true does, where the run is your own")
    tree = worktree.checkout(original.provenance, original.patch, task.outputs / "worktrees")
    print(f"code     {tree}")
    note = worktree.untracked_note(original.provenance, tree)
    if note:
        print(f"note     {note}")
    now = collect()
    same_code = {key: now[key] for key in ("packages", "python", "platform", "cpu")}
    code = differences(original.provenance, original.provenance | same_code)
    print_rows("what differs from the record", code)
    changes = hashlib.sha256("\n".join(task.changes).encode()).hexdigest()[:8]
    outputs = task.outputs / "reproductions" / (f"{original.name}-{changes}" if task.changes else original.name)
    left_with = worktree.run_there(tree, ["train", *overrides_there(task, outputs)])
    if left_with:
        return left_with
    run = all_runs(outputs)[0]
    if task.changes:
        amend(run, {"racing.parent": task.reference})
        print_results(results(original.summary, run.summary), ("original", "variation"))
        return 0
    conf = config_differences(identity(original.config), identity(run.config))
    if conf:
        print_rows("another configuration was composed than the recorded one", conf)
    return conclude(task, run, conf, code)


def overrides_there(task: Task, outputs: Path) -> list[str]:
    """What to type for it in the work tree, where conf/ is that of the original."""
    overrides = [
        *task.overrides(upgrade=False),
        f"paths.outputs={quoted(str(outputs))}",
        *(["fresh=true"] if task.fresh else []),
    ]
    weights = beginning(task.original)
    if weights is not None and "init_from" not in map(key_of, task.changes):
        overrides = [o for o in overrides if key_of(o) != "init_from"] + [f"init_from={quoted(weights)}"]
    # A run that is one of several phases is repeated alone.
    return [*overrides, "phases=null"] if task.original.config.get("phases") else overrides


def quoted(text: str) -> str:
    """`text` as Hydra's grammar takes any text."""
    return "'" + text.replace("'", "\\'") + "'"


def amend(run: RunDirectory, tags: Mapping[str, str], file: str = "", **event: str) -> None:
    """Add to the record of a run that has ended, also in MLflow."""
    from racing.tracking.sender import Sender

    with reopen_run(run.path) as ended:
        sender = Sender.start(ended, ended.config["tracking"])
        with sender.attending(ended.config["tracking"]["close_timeout"]):
            ended.journal.tags(tags)
            if file:
                ended.journal.event("reproduction", **event)
                ended.journal.artifact(file)
    if sender.incomplete:
        print(f"upload to MLflow incomplete: racing runs sync {run.name}{where(run.paths.outputs)}")


def print_rows(title: str, rows: Rows) -> None:
    """Print differences as a table; that there are none, too."""
    from rich.console import Console
    from rich.table import Table

    if not rows:
        print(f"{title}: nothing, all the same")
        return
    table = Table("", "recorded", "now", title=title, title_justify="left", box=None, pad_edge=False)
    for row in rows:
        table.add_row(*(escape(textwrap.shorten(text, 60, placeholder=" ...")) for text in row))
    Console(soft_wrap=True).print(table)
