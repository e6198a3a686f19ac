"""Copying runs from MLflow to this machine."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from racing.errors import InputError, require
from racing.files import is_file_name, merge, write_atomic
from racing.runs.directory import RunDirectory
from racing.runs.journal import write_cursor
from racing.runs.paths import IN_RUN, RunPaths
from racing.runs.status import RunStatus
from racing.tracking.client import JOURNAL_TAG, Store, name_of, status_of

if TYPE_CHECKING:
    from mlflow.entities import Run


def is_fetched(run: RunDirectory) -> bool:
    """Whether this directory is a copy of what MLflow has, not the place where the run was trained."""
    return bool(run.mlflow.get("fetched"))


def fetch(store: Store, run: Run, folder: Path, *, checkpoints: bool = False) -> RunDirectory:
    """Copy what MLflow has of a run to `folder`/<name of the run>, and write a journal where MLflow has none.

    What was fetched there before is brought up to date, other files in it stay. Everything is downloaded before the
    first file is put in place. checkpoints: also those. Raises InputError if the place is taken by something else, or
    the download fails.
    """
    run_id, name = run.info.run_id, name_of(run)
    target = RunDirectory(folder / (name if is_file_name(name) else run_id))
    mine = target.mlflow.get("run_id") == run_id and is_fetched(target)
    free = mine or not target.path.exists() or not any(target.path.iterdir())
    require(free, f"{target.path} is there already and is no fetched copy of run {run_id}; name another folder")
    with staging(folder) as temporary:
        place = RunPaths(Path(temporary) / "run")
        place.folder.mkdir()
        for path, _ in store.files(run_id):
            if checkpoints or not path.startswith(f"{IN_RUN.checkpoints}/"):
                store.download(run_id, path, place.folder)
        if status_of(run) == RunStatus.RUNNING or not place.journal.is_file():
            place.journal.write_text("".join(_journal_lines(store, run)))
        copy = {"uri": store.uri, "experiment_id": run.info.experiment_id, "run_id": run_id, "fetched": True}
        write_cursor(place.cursor, place.journal.stat().st_size)
        merge(place.folder, target.path)
        write_atomic(target.paths.mlflow, json.dumps(copy) + "\n")  # last: before it the copy is not whole
    return target


def fetch_part(store: Store, run: Run, path: str, folder: Path) -> Path:
    """Copy one artifact, a file or a folder, to `folder`/`path`. Raises InputError if that exists or there is none."""
    target = folder / path.strip("/")
    inside = target.resolve().is_relative_to(folder.resolve()) and target.resolve() != folder.resolve()
    require(inside, f"path={path} must name an artifact; see `racing runs artifacts run={run.info.run_id}`")
    require(not target.exists(), f"{target} is there already; name another folder with to=FOLDER, or move it away")
    with staging(folder) as temporary:
        found = store.download(run.info.run_id, path.strip("/"), Path(temporary))
        merge(found, target)
    return target


def staging(folder: Path) -> tempfile.TemporaryDirectory[str]:
    """Make a temporary folder inside `folder`, which is made if missing. Raises InputError if it cannot be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return tempfile.TemporaryDirectory(prefix=".fetching-", dir=folder)
    except OSError as error:
        raise InputError(f"{folder} must be a writable folder, {error.strerror}; name another with to=") from error


def _journal_lines(store: Store, run: Run) -> list[str]:
    """Make a journal for a run that left none in MLflow, of what is there. The times of points are not kept."""
    start, tags, points = run.info.start_time, dict(run.data.tags), store.series(run)
    steps: dict[int, dict[str, float]] = {}
    repeated: list[Mapping[str, Any]] = []
    for name, values in points.items():
        for step, value in values:
            if name in steps.setdefault(step, {}):
                repeated.append({"kind": "metrics", "step": step, "values": {name: value}})
            else:
                steps[step][name] = value
    lines: list[Mapping[str, Any]] = [
        {"kind": "journal", "id": tags[JOURNAL_TAG], "version": 1},
        {"kind": "start", "fetched": True},
        {"kind": "params", "values": dict(run.data.params)},
        {"kind": "tags", "values": tags},
        *({"kind": "metrics", "step": step, "values": steps[step]} for step in sorted(steps)),
        *repeated,
    ]
    if status_of(run) in (RunStatus.FINISHED, RunStatus.FAILED):
        lines.append({"kind": "end", "status": status_of(run), "error": None})
    return [json.dumps({"ts": start, **line}, separators=(",", ":")) + "\n" for line in lines]
