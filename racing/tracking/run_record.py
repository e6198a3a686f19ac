"""The record of a past run, wherever it is: in a run directory here, or in MLflow alone."""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from racing.errors import InputError, is_folder, require
from racing.reading import read_regular
from racing.renamed_keys import upgraded
from racing.runs.directory import MOST_DOCUMENT, RunDirectory, find_run, require_small
from racing.runs.journal import metric_points, read_journal
from racing.runs.metrics import current_name
from racing.runs.paths import IN_RUN, where
from racing.runs.status import RunStatus
from racing.tracking.client import KIND_TAG, NAME_TAG, Series, Store, name_of, status_of
from racing.tracking.fetch import fetch

if TYPE_CHECKING:
    from mlflow.entities import Run

CLOCK = "time/"  # metrics below it are wall-clock figures: two equal runs differ in them
_RUN_ID = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """What is known of a run.

    name: of its directory. run_id, uri: of its copy in MLflow, None if there is none. config: resolved, with today's
    names of its keys. overrides: as typed; see `racing.renamed_keys.upgraded_overrides`. provenance: see
    `racing.runs.provenance.collect`, without the diff, which is `patch` ('' if there is none). tags: the last value of
    each. summary: empty before the end. status: STOPPED only from a directory, MLflow calls it KILLED. directory: None
    if it is in MLflow alone.
    """

    name: str
    run_id: str | None
    uri: str | None
    config: dict[str, Any]
    overrides: list[str]
    provenance: dict[str, Any]
    patch: str
    tags: dict[str, str]
    summary: dict[str, Any]
    status: RunStatus
    directory: RunDirectory | None
    read_series: Callable[[], Series] = field(repr=False)

    def series(self) -> Series:
        """Read every metric's points (step, value) in the order of steps, without wall-clock figures.

        Metrics that the run's version called otherwise have today's names.

        Read anew at each call. Raises InputError if they lie in MLflow and it does not answer.
        """
        series = self.read_series().items()
        return {current_name(name): points for name, points in series if not name.startswith(CLOCK)}


def find_record(spec: str, outputs: Path, uri: str | None = None) -> RunRecord:
    """Find the record of the run that `spec` means.

    spec: a run directory, the name of one, an MLflow run id, `latest`, or models:/NAME@ALIAS and models:/NAME/VERSION
    (the run that made the model). uri: the MLflow store to ask; None: MLFLOW_TRACKING_URI, else the embedded one of
    `outputs`. A run that is here is read here; only other ids, models, and with `uri` names and `latest`, ask MLflow.
    Raises InputError if there is none, it is damaged, or the store does not answer.
    """
    found = locate(spec, outputs, uri)
    if isinstance(found, RunDirectory) and found.damage is not None:
        raise InputError(found.damage)
    return local_record(found) if isinstance(found, RunDirectory) else _remote_record(*found)


def local_run(spec: str, outputs: Path, uri: str | None = None) -> RunDirectory:
    """Find the directory of the run that `spec` means; fetch one that only MLflow has, without its checkpoints.

    Arguments and errors as in `find_record`. Fetched runs lie in outputs/fetched/<run id>/<name>.
    """
    found = locate(spec, outputs, uri)
    return found if isinstance(found, RunDirectory) else fetch(*found, outputs / "fetched" / found[1].info.run_id)


def locate(spec: str, outputs: Path, uri: str | None = None) -> RunDirectory | tuple[Store, Run]:
    """Find the directory of the run that `spec` means, else its store and the run there; see `find_record`."""
    store = None
    if spec.startswith("models:/"):
        store = Store(uri, outputs)
        run_id = store.model_run(spec)
        if run_id is None:
            raise InputError(f"{spec} must come from a run, {store.uri} names none for it; name the run itself")
        spec = run_id
    by_id = _RUN_ID.fullmatch(spec) is not None
    elsewhere = by_id or (bool(uri or os.environ.get("MLFLOW_TRACKING_URI")) and spec != "latest")
    if not (uri and spec == "latest"):
        here = _here(spec, outputs, must=not elsewhere)
        if here is not None:
            return here
    store = store or Store(uri, outputs)
    return store, store.run(spec) if by_id else _by_name(store, spec, outputs)


def local_record(run: RunDirectory) -> RunRecord:
    """Read the record of a run directory, without MLflow. Raises InputError if a file is missing or damaged."""

    def read(name: str) -> str | None:
        try:
            return read_regular(run.path / name, MOST_DOCUMENT).decode()  # read_text would change a patch's line ends
        except FileNotFoundError:
            return None
        except OSError as error:
            raise InputError(f"{run.path}: {name} is damaged, {error.strerror}; restore it") from error

    return RunRecord(
        name=run.name,
        run_id=run.mlflow.get("run_id"),
        uri=run.mlflow.get("uri"),
        **_parsed(read, str(run.path)),
        status=run.status,
        tags=_journal_tags(run.paths.journal),
        directory=run,
        read_series=lambda: journal_series(run.paths.journal),
    )


