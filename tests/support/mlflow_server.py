"""A real MLflow server, real run directories, and what MLflow has of them."""

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from pathlib import Path

import pytest

from racing.runs.directory import open_run
from racing.tracking.sender import Sender
from racing.tracking.store import ENVIRONMENT
from tests.support.made_once.store_template import copy_tables

TRACKING = {"enabled": True, "uri": None, "experiment": "racing"}
PATIENCE = 120  # [s] a loaded machine may need it; nothing here waits that long otherwise


class Server:
    """MLflow's server on its own sqlite file, or a given one; can be killed and started again on the same port."""

    def __init__(self, folder: Path, database: Path | None = None) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.folder = folder
        self.uri = f"http://127.0.0.1:{self.port}"
        self.process = None
        self.database = database or folder / "server.db"
        if database is None:
            copy_tables(self.database)

    def start(self) -> None:
        where = map(str, (self.folder, self.database, self.port))
        command = [sys.executable, "-m", "tests.support.mlflow_app", *where]
        settings = os.environ | ENVIRONMENT | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env=settings, start_new_session=True)
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            try:
                with urllib.request.urlopen(f"{self.uri}/health", timeout=5):
                    return
            except OSError:
                assert self.process.poll() is None, (self.folder / "server.log").read_text()
                time.sleep(0.1)
        pytest.fail("mlflow server did not start")

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    running = Server(tmp_path_factory.mktemp("server"))
    running.start()
    yield running
    running.kill()


@pytest.fixture
def own_server(tmp_path):
    """A server that the test may kill."""
    (tmp_path / "server").mkdir()
    mine = Server(tmp_path / "server")
    mine.start()
    yield mine
    mine.kill()


@pytest.fixture
def begin(tmp_path):
    """begin(seed=0, **config) opens a run under tmp_path/outputs; all are closed at the end."""
    opened = []
    (tmp_path / "outputs").mkdir(exist_ok=True)
    if not (tmp_path / "outputs/mlflow.db").exists():
        copy_tables(tmp_path / "outputs/mlflow.db")

    def start(seed=0, **more):
        run = open_run(
            tmp_path / "outputs", "demo", {"name": "demo", "seed": seed} | more, [f"seed={seed}"], {"commit": None}
        )
        opened.append(run)
        return run

    yield start
    for run in opened:
        run.close()


class Copy:
    """What MLflow has of a run."""

    def __init__(self, run) -> None:
        from mlflow import MlflowClient

        self.client = MlflowClient(run.mlflow["uri"])
        self.run_id = run.mlflow["run_id"]
        self.run = self.client.get_run(self.run_id)
        self.status = self.run.info.status
        self.params = self.run.data.params
        self.tags = self.run.data.tags

    def points(self, name: str) -> Counter:
        """How often each (step, value) of a metric is there."""
        return Counter((point.step, point.value) for point in self.client.get_metric_history(self.run_id, name))

    def files(self, folder: str = "") -> set[str]:
        return {entry.path for entry in self.client.list_artifacts(self.run_id, folder or None)}

    def text(self, path: str) -> str:
        return Path(self.client.download_artifacts(self.run_id, path)).read_text()

    def models(self) -> list:
        found = self.client.search_logged_models([self.run.info.experiment_id])
        return [model for model in found if model.source_run_id == self.run_id]


@pytest.fixture
def copy_of():
    return Copy


@pytest.fixture
def start_sender():
    """start_sender(run, uri=None): the real sender process."""

    def start(run, uri=None):
        return Sender.start(run, TRACKING | {"uri": uri})

    return start


def wait_until(condition, what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain until {what}"
        time.sleep(0.05)
