"""<name>.meta.json: a run on one page, from the same record as everything else."""

from __future__ import annotations

import json
import signal
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from racing.files import read_json
from racing.runs.checkpoints import Checkpoints, Log
from racing.runs.directory import RunDirectory, open_run
from racing.runs.identity import flatten
from racing.runs.journal import read_journal, utc_text
from racing.runs.meta import describe, write_meta
from tests.support.signals import only_run, train, train_until

ARGUMENTS = ["name=m", "algo.n_steps=16", "algo.total_timesteps=16384", "checkpoint.every=2048"]
ARGUMENTS += [
    "checkpoint.keep_last=2",
    "checkpoint.milestone_every=6000",
    "eval.every_steps=4096",
    "eval.start_fraction=0",
]


def events(run: RunDirectory, name: str) -> list[dict]:
    records = [line.record for line in read_journal(run.path / "journal.jsonl")]
    return [record for record in records if record["kind"] == "event" and record["name"] == name]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunDirectory, dict]:
    """A run that was stopped once, and its page of that time; its best policy is that of step 4096."""
    outputs = tmp_path_factory.mktemp("meta")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("racing.evaluation.result.rank", lambda *_: (0.0, 0.0))  # no later one is better
        assert train_until(9000, outputs, *ARGUMENTS, signals=[signal.SIGTERM]) == 75
        run = only_run(outputs)
        stopped = read_json(run.path / f"{run.name}.meta.json")
        assert train(outputs, *ARGUMENTS) == 0
    return run, stopped


@pytest.mark.slow
def test_it_says_what_the_record_says(trained: tuple[RunDirectory, dict]):
    run, _ = trained
    page = read_json(run.path / f"{run.name}.meta.json")
    provenance = read_json(run.path / "provenance.json")
    assert (page["name"], page["status"], page["result"]) == (run.name, "FINISHED", run.summary)
    assert page["parameters"] == flatten(run.config)
    assert page["tracks"] == provenance["tracks"]
    assert list(page["tracks"]) == ["circuit"]
    assert page["hardware"]["device"].startswith(("cpu", "cuda"))
    assert page["hardware"]["cores"] == provenance["cores"]
    assert page["code"]["commit"] == provenance["commit"]
    assert page["ancestor"] is None
    records = [line.record for line in read_journal(run.path / "journal.jsonl")]
    written = [record["kind"] for record in records if record.get("path") == f"{run.name}.meta.json"]
    assert written == ["artifact", "artifact"]  # when it was stopped, and at its end


@pytest.mark.slow
def test_times_are_utc_in_their_order(trained: tuple[RunDirectory, dict]):
    run, _ = trained
    page = read_json(run.path / f"{run.name}.meta.json")
    times = [datetime.fromisoformat(text) for text in (page["started"], *page["continued"], page["written"])]
    assert len(times) == 3
    assert times == sorted(times)
    assert {time.utcoffset() for time in times} == {timedelta(0)}
    assert page["started"] == utc_text(run.started)
    assert abs(datetime.now(UTC) - times[-1]) < timedelta(hours=1)
    assert utc_text(0) == "1970-01-01T00:00:00+00:00"


def test_it_was_there_when_the_run_was_stopped(trained: tuple[RunDirectory, dict]):
    _, page = trained
    assert (page["status"], page["result"], page["continued"]) == ("STOPPED", {}, [])
    assert "10240" in page["checkpoints"]["kept"]


def test_kept_and_pruned_by_the_rules(trained: tuple[RunDirectory, dict]):
    """The last two, the first at or after 6000 and 12000, the best; the rest is on record as pruned."""
    run, _ = trained
    assert run.summary["best_step"] == 4096
    kept = [4096, 6144, 12_288, 14_336, 16_384]
    assert sorted(path.name for path in (run.path / "checkpoints").iterdir()) == [f"{step:09d}" for step in kept]
    page = read_json(run.path / f"{run.name}.meta.json")["checkpoints"]
    assert list(page["kept"]) == [str(step) for step in kept]
    for step, files in page["kept"].items():
        assert files == sorted(path.name for path in (run.path / "checkpoints" / f"{int(step):09d}").iterdir())
    gone = [step for step in range(2048, 16_384, 2048) if step not in kept]
    assert page["pruned"] == gone
    assert {event["step"] for event in events(run, "checkpoint pruned")} >= set(gone)
    assert [event["step"] for event in events(run, "checkpoint") if event["best"]] == [4096]


def test_a_checkpoint_that_came_again_is_not_pruned_and_replay_files_are_named(tmp_path: Path):
    """Killed after pruning 4096, continued from 2048: 4096 is made a second time."""
    run = open_run(tmp_path, "demo", {"name": "demo", "a": {"b": [1, 2]}}, [], {"commit": None, "cores": 2})
    checkpoints = Checkpoints(run.path)
    for step, added in ((2048, 10), (4096, 20)):
        log = Log(added, 100, lambda begin, end: {"rewards": np.arange(begin, end)})
        checkpoints.save(step, {"policy": {"w": np.zeros(3)}}, {}, {"": log})
    run.journal.event("checkpoint pruned", step=1024)
    run.journal.event("checkpoint pruned", step=4096)
    run.journal.tags({"racing.device": "cpu (first)"})
    run.journal.tags({"racing.device": "cpu (second)"})
    path = write_meta(run, "FAILED", {})
    page = json.loads(path.read_text())
    assert page == describe(run, "FAILED", {}) | {"written": page["written"]}
    assert path.name == f"{run.name}.meta.json"
    assert page["checkpoints"] == {
        "kept": {"2048": ["COMPLETE", "policy.npz"], "4096": ["COMPLETE", "policy.npz"]},
        "pruned": [1024],
        "replay": ["000000000-000000010.npz", "000000010-000000020.npz"],
    }
    assert page["hardware"]["device"] == "cpu (second)"
    assert page["parameters"] == {"name": "demo", "a.b": [1, 2]}
    assert page["mlflow"] == {}
    run.close()


def test_a_run_that_failed_has_its_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def broken(*_):
        raise RuntimeError("the disk is on fire")

    monkeypatch.setattr("racing.training.session.record_policy", broken)
    with pytest.raises(RuntimeError, match="on fire"):
        train(tmp_path, "algo.n_steps=16", "algo.total_timesteps=2048", "eval.every_steps=0")
    run = only_run(tmp_path)
    assert run.status == "FAILED"
    page = read_json(run.path / f"{run.name}.meta.json")
    assert (page["status"], page["result"], list(page["checkpoints"]["kept"])) == ("FAILED", {}, ["2048"])
