"""Trainings on instances: the same bits as here, however often the instance is taken away; all of it comes home."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from racing.runs.directory import RunDirectory
from racing_launchers.aws_spot.account.objects import Objects
from racing_launchers.sweep import all_sweeps
from tests.launchers.aws_spot.instances.host import Host, wait
from tests.launchers.aws_spot.instances.interruptions import AWS, committed_steps, ended
from tests.launchers.sweeping import SHORT, TOTAL
from tests.support.forks.held import held
from tests.support.mlflow_server import Copy
from tests.support.processes import points, run_of, state_bytes, tags, train_command

pytestmark = pytest.mark.slow

PPO = [*SHORT, f"algo.total_timesteps={TOTAL}", "checkpoint.every=4096", "seed=1"]  # as `calm`


def test_taken_away_and_lost_it_ends_as_if_nothing_had_happened(
    host: Host, stack: str, client: Any, calm: RunDirectory, tmp_path: Path
):
    """The same bits as on this machine; MLflow has all of it, too."""
    home = tmp_path / "home"
    run = run_of(home, PPO)
    objects = Objects(client("s3"), stack)
    first, second = tmp_path / "first", tmp_path / "second"
    with held({7_000: first, 15_000: second}):
        command = subprocess.Popen(train_command(home, [*PPO, *AWS]), cwd=tmp_path)
        try:
            wait(lambda: committed_steps(objects) > 4096 or ended(command), "it trains")
            host.alive[0].metadata.notice()
            wait(lambda: len(host.machines) == 2, "another instance was launched")
            first.touch()
            saved = committed_steps(objects)
            wait(lambda: committed_steps(objects) > saved + 4096, "it goes on")
            host.cut_power(host.alive[0])
            second.touch()
            assert command.wait() == 0
        finally:
            command.kill()
    wait(lambda: not host.alive, "the last has ended itself")
    assert [machine.ending for machine in host.machines.values()] == ["off", "power cut", "off"]

    assert run.status == "FINISHED"
    assert tags(run)["racing.final_sha256"] == tags(calm)["racing.final_sha256"]
    assert state_bytes(run, TOTAL) == state_bytes(calm, TOTAL)
    assert points(run) == points(calm)
    assert (run.path / "export/policy.onnx").read_bytes() == (calm.path / "export/policy.onnx").read_bytes()
    about, here = (json.loads((one.path / "provenance.json").read_text()) for one in (run, calm))
    assert {key: about[key] for key in ("commit", "packages")} == {key: here[key] for key in ("commit", "packages")}

    (sweep,) = all_sweeps(home)
    (job,) = sweep.jobs
    assert job.folder.attempts == 3
    assert len(list((job.folder.path / "usage").iterdir())) == 3
    assert client("iam").list_roles(PathPrefix="/racing/")["Roles"] == []
    copy = Copy(run)
    assert copy.status == "FINISHED"
    assert copy.tags["racing.sweep"] == sweep.name
    parent = Copy(RunDirectory(sweep.path))
    assert parent.run.data.metrics["instance_hours"] > 0
    assert copy.tags["mlflow.parentRunId"] == parent.run_id
