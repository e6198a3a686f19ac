"""Trainings in containers: the same bits as here, however often the container is taken away; all of it comes home."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from racing.cli import main
from racing.runs.directory import RunDirectory
from racing.tracks.catalog import shipped
from racing_launchers.sweep import all_sweeps
from tests.launchers.modal_box import Box
from tests.support.forks.held import held
from tests.support.mlflow_server import Copy, wait_until
from tests.support.processes import points, run_of, state_bytes, tags

pytestmark = pytest.mark.slow

TOTAL = 24_576
PPO = ["debug=fast", "eval.episodes=2", "name=c", "algo.n_steps=16", f"algo.total_timesteps={TOTAL}", "seed=1"]
PPO += ["checkpoint.every=4096", "eval.every_steps=0", "track=file", "track.file=maps/mine"]
MODAL = ["launcher=modal", "launcher.poll_interval_s=1", "launcher.commit_every=0.3", "launcher.gpu=[A10,T4]"]


def steps_of(path: Path) -> int:
    """How far a journal is."""
    try:
        lines = path.read_bytes().splitlines()
    except FileNotFoundError:
        return 0
    return max((json.loads(line)["step"] for line in lines if b'"kind":"metrics"' in line), default=0)


def test_taken_away_and_lost_it_ends_as_if_nothing_had_happened(
    make_box: Callable[..., Box], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """On a track that is no part of the code. The same bits as on this machine; MLflow has all of it, too."""
    box = make_box(gpus={"A10": 1}, background_commit=None)
    monkeypatch.chdir(tmp_path)
    shutil.copytree(shipped()["oval"], tmp_path / "maps/mine")
    (tmp_path / "maps/mine/oval.png").rename(tmp_path / "maps/mine/mine.png")
    gates = tmp_path / "maps/mine/checkpoints.json"
    gates.write_text(gates.read_text().replace("oval.png", "mine.png"))
    calm, home = tmp_path / "calm", tmp_path / "home"
    assert main(["train", *PPO, "tracking=none", f"paths.outputs={calm}"]) == 0
    train = ["train", *PPO, *MODAL, f"paths.outputs={home}"]

    capsys.readouterr()
    assert main(train) == 2
    assert "volume 'racing-tracks' is not on Modal" in capsys.readouterr().err
    assert box.started() == []
    assert main(["tracks", "push", "maps/mine", "--to", "modal://racing-tracks"]) == 0

    expected, run = run_of(calm, PPO), run_of(home, PPO)
    journal = lambda: box.volumes.path("racing-runs") / "runs" / run.name / "journal.jsonl"  # noqa: E731

    def containers_at_work() -> int:
        return len(list(box.volumes.path("racing-runs").glob("sweeps/*/jobs/0/usage/*.json")))

    def disturb() -> None:
        wait_until(lambda: "racing-runs" in box.volumes.named and steps_of(journal()) > 4096, "it trains")
        box.containers.preempt(box.containers.alive[0].id)
        wait_until(lambda: containers_at_work() == 2, "another container has begun")
        first.touch()
        saved = steps_of(journal())
        wait_until(lambda: steps_of(journal()) > saved + 4096, "it goes on")
        box.containers.lose(box.containers.alive[0].id)
        second.touch()

    first, second = tmp_path / "first", tmp_path / "second"
    trouble = threading.Thread(target=disturb)
    with held({7_000: first, 15_000: second}):
        trouble.start()
        assert main(train) == 0
        trouble.join()
    assert [container.ending for container in box.containers.all.values()] == ["preempted", "lost", ""]
    assert len(box.requests("FunctionMap")) == 1

    assert run.status == "FINISHED"
    assert tags(run)["racing.final_sha256"] == tags(expected)["racing.final_sha256"]
    assert state_bytes(run, TOTAL) == state_bytes(expected, TOTAL)
    assert points(run) == points(expected)
    assert (run.path / "export/policy.onnx").read_bytes() == (expected.path / "export/policy.onnx").read_bytes()
    about = json.loads((run.path / "provenance.json").read_text())
    here = json.loads((expected.path / "provenance.json").read_text())
    assert {key: about[key] for key in ("commit", "packages")} == {key: here[key] for key in ("commit", "packages")}
    assert about["tracks"]["mine"]["sha256"] == here["tracks"]["mine"]["sha256"]

    assert tags(run)["racing.gpu"] == "A10 (asked for A10, T4)"

    (sweep,) = all_sweeps(home)
    (job,) = sweep.jobs
    assert len(list((job.folder.path / "usage").iterdir())) == 3
    copy = Copy(run)
    assert copy.status == "FINISHED"
    assert copy.tags["racing.sweep"] == sweep.name
    assert not run.paths.rejected.exists()
    parent = Copy(RunDirectory(sweep.path))
    assert parent.run.data.metrics["cost_usd"] > 0
    assert copy.tags["mlflow.parentRunId"] == parent.run_id

    # A track that differs meanwhile: nothing is begun.
    sent = len(box.requests("FunctionMap"))
    same = gates.read_text()
    gates.write_text(f"{same} ")
    capsys.readouterr()
    assert main([*train, "algo.gamma=0.9"]) == 2
    said = capsys.readouterr().err
    assert (
        "track 'maps/mine' differs on modal://racing-tracks in checkpoints.json; racing tracks push maps/mine" in said
    )
    assert len(box.requests("FunctionMap")) == sent

    # Files can be had from the volume itself.
    capsys.readouterr()
    assert main(["runs", "artifacts", run.name, "--from", "modal://racing-runs"]) == 0
    assert f"runs/{run.name}/export/policy.onnx" in capsys.readouterr().out
    fetch = ["runs", "fetch", "latest", "--from", "modal://racing-runs", "path=export", f"to={tmp_path / 'there'}"]
    assert main(fetch) == 0
    assert (tmp_path / "there/export/policy.onnx").read_bytes() == (run.path / "export/policy.onnx").read_bytes()

    # A policy is judged where it lies.
    gates.write_text(same)
    capsys.readouterr()
    judge = ["evaluate", f"run={run.name}", "episodes=2", *MODAL, f"paths.outputs={home}"]
    assert main(judge) == 0
    assert f"{run.name}: 2 starts" in capsys.readouterr().out
    assert (run.path / "evaluations/mine-kart-seed0-2starts/laps.csv").is_file()


def test_workers_of_a_search_share_a_dictionary(box: Box, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    search = ["train", "tuning=random", "tuning.n_trials=2", "tuning.workers=2", "debug=fast", "eval.episodes=2"]
    assert main([*search, "algo.n_steps=16", "tracking=none", *MODAL, f"paths.outputs={tmp_path}"]) == 0
    (sweep,) = all_sweeps(tmp_path)
    assert list(box.registry.named_dicts) == [sweep.name]
    (report,) = sweep.path.glob("*/trials.csv")
    rows = report.read_text().splitlines()[1:]
    assert len(rows) >= 2
    assert sum("COMPLETE" in row for row in rows) >= 2
