"""A verb of the command line as a job: a child process that gets the worker's signals and whose end is the worker's."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
from hydra.types import HydraContext

from racing.config import compose
from racing.errors import Stopped
from racing.runs.directory import all_runs, open_run
from racing_launchers import payload
from racing_launchers.backend import make_backend
from racing_launchers.job import JobStatus
from racing_launchers.launch import Decision, LaunchRequest, PlannedJob, decide, launch
from racing_launchers.payload import CommandJob, HydraJob, computed
from racing_launchers.sweep import Job, Sweep
from tests.launchers.payloads import local
from tests.launchers.sweeping import LONG
from tests.support.mlflow_server import wait_until


def begin(outputs: Path, arguments: list[str]) -> tuple[Sweep, Job]:
    """A sweep of this one verb, submitted."""
    known = local("wait=false")
    sweep = Sweep(outputs / "sweeps" / "verb")
    job = CommandJob([*arguments, f"paths.outputs={outputs}"])
    request = LaunchRequest(command="verb", launcher=known, outputs=outputs)
    launch(sweep, make_backend(known), [PlannedJob(0, [], job)], request)
    return sweep, sweep.job(0)


def verb_of(outputs: Path) -> psutil.Process | None:
    """The process of the verb, which is no child of the worker where it is a fork."""
    wanted = {"racing", "train", f"paths.outputs={outputs}"}
    return next(
        (found for found in psutil.process_iter(["cmdline"]) if wanted <= set(found.info["cmdline"] or [])), None
    )


@pytest.mark.slow
def test_a_signal_reaches_the_verb_which_saves_its_state(tmp_path: Path):
    _, job = begin(tmp_path, ["train", *LONG, "seed=1"])
    wait_until(
        lambda: any("train/" in run.path.joinpath("journal.jsonl").read_text() for run in all_runs(tmp_path)),
        "it learns",
    )
    os.kill(job.folder.started["pid"], signal.SIGTERM)
    wait_until(lambda: job.folder.exit_status, "it has left")
    assert (job.ended, job.folder.exit_status["exit_code"]) == ("STOPPED", 75)
    (run,) = all_runs(tmp_path)
    assert run.status == "STOPPED"
    assert list((run.path / "checkpoints").iterdir())


def test_its_exit_code_comes_back(tmp_path: Path):
    _, job = begin(tmp_path, ["evaluate", "run=none"])
    wait_until(lambda: job.folder.exit_status, "it has left")
    assert (job.ended, job.folder.exit_status["exit_code"]) == ("REFUSED", 2)
    assert "run 'none' must be" in job.folder.log.read_text()


def test_what_a_verb_writes_to_a_run_belongs_to_its_job(tmp_path: Path):
    open_run(tmp_path, "demo", {"name": "demo"}, [], {}).close()
    (run,) = all_runs(tmp_path)
    _, job = begin(tmp_path, ["export", f"run={run.name}"])
    wait_until(lambda: job.folder.exit_status, "it has left")
    assert job.folder.runs == [f"runs/{run.name}"]


def test_killed_it_takes_the_worker_along(tmp_path: Path):
    """The worker says nothing then, as if it had been killed itself: the job may be submitted again."""
    _, job = begin(tmp_path, ["train", *LONG, "seed=1"])
    wait_until(lambda: verb_of(tmp_path), "it has begun")
    verb_of(tmp_path).kill()
    wait_until(lambda: job.folder.exit_status, "the worker has left")
    assert job.folder.exit_status["reason"] == "killed by SIGKILL: out of memory, or by hand"
    assert not job.folder.result


def test_stopped_before_it_could_save_anything_it_has_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(payload, "run_child", lambda *_, **__: -signal.SIGUSR2)
    job = CommandJob(["evaluate", f"paths.outputs={tmp_path}"])
    with pytest.raises(Stopped, match="stopped on SIGUSR2 before it had a state to save"):
        job.call(tmp_path)


def hydra_job(*overrides: str) -> HydraJob:
    return HydraJob(HydraContext(None, None), lambda cfg: None, compose("train", ["debug=fast", *overrides]), None)


@pytest.mark.slow
def test_what_a_job_computes_counts_wherever_it_is_written():
    ours = computed(hydra_job("seed=1"))
    for same in ("tracking=none", "checkpoint.every=7", "paths.outputs=elsewhere", "fresh=true", "launcher=slurm"):
        assert computed(hydra_job("seed=1", same)) == ours
    for other in ("algo.gamma=0.9", "phases={a:['seed=1']}", "track=oval", "tuning=random"):
        assert computed(hydra_job("seed=1", other)) != ours
    searched = ["tuning=random", "tuning.n_trials=7"]
    assert computed(hydra_job(*searched)) == computed(hydra_job("tuning=random"))
    assert computed(hydra_job(*searched, "tuning.metric=reward")) != computed(hydra_job("tuning=random"))
    assert computed(CommandJob(["evaluate"])) is None


def test_a_job_that_reaches_no_store_is_not_tracked_and_says_how_long_it_trains():
    planned = PlannedJob(0, [], hydra_job("seed=1", "algo.total_timesteps=4096"))
    assert planned.payload.config.tracking.enabled
    planned.disable_tracking()
    assert not planned.payload.config.tracking.enabled
    assert planned.steps == 4096
    assert PlannedJob(0, [], hydra_job("phases={a:['seed=1']}")).steps is None
    assert PlannedJob(0, [], CommandJob(["evaluate"])).steps is None


@pytest.mark.parametrize(
    ("noted", "decision"),
    [("today", Decision.ALREADY_DONE), (None, Decision.ALREADY_DONE), ("before a file of conf/ changed", Decision.NEW)],
)
def test_a_done_job_is_done_again_where_its_configuration_has_changed(noted, decision, monkeypatch):
    job = hydra_job("seed=1")
    spec = {"overrides": ["seed=1"], "computes": computed(job) if noted == "today" else noted}
    folder = SimpleNamespace(attempts=[1], spec=spec, runs=[])
    sweep = SimpleNamespace(name="s", job=lambda number: SimpleNamespace(ended=JobStatus.DONE, folder=folder))
    monkeypatch.setattr("racing_launchers.launch._run_is_there", lambda *_: True)
    assert decide(sweep, None, [PlannedJob(0, ["seed=1"], job)], fresh=False) == {0: decision}
