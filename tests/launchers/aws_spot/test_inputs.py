"""Runs of this machine travel with the jobs that need them: policies to begin from, runs to evaluate and export."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from racing.errors import InputError
from racing.runs.directory import RunDirectory, all_runs
from racing.runs.lock import FileLock
from racing_launchers.aws_spot import inputs
from racing_launchers.aws_spot.account.objects import Objects
from racing_launchers.aws_spot.inputs import Inputs, files_needed, lately
from racing_launchers.aws_spot.place import Place, Writer
from tests.launchers.aws_spot.instances.host import Host, wait
from tests.launchers.aws_spot.instances.interruptions import AWS
from tests.support.processes import tags, train_command

SMALL = ["debug=fast", "env=mlp", "algo.n_steps=16", "algo.total_timesteps=2048", "eval.every_steps=0"]
SMALL += ["eval.episodes=2", "checkpoint.every=2048", "tracking=none"]


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With a run that lies on this machine only."""
    folder = tmp_path_factory.mktemp("outputs")
    subprocess.run(train_command(folder, [*SMALL, "name=first"]), check=True, cwd=folder)
    return folder


@pytest.fixture
def first(outputs: Path) -> RunDirectory:
    return next(run for run in all_runs(outputs) if run.name.startswith("first-"))


def refused(outputs: Path, commands: Sequence[Sequence[str]] = (), **config: Any) -> str:
    """Why an instance could not have what a training, or a verb, needs."""
    jobs = [] if commands else [{"paths": {"outputs": str(outputs)}, "tracking": {"uri": None}, **config}]
    with pytest.raises(InputError) as told:
        files_needed(jobs, [[*command, f"paths.outputs={outputs}"] for command in commands], {})
    return str(told.value)


def test_content_is_sent_once_and_lies_at_each_place(stack: str, client: Any, tmp_path: Path):
    (tmp_path / "one").write_bytes(b"weights")
    (tmp_path / "two").write_bytes(b"weights")
    files = {"runs/r/export/policy.zip": tmp_path / "one", "runs/r/copy.zip": tmp_path / "two"}
    objects = Objects(client("s3"), stack)
    sent = Inputs(objects).bring(files)
    again = Inputs(objects)
    assert again.bring(files) == sent
    versions = client("s3").list_object_versions(Bucket=stack, Prefix="code/files/")["Versions"]
    assert len(versions) == 1  # the second sweep has found it there
    for number in (0, 1):
        place = Place(objects, f"s-1/{number}")
        place.make(again.place(place, sent))
        writer = Writer(place, 1, "i-1")
        assert set(writer.found.files) == set(files)
        snapshot = place.snapshot()
        assert snapshot is not None
        snapshot.restore(tmp_path / str(number))
        for path, file in files.items():
            restored = tmp_path / str(number) / path
            assert restored.read_bytes() == b"weights"
            assert int(restored.stat().st_mtime) == int(file.stat().st_mtime)


