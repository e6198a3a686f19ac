"""Where MLflow keeps the copy of a run: the embedded store in the outputs folder, or a server."""

from __future__ import annotations

import logging
import os
import re
import socket
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote, urlsplit
from urllib.request import getproxies

from racing.errors import require
from racing.files import atomic_path, remove_leftovers
from racing.runs.lock import FileLock
from racing.tracking.address import require_no_secret

if TYPE_CHECKING:
    from mlflow import MlflowClient

# Other databases: through a server, which keeps the password.
SCHEMES = ("http://", "https://", "sqlite:///", "sqlite+pysqlite:///", "databricks://")
ADDRESS = "MLFLOW_TRACKING_URI"  # variable, also of MLflow itself
PROBE_S = 2.0  # for a server to take a connection, before a training begins

# MLflow reads these when it is imported or at each request.
ENVIRONMENT = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",  # the sender has its own back-off; MLflow's blocks for minutes
    "MLFLOW_ENABLE_ASYNC_LOGGING": "false",  # its queue lives in memory and drops what it cannot send
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_DISABLE_AGENT_HINT": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "GIT_PYTHON_REFRESH": "quiet",
}
DEFAULTS = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}  # [s] where the environment has none: a slow server may need more


def embedded_uri(outputs: Path) -> str:
    """Return the URI of the store that needs no server. Absolute: Hydra changes the working directory."""
    return sqlite_uri(outputs.resolve() / "mlflow.db")


def sqlite_uri(file: Path) -> str:
    """Return the URI of a database file. Raises InputError for a name that SQLAlchemy before 2.1 cannot have."""
    if re.search("[%?]", str(file)) is None:
        return f"sqlite:///{file}"
    if _is_decoded():  # with its driver: of sqlite:/// MLflow makes the folder, before anybody decodes its name
        return f"sqlite+pysqlite:///{quote(str(file))}"
    require("?" not in str(file), f"{file} must be a name without ?, SQLAlchemy before 2.1 cannot open it; rename it")
    return f"sqlite:///{file}"


def sqlite_file(uri: str) -> Path:
    """Return the database file of an sqlite URI."""
    path = uri.partition(":///")[2]
    return Path(unquote(path) if _is_decoded() else path)


def _is_decoded() -> bool:
    """Whether SQLAlchemy reads %41 in a URI as A."""
    return [int(part) for part in version("sqlalchemy").split(".")[:2]] >= [2, 1]


def artifact_root(outputs: Path) -> Path:
    """Return the folder of the embedded store's artifacts."""
    return outputs.resolve() / "mlartifacts"


def resolve_uri(uri: str | None, outputs: Path) -> str:
    """Return `uri`, or the embedded store's for null. Raises InputError unless MLflow knows such a store."""
    if not uri:
        return embedded_uri(outputs)
    require_no_secret("tracking.uri", uri)
    scheme, mark, rest = uri.partition("://")
    uri = scheme.lower() + mark + rest
    known = "must begin with http://, https:// or sqlite:///; use null for the embedded store"
    require(uri == "databricks" or uri.startswith(SCHEMES), f"tracking.uri {uri!r} {known}")
    return sqlite_uri(sqlite_file(uri)) if uri.startswith("sqlite") and "%" in uri else uri


def silent(uri: str) -> str | None:
    """Say why the server at `uri` takes no connection within PROBE_S; None where it does, or where that is not asked.

    Nothing is asked where `uri` is no server, nor through a proxy.
    """
    address = urlsplit(uri)
    proxies = getproxies()
    if address.scheme not in ("http", "https") or address.scheme in proxies or "all" in proxies:
        return None
    try:
        port = address.port or (443 if address.scheme == "https" else 80)
        socket.create_connection((address.hostname or "", port), PROBE_S).close()
    except (OSError, ValueError) as error:
        return getattr(error, "strerror", None) or str(error)
    return None


def environment(outputs: Path) -> dict[str, str]:
    """Return the environment for a process that uses MLflow, on top of this one's."""
    # Without the root MLflow makes a folder `mlruns` wherever the process happens to be.
    return {**DEFAULTS, **os.environ, **ENVIRONMENT, "_MLFLOW_SERVER_ARTIFACT_ROOT": artifact_root(outputs).as_uri()}


def connect(uri: str, experiment: str, outputs: Path) -> tuple[MlflowClient, str]:
    """Return a client and the id of `experiment`, which is made if missing. Raises MLflow's errors."""
    client = open_client(uri, outputs)
    embedded = uri == embedded_uri(outputs)
    return client, _experiment(client, experiment, artifact_root(outputs).as_uri() if embedded else None)


def open_client(uri: str, outputs: Path) -> MlflowClient:
    """Open the store at `uri`; makes the tables of a new database. Raises MLflow's errors.

    A database that several processes open for the first time breaks in MLflow's migrations; the lock makes them queue.
    """
    os.environ.update(environment(outputs))
    from mlflow import MlflowClient

    for noisy in ("alembic", "mlflow"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    if not uri.startswith("sqlite"):
        return MlflowClient(tracking_uri=uri, registry_uri=uri)
    file = sqlite_file(uri)
    lock = FileLock(file.with_name("mlflow.lock"))
    lock.acquire(wait=True)
    try:
        if not file.exists():
            _make_tables(file)
        return MlflowClient(tracking_uri=uri, registry_uri=uri)
    finally:
        lock.release()


def _make_tables(file: Path) -> None:
    """Make a database, whole or not at all: one whose migrations were cut off could never be opened again."""
    from mlflow import MlflowClient

    remove_leftovers(file.parent, file.stem)  # the caller has the lock: nobody else is making one
    with atomic_path(file, sync=False) as temporary:  # sqlite syncs by itself
        uri = sqlite_uri(temporary)
        MlflowClient(tracking_uri=uri, registry_uri=uri).search_experiments()


def _experiment(client: MlflowClient, name: str, artifacts: str | None) -> str:
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            return str(client.create_experiment(name, artifact_location=artifacts))
        except MlflowException:  # another process was faster
            found = client.get_experiment_by_name(name)
            if found is None:
                raise
    return str(found.experiment_id)
