"""Jobs on a real SLURM cluster: whatever ends or moves them, the record is whole and the result the same bits."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from racing.cli import main
from racing.errors import InputError
from racing.runs.directory import RunDirectory
from racing_launchers.backend import JobInfo, JobState, NoAnswer, begin_attempt, launcher_config, make_backend
from racing_launchers.launch import LaunchRequest, PlannedJob, launch
from racing_launchers.slurm.queue_watcher import QueueEntry, poll_queue
from racing_launchers.sweep import Job, Sweep
from tests.launchers.cluster import CPUS, Cluster, missing
from tests.launchers.payloads import Act, Drive, endings
from tests.support.mlflow_server import wait_until
from tests.support.signals import only_run, train
from tests.training.test_continue import check_equal

pytestmark = [pytest.mark.slow, pytest.mark.skipif(missing() is not None, reason=str(missing()))]

TOTAL = 8192  # four updates
PPO = ["name=c", "algo.n_steps=16", f"algo.total_timesteps={TOTAL}", "checkpoint.every=2048", "eval.every_steps=0"]
HOLD = 5000  # in the third update


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    """A training that nobody disturbed, without SLURM."""
    outputs = tmp_path_factory.mktemp("calm")
    assert train(outputs, *PPO) == 0
    return only_run(outputs)


def slurm(*overrides: str) -> dict[str, Any]:
    return launcher_config("slurm", ["poll_interval_s=0.3", "cpus_per_task=1", "wait=false", *overrides])


def drive(outputs: Path, hold: int | None = HOLD) -> Drive:
    return Drive(["debug=fast", "eval.episodes=2", "tracking=none", *PPO, f"paths.outputs={outputs}"], hold)


def run(outputs: Path, payloads: Sequence[Act | Drive], *overrides: str) -> tuple[Sweep, list[Job]]:
    """A sweep of these jobs, submitted."""
    known = slurm(*overrides)
    sweep = Sweep(outputs / "sweeps" / "acts")
    planned = [PlannedJob(number, [f"act={number}"], payload) for number, payload in enumerate(payloads)]
    request = LaunchRequest(command="acts", launcher=known, outputs=outputs)
    return sweep, launch(sweep, make_backend(known), planned, request)


def collect(outputs: Path) -> int:
    """Wait for all."""
    return main(["jobs", "collect", "acts", "wait=true", f"paths.outputs={outputs}"])


def id_of(job: Job) -> str:
    return str(job.folder.attempt["handle"]["slurm"])


def wait_until_held(jobs: Sequence[Job]) -> None:
    wait_until(lambda: all((job.folder.path / "held").exists() for job in jobs), "the trainings are in the middle")


def check_resumed(outputs: Path, calm: RunDirectory, *, lives: int = 2) -> None:
    """The training in `outputs` took so many lives and ended as the calm one did."""
    found = only_run(outputs)
    check_equal(found, calm, TOTAL)
    assert (found.path / "journal.jsonl").read_text().count('"kind":"start"') == lives


def test_a_sweep_in_which_each_job_has_another_fate(here: Cluster, calm: RunDirectory, tmp_path: Path):
    """All in one array: nobody harms another. No accounting: sacct fails on this cluster."""
    held = [drive(tmp_path / name) for name in ("killed", "signalled", "requeued", "late")]
    _, jobs = run(
        tmp_path,
        [drive(tmp_path / "calm", hold=None), Act("fail"), Act("refuse"), Act("leave"), Act("die"), *held],
        *("max_resubmits=1", "signal_delay_s=150"),
    )
    killed, signalled, requeued, late = jobs[5:]
    assert id_of(jobs[1]) == id_of(jobs[0]).replace("_0", "_1")  # one array
    wait_until_held(jobs[5:])
    pid = killed.folder.started["pid"]
    os.kill(pid, signal.SIGKILL)
    here.call("scancel", "--signal=USR2", id_of(signalled))
    here.call("scontrol", "requeue", id_of(requeued))
    here.call("scontrol", "update", f"JobId={id_of(late)}", "TimeLimit=3")  # [min] so SLURM tells it, within 30 s
    ids = [id_of(job) for job in jobs]
    wait_until(lambda: here.show(id_of(late))["Restarts"] == "1", "SLURM has told the late one")
    here.call("scontrol", "update", f"JobId={id_of(late)}", "TimeLimit=240")  # else that holds for its next life, too
    assert collect(tmp_path) == 1
    assert endings(jobs) == ["DONE", "FAILED", "REFUSED", "FAILED", "LOST", "DONE", "DONE", "DONE", "DONE"]
    assert [job.folder.attempts for job in jobs] == [1, 1, 1, 1, 2, 2, 1, 1, 1]
    assert [job.folder.result.get("value") for job in jobs] == [0.5, *[None] * 4, *[0.5] * 4]
    assert jobs[4].folder.result["error"].startswith("killed by SIGKILL: out of memory, or by hand on n")
    wait_until(lambda: all(here.show(id)["JobState"] not in ("RUNNING", "COMPLETING") for id in ids), "all have left")
    known = [here.show(id) for id in ids]
    assert [shown["JobState"] for shown in known] == ["COMPLETED", *["FAILED"] * 5, *["COMPLETED"] * 3]
    assert [shown["ExitCode"] for shown in known[:4]] == ["0:0", "1:0", "2:0", "3:0"]
    assert [shown["Restarts"] for shown in known] == ["0"] * 6 + ["1"] * 3
    check_resumed(tmp_path / "calm", calm, lives=1)
    for name in ("killed", "signalled", "requeued", "late"):
        check_resumed(tmp_path / name, calm)
    assert "is broken" in jobs[1].folder.log.read_text()


def test_a_node_dies_and_its_job_goes_on_elsewhere(here: Cluster, calm: RunDirectory, tmp_path: Path):
    _, (job,) = run(tmp_path, [drive(tmp_path / "run")])
    wait_until_held([job])
    node = here.show(id_of(job))["NodeList"]
    here.kill_node(node)
    try:
        assert collect(tmp_path) == 0
        assert here.show(id_of(job))["NodeList"] != node
    finally:
        here.revive_node(node)
        here.until_ready()
    assert job.folder.attempts == 1
    check_resumed(tmp_path / "run", calm)


def push_away(cluster: Cluster, outputs: Path) -> Job:
    """A training in the partition `low` that has to make way, and then goes on; it is waited for."""
    _, (job,) = run(outputs, [drive(outputs / "run")], "partition=low", f"cpus_per_task={CPUS}")
    wait_until_held([job])
    node = cluster.show(id_of(job))["NodeList"]
    other = cluster.call(
        "sbatch", "--parsable", "-p", "high", "-c", f"{CPUS}", "-w", node, "-o", "/dev/null", "--wrap", "true"
    ).strip()
    assert collect(outputs) == 0
    assert cluster.show(other)["JobState"] == "COMPLETED"
    assert cluster.show(id_of(job))["Restarts"] == "1"
    assert job.folder.attempts == 1
    return job


def test_preempted_with_the_signal_of_the_job(here: Cluster, calm: RunDirectory, tmp_path: Path):
    job = push_away(here, tmp_path)
    assert "on SIGUSR2, checkpoint saved" in job.folder.log.read_text()
    check_resumed(tmp_path / "run", calm)


@pytest.mark.cold
def test_preempted_with_sigterm_only(calm: RunDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A cluster that does not send the job's own signal: the job uses its grace and asks to be put back."""
    other = Cluster(tmp_path / "cluster", 1, user_signal=False, forks=False)
    for name, value in other.environment.items():
        monkeypatch.setenv(name, value)
    try:
        other.start()
        job = push_away(other, tmp_path)
    finally:
        other.stop()
    assert "on SIGTERM, checkpoint saved" in job.folder.log.read_text()
    check_resumed(tmp_path / "run", calm)


