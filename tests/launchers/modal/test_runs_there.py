"""Runs on a volume: brought there for jobs that begin from them, deleted there once they are whole here."""

from __future__ import annotations

from pathlib import Path

import pytest

from racing.cli import main
from racing.files import write_json
from racing.runs.checkpoints import Checkpoints
from racing.runs.directory import RunDirectory, open_run
from racing_launchers.modal.volume import Volume
from racing_launchers.sweep import Sweep
from tests.launchers.modal_box import Box

VOLUME = "modal://racing-runs"


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    """A finished run with a policy and two checkpoints."""
    with open_run(tmp_path, "kart", {"name": "kart"}, [], {"commit": None}) as run:
        for step in (100, 200):
            Checkpoints(run.path).save(step, {"policy": {}}, {"journal": 0, "config": {}, "journal_end": ""}, None)
        run.paths.policy_onnx.write_bytes(b"policy")
        run.finish({"finish_rate": 1.0})
    return RunDirectory(run.path)


def runs(tmp_path: Path, *arguments: str) -> int:
    return main(["runs", *arguments, f"paths.outputs={tmp_path}"])


def there(box: Box) -> set[str]:
    """Files on the volume."""
    root = box.volumes.path("racing-runs")
    return {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}


def test_a_run_is_pushed_without_its_checkpoints_or_with_one(
    run: RunDirectory, box: Box, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert runs(tmp_path, "push", "kart", "--to", VOLUME) == 0
    place = f"runs/{run.name}"
    assert f"{run.name}: 6 files, " in capsys.readouterr().out
    names = {"config.yaml", "overrides.yaml", "provenance.json", "journal.jsonl", "summary.json", "export/policy.onnx"}
    assert there(box) == {f"{place}/{name}" for name in names}
    assert runs(tmp_path, "push", f"run={run.name}@200", f"to={VOLUME}") == 0
    assert there(box) - {f"{place}/{name}" for name in names} == {
        f"{place}/checkpoints/000000200/{name}" for name in ("policy.npz", "COMPLETE")
    }
    for wrong, says in (
        (["push", f"{run.name}@300", "--to", VOLUME], "must be a checkpoint of kart-"),
        (["push", run.name], "push needs to=..."),
        (["push", run.name, "--to", "s3://bucket"], "jobs on AWS take along what they need"),
        (["push", run.name, "--to", "elsewhere"], "'elsewhere' must be modal://VOLUME"),
    ):
        assert runs(tmp_path, *wrong) == 2
        assert says in capsys.readouterr().err


def test_what_has_gone_on_there_is_not_overwritten(
    run: RunDirectory, box: Box, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    journal = f"runs/{run.name}/journal.jsonl"
    further = run.paths.journal.read_bytes() + b'{"ts":1,"kind":"start"}\n'
    box.volumes.write("racing-runs", {journal: further})
    assert runs(tmp_path, "push", run.name, "--to", VOLUME) == 2
    assert "is another run, or has gone on there; look at it: racing runs fetch" in capsys.readouterr().err
    assert there(box) == {journal}
    assert Volume("racing-runs").read(journal) == further


def test_what_is_whole_here_is_deleted_there_and_nothing_else(
    run: RunDirectory, box: Box, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    place, copied = f"runs/{run.name}", ("config.yaml", "journal.jsonl", "export/policy.onnx")
    left = {f"{place}/{name}": (run.path / name).read_bytes() for name in copied}
    left |= {f"{place}/run.lock": b"", "runs/other-1/journal.jsonl": b"{}", "sweeps/s/jobs/0/log.txt": b"l"}
    box.volumes.write("racing-runs", left | {"sweeps/t/jobs/0/log.txt": b"l", ".kernels/k.tar": b"k"})
    sweep = Sweep(tmp_path / "sweeps/s")
    sweep.write_manifest(outputs=str(tmp_path))
    sweep.job(0).folder.path.mkdir(parents=True)
    for name in ("job", "attempt", "result"):
        write_json(sweep.job(0).folder.path / f"{name}.json", {"number": 1, "attempt": 1, "status": "DONE"})

    assert runs(tmp_path, "prune", "--from", VOLUME, "dry=true") == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == f"would be deleted  {place}"
    assert len(there(box)) == len(left) + 2
    (run.path / "export/policy.onnx").write_bytes(b"policy!")
    assert runs(tmp_path, "prune", run.name, "--from", VOLUME) == 0
    assert f"1 files of {run.name} are not here, such as {place}/export/policy.onnx" in capsys.readouterr().out
    (run.path / "export/policy.onnx").write_bytes(b"policy")
    assert runs(tmp_path, "prune", "--from", VOLUME) == 0
    said = capsys.readouterr().out
    assert (
        f"kept     runs/other-1: not here; racing runs fetch other-1 --from {VOLUME} paths.outputs={tmp_path}\n" in said
    )
    assert "kept     sweeps/t: sweeps/t is not here, or not all of its jobs are done" in said
    assert said.splitlines()[-1].startswith(f"{VOLUME}: 2 folders deleted (")
    assert there(box) == {"runs/other-1/journal.jsonl", "sweeps/t/jobs/0/log.txt", ".kernels/k.tar"}
    assert runs(tmp_path, "prune", "--from", VOLUME, "keep_last=2") == 2
