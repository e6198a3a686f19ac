"""MLflow's model registry: a run's policy becomes a version of a named model, which an alias points to."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from racing.errors import require
from racing.runs.metrics import HEADLINE
from racing.runs.paths import where
from racing.runs.status import RunStatus
from racing.tracking.client import Series, Store
from racing.tracking.run_record import RunRecord, find_record
from racing.tracking.store import resolve_uri

if TYPE_CHECKING:
    from mlflow.entities import LoggedModel
    from mlflow.entities.model_registry import ModelVersion

PARITY = "export/max_difference"  # a metric that a run must have to be promoted,
EVALUATIONS = ("eval/finish_rate", "eval/score")  # and those of which it must have one
PARITY_TOLERANCE = 1e-5  # greatest difference between a policy's ONNX file and torch, of actions in [-1, 1]
_NAME = re.compile(r"[\w\-. ]{1,250}")
_ALIAS = re.compile(r"(?!(latest|v\d+)$)[\w\-]{1,255}", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Promotion:
    """A version of a registered model. before: the version that the alias pointed to, None if there was none."""

    name: str
    version: str
    alias: str
    before: str | None
    tags: dict[str, str]


def promote(
    spec: str, name: str, alias: str, outputs: Path, uri: str | None = None, *, previous: str | None = None
) -> Promotion:
    """Register the ONNX policy of a run as a version of model `name` and let `alias` point to it.

    previous: an alias that gets what `alias` pointed to, if that was another version.
    spec, outputs, uri: see `find_record`. A policy that is a version already stays that version. Raises InputError
    unless the run is finished, its ONNX file agrees with torch to 1e-5, it was evaluated, and MLflow has all of it.
    """
    require(bool(_NAME.fullmatch(name)), f"name={name} must be letters, digits and _-. (at most 250); rename it")
    rule = "must be letters, digits and _- and neither latest nor a version such as v1"
    require(bool(_ALIAS.fullmatch(alias)), f"alias={alias} {rule}; champion is usual")
    record = find_record(spec, outputs, uri)
    series = record.series()
    _require_good(record, series)
    _require_delivered(record, uri and resolve_uri(uri, outputs), outputs)
    store = Store(record.uri, outputs)
    models = store.models(store.run(str(record.run_id)))
    send_it = f"send it: racing runs sync run={record.name}{where(outputs)}"
    require(bool(models), f"run {record.name} has no model in {store.uri}; {send_it}")
    tags = version_tags(record, series)
    made = store.ask(lambda: _register(store.client, models[0], name, alias, tags))
    before = made.before
    if previous is not None and before not in (None, made.version):
        store.ask(lambda: store.client.set_registered_model_alias(name, previous, before))
    return made


def version_tags(record: RunRecord, series: Series) -> dict[str, str]:
    """Collect the tags of a version: the run, its results, where it drives and with which vehicle."""
    results = {key: _last(series, f"eval/{key}") for key in HEADLINE}
    known = {key: f"{value:.6g}" for key, value in results.items() if value is not None}
    places = {"track": record.tags.get("racing.tracks"), "vehicle": record.tags.get("racing.vehicle")}
    return {"run": record.name} | known | {key: value for key, value in places.items() if value}


def _require_good(record: RunRecord, series: Series) -> None:
    name = f"run {record.name}"
    unfinished = f"{name} is {record.status}, only a finished run is promoted; train it to its end: racing train"
    require(record.status == RunStatus.FINISHED, unfinished)
    difference = _last(series, PARITY)
    fault = "was not compared with torch" if difference is None else f"differs from torch by {difference:.2g}"
    agrees = difference is not None and difference <= PARITY_TOLERANCE  # false for NaN, too
    rule = f"{PARITY} must be <= {PARITY_TOLERANCE:g} to be promoted"
    require(agrees, f"{name}: its ONNX file {fault}, {rule}; train it again")
    found = [value for value in (_last(series, metric) for metric in EVALUATIONS) if value is not None]
    rule = (
        f"{name} was not evaluated, {EVALUATIONS[0]} must be there to be promoted; train it again, with its evaluation"
    )
    require(any(math.isfinite(value) for value in found), rule)


def _require_delivered(record: RunRecord, uri: str | None, outputs: Path) -> None:
    """Raise InputError unless MLflow has all of the run. uri: where the user wants it, None for wherever it is."""
    remedy = f"racing runs sync run={record.name}" + (f" tracking.uri={uri}" if uri else "") + where(outputs)
    elsewhere = f"run {record.name} must be in MLflow to be promoted, {uri or 'no store'} does not have it; {remedy}"
    require(record.uri is not None and uri in (None, record.uri), elsewhere)
    if record.directory is not None:
        sent, size = record.directory.sent, record.directory.paths.journal.stat().st_size
        require(sent >= size, f"run {record.name} must be in MLflow whole, {sent} of {size} bytes are; {remedy}")


def _register(client: Any, model: LoggedModel, name: str, alias: str, tags: dict[str, str]) -> Promotion:
    known = client.search_registered_models(f"name = '{name}'")
    if not known:
        client.create_registered_model(name)
    versions: list[ModelVersion] = client.search_model_versions(f"name = '{name}'")
    same = [version for version in versions if version.source == model.artifact_location]
    if same:
        version = same[0].version
        for key, value in tags.items():
            client.set_model_version_tag(name, version, key, value)
    else:
        made = client.create_model_version(
            name, model.artifact_location, model.source_run_id, tags, model_id=model.model_id
        )
        version = made.version
    before = known[0].aliases.get(alias) if known else None
    client.set_registered_model_alias(name, alias, version)
    return Promotion(name=name, version=str(version), alias=alias, before=before and str(before), tags=tags)


def _last(series: Series, name: str) -> float | None:
    points = series.get(name)
    return points[-1][1] if points else None
