"""Jobs on a real SLURM cluster: whatever ends or moves them, the record is whole and the result the same bits."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from launchers.backend import launcher_settings, make_backend
from launchers.launch import Planned, Request, launch
from launchers.sweep import Job, Sweep
from racing.cli import main
from racing.runs.directory import RunDirectory
from tests.launchers.cluster import Cluster, missing
from tests.launchers.payloads import Act, Drive, endings
from tests.runs.conftest import wait_until
from tests.stopping import only_run, train
from tests.test_continue import check_equal

pytestmark = pytest.mark.skipif(missing() is not None, reason=str(missing()))

TOTAL = 8192  # four updates
PPO = ["name=c", "algo.n_steps=32", f"algo.total_timesteps={TOTAL}", "checkpoint.every=2048", "eval.every=0"]
HOLD = 5000  # in the third update


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
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


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    """A training that nobody disturbed, without SLURM."""
    outputs = tmp_path_factory.mktemp("calm")
    assert train(outputs, *PPO) == 0
    return only_run(outputs)


def slurm(*settings: str) -> dict[str, Any]:
    return launcher_settings("slurm", ["poll=0.3", "cpus_per_task=1", "wait=false", *settings])


def drive(outputs: Path, hold: int | None = HOLD) -> Drive:
    return Drive(["debug=fast", "eval.episodes=2", "tracking=none", *PPO, f"paths.outputs={outputs}"], hold)


def run(outputs: Path, payloads: Sequence[Act | Drive], *settings: str) -> tuple[Sweep, list[Job]]:
    """A sweep of these jobs, submitted."""
    known = slurm(*settings)
    sweep = Sweep(outputs / "sweeps" / "acts")
    planned = [Planned(number, [f"act={number}"], payload) for number, payload in enumerate(payloads)]
    request = Request(command="acts", launcher=known, outputs=outputs)
    return sweep, launch(sweep, make_backend(known), planned, request)


def collect(outputs: Path) -> int:
    """Wait for all."""
    return main(["jobs", "collect", "acts", "wait=true", f"paths.outputs={outputs}"])


def id_of(job: Job) -> str:
    return str(job.folder.attempt["handle"]["slurm"])


def wait_until_held(jobs: Sequence[Job]) -> None:
    wait_until(lambda: all((job.folder.path / "held").exists() for job in jobs), "the trainings are in the middle")


def check_resumed(outputs: Path, calm: RunDirectory, *, lives: int = 2) -> None:
    """The training in `outputs` took so many lives and ended as the calm one did."""
    found = only_run(outputs)
    check_equal(found, calm, TOTAL)
    assert (found.path / "journal.jsonl").read_text().count('"kind":"start"') == lives


def test_a_sweep_in_which_each_job_has_another_fate(here: Cluster, calm: RunDirectory, tmp_path: Path):
    """All in one array: nobody harms another. No accounting: sacct fails on this cluster."""
    held = [drive(tmp_path / name) for name in ("killed", "signalled", "requeued", "late")]
    _, jobs = run(
        tmp_path,
        [drive(tmp_path / "calm", hold=None), Act("fail"), Act("refuse"), Act("leave"), Act("die"), *held],
        *("retry=1", "signal_delay_s=150"),
    )
    killed, signalled, requeued, late = jobs[5:]
    assert id_of(jobs[1]) == id_of(jobs[0]).replace("_0", "_1")  # one array
    wait_until_held(jobs[5:])
    pid = killed.folder.started["pid"]
    os.kill(pid, signal.SIGKILL)
    here.call("scancel", "--signal=USR2", id_of(signalled))
    here.call("scontrol", "requeue", id_of(requeued))
    here.call("scontrol", "update", f"JobId={id_of(late)}", "TimeLimit=3")  # [min] so SLURM tells it, within 30 s
    ids = [id_of(job) for job in jobs]
    wait_until(lambda: here.show(id_of(late))["Restarts"] == "1", "SLURM has told the late one")
    here.call("scontrol", "update", f"JobId={id_of(late)}", "TimeLimit=240")  # else that holds for its next life, too
    assert collect(tmp_path) == 1
    assert endings(jobs) == ["DONE", "FAILED", "REFUSED", "FAILED", "DEAD", "DONE", "DONE", "DONE", "DONE"]
    assert [job.folder.attempts for job in jobs] == [1, 1, 1, 1, 2, 2, 1, 1, 1]
    assert [job.folder.result.get("value") for job in jobs] == [0.5, *[None] * 4, *[0.5] * 4]
    assert jobs[4].folder.result["error"].startswith("killed by SIGKILL: out of memory, or by hand on n")
    known = [here.show(id) for id in ids]
    assert [shown["JobState"] for shown in known] == ["COMPLETED", *["FAILED"] * 5, *["COMPLETED"] * 3]
    assert [shown["ExitCode"] for shown in known[:4]] == ["0:0", "1:0", "2:0", "3:0"]
    assert [shown["Restarts"] for shown in known] == ["0"] * 6 + ["1"] * 3
    check_resumed(tmp_path / "calm", calm, lives=1)
    for name in ("killed", "signalled", "requeued", "late"):
        check_resumed(tmp_path / name, calm)
    assert "is broken" in jobs[1].folder.log.read_text()
