"""The files of past runs: `racing runs artifacts | fetch | prune`."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from racing.errors import InputError, require
from racing.runs.directory import RunDirectory, find_run, reopen_run
from racing.runs.paths import IN_RUN, where
from racing.tracking.client import Store
from racing.tracking.fetch import fetch as fetch_record
from racing.tracking.fetch import fetch_part
from racing.tracking.run_record import locate

if TYPE_CHECKING:
    from mlflow.entities import Run

PLACES = ("here", "mlflow")


def artifacts(spec: str, outputs: Path, uri: str | None, *, as_json: bool = False) -> int:
    """Print the files of a run with their sizes, in its directory and in MLflow."""
    found = locate(spec, outputs, uri)
    here = _files(found.path) if isinstance(found, RunDirectory) else []
    there = _sent_files(found, outputs) if isinstance(found, RunDirectory) else _remote_files(*found)
    sizes: dict[str, dict[str, int | None]] = {}
    for place, files in zip(PLACES, (here, there), strict=True):
        for path, size in files:
            sizes.setdefault(path, dict.fromkeys(PLACES))[place] = size
    rows = [{"path": path} | sizes[path] for path in sorted(sizes)]
    if as_json:
        print(json.dumps(rows, indent=2))
        return 0
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, show_footer=True)
    table.add_column("file", f"{len(rows)} files", overflow="fold")
    for place, title in zip(PLACES, ("here", "in MLflow"), strict=True):
        total = sum(int(row[place] or 0) for row in rows)
        table.add_column(title, size_text(total), justify="right", no_wrap=True)
    for row in rows:
        table.add_row(str(row["path"]), *(size_text(row[place]) for place in PLACES))
    Console(width=None if sys.stdout.isatty() else 200, markup=False).print(table)
    return 0


def _files(folder: Path) -> list[tuple[str, int]]:
    """Return the files below a folder with their sizes; what a training renames or removes meanwhile is left out."""
    found = []
    for place, _, names in os.walk(folder):
        for path in (Path(place, name) for name in names):
            with suppress(FileNotFoundError):
                found.append((path.relative_to(folder).as_posix(), path.stat().st_size))
    return found


def _sent_files(run: RunDirectory, outputs: Path) -> list[tuple[str, int]]:
    """Return what MLflow has of a run that is here; print a line on stderr where it does not answer."""
    if not run.mlflow:
        return []
    try:
        return _remote_files(*in_mlflow(run, outputs))
    except InputError as error:
        print(f"racing runs: {error}", file=sys.stderr)
        return []


def _remote_files(store: Store, run: Run) -> list[tuple[str, int]]:
    """Return the artifacts of a run, and of the models that it logged."""
    found = list(store.files(run.info.run_id))
    for model in store.models(run):
        found += [(f"{model.model_uri}/{path}", size) for path, size in store.model_files(model)]
    return found


def in_mlflow(run: RunDirectory, outputs: Path) -> tuple[Store, Run]:
    """Return the store that has the copy of a run directory, and the run there. Raises InputError."""
    require(bool(run.mlflow), f"run {run.name} is not in MLflow yet; racing runs sync run={run.name}{where(outputs)}")
    store = Store(run.mlflow["uri"], outputs)
    return store, store.run(run.mlflow["run_id"])


def size_text(size: object) -> str:
    """Return bytes as people read them; `-` where there are none to speak of."""
    if not isinstance(size, int):
        return "-"
    value, unit = float(size), "B"
    for larger in ("kB", "MB", "GB"):
        if value < 1000:
            break
        value, unit = value / 1000, larger
    return f"{value:.3g} {unit}"


def fetch(spec: str, path: str | None, to: str | None, outputs: Path, uri: str | None) -> int:
    """Copy what MLflow has of a run, or one artifact of it, to this machine; prints where it is."""
    found = locate(spec, outputs, uri)
    store, run = in_mlflow(found, outputs) if isinstance(found, RunDirectory) else found
    folder = Path(to) if to else outputs / "fetched" / run.info.run_id
    print(fetch_part(store, run, path, folder) if path else fetch_record(store, run, folder, checkpoints=True).path)
    return 0


def prune(spec: str, outputs: Path, options: Mapping[str, Any]) -> int:
    """Delete checkpoints of a run that is here, and note in the journal which. options: conf/verbs/runs.yaml.

    The newest `keep_last` stay, that of the best policy, and with `milestones` those that the run's own configuration
    calls so. Raises InputError if the run is being trained, or with `remote` if MLflow does not answer; nothing is
    deleted then.
    """
    from racing.runs.checkpoints import Checkpoints
    from racing.runs.meta import write_meta

    status = find_run(spec, outputs).status
    with reopen_run(find_run(spec, outputs).path) as run:
        checkpoints = Checkpoints(run.path)
        every = run.config.get("checkpoint", {}).get("milestone_every", 0) if options["milestones"] else 0
        best = run.summary.get("best_step")
        rule = {"keep_last": options["keep_last"], "milestone_every": every, "keep": [best] if best else []}
        surplus = checkpoints.surplus(**rule)
        kept = len(checkpoints.all()) - len(surplus)
        size = sum(size for checkpoint in surplus for _, size in _files(checkpoint.path))
        names = ", ".join(checkpoint.path.name for checkpoint in surplus)
        word = "would be deleted" if options["dry"] else "deleted"
        if surplus and not options["dry"]:
            if options["remote"]:
                store, copy = in_mlflow(run, outputs)
                for checkpoint in surplus:
                    store.delete(copy, str(IN_RUN.checkpoint(checkpoint.step)))
            for step in checkpoints.prune(**rule):
                run.journal.event("checkpoint pruned", step=step, remote=options["remote"])
            write_meta(run, status, run.summary)
    what = f"{len(surplus)} checkpoints {word} ({size_text(size)}): {names}" if surplus else "nothing to delete"
    print(f"{run.name}: {what}; {kept} kept")
    return 0