def journal_series(path: Path) -> Series:
    """Read all points (step, value) of all metrics in a journal, by step."""
    series: Series = {}
    for line in read_journal(path):
        for step, name, value in metric_points(line):
            series.setdefault(name, []).append((step, value))
    return {name: sorted(points, key=lambda point: point[0]) for name, points in sorted(series.items())}


def _here(spec: str, outputs: Path, *, must: bool) -> RunDirectory | None:
    """Find the directory here, trained or wholly fetched; without one None, or InputError if there `must` be one."""
    for path in (outputs / "fetched" / spec).glob(f"*/{IN_RUN.mlflow}") if _RUN_ID.fullmatch(spec) else ():
        if RunDirectory(path.parent).finished:
            return RunDirectory(path.parent)
    remedy = f"see `racing runs list{where(outputs)}`"
    try:
        return find_run(spec, outputs)
    except InputError:
        rule = f"run {spec!r} must be a run directory, it has no {IN_RUN.journal}; {remedy}"
        require(not is_folder(Path(spec)), rule)
        if must:
            raise
        return None
    except OSError as error:  # no file name can be so long
        raise InputError(f"run {spec[:50]!r}... must be a run, {error.strerror}; {remedy}") from error


def _by_name(store: Store, spec: str, outputs: Path) -> Run:
    """Find the newest run of that name, or of any for `latest`."""
    name = spec.replace("'", "")
    if spec == "latest":
        found = [run for run in store.runs(limit=1000) if KIND_TAG not in run.data.tags]  # no sweep
    else:
        by_tag = store.runs(f"tags.`{NAME_TAG}` = '{name}'", limit=1)
        found = by_tag or store.runs(f"attributes.run_name = '{name}'", limit=1)
    rule = "must be a run directory, its name, an MLflow run id, or latest"
    require(
        bool(found),
        f"run {spec!r} {rule}; there is none here or in {store.uri}: see `racing runs list{where(outputs)}`",
    )
    return found[0]


def _remote_record(store: Store, run: Run) -> RunRecord:
    run_id = run.info.run_id
    there = {entry.path for entry in store.ask(lambda: store.client.list_artifacts(run_id))}
    ended = status_of(run) != RunStatus.RUNNING  # then the journal there is complete; before, MLflow's points are newer

    def series() -> Series:
        if not ended or str(IN_RUN.journal) not in there:
            return store.series(run)
        with tempfile.TemporaryDirectory(prefix="racing-record-") as folder:
            return journal_series(store.download(run_id, str(IN_RUN.journal), Path(folder)))

    return RunRecord(
        name=name_of(run),
        run_id=run_id,
        uri=store.uri,
        **_parsed(lambda name: store.text(run_id, name) if name in there else None, f"run {run_id} of {store.uri}"),
        tags=dict(run.data.tags),
        status=status_of(run),
        directory=None,
        read_series=series,
    )


def _parsed(read: Callable[[str], str | None], source: str) -> dict[str, Any]:
    """Read the documents that describe a run, by field of RunRecord. Raises InputError if one is damaged or missing."""
    overrides = _document(read, source, IN_RUN.overrides, yaml.safe_load, [])
    return {
        "config": upgraded(_document(read, source, IN_RUN.config, yaml.safe_load, {})),
        "overrides": [str(text) for text in overrides],
        "provenance": _document(read, source, IN_RUN.provenance, json.loads, {}),
        "patch": _document(read, source, IN_RUN.patch, str, "", needed=False),
        "summary": _document(read, source, IN_RUN.summary, json.loads, {}, needed=False),
    }


def _document(
    read: Callable[[str], str | None],
    source: str,
    file: Path,
    parse: Callable[[str], Any],
    empty: Any,
    *,
    needed: bool = True,
) -> Any:
    name = str(file)
    try:
        text = read(name)
        value = parse(text) if text else empty
        require_small(value, name)
    except InputError:
        raise
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InputError(f"{source}: {name} is damaged, {' '.join(str(error).split())[:200]}; restore it") from error
    missing = f"{source} must have {name}, it was removed or not sent yet; the run cannot be read without it"
    require(text is not None or not needed, missing)
    kind = type(empty)
    require(isinstance(value, kind), f"{source}: {name} is damaged, it must be a {kind.__name__}; restore it")
    return value


def _journal_tags(path: Path) -> dict[str, str]:
    tags: dict[str, str] = {}
    for line in read_journal(path):
        values = (line.record or {}).get("values") if b'"kind":"tags"' in line.raw else None
        if isinstance(values, dict):
            tags.update({name: str(value) for name, value in values.items()})
    return tags
