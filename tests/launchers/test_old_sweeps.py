"""Sweeps of earlier versions can be listed and shown; what they would call is gone, which one line says."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path
from types import ModuleType

import pytest

from racing.cli import main
from racing.errors import InputError
from racing.files import write_json
from racing_launchers.job import JobFolder
from racing_launchers.sweep import Sweep
from racing_launchers.worker import read_payload

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


def write_payload_of(module: str, folder: JobFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job.pkl that names a class of a module which is not there later."""
    made = type("HydraJob", (), {"__module__": module})
    with monkeypatch.context() as patch:
        for name in (module.partition(".")[0], module):
            if name not in sys.modules:
                patch.setitem(sys.modules, name, ModuleType(name))
        patch.setattr(sys.modules[module], "HydraJob", made, raising=False)
        (folder.path / "job.pkl").write_bytes(pickle.dumps([]) + pickle.dumps(made()))


@pytest.mark.parametrize("module", ["launchers.payload", "racing.train", "racing_launchers.sweep"])
def test_what_an_earlier_version_would_call_is_gone(module: str, old: Sweep, monkeypatch: pytest.MonkeyPatch):
    folder = old.job(0).folder
    write_payload_of(module, folder, monkeypatch)
    with pytest.raises(InputError) as refused:
        read_payload(folder)
    assert "was submitted by an earlier version of racing" in str(refused.value)
    assert str(refused.value).endswith("submit it again")
    assert "\n" not in str(refused.value)


def test_a_module_of_the_users_that_is_missing_is_no_matter_of_versions(old: Sweep, monkeypatch: pytest.MonkeyPatch):
    write_payload_of("their_module", old.job(0).folder, monkeypatch)
    with pytest.raises(ModuleNotFoundError, match="their_module"):
        read_payload(old.job(0).folder)


def test_a_job_that_still_waits_is_refused(
    old: Sweep, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    folder = old.job(0).folder
    write_payload_of("launchers.payload", folder, monkeypatch)
    for name in ("result.json", "left.json"):
        (folder.path / name).unlink()
    assert main(["jobs", "collect", "wait=true", f"paths.outputs={old.outputs}"]) == 1
    assert "0 seed=0: refused" in capfd.readouterr().err
    assert old.job(0).ended == "REFUSED"
    (line,) = folder.log.read_text().splitlines()
    assert line.endswith("submit it again")
