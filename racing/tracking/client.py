"""Reading what MLflow has: runs, their artifacts and metric points, models of the registry.

Whatever goes wrong with the store, a wrong address, no answer, a missing run, is an InputError of one line.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from racing.errors import InputError, require
from racing.files import is_inside
from racing.runs.status import RunStatus
from racing.tracking.errors import http_status
from racing.tracking.store import open_client, resolve_uri, sqlite_file

if TYPE_CHECKING:
    from mlflow.entities import FileInfo, LoggedModel, Run

T = TypeVar("T")
Series = dict[str, list[tuple[int, float]]]
JOURNAL_TAG = "racing.journal"  # every run of ours has it, no other program's does
NAME_TAG = "racing.run"  # name of the run's directory; MLflow may show another one, such as what varies in a sweep
KIND_TAG = "racing.kind"  # `sweep` of the runs that stand above those of its jobs
MAX_RUNS = 10_000
_MODEL = re.compile(r"models:/(?P<name>[^/@:]+)(@(?P<alias>[^/@]+)|/(?P<version>\d+))")
_LOGGED_MODEL = re.compile(r"models:/(?P<id>m-[0-9a-f]+)")


def name_of(run: Run) -> str:
    """Return the name of the run's directory."""
    return str(run.data.tags.get(NAME_TAG) or run.info.run_name or "")


def status_of(run: Run) -> RunStatus:
    """Return how the run is by MLflow; SCHEDULED, which nobody of ours sets, counts as RUNNING."""
    return RunStatus.__members__.get(run.info.status, RunStatus.RUNNING)


