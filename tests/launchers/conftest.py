"""What the tests of launchers share: a SLURM cluster for each process of pytest, a finished sweep for all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hydra.version import VersionBase, __compat_version__

from racing.runs.directory import RunDirectory, all_runs
from racing.runs.lock import FileLock
from racing_launchers.sweep import Sweep, all_sweeps
from tests.launchers.cluster import Cluster, missing
from tests.launchers.sweeping import LEARNT, LONG, train
from tests.support import fork_client


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    if missing():
        pytest.skip(str(missing()))
    running = Cluster(tmp_path_factory.mktemp("cluster"))
    try:
        running.start()
        yield running
    finally:
        running.stop()


@pytest.fixture
def here(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    """SLURM's commands speak to the cluster."""
    for name, value in cluster.environment.items():
        monkeypatch.setenv(name, value)
    return cluster


def once(tmp_path_factory: pytest.TempPathFactory, name: str, arguments: list[str]) -> Path:
    """Outputs with what these arguments train; the processes of pytest-xdist have them in common."""
    root = tmp_path_factory.getbasetemp()
    outputs = (root.parent if "PYTEST_XDIST_WORKER" in os.environ else root) / f"sweeps-{name}"
    outputs.mkdir(exist_ok=True)
    lock = FileLock(outputs / "test.lock")
    lock.acquire(wait=True)
    if not (outputs / "said.txt").exists():
        done = train(outputs, *arguments)
        assert done.returncode == 0, done.stderr
        (outputs / "said.txt").write_text(done.stdout)
    lock.release()
    return outputs


@pytest.fixture(scope="session")
def calm(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    """The training of seed=1 that nobody disturbed."""
    outputs = once(tmp_path_factory, "calm", [*LONG, "seed=1"])
    (run,) = all_runs(outputs)
    return run


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    """A sweep of four jobs in the embedded store."""
    outputs = once(tmp_path_factory, "finished", LEARNT)
    return next(sweep for sweep in all_sweeps(outputs) if sweep.name.startswith("s-"))


@pytest.fixture(autouse=True)
def hydra_as_it_was() -> None:
    """Composing a configuration sets Hydra's version base for the process; its own tests expect the oldest."""
    VersionBase.instance().setbase(__compat_version__)


@pytest.fixture
def scripts_are_forked() -> Iterator[None]:
    """For Hydra's own tests, which write programs that use a launcher, and start them."""
    with fork_client.scripts_too():
        yield
