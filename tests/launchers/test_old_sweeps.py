"""Sweeps of earlier versions can be listed and shown; what they would call is gone, which one line says."""

from __future__ import annotations

from pathlib import Path

import pytest

from racing.cli import main
from racing.files import write_json
from racing_launchers.sweep import Sweep

LAUNCHER = {
    "_target_": "launchers.local.backend.LocalBackend",
    "name": "local",
    "n_jobs": None,
    "gpus": None,
    "jobs_per_gpu": 1,
    "timeout": None,
    "wait": True,
    "retry": 1,
    "poll": 0.1,
    "send": "auto",
    "dry_run": False,
    "job": None,
}


@pytest.fixture
def old(tmp_path: Path) -> Sweep:
    """A sweep of two jobs: one was lost, one is done."""
    sweep = Sweep(tmp_path / "sweeps" / "s-1")
    for number, status in enumerate(("DEAD", "DONE")):
        folder = sweep.job(number).folder.path
        folder.mkdir(parents=True)
        write_json(folder / "job.json", {"number": number, "overrides": [f"seed={number}"], "label": f"seed={number}"})
        write_json(folder / "attempt.json", {"number": 1, "launcher": "local", "handle": {}, "submitted_ms": 1})
        write_json(folder / "result.json", {"attempt": 1, "status": status, "error": "killed by SIGKILL"})
        write_json(folder / "left.json", {"attempt": 1, "exit_code": -9, "reason": "killed by SIGKILL"})
    sweep.write_manifest(launcher=LAUNCHER, outputs=str(tmp_path), command="racing train", axes={}, workers_send=True)
    return sweep


def test_it_is_listed_and_shown(old: Sweep, capsys: pytest.CaptureFixture[str]):
    assert main(["jobs", "list", f"paths.outputs={old.outputs}"]) == 0
    assert "s-1: 1 done, 1 lost" in capsys.readouterr().out
    assert main(["jobs", "status", f"paths.outputs={old.outputs}"]) == 0
    said = capsys.readouterr().out
    assert "killed by SIGKILL" in said
    assert "launcher local" in said
    assert old.workers_upload