class Store:
    """One MLflow store."""

    def __init__(self, uri: str | None, outputs: Path) -> None:
        """Open `uri`, else that of MLFLOW_TRACKING_URI, else the embedded store of `outputs`. Raises InputError."""
        self.uri = resolve_uri(uri or os.environ.get("MLFLOW_TRACKING_URI"), outputs)
        if self.uri.startswith("sqlite"):
            file = sqlite_file(self.uri)
            require(
                file.is_file(), f"{self.uri} must be MLflow's database, there is no such file; set tracking.uri=URI"
            )
        self.client = self.ask(lambda: open_client(self.uri, outputs))

    def ask(self, call: Callable[[], T], missing: str = "") -> T:
        """Return what `call` returns; an error of the store becomes an InputError, a 404 one that says `missing`."""
        try:
            return call()
        except InputError:
            raise
        except Exception as error:
            if not isinstance(error, OSError) and type(error).__module__.split(".")[0] not in _STORES:
                raise
            raise InputError(self._explain(error, missing)) from error

    def _explain(self, error: Exception, missing: str) -> str:
        status = http_status(error)
        if status == 404 and missing:
            return missing
        if status in (401, 403):
            return f"{self.uri} refuses us ({status}); set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
        if status is None or status >= 500:
            return f"{self.uri} must answer, got: {_first_cause(error)}; check tracking.uri, or try again later"
        return f"{self.uri} must know what was asked for, it says: {_line(error)}; check the names"

    def run(self, run_id: str) -> Run:
        """Get the run of that id, made by racing and not deleted. Raises InputError."""
        missing = f"run {run_id} must be one of {self.uri}, it is not there; see `racing runs list tracking.uri=...`"
        bad_id = re.fullmatch(r"[A-Za-z0-9][\w\-]{0,255}", run_id) is None
        require(not bad_id, missing)
        run = self.ask(lambda: self.client.get_run(run_id), missing)
        active = run.info.lifecycle_stage == "active"
        require(active, f"run {run_id} was deleted in {self.uri}; restore it there first")
        ours = f"run {run_id} of {self.uri} must be a run of racing, another program made it; name another"
        require(JOURNAL_TAG in run.data.tags, ours)
        return run

    def runs(self, condition: str = "", limit: int = MAX_RUNS) -> list[Run]:
        """List runs of racing, newest first. condition: one more, in MLflow's language. Raises InputError."""
        wanted = f"tags.`{JOURNAL_TAG}` LIKE '%'" + (f" AND {condition}" if condition else "")
        everywhere = [found.experiment_id for found in self.ask(self.client.search_experiments)]
        search = partial(self.client.search_runs, everywhere, wanted, order_by=["attributes.start_time DESC"])
        found: list[Run] = []
        token: str | None = None
        while len(found) < limit:
            page = self.ask(partial(search, max_results=min(1000, limit - len(found)), page_token=token))
            found += page
            token = page.token
            if not token:
                break
        return found

    def model_run(self, spec: str) -> str | None:
        """Return the id of the run that made the model `spec`, None where none is named. Raises InputError.

        spec: models:/NAME@ALIAS, models:/NAME/VERSION, or models:/m-ID (a model that a run logged).
        """
        model = self._model(spec)
        return (model.source_run_id if _LOGGED_MODEL.fullmatch(spec) else model.run_id) or None

    def _model(self, spec: str) -> Any:
        """Get MLflow's LoggedModel or ModelVersion."""
        logged, registered = _LOGGED_MODEL.fullmatch(spec), _MODEL.fullmatch(spec)
        missing = f"{spec} must be a model in {self.uri}, it is not there; see `racing ui`"
        if logged:
            return self.ask(lambda: self.client.get_logged_model(logged["id"]), missing)
        if registered is None:
            raise InputError(f"{spec} must be models:/NAME@ALIAS or models:/NAME/VERSION; see `racing ui`")
        name, alias, version = registered["name"], registered["alias"], registered["version"]
        if alias:  # asked for directly, MLflow answers 400, not 404, where it is not set
            aliases = self.ask(lambda: self.client.get_registered_model(name), missing).aliases
            require(alias in aliases, missing)
            version = aliases[alias]
        return self.ask(lambda: self.client.get_model_version(name, str(version)), missing)

    def models(self, run: Run) -> list[LoggedModel]:
        """List the complete models that `run` logged, newest first. Raises InputError."""
        chosen = f"source_run_id = '{run.info.run_id}'"
        found = self.ask(lambda: self.client.search_logged_models([run.info.experiment_id], chosen))
        ready = [model for model in found if model.status == "READY"]
        return sorted(ready, key=lambda model: model.creation_timestamp, reverse=True)

    def files(self, run_id: str, folder: str = "") -> Iterator[tuple[str, int]]:
        """Yield path and size [bytes] of each of the run's artifacts in `folder`, and below it. Raises InputError."""
        return self._walk(partial(self.client.list_artifacts, run_id), folder)

    def model_files(self, model: LoggedModel) -> Iterator[tuple[str, int]]:
        """Yield path and size [bytes] of each file of a logged model. Raises InputError."""
        return self._walk(partial(self.client.list_logged_model_artifacts, model.model_id), "")

    def _walk(self, entries: Callable[[str | None], list[FileInfo]], folder: str) -> Iterator[tuple[str, int]]:
        for entry in sorted(self.ask(lambda: entries(folder or None)), key=lambda entry: entry.path):
            if entry.is_dir:
                yield from self._walk(entries, entry.path)
            else:
                yield entry.path, int(entry.file_size or 0)

    def download(self, run_id: str, path: str, folder: Path) -> Path:
        """Copy the artifact `path`, a file or a folder, to `folder`/`path`. Raises InputError."""
        missing = f"run {run_id} of {self.uri} has no artifact {path}; see `racing runs artifacts run={run_id}`"
        require(is_inside(path), f"run {run_id} of {self.uri} names the artifact {path[:80]!r}, which leads elsewhere")
        place = (folder / path).parent  # MLflow keeps only the last part of `path`
        place.mkdir(parents=True, exist_ok=True)
        return Path(self.ask(lambda: self.client.download_artifacts(run_id, path, str(place)), missing))

    def delete(self, run: Run, path: str) -> None:
        """Delete the artifact `path`, a file or a folder; none there is no error. Raises InputError."""
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        repository = self.ask(lambda: get_artifact_repository(run.info.artifact_uri, tracking_uri=self.uri))
        if any(self.files(run.info.run_id, path)):
            self.ask(lambda: repository.delete_artifacts(path))

    def download_model(self, spec: str, folder: Path) -> None:
        """Copy the files of the model `spec` (see `model_run`) to `folder`. Raises InputError."""
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        model = self._model(spec)
        place = (  # MLflow's own download of models:/ asks whatever store was set last in this process
            model.artifact_location
            if _LOGGED_MODEL.fullmatch(spec)
            else self.ask(lambda: self.client.get_model_version_download_uri(model.name, model.version))
        )
        self.ask(lambda: get_artifact_repository(place, tracking_uri=self.uri).download_artifacts("", str(folder)))

    def text(self, run_id: str, path: str) -> str:
        """Read the text of an artifact. Raises InputError."""
        with tempfile.TemporaryDirectory(prefix="racing-record-") as folder:
            return self.download(run_id, path, Path(folder)).read_bytes().decode()

    def series(self, run: Run) -> Series:
        """Read all points of all metrics, by step. Raises InputError."""
        return {name: self._points(run.info.run_id, name) for name in sorted(run.data.metrics)}

    def _points(self, run_id: str, name: str) -> list[tuple[int, float]]:
        history = self.ask(lambda: self.client.get_metric_history(run_id, name))
        ordered = sorted(history, key=lambda point: (point.step, point.timestamp))
        return [(int(point.step), _infinite(float(point.value))) for point in ordered]


_STORES = ("mlflow", "sqlalchemy", "botocore", "urllib3", "requests")  # packages whose errors are the store's


def _first_cause(error: BaseException) -> str:
    """Return what happened in the first place, which MLflow and requests wrap several times."""
    while error.__cause__ or error.__context__:
        error = error.__cause__ or error.__context__ or error
    return _line(error)


def _line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


def _infinite(value: float) -> float:
    """Restore infinity, which SQL does not have: MLflow stores the greatest number for it."""
    return value * 2 if abs(value) == sys.float_info.max else value
