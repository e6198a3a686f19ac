"""Sweeps that somebody else has made are data, as is all that is not signed; those of earlier versions can be shown."""

from __future__ import annotations

import os
import pickle
import sys
import tarfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from hydra.core.utils import JobReturn
from hydra.types import HydraContext

from racing.cli import main
from racing.config import compose
from racing.errors import InputError
from racing.files import write_json
from racing_launchers import signature
from racing_launchers.backend import begin_attempt
from racing_launchers.hydra_jobs import _result
from racing_launchers.job import JobFolder, JobStatus
from racing_launchers.launch import PlannedJob
from racing_launchers.payload import CommandJob, HydraJob, as_json
from racing_launchers.slurm.backend import SlurmBackend
from racing_launchers.sweep import Job, Sweep
from racing_launchers.worker import PAYLOAD, payload_digest, read_payload, write_payload
from tests.launchers.payloads import Act, local, run


@dataclass
class Bomb:
    """Unpickled, it makes a file."""

    mark: Path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.mark),)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache of a user who has never launched a sweep."""
    monkeypatch.setenv("RACING_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def unpacked(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Sweep]:
    """unpacked(payload): a sweep with one job that waits, as an archive of somebody else brings it."""

    def make(payload: Any, **manifest: Any) -> Sweep:
        theirs, ours = tmp_path / "theirs" / "sweeps" / "gift", tmp_path / "ours" / "sweeps"
        monkeypatch.setenv("RACING_CACHE", str(tmp_path / "their cache"))
        sweep, _ = run(theirs.parents[1], [Act("work")])
        write_payload(sweep.job(0).folder, payload)
        monkeypatch.setenv("RACING_CACHE", str(cache))
        sweep.write_manifest(outputs=str(ours.parent), **manifest)
        with tarfile.open(tmp_path / "gift.tar", "w") as archive:
            archive.add(sweep.path, "gift")
        with tarfile.open(tmp_path / "gift.tar") as archive:
            archive.extractall(ours, filter="data")
        begin_attempt(Sweep(ours / "gift").job(0), "local")  # not before: their supervisor would begin with it
        return Sweep(ours / "gift")

    return make


def test_a_sweep_that_was_unpacked_is_not_run(
    unpacked: Callable[..., Sweep], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    sweep = unpacked(Bomb(tmp_path / "executed"))
    payload = sweep.job(0).folder.path / PAYLOAD
    assert (payload.stat().st_uid, payload.stat().st_mode & 0o777) == (os.geteuid(), 0o600)  # as if it were ours
    assert main(["jobs", "collect", "gift", "wait=true", f"paths.outputs={sweep.outputs}"]) == 1
    assert "0 job 0: refused, " in capsys.readouterr().err.replace("act=work", "job 0")
    assert not (tmp_path / "executed").exists()
    assert "must bear your signature" in sweep.job(0).folder.log.read_text()


def test_what_a_manifest_has_run_is_ours_or_not_submitted(
    unpacked: Callable[..., Sweep], capsys: pytest.CaptureFixture[str]
):
    """A lost job is submitted again: with SLURM in a script that holds the lines of `launcher.setup`."""
    sweep = unpacked(Act("work"), launcher=local("max_resubmits=2"))  # the attempt that was lost is the second
    sweep.job(0).end(JobStatus.LOST, "gone")
    (sweep.job(0).folder.path / "result.json").unlink()
    write_json(sweep.job(0).folder.path / "exit.json", {"attempt": 2, "exit_code": -9, "reason": "killed by SIGKILL"})
    assert main(["jobs", "collect", "gift", "wait=true", f"paths.outputs={sweep.outputs}"]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert "sweep.json must bear your signature" in error
    assert sweep.job(0).folder.attempts == 2


@pytest.mark.parametrize("changed", [{"launcher": {"setup": ["touch executed"]}}, {"cwd": "/elsewhere"}])
def test_a_manifest_of_ours_that_was_changed_is_ours_no_more(changed: dict[str, Any], tmp_path: Path):
    sweep, _ = run(tmp_path, [Act("work")])
    sweep.require_ours()
    sweep.write_manifest(outputs="/moved")  # says nothing of what is run
    sweep.require_ours()
    sweep.write_manifest(**changed)
    with pytest.raises(InputError, match="must bear your signature"):
        sweep.require_ours()


def test_a_payload_that_was_changed_is_not_read(tmp_path: Path):
    folder = JobFolder(tmp_path)
    write_payload(folder, CommandJob(["export"]))
    path = tmp_path / PAYLOAD
    assert path.stat().st_mode & 0o777 == 0o600
    assert isinstance(read_payload(folder), CommandJob)
    path.chmod(0o664)  # whoever else may write to it has no key
    assert isinstance(read_payload(folder), CommandJob)
    whole, mark = path.read_bytes(), tmp_path / "executed"
    for content in (pickle.dumps([]) + pickle.dumps(Bomb(mark)), whole[32:], whole[:-1], whole[:20], b""):
        for signed in (content, b"x" + whole[1:32] + content, signature.signature(content, "manifest") + content):
            path.write_bytes(signed)
            with pytest.raises(InputError, match="must bear your signature"):
                read_payload(folder)
    assert not mark.exists()


def test_on_a_node_that_has_no_key_the_digest_says_what_was_submitted(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    folder = JobFolder(tmp_path)
    write_payload(folder, CommandJob(["export"]))
    digest = payload_digest(folder)
    monkeypatch.setenv("RACING_CACHE", str(tmp_path / "of the node"))
    assert isinstance(read_payload(folder, digest), CommandJob)
    with pytest.raises(InputError, match="has changed since it was submitted"):
        read_payload(folder, "0" * 64)
    assert not (tmp_path / "of the node").exists()


def test_slurm_gets_nothing_that_is_not_signed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    submitit = pytest.importorskip("submitit")
    sent: list[Any] = []
    monkeypatch.setattr(submitit.AutoExecutor, "map_array", lambda *arguments: sent.append(arguments))
    monkeypatch.setattr(submitit.AutoExecutor, "__init__", lambda *_, **__: None)
    monkeypatch.setattr(submitit.AutoExecutor, "update_parameters", lambda *_, **__: None)
    from racing_launchers.backend import launcher_config, make_backend

    backend = make_backend(launcher_config("slurm", []))
    assert isinstance(backend, SlurmBackend)
    job = Job(0, JobFolder(tmp_path))
    (tmp_path / PAYLOAD).write_bytes(pickle.dumps([]) + pickle.dumps(Bomb(tmp_path / "executed")))
    with pytest.raises(InputError, match="must bear your signature"):
        backend._submit(Sweep(tmp_path), [job])
    assert sent == []


def test_the_key_is_made_once_and_is_ours_alone(cache: Path):
    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(lambda _: signature.signature(b"x", "y"), range(32)))) == 1
    key = cache / signature.KEY
    assert key.stat().st_mode & 0o777 == 0o600
    assert signature.signature(b"x", "y") != signature.signature(b"x", "z")
    key.chmod(0o640)
    with pytest.raises(InputError, match="must be a file of yours alone, others can use it"):
        signature.signature(b"x", "y")
    key.chmod(0o600)
    key.write_bytes(b"")
    with pytest.raises(InputError, match="must have 32 bytes, it has 0"):
        signature.signature(b"x", "y")


def test_a_key_of_another_user_is_none(cache: Path, monkeypatch: pytest.MonkeyPatch):
    signature.signature(b"x", "y")
    monkeypatch.setattr(os, "geteuid", lambda: cache.stat().st_uid + 1)
    with pytest.raises(InputError, match="it belongs to another user"):
        signature.signature(b"x", "y")


def test_where_no_key_can_be_kept_one_line_says_so(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("RACING_CACHE", "/proc/nowhere")
    with pytest.raises(InputError, match="set RACING_CACHE=FOLDER"):
        signature.signature(b"x", "y")


def test_the_result_of_a_job_is_data(tmp_path: Path):
    """What Hydra is told of a job is made here, of its configuration and a value that JSON holds."""
    config = compose("train", ["debug=fast", "name=a"], hydra_too=True)
    config.hydra.sweep.dir, config.hydra.sweep.subdir = str(tmp_path), "3"
    planned = PlannedJob(3, ["name=a"], HydraJob(HydraContext(None, None), lambda cfg: None, config, None))
    job = Job(3, JobFolder(tmp_path))
    begin_attempt(job, "local")
    (tmp_path / "return.pkl").write_bytes(pickle.dumps(Bomb(tmp_path / "executed")))
    job.folder.write("result", 1, {"status": "DONE", "value": [0.5, "a"]})
    found = _result(planned, job)
    assert isinstance(found, JobReturn)
    assert not (tmp_path / "executed").exists()
    assert (found.return_value, found.cfg.name, "hydra" in found.cfg) == ([0.5, "a"], "a", False)
    assert found.hydra_cfg.hydra.runtime.output_dir == str(tmp_path / "3")
    assert "output_dir" not in config.hydra.runtime


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        (None, None),
        (True, True),
        ((1, 2.5), [1, 2.5]),
        ({"a": {1: "b"}}, {"a": {"1": "b"}}),
        (np.float32(0.5), 0.5),
        (torch.tensor(3), 3),
        (Path("x"), "PosixPath('x')"),
    ],
)
def test_values_of_jobs(value: Any, kept: Any):
    assert as_json(value) == kept


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
        content = pickle.dumps([]) + pickle.dumps(made())
    (folder.path / PAYLOAD).write_bytes(signature.signature(content, PAYLOAD) + content)


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