def test_content_that_the_bucket_soon_forgets_is_sent_again(
    stack: str, client: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    objects = Objects(client("s3"), stack)
    (tmp_path / "one").write_bytes(b"weights")
    sent = Inputs(objects).bring({"a": tmp_path / "one"})
    key = inputs.content_key(sent["a"][2])
    assert lately(objects, key)
    now = time.time() + inputs.FRESH + 1
    monkeypatch.setattr(time, "time", lambda: now)
    assert not lately(objects, key)
    monkeypatch.undo()
    objects.remove(key)
    with pytest.raises(InputError, match=r"code/files/\w+ is missing; submit the job again"):
        Inputs(objects).place(Place(objects, "s-1/0"), sent)


@pytest.mark.slow
def test_what_travels(outputs: Path, first: RunDirectory):
    job = {"paths": {"outputs": str(outputs)}, "tracking": {"uri": None}}
    whole = files_needed([job | {"init_from": first.name}], [], {})
    base = f"runs/{first.name}"
    assert {f"{base}/export/policy.zip", f"{base}/config.yaml", f"{base}/summary.json"} < set(whole)
    assert not any("checkpoints" in path or path.endswith(".lock") for path in whole)
    for spec in (f"{first.name}@policy", f"{first.name}@policy#0123456789ab"):
        assert files_needed([job | {"init_from": spec}], [], {}) == whole
    step = files_needed([job | {"init_from": f"{first.name}@2048"}], [], {})
    assert f"{base}/checkpoints/000002048/policy.npz" in step
    assert files_needed([job | {"algo": {"teacher": first.name}}], [], {}) == whole
    assert files_needed([job | {"algo": {"teacher": "driver"}}], [], {}) == {}
    for named in ([f"run={first.name}"], ["run=latest"], []):
        assert files_needed([], [["evaluate", *named, f"paths.outputs={outputs}"]], {}) == whole
    assert files_needed([], [["evaluate", "driver=optimal", "track=oval"]], {}) == {}
    reached = {"MLFLOW_TRACKING_URI": "http://tracker:5000"}
    assert files_needed([], [["export", f"run={'a' * 32}", f"paths.outputs={outputs}"]], reached) == {}


@pytest.mark.slow
def test_what_an_instance_could_not_have(outputs: Path, first: RunDirectory, tmp_path: Path):
    assert "init_from=nosuch must be a run of" in refused(outputs, init_from="nosuch")
    assert f"write init_from={first.name}" in refused(outputs, init_from=str(first.path))
    assert "name the run that it is of" in refused(outputs, init_from=str(first.paths.policy_zip))
    assert f"{first.name}@7 must be a checkpoint of it, it has 2048;" in refused(outputs, init_from=f"{first.name}@7")
    assert f"give paths.outputs={outputs}" in refused(tmp_path, init_from=str(first.path))
    assert "or of an MLflow server that an instance reaches" in refused(outputs, [["export", f"run={'a' * 32}"]])
    lock = FileLock(first.paths.lock)
    assert lock.acquire()
    assert "is being trained; wait" in refused(outputs, [["evaluate", f"run={first.name}"]])
    lock.release()


@pytest.mark.slow
def test_a_training_begins_from_it_and_verbs_take_it_along(host: Host, outputs: Path, first: RunDirectory):
    """The same bits as here; what is found out of a run comes home into it."""
    begin = [*SMALL, "name=second", f"init_from={first.name}"]
    here = outputs.with_name("here")
    subprocess.run(["cp", "-r", str(outputs), str(here)], check=True)
    subprocess.run(train_command(here, begin), check=True)
    aws = [*AWS, f"paths.outputs={outputs}"]
    subprocess.run(train_command(outputs, [*begin, *AWS]), check=True)
    name = next(run.name for run in all_runs(here) if run.name.startswith("second-"))
    run, expected = RunDirectory(outputs / "runs" / name), RunDirectory(here / "runs" / name)
    assert tags(run)["racing.final_sha256"] == tags(expected)["racing.final_sha256"]
    assert tags(run)["racing.init_from"] == tags(expected)["racing.init_from"]

    journal = first.paths.journal.read_bytes()
    judge = [sys.executable, "-m", "racing", "evaluate", f"run={first.name}", "episodes=2", "seed=5", *aws]
    done = subprocess.run(judge, capture_output=True, text=True, check=True)
    assert f"{first.name}: 2 starts" in done.stdout
    (laps,) = first.path.glob("evaluations/*seed5-2starts/laps.csv")
    assert laps.is_file()
    assert first.paths.journal.read_bytes().startswith(journal)

    first.paths.policy_onnx.unlink()
    export = [sys.executable, "-m", "racing", "export", f"run={first.name}", *aws]
    subprocess.run(export, capture_output=True, text=True, check=True)
    assert first.paths.policy_onnx.is_file()
    wait(lambda: not host.alive, "the last has ended itself")
    assert [machine.ending for machine in host.machines.values()] == ["off"] * 3
