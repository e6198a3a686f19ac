"""racing train -m: real trainings in processes, killed, stopped, continued; and what MLflow has of them."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from racing.cli import main
from racing.files import write_json
from racing.runs.directory import RunDirectory, all_runs, open_run
from racing.runs.journal import Journal, read_journal
from racing.tracking.store import embedded_uri
from racing_launchers.backend import begin_attempt
from racing_launchers.collector import SweepDelivery
from racing_launchers.job import JobStatus
from racing_launchers.sweep import Job, Sweep, all_sweeps
from tests.launchers.sweeping import LONG, SHORT, TOTAL, command, train
from tests.support.forks.held import held
from tests.support.mlflow_server import Copy, wait_until
from tests.support.processes import points, state_bytes

pytestmark = pytest.mark.slow


def only_sweep(outputs: Path) -> Sweep:
    (sweep,) = all_sweeps(outputs)
    return sweep


def run_of(sweep: Sweep, number: int) -> RunDirectory:
    return RunDirectory(sweep.outputs / sweep.job(number).folder.runs[-1])


def steps(job: Job, outputs: Path) -> int:
    """How far the job's run is."""
    paths = job.folder.runs
    journal = outputs / paths[-1] / "journal.jsonl" if paths else None
    if journal is None or not journal.exists():
        return 0
    return max((line.record.get("step", 0) for line in read_journal(journal) if line.record), default=0)


def check_equal(run: RunDirectory, calm: RunDirectory) -> None:
    assert run.status == "FINISHED"
    assert state_bytes(run, TOTAL) == state_bytes(calm, TOTAL)
    assert points(run) == points(calm)


def test_a_killed_worker_loses_only_itself_and_is_continued_to_the_same_bits(calm: RunDirectory, tmp_path: Path):
    with held({7_000: tmp_path / "goes on"}):
        process = subprocess.Popen(command(tmp_path, "-m", "seed=1,2", *LONG), stderr=subprocess.PIPE, text=True)
        wait_until(lambda: all_sweeps(tmp_path), "the sweep is there")
        sweep = only_sweep(tmp_path)
        wait_until(lambda: steps(sweep.job(0), tmp_path) > 6_000, "the first job has learnt a while")
        os.kill(sweep.job(0).folder.started["pid"], signal.SIGKILL)
    (tmp_path / "goes on").touch()
    told = process.communicate(timeout=300)[1].splitlines()
    assert process.returncode == 1
    assert [job.ended for job in sweep.jobs] == ["LOST", "DONE"]
    assert any(line.startswith("  0 seed=1: lost, killed by SIGKILL") and "log.txt" in line for line in told)
    other = run_of(sweep, 1).summary
    # Again: the second job is kept. The first is killed once more, and continued by itself.
    with held({15_000: tmp_path / "goes on again"}):
        process = subprocess.Popen(command(tmp_path, "-m", "seed=1,2", *LONG, "launcher.max_resubmits=1"))
        wait_until(lambda: steps(sweep.job(0), tmp_path) > 14_000, "the first job has learnt more")
        os.kill(sweep.job(0).folder.started["pid"], signal.SIGKILL)
    (tmp_path / "goes on again").touch()
    assert process.wait(timeout=300) == 0
    assert [job.folder.attempts for job in sweep.jobs] == [3, 1]
    assert run_of(sweep, 1).summary == other
    check_equal(run_of(sweep, 0), calm)


def test_ctrl_c_stops_all_jobs_with_their_state_saved(calm: RunDirectory, tmp_path: Path):
    sweep_of = [*LONG, "launcher.n_jobs=1", "seed=1,2"]
    with held({7_000: tmp_path / "never"}):
        process = subprocess.Popen(command(tmp_path, "-m", *sweep_of), stderr=subprocess.PIPE, text=True)
        wait_until(lambda: all_sweeps(tmp_path), "the sweep is there")
        sweep = only_sweep(tmp_path)
        wait_until(lambda: steps(sweep.job(0), tmp_path) > 6_000, "the first job has learnt a while")
    process.send_signal(signal.SIGINT)
    told = process.communicate(timeout=300)[1]
    assert process.returncode == 75
    assert "stopped on SIGINT, 2 of 2 jobs left; run the same command to resume" in told
    assert [job.ended for job in sweep.jobs] == ["STOPPED", "STOPPED"]
    assert run_of(sweep, 0).status == "STOPPED"
    assert not sweep.job(1).folder.runs  # it had not begun
    again = train(tmp_path, "-m", *sweep_of)
    assert again.returncode == 0, again.stderr
    check_equal(run_of(sweep, 0), calm)
    assert run_of(sweep, 1).status == "FINISHED"