def test_cancelled_jobs_save_their_state_and_the_same_command_continues_them(
    here: Cluster, calm: RunDirectory, tmp_path: Path
):
    payloads = [drive(tmp_path / "run"), *[Act("last")] * 3]
    more = "additional_parameters={nodelist: n1}"
    sweep, jobs = run(tmp_path, payloads, "cpus_per_task=1", "array_parallelism=3", more)
    wait_until_held(jobs[:1])
    wait_until(lambda: (jobs[1].folder.path / "attempts.txt").exists(), "the second has begun")
    wait_until(lambda: (jobs[2].folder.path / "attempts.txt").exists(), "the third has begun")
    infos = make_backend(slurm()).poll(sweep, jobs)
    assert [infos[number].state for number in range(4)] == [JobState.RUNNING] * 3 + [JobState.PENDING]
    here.call("scancel", id_of(jobs[2]))  # by hand
    wait_until(lambda: jobs[2].ended, "the third has stopped")
    assert main(["jobs", "cancel", "acts", f"paths.outputs={tmp_path}"]) == 0
    assert collect(tmp_path) == 1
    assert endings(jobs) == ["STOPPED"] * 4
    assert "on SIGTERM, checkpoint saved" in jobs[0].folder.log.read_text()
    assert jobs[1].folder.result["error"] == "stopped on SIGTERM, state saved"
    fourth = jobs[3].folder  # where the machine is slow, it has begun in the place that the third left
    assert not fourth.started or any(text in fourth.result["error"] for text in ("before it began", "state saved"))
    run(tmp_path, [payloads[0], *[Act("work")] * 3])
    assert collect(tmp_path) == 0
    assert [job.folder.attempts for job in jobs] == [2, 2, 2, 2]
    check_resumed(tmp_path / "run", calm)


