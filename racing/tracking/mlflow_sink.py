"""Sends a journal to MLflow, at least once and in order; what arrives twice is stored once.

MLflow's stores drop a metric point that they already have (same name, step, value and time), so a delivery that was cut
off is simply repeated from the cursor: the last byte of the journal that is known to have arrived.

A journal may lose its end: with a machine in a cloud goes what it has written since its files were last saved, and the
next one measures the same again, at another time. What MLflow has of that is left out (racing.tracking.measured).
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from racing.files import write_atomic
from racing.runs.directory import RunDirectory
from racing.runs.journal import (
    ENDING,
    Line,
    first_record,
    fitting_cursor,
    read_before,
    read_journal,
    write_cursor,
)
from racing.runs.lock import FileLock
from racing.runs.meta import complete_meta
from racing.runs.paths import where
from racing.runs.status import RunStatus
from racing.tracking.agent_runs import AgentRuns, by_agent
from racing.tracking.errors import Refused, Unreachable, classify, http_status
from racing.tracking.measured import Measured
from racing.tracking.store import connect

if TYPE_CHECKING:
    from mlflow import MlflowClient

BATCH = {"metrics": 1000, "params": 100, "tags": 100}  # MLflow's limits for one log_batch
MAX_TEXT = {"params": 6000, "tags": 8000}  # [characters] MLflow's limits for a value
WINDOW = 5000  # [points] sent between two moves of the cursor
ERROR = "error.txt"  # artifact: the traceback of a run that failed


class Delivery:
    """Delivers one run to one store; only one process at a time (`sender.lock`)."""

    def __init__(self, run: RunDirectory, uri: str, experiment: str) -> None:
        """Prepare; nothing is sent yet. uri: see `store.resolve_uri`. experiment: name of MLflow's experiment."""
        self.run = run
        self.uri = uri
        self.experiment = experiment
        self.outputs = run.paths.outputs
        self.lock = FileLock(run.paths.sender_lock)
        self.sent: Counter[str] = Counter()
        self.ended = False
        self.run_id = ""
        self._client: MlflowClient | None = None
        self._agents: AgentRuns | None = None
        self._experiment_id = ""
        self._offset, self._before = 0, b""
        self._measured = Measured()

    @property
    def _journal(self) -> Path:
        return self.run.paths.journal

    def deliver(self) -> bool:
        """Send what comes next and move the cursor; False if nothing is left. Raises Unreachable, Refused."""
        try:
            return self._deliver()
        except Unreachable:
            if self._measured:  # what was taken from it was not sent
                self._client = None
            raise
        except OSError as error:  # of our own files: a full disk, above all
            raise Unreachable(f"{error.filename or self.run.path}: {error.strerror}") from error

    def _deliver(self) -> bool:
        if self._client is None or self._replaced():
            self._guard(self._connect, otherwise=Refused)
        points: list[tuple[Line, str, Any]] = []
        end, before = self._offset, self._before
        read = before
        for line in read_journal(self._journal, self._offset):
            before = (before + line.raw)[-ENDING:]
            if (line.record or {}).get("kind") in BATCH:
                points += self._points(line)
            elif end == self._offset:
                if not self._replaced():
                    self._special(line)
                    self._move(line.end, before)
                return True
            else:
                break  # what stands before this line goes first
            end, read = line.end, before
            if len(points) >= WINDOW:
                break
        if self._replaced():  # while it was read
            return True
        for kind, size in BATCH.items():
            chosen = [(line, entity) for line, of, entity in points if of == kind]
            for begin in range(0, len(chosen), size):
                self._send(kind, chosen[begin : begin + size], self.run_id)
            if kind == "metrics":
                self._send_to_agents(chosen)
        if end == self._offset:
            return False
        self._move(end, read)
        return True

    def _replaced(self) -> bool:
        """Whether another journal was put in the place of the one that was read so far."""
        return self._before != read_before(self._journal, self._offset)

    def mark_killed(self) -> None:
        """Record in MLflow that the run's process ended without an `end`. Raises Unreachable, Refused."""
        if self._client is not None and not self.ended:
            self._guard(lambda: self._log_journal(self._offset))
            self._guard(lambda: self._terminate(RunStatus.KILLED))

    @property
    def _mlflow(self) -> MlflowClient:
        assert self._client is not None
        return self._client

    def _connect(self) -> None:
        """Find or make the MLflow run, and the place in the journal from which to send."""
        client, self._experiment_id = connect(self.uri, self.experiment, self.outputs)
        known = self.run.mlflow
        if known.get("uri") != self.uri or not _run_exists(client, known["run_id"]):
            self.run.paths.cursor.unlink(missing_ok=True)  # it speaks of another store
            run_id, self._experiment_id = self._find_or_create(client)
            known = {"uri": self.uri, "experiment_id": self._experiment_id, "run_id": run_id}
            write_atomic(self.run.paths.mlflow, json.dumps(known) + "\n")
        self.run_id, self._experiment_id = known["run_id"], known["experiment_id"]
        self._offset = fitting_cursor(self.run.paths.cursor, self._journal)
        self._before = read_before(self._journal, self._offset)
        self._measured = Measured.of(client, self.run_id, self._journal, self._offset)
        self._client = client
        self._agents = AgentRuns(client, self._experiment_id, self.run_id, self._journal_id())

    def _journal_id(self) -> str:
        """What tells this run from all others. Raises Refused where the journal does not say it."""
        first = next(read_journal(self._journal))
        if not first.record or first.record.get("kind") != "journal":
            raise Refused(f"{self._journal} does not begin with a journal line; it is damaged")
        return str(first.record["id"])

    def _find_or_create(self, client: MlflowClient) -> tuple[str, str]:
        tag = {"racing.journal": self._journal_id()}
        everywhere = [found.experiment_id for found in client.search_experiments()]
        found = client.search_runs(everywhere, f"tags.`racing.journal` = '{tag['racing.journal']}'", max_results=1)
        if found:
            return found[0].info.run_id, found[0].info.experiment_id
        _, began = first_record(self._journal)
        made = client.create_run(self._experiment_id, began, tags=tag, run_name=self.run.name)
        return made.info.run_id, self._experiment_id

    def _points(self, line: Line) -> list[tuple[Line, str, Any]]:
        from mlflow.entities import Metric, Param, RunTag

        record = line.record or {}
        try:
            kind, ts, values = record["kind"], int(record["ts"]), dict(record["values"])
            if kind == "metrics":
                step = int(record["step"])
                new = {name: value for name, value in values.items() if not self._measured.take(step, name, ts)}
                return [(line, kind, Metric(name, float(value), ts, step)) for name, value in new.items()]
            entity = Param if kind == "params" else RunTag
            return [(line, kind, entity(name, self._short(kind, name, str(value)))) for name, value in values.items()]
        except (Unreachable, Refused):
            raise
        except Exception as error:
            self._reject(line, f"{type(error).__name__}: {error}")
            return []

    def _short(self, kind: str, name: str, text: str) -> str:
        """Return `text`, or its beginning and the name of the artifact that has all of it."""
        if len(text) <= MAX_TEXT[kind]:
            return text
        file = f"{kind}/{name}.txt"
        self._guard(lambda: self._mlflow.log_text(self.run_id, text, file))
        return f"{text[: MAX_TEXT[kind] - len(file) - 50]} ... (whole value: artifact {file})"

    def _send_to_agents(self, metrics: Sequence[tuple[Line, Any]]) -> None:
        """Send agents' metrics to the agents' runs, too."""
        size, agents = BATCH["metrics"], self._agents
        assert agents is not None
        for agent, chosen in by_agent(metrics).items():
            run_id = self._guard(partial(agents.run_id, agent, chosen[0][1].timestamp))
            for begin in range(0, len(chosen), size):
                self._send("metrics", chosen[begin : begin + size], run_id)

    def _send(self, kind: str, chosen: Sequence[tuple[Line, Any]], run_id: str) -> None:
        """Log a batch; where MLflow refuses it, halve it until the point at fault stands alone."""
        from mlflow.exceptions import MlflowException

        try:
            self._guard(lambda: self._mlflow.log_batch(run_id, **{kind: [entity for _, entity in chosen]}))
            self.sent[kind] += len(chosen)
        except MlflowException as error:
            self._require_active()
            if len(chosen) == 1:
                self._reject(chosen[0][0], str(error), chosen[0][1].key)
            else:
                self._send(kind, chosen[: len(chosen) // 2], run_id)
                self._send(kind, chosen[len(chosen) // 2 :], run_id)

    def _require_active(self) -> None:
        """Raise Refused if MLflow rejects points because the run is in its bin."""
        if self._guard(lambda: self._mlflow.get_run(self.run_id)).info.lifecycle_stage != "active":
            raise Refused(
                f"run {self.run_id} was deleted in MLflow; restore it there, then "
                f"`racing runs sync {self.run.name}{where(self.outputs)}`"
            )

    def _special(self, line: Line) -> None:
        """Send a line that is no set of points."""
        record = line.record or {}
        actions: dict[Any, Callable[[], None]] = {
            "start": self._start,
            "artifact": lambda: self._artifact(record),
            "model": lambda: self._model(record),
            "end": lambda: self._end(record, line.end),
            "journal": lambda: None,
            "event": lambda: None,
        }
        action = actions.get(record.get("kind"))
        if action is None:
            self._reject(line, "unreadable line" if line.record is None else "unknown kind of line")
            return
        try:
            self._guard(action)
        except (Refused, Unreachable):
            raise
        except Exception as error:
            self._require_active()
            self._reject(line, f"{type(error).__name__}: {error}")

    def _start(self) -> None:
        self._mlflow.update_run(self.run_id, status=RunStatus.RUNNING)
        assert self._agents is not None
        self._agents.set_status(RunStatus.RUNNING)
        self.ended = False

    def _end(self, record: dict[str, Any], size: int) -> None:
        self._log_journal(size)
        if record.get("error"):
            self._mlflow.log_text(self.run_id, record["error"], ERROR)
        self._terminate(mlflow_status(record["status"]), record["ts"])
        self.ended = True

    def _terminate(self, status: RunStatus, ts: int | None = None) -> None:
        assert self._agents is not None
        self._mlflow.set_terminated(self.run_id, status, ts)
        self._agents.set_status(status, ts)

    def _log_journal(self, size: int) -> None:
        """Keep the first `size` bytes of the journal as an artifact: with them MLflow has the whole record of the run.

        A copy is sent, because the next trainer may be writing to the journal already.
        """
        with tempfile.TemporaryDirectory(prefix="racing-journal-") as folder:
            copy = Path(folder) / self._journal.name
            with self._journal.open("rb") as source, copy.open("wb") as target:
                target.write(source.read(size))
            self._mlflow.log_artifact(self.run_id, str(copy))

    def _artifact(self, record: dict[str, Any]) -> None:
        path, folder = self._inside(record["path"]), record.get("folder") or None
        if path.is_dir():
            self._mlflow.log_artifacts(self.run_id, str(path), folder or path.name)
        elif path.is_file():
            if path == self.run.paths.meta:
                complete_meta(self.run)
            self._mlflow.log_artifact(self.run_id, str(path), folder)
        else:
            raise FileNotFoundError(f"{path} does not exist")
        self.sent["artifacts"] += 1

    def _inside(self, name: str) -> Path:
        """The file or folder of the run that a line names. What lies elsewhere is none: nobody asked to send that."""
        path = self.run.path / name
        if not path.resolve().is_relative_to(self.run.path):
            raise FileNotFoundError(f"{path} does not lie in the run directory")
        return path

    def _model(self, record: dict[str, Any]) -> None:
        """Log the policy as an MLflow model of the run, unless these bytes are there already."""
        from racing.tracking.mlflow_model import write_mlflow_model

        path = self._inside(record["path"])
        tags = {"racing.sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
        found = self._mlflow.search_logged_models([self._experiment_id], f"source_run_id = '{self.run_id}'")
        same = [model for model in found if model.name == record["name"] and tags.items() <= model.tags.items()]
        if any(model.status == "READY" for model in same):
            return
        create = self._mlflow.create_logged_model
        model_id = (same[0] if same else create(self._experiment_id, record["name"], self.run_id, tags)).model_id
        with tempfile.TemporaryDirectory(prefix="racing-model-") as folder:
            write_mlflow_model(path, Path(folder) / "model", run_id=self.run_id, model_id=model_id)
            self._mlflow.log_model_artifacts(model_id, str(Path(folder) / "model"))
        self._mlflow.finalize_logged_model(model_id, "READY")
        self.sent["models"] += 1

    def _guard(self, call: Callable[[], Any], otherwise: type[Exception] | None = None) -> Any:
        """Call MLflow; raises Unreachable or Refused for what is no line's fault, else the error or `otherwise`."""
        try:
            return call()
        except (Unreachable, Refused):
            raise
        except Exception as error:
            kinds: dict[str, type[Exception] | None] = {"later": Unreachable, "refused": Refused, "line": otherwise}
            kind = kinds[classify(error)]
            if kind is None:
                raise
            raise kind(f"{self.uri}: {error}") from error

    def _reject(self, line: Line, reason: str, name: str = "") -> None:
        """Put a line (or one name of it) that cannot be delivered aside, with the reason, once."""
        entry = {
            "offset": line.start,
            "name": name,
            "reason": reason,
            "line": line.raw.decode(errors="replace").strip(),
        }
        if any((old["offset"], old["name"]) == (line.start, name) for old in rejected(self.run)):
            return
        with self.run.paths.rejected.open("a") as file:
            file.write(json.dumps(entry) + "\n")
        self.sent["rejected"] += 1

    def _move(self, offset: int, before: bytes) -> None:
        """Note that all up to `offset` arrived; a power cut must not leave a cursor that is ahead of the journal.

        before: what was read before it, ENDING bytes of it.
        """
        with self._journal.open("rb") as file:
            os.fsync(file.fileno())
        write_cursor(self.run.paths.cursor, offset, before)
        self._offset, self._before = offset, before


def rejected(run: RunDirectory) -> Iterator[dict[str, Any]]:
    """Yield what MLflow would not take: `offset` in the journal, `name`, `reason`, `line`."""
    if run.paths.rejected.exists():
        yield from (json.loads(line) for line in run.paths.rejected.read_text().splitlines())


def mlflow_status(status: str) -> RunStatus:
    """Return MLflow's word for the status of a journal's `end`. Raises ValueError for another one."""
    own = RunStatus(status)
    return RunStatus.KILLED if own == RunStatus.STOPPED else own


def _run_exists(client: MlflowClient, run_id: str) -> bool:
    from mlflow.exceptions import MlflowException

    try:
        client.get_run(run_id)
    except MlflowException as error:
        if http_status(error) == 404:
            return False
        raise
    return True