def mlflow_runs(sweep: Sweep) -> dict[str, list]:
    """The MLflow runs below each parent's id, '' for those that have none."""
    from mlflow import MlflowClient

    client = MlflowClient(embedded_uri(sweep.outputs))
    found: dict[str, list] = {}
    for run in client.search_runs([client.get_experiment_by_name("racing").experiment_id]):
        found.setdefault(run.data.tags.get("mlflow.parentRunId", ""), []).append(run)
    return found


def check_mlflow(sweep: Sweep, children: int) -> None:
    """One parent, its children below it, each with all that its journal has, once."""
    found = mlflow_runs(sweep)
    (parent,) = found.pop("")
    assert list(found) == [parent.info.run_id]
    assert len(found[parent.info.run_id]) == children
    assert parent.data.tags["racing.kind"] == "sweep"
    assert parent.info.run_name == sweep.name
    for job in sweep.jobs:
        run = run_of(sweep, job.number)
        copy = Copy(run)
        assert copy.status == "FINISHED"
        assert copy.run.info.run_name == job.label
        assert copy.tags["racing.run"] == run.name
        assert copy.tags["racing.sweep"] == sweep.name
        written = [line.record for line in read_journal(run.path / "journal.jsonl")]
        names = {name for line in written if line["kind"] == "metrics" for name in line["values"]}
        assert names == set(copy.run.data.metrics)
        for name in names:
            assert sum(copy.points(name).values()) == sum(
                name in line["values"] for line in written if line["kind"] == "metrics"
            )


def test_mlflow_has_one_parent_and_children_named_by_what_varied(finished: Sweep):
    labels = [f"seed={seed} algo.learning_rate={rate}" for seed in (1, 2) for rate in ("0.001", "0.003")]
    assert [job.label for job in finished.jobs] == labels
    check_mlflow(finished, 4)
    (parent,) = mlflow_runs(finished)[""]
    assert f"best     {parent.data.tags['racing.best']}\n" in (finished.outputs / "said.txt").read_text()
    assert parent.data.params == {"seed": "1, 2", "algo.learning_rate": "0.001, 0.003"}
    assert parent.data.metrics["jobs/done"] == 4
    assert parent.data.tags["racing.best"] in labels
    best = Copy(next(run for run in all_runs(finished.outputs) if run.name == parent.data.tags["racing.best_run"]))
    assert parent.data.tags["racing.best_run_id"] == best.run_id
    assert parent.info.status == "FINISHED"
    assert parent.data.tags["racing.command"].startswith("racing train -m debug=fast")
    with (finished.path / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["label"] for row in rows] == labels
    assert {row["status"] for row in rows} == {"DONE"}


def test_runs_of_a_sweep_are_found_by_their_own_names(finished: Sweep, capsys: pytest.CaptureFixture[str]):
    uri = embedded_uri(finished.outputs)
    capsys.readouterr()
    assert main(["runs", "list", f"tracking.uri={uri}", "format=json", f"paths.outputs={finished.outputs}"]) == 0
    names = {row["name"] for row in json.loads(capsys.readouterr().out)}
    assert names == {run.name for run in all_runs(finished.outputs)}


def test_collected_again_nothing_changes(finished: Sweep):
    before = {run.info.run_id: run.data.metrics for runs in mlflow_runs(finished).values() for run in runs}
    assert main(["jobs", "collect", finished.name, f"paths.outputs={finished.outputs}"]) == 0
    after = {run.info.run_id: run.data.metrics for runs in mlflow_runs(finished).values() for run in runs}
    assert after == before
    check_mlflow(finished, 4)