def test_from_the_command_line_with_its_record(here: Cluster, tmp_path: Path):
    """Return values come back through Hydra, and MLflow has the runs, which the nodes did not send."""
    from mlflow import MlflowClient

    short = ["debug=fast", "eval.episodes=2", "algo.n_steps=16", "algo.total_timesteps=2048", "eval.every_steps=0"]
    arguments = [
        "launcher=slurm",
        "launcher.poll_interval_s=0.3",
        "launcher.cpus_per_task=1",
        f"paths.outputs={tmp_path}",
    ]
    assert main(["train", "-m", "seed=0,1", "name=s", *short, *arguments]) == 0
    (sweep,) = [Sweep(path) for path in (tmp_path / "sweeps").iterdir()]
    assert endings(sweep.jobs) == ["DONE", "DONE"]
    assert all(job.folder.result["value"] == 0.0 for job in sweep.jobs)  # finish rate, untrained
    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    runs = client.search_runs([experiment.experiment_id for experiment in client.search_experiments()])
    children = [run for run in runs if "mlflow.parentRunId" in run.data.tags]
    assert sorted(run.info.run_name for run in children) == ["seed=0", "seed=1"]
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert all("racing.final_sha256" in run.data.tags for run in children)


def test_a_job_of_which_nothing_was_noted_does_nothing(here: Cluster, tmp_path: Path):
    """Who submitted died before it noted the id; the job was submitted again since."""
    sweep, (job,) = run(tmp_path, [Act("work")], "additional_parameters={hold: true}")
    first = id_of(job)
    begin_attempt(job, "slurm", {"slurm": "999999"})
    here.call("scontrol", "release", first)
    wait_until(lambda: here.show(first)["JobState"] == "FAILED", "it has left")
    assert not (job.folder.path / "attempts.txt").exists()
    assert f"job {first} of SLURM is not attempt 1" in job.folder.log.read_text()
    infos = make_backend(slurm()).poll(sweep, [job])
    assert infos[0].state == JobState.LOST
    assert "does not know it any more" in infos[0].detail


def test_while_slurm_does_not_answer_jobs_are_where_they_were(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    job = Sweep(tmp_path).job(0)
    job.folder.path.mkdir(parents=True)
    begin_attempt(job, "slurm", {"slurm": "1"})
    (tmp_path / "slurm.conf").write_text(
        "ClusterName=none\nSlurmctldHost=localhost\nSlurmctldPort=1\nMessageTimeout=1\n"
    )
    monkeypatch.setenv("SLURM_CONF", str(tmp_path / "slurm.conf"))
    backend = make_backend(slurm())
    with pytest.raises(NoAnswer, match=r"SLURM does not answer, squeue: "):
        backend.poll(Sweep(tmp_path), [job])
    with pytest.raises(InputError, match="give the command again"):
        backend.cancel(Sweep(tmp_path), [job])


@pytest.mark.parametrize(
    ("state", "code", "said"),
    [
        ("TIMEOUT", 15, "time limit reached (4:00:00, launcher.timeout_min)"),
        ("NODE_FAIL", 0, "its node failed (n1)"),
        ("OUT_OF_MEMORY", 0, "out of memory on n1 (launcher.mem_gb)"),
        ("CANCELLED by 1000", 0, "cancelled by user 1000"),
        ("PREEMPTED", 0, "preempted on n1 and not requeued"),
        ("FAILED", 137 << 8, "killed by SIGKILL: out of memory, or by hand on n1"),
        ("FAILED", 1 << 8, "left with exit code 1 on n1"),
        ("COMPLETED", 0, "left on n1 without a result"),
    ],
)
def test_why_a_job_is_over_is_said_in_words(state: str, code: int, said: str):
    assert QueueEntry(state, code, "n1", "", "4:00:00").info == JobInfo(JobState.LOST, said)


def test_accounting_is_asked_about_jobs_that_slurmctld_has_forgotten(
    here: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """The cluster has no accounting: this sacct answers as one with it does."""
    assert poll_queue(["4711_3"]) == {}
    (tmp_path / "sacct").write_text(
        "#!/bin/sh\necho '4711_3|OUT_OF_MEMORY|0:125|n7|None|04:00:00'\necho '4711_4|FAILED|3:0|n8|None|04:00:00'\n"
    )
    (tmp_path / "sacct").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    found = poll_queue(["4711_3", "4711_4"])
    assert found["4711_3"].info == JobInfo(JobState.LOST, "out of memory on n7 (launcher.mem_gb)")
    assert found["4711_4"].info == JobInfo(JobState.LOST, "left with exit code 3 on n8")


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["partition=mian"], "launcher.partition='mian' is none of the cluster's: high, low, main; did you mean main?"),
        (["constraint=a100"], "the cluster refuses: sbatch: allocation failure: Invalid feature specification"),
        (["gres=gpu:1"], "the cluster refuses: sbatch: "),
        (["timeout_min=0"], "launcher.timeout_min must be"),
        (["timeout_min=1"], "launcher.signal_delay_s must be below launcher.timeout_min (60 s), got 120"),
        (["cpus_per_task=two"], "launcher.cpus_per_task must be"),
        (["setup=module load cuda"], "launcher.setup must be a list of shell lines"),
        (["partition=3"], "launcher.partition must be a name, got 3"),
    ],
)
def test_wrong_input(
    overrides: list[str], said: str, here: Cluster, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    launcher = [f"launcher.{override}" for override in overrides]
    assert main(["train", "-m", "seed=0,1", "launcher=slurm", *launcher, f"paths.outputs={tmp_path}"]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("racing ")]
    assert said in line
    assert here.call("squeue", "-h", "-t", "pending,running") == ""
    assert not list((tmp_path / "sweeps").glob("*"))


def test_without_slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["train", "-m", "seed=0,1", "launcher=slurm", f"paths.outputs={tmp_path}"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "launcher=slurm needs sbatch, which is not on PATH; run it where the cluster takes jobs" in line


def test_jobs_that_need_a_gpu_which_is_not_asked_for_are_pointed_out(
    here: Cluster, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    """A cluster may show its GPUs to everybody, so it is not refused."""
    arguments = ["train", "launcher=slurm", "launcher.dry_run=true", f"paths.outputs={tmp_path}", "hardware=gpu"]
    assert main([*arguments, "hardware.fallback=false"]) == 0
    assert "no GPU is asked for (launcher.gpus_per_node=1)" in capsys.readouterr().err
    assert main(arguments) == 0
    assert "no GPU is asked for" not in capsys.readouterr().err


def test_a_request_larger_than_any_node_is_pointed_out(
    here: Cluster, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    """It may be met when a node comes back, so it is not refused."""
    run(tmp_path, [Act("work")], "cpus_per_task=999", "dry_run=true")
    assert "no node that is up is large enough for this" in capsys.readouterr().err
    run(tmp_path, [Act("work")], "cpus_per_task=4", "dry_run=true")
    assert "no node" not in capsys.readouterr().err
    assert here.call("squeue", "-h", "-t", "pending,running") == ""