def test_where_workers_reach_no_store_the_collector_completes_it(tmp_path: Path):
    """The process that waits is killed; another one collects, twice."""
    arguments = ["-m", "seed=1,2", *SHORT, "algo.total_timesteps=8192", "launcher.upload_from=collector"]
    with held({5_000: tmp_path / "left"}):
        process = subprocess.Popen(command(tmp_path, *arguments))
        wait_until(lambda: all_sweeps(tmp_path), "the sweep is there")
        sweep = only_sweep(tmp_path)
        wait_until(lambda: steps(sweep.job(0), tmp_path) > 4000, "the first job has learnt a while")
    process.kill()
    process.wait()
    (tmp_path / "left").touch()
    collect = ["jobs", "collect", sweep.name, f"paths.outputs={tmp_path}"]
    assert main([*collect, "wait=true"]) == 0
    check_mlflow(sweep, 2)
    assert main(collect) == 0
    check_mlflow(sweep, 2)


def test_of_runs_that_reach_no_store_the_collector_says_which_were_killed(tmp_path: Path):
    """One has ended, one is gone, of the third it is known only when all that it has written has arrived."""
    sweep = Sweep(tmp_path / "sweeps" / "s")
    sweep.write_manifest(outputs=str(tmp_path), axes={}, launcher={}, workers_upload=False)
    Journal(sweep.path / "journal.jsonl").close()
    for number, ended in enumerate((JobStatus.DONE, JobStatus.LOST, None)):
        job = sweep.job(number)
        job.folder.path.mkdir(parents=True)
        write_json(job.folder.path / "job.json", {"number": number})
        begin_attempt(job, "local")
        with open_run(tmp_path, "r", {"seed": number}, [], {}) as run:
            job.folder.note(str(run.path.relative_to(tmp_path)))
            if ended == JobStatus.DONE:
                run.finish({"a": 1})
        if ended:
            job.end(ended, "")
    delivery, another = (SweepDelivery(sweep, embedded_uri(tmp_path), "racing") for _ in range(2))
    for collector, last in ((delivery, "RUNNING"), (delivery, "KILLED"), (another, "KILLED")):
        while collector.deliver():
            pass
        assert [Copy(run_of(sweep, number)).status for number in range(3)] == ["FINISHED", "KILLED", last]
        sweep.job(2).end(JobStatus.LOST, "")
    found = mlflow_runs(sweep)
    assert {parent: len(children) for parent, children in found.items()} == {"": 1, delivery.parent.run_id: 3}


def outputs_of(tmp_path: Path) -> list[str]:
    return [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["-m", "seed=1,2", "algo.gama=0.9,0.8"], "unknown key 'algo.gama'; did you mean algo.gamma?"),
        (["-m", "algo=ppo,sca"], "unknown choice algo=sca"),
        (["-m", "seed=range(0,0)"], "the sweep has no jobs, an axis of it is empty"),
        (["-m", "seed=1,2", "algo.gamma=0.9,1.5"], "seed=1 algo.gamma=1.5: algo.gamma must be"),
        (["-m", "seed=1,2", "launcher.n_jobs=0"], "launcher.n_jobs must be a whole number in [1, 4096], got 0"),
        (["-m", "seed=1,2", "launcher.max_resubmits=-1"], "launcher.max_resubmits must be"),
        (["-m", "seed=1,2", "launcher.wait=yes"], "launcher.wait must be true or false, got 'yes'"),
        (["-m", "seed=1,2", "launcher=slrm"], "unknown choice launcher=slrm"),
        (["launcher.wait=false"], "launcher.wait=false must come with -m"),
    ],
)
def test_what_is_wrong_is_said_before_anything_starts(
    arguments: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert main(["train", *SHORT, *arguments, f"paths.outputs={tmp_path}"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
    assert outputs_of(tmp_path) == []


def test_a_dry_run_shows_the_jobs_and_starts_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["train", *SHORT, "-m", "seed=1,2", "launcher.dry_run=true", f"paths.outputs={tmp_path}"]) == 0
    said = capsys.readouterr()
    assert "seed=2" in said.err
    assert "nothing was submitted" in said.out
    assert outputs_of(tmp_path) == []


def test_a_policy_is_evaluated_and_exported_by_a_job(finished: Sweep, capsys: pytest.CaptureFixture[str]):
    run = run_of(finished, 0)
    where = [f"run={run.name}", "launcher=local", f"paths.outputs={finished.outputs}"]
    capsys.readouterr()
    assert main(["evaluate", *where, "episodes=2", "format=json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["episodes"]) == 2
    assert main(["export", *where]) == 0
    assert "policy.onnx" in capsys.readouterr().out
    assert main(["evaluate", *where, "episodes=0"]) == 2
    assert "episodes must be" in capsys.readouterr().err
