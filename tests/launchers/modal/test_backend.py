"""Jobs in containers: every way to end, taken away and continued, cancelled, timed out, looked after from elsewhere."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from racing.cli import main
from racing.errors import InputError, JobsFailed
from racing_launchers.backend import launcher_config, make_backend
from racing_launchers.sweep import Job, Sweep
from racing_launchers.watch import report_failures
from tests.launchers.modal.conftest import point_at
from tests.launchers.modal.driving import FAST, run
from tests.launchers.modal_box import Box
from tests.launchers.modal_box.containers import Container
from tests.launchers.modal_box.server import free_ports
from tests.launchers.payloads import Act, endings
from tests.support.mlflow_server import wait_until

pytestmark = pytest.mark.slow


@pytest.fixture
def box(make_box: Callable[..., Box]) -> Box:
    """One that commits nothing by itself: what arrives, we have committed."""
    return make_box(background_commit=None)


def of_job(box: Box, job: Job) -> list[Container]:
    """The containers that have worked at a job."""
    return box.containers.of_call(job.folder.attempt["handle"]["call"])


def begun(box: Box, job: Job) -> bool:
    """Whether the job has begun, as the volume knows it."""
    return (box.volumes.path("racing-runs") / f"sweeps/acts/jobs/{job.number}/attempts.txt").exists()


def results_when_calls_end(box: Box) -> list[int]:
    """How many results were on the volume whenever a call ended; filled as they do."""
    found: list[int] = []
    answer = box.functions.FunctionPutOutputs

    async def watched(request: Any, task: str) -> Any:
        found.append(len(list(box.volumes.path("racing-runs").glob("sweeps/acts/jobs/*/result.json"))))
        return await answer(request, task)

    box.handlers["FunctionPutOutputs"] = watched
    return found


def test_every_way_to_end_is_told_and_harms_no_other(box: Box, tmp_path: Path):
    arrived = results_when_calls_end(box)
    sweep, jobs = run(tmp_path, [Act("work"), Act("fail"), Act("refuse"), Act("die"), Act("work")])
    assert endings(jobs) == ["DONE", "FAILED", "REFUSED", "LOST", "DONE"]
    assert jobs[0].folder.result["value"] == 0.5
    with pytest.raises(JobsFailed) as told:
        report_failures(sweep, jobs, max_resubmits=0)
    lines = str(told.value).splitlines()
    assert "failed, RuntimeError: the engine; log: " in lines[1]
    assert "refused, fuel must be > 0, got 0; refuel" in lines[2]
    assert "lost, its containers were lost: Containers crash in a loop" in lines[3]
    assert "is broken" in jobs[1].folder.log.read_text()
    assert "I work" in jobs[0].folder.log.read_text()
    assert [len(of_job(box, job)) for job in jobs] == [1, 1, 1, 3, 1]  # what a job raises is not tried again
    assert len(box.requests("FunctionMap")) == 5
    assert len(box.requests("AppCreate")) == 1
    assert all(count > number for number, count in enumerate(arrived))  # no call ends before its files are committed


def test_what_is_sent(make_box: Callable[..., Box], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    box = make_box(gpus={"A100": 1, "A10": 1, "T4": 0})
    monkeypatch.setenv("MINE", "passed")
    box.registry.named_secrets["wandb"] = box.registry.secrets.setdefault("st-wandb", {"KEY": "k"}) and "st-wandb"
    asked = ["gpu=[l40s,A100,A10G,T4]", "cpu=2", "memory=4096", "timeout_min=30", "max_restarts=3", "region=us-east"]
    asked += ["secrets=[wandb]", "env={A: 1}", "env_passthrough=[MINE,ABSENT]", "packages=[einops]"]
    sweep, jobs = run(tmp_path, [Act("work"), Act("work")], *asked)
    assert endings(jobs) == ["DONE", "DONE"]
    (request,) = box.requests("FunctionCreate")
    ranks = [ranked.function for ranked in request.function_data.ranked_functions]
    assert [rank.resources.gpu_config.gpu_type for rank in ranks] == ["L40S", "A100", "A10", "T4"]
    one = ranks[0]
    assert (one.resources.milli_cpu, one.resources.memory_mb, one.timeout_secs) == (2000, 4096, 1800)
    assert (one.retry_policy.retries, one.retry_policy.initial_delay_ms) == (3, 0)
    assert one.single_use_containers
    assert list(one.scheduler_placement.regions) == ["us-east"]
    sent = {key: value for secret in one.secret_ids for key, value in box.registry.secrets[secret].items()}
    assert sent == {"KEY": "k", "A": "1", "MINE": "passed"}
    (mount,) = one.volume_mounts
    assert (mount.mount_path, box.volumes.all[mount.volume_id].version, mount.read_only) == ("/runs", 2, False)
    (app,) = box.registry.apps.values()
    assert (app.name, app.state) == ("racing", 2)  # detached
    layers = "\n".join(" ".join(image.dockerfile_commands) for image in box.registry.images.values())
    assert "einops" in layers
    assert "numpy==" in layers
    files = {name for mount in box.registry.mounts.values() for name in mount}
    assert {
        "/root/racing/training/trainer.py",
        "/root/racing/_conf/train.yaml",
        "/root/racing/_tracks/oval/oval.png",
    } <= files
    plugins = {f"/root/hydra_plugins/racing_{name}.py" for name in ("launcher", "sweeper")}
    assert {"/root/racing_launchers/worker.py", *plugins} <= files
    assert not [name for name in files if "__pycache__" in name]
    # The first choice is not there, the second is there once.
    assert sorted(of_job(box, job)[0].gpu for job in jobs) == ["A100:1", "A10:1"]
    assert sorted(job.folder.result["container_gpu"] for job in jobs) == ["A10", "A100-40GB"]
    figures = make_backend(sweep.launcher).results(sweep)
    assert 0 < figures["container_hours"] < 0.1
    low, high = (figures["container_hours"] * 3600 * price for price in (0.000306, 0.000694))
    assert low < figures["cost_usd"] < high


@pytest.mark.cold
def test_a_machine_that_is_taken_away(box: Box, tmp_path: Path):
    """The job saves its state; the same call goes on elsewhere, as the same attempt."""
    _, jobs = run(tmp_path, [Act("last", then="work")], "wait=false")
    (job,) = jobs
    wait_until(lambda: begun(box, job), "it has begun")
    (first,) = of_job(box, job)
    box.containers.preempt(first.id)
    assert main(["jobs", "collect", "acts", "wait=true", f"paths.outputs={tmp_path}"]) == 0
    assert endings(jobs) == ["DONE"]
    assert (job.folder.attempts, len(of_job(box, job))) == (1, 2)
    assert (job.folder.path / "attempts.txt").read_text() == "last\nlast\n"
    assert len(list((job.folder.path / "usage").iterdir())) == 2  # both are paid for


def test_time_is_over(box: Box, tmp_path: Path):
    _, jobs = run(tmp_path, [Act("last")], "timeout_min=0.05", "max_restarts=1")
    assert endings(jobs) == ["LOST"]
    assert jobs[0].folder.result["error"] == "time limit reached (launcher.timeout_min), 1 restarts included"
    assert len(of_job(box, jobs[0])) == 2


def test_submitted_and_left_a_sweep_is_looked_after_from_elsewhere(
    box: Box, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    sweep, jobs = run(tmp_path, [Act("work"), Act("last"), Act("last")], "wait=false", "max_containers=2")
    said = capsys.readouterr().out
    assert "racing jobs status | logs | collect | cancel acts" in said
    assert f"page     {sweep.manifest['modal']['page']}\n" in said
    assert sweep.manifest["modal"]["app"].startswith("ap-")
    wait_until(lambda: begun(box, jobs[1]), "the second has begun")
    assert jobs_verb(tmp_path, "cancel", "job=1") == 0
    wait_until(lambda: begun(box, jobs[2]), "the third has begun")
    jobs_verb(tmp_path, "status")
    said = capsys.readouterr().out
    assert "waiting for a container" not in said
    assert re.search(r"^cost     \d+\.\d\d USD for \d+\.\d\d container hours$", said, re.MULTILINE)
    assert "page     http" in said
    assert jobs_verb(tmp_path, "cancel") == 0
    command = [sys.executable, "-m", "racing", "jobs", "collect", "acts", "wait=true", f"paths.outputs={tmp_path}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1, done.stderr
    assert endings(Sweep(sweep.path).jobs) == ["DONE", "STOPPED", "STOPPED"]
    assert "stopped on SIGUSR2, state saved" in done.stderr
    assert jobs_verb(tmp_path, "logs", "job=0") == 0
    assert "I work" in capsys.readouterr().out


def jobs_verb(tmp_path: Path, action: str, *arguments: str) -> int:
    return main(["jobs", action, "acts", *arguments, f"paths.outputs={tmp_path}"])


def test_cancelled_before_it_begins(make_box: Callable[..., Box], tmp_path: Path):
    box = make_box(gpus={})
    _, jobs = run(tmp_path, [Act("work")], "wait=false", "gpu=H100")
    assert jobs_verb(tmp_path, "cancel") == 0
    assert jobs_verb(tmp_path, "collect") == 1
    assert endings(jobs) == ["STOPPED"]
    assert of_job(box, jobs[0]) == []


def test_what_an_earlier_sweep_of_that_name_left_counts_for_nothing(box: Box, tmp_path: Path):
    _, before = run(tmp_path / "one", [Act("fail")])
    assert endings(before) == ["FAILED"]
    _, jobs = run(tmp_path / "two", [Act("work")])
    assert endings(jobs) == ["DONE"]
    assert "broken" not in jobs[0].folder.log.read_text()


TRAIN = ["train", "launcher=modal", "debug=fast", "tracking=none", "launcher.poll_interval_s=0.2"]


def refused(arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """The one line that a command which is refused says."""
    capsys.readouterr()
    assert main([*TRAIN, *arguments, f"paths.outputs={tmp_path}"]) == 2
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("racing train: ")]
    assert len(said) == 1
    assert not list(tmp_path.glob("sweeps/*/jobs"))
    return said[0]


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        (["launcher.gpu=L40"], "launcher.gpu has 'L40', which Modal does not offer; did you mean L40S?"),
        (["launcher.gpu=[A100,A10:8]"], "launcher.gpu has 'A10:8', there are 1 to 4 of A10 in a container"),
        (["launcher.gpu=7"], "launcher.gpu must be a name, a list of names or null, got 7"),
        (["launcher.timeout_min=2000"], "launcher.timeout_min must be a number in [0.01666667, 1440] min, got 2000"),
        (["launcher.max_restarts=11"], "launcher.max_restarts must be a whole number in [0, 10], got 11"),
        (["launcher.runs_path=runs"], "launcher.runs_path must be an absolute path in the container, got 'runs'"),
        (["launcher.secrets=[none-such]"], "secret 'none-such' of launcher.secrets is not on Modal"),
        (["launcher.image=racing_launchers.none"], "launcher.image=racing_launchers.none cannot be imported"),
        (["launcher.python_source=[none_such.part]"], "launcher.python_source=none_such.part cannot be imported"),
        (["launcher.gpu=null", "hardware=gpu", "hardware.fallback=false"], "hardware.fallback=false wants a GPU"),
        (["launcher.gpus=T4"], "unknown key 'launcher.gpus'; another choice of launcher has it"),
    ],
)
def test_wrong_settings(settings: list[str], text: str, box: Box, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert text in refused(settings, tmp_path, capsys)
    assert box.started() == []
    assert not list(tmp_path.glob("sweeps/*"))


@pytest.mark.parametrize(
    "further",
    [["experiment=progressive"], ["tuning=random"], ["algo=ppo_cnn", "env=vision", "algo.teacher=['env=mlp_preview']"]],
)
def test_own_folders_are_not_in_a_container(
    further: list[str], box: Box, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    """A job that is composed here may use them, one that composes others there may not."""
    (tmp_path / "mine").mkdir()
    line = refused(["-cd", str(tmp_path / "mine"), *further], tmp_path, capsys)
    assert "--config-dir is not in a container" in line
    assert box.started() == []
    assert main([*TRAIN, "-cd", str(tmp_path / "mine"), "launcher.dry_run=true", f"paths.outputs={tmp_path}"]) == 0


def test_a_wrong_or_missing_token_and_an_unreachable_server(
    box: Box, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    point_at(box, monkeypatch, MODAL_TOKEN_SECRET="as-other")
    assert "Modal refused the token (Token ID is malformed or not found); run `modal token new`" in refused(
        [], tmp_path, capsys
    )
    point_at(box, monkeypatch, MODAL_TOKEN_ID="", MODAL_TOKEN_SECRET="")
    with pytest.raises(InputError, match=r"Modal refused the token \(Token missing\); run `modal token new`"):
        run(tmp_path, [Act("work")])
    (port,) = free_ports(1)
    point_at(box, monkeypatch, MODAL_SERVER_URL=f"http://127.0.0.1:{port}")
    with pytest.raises(InputError, match=f"Modal at http://127.0.0.1:{port} cannot be reached"):
        run(tmp_path, [Act("work")])
    assert box.started() == []


def test_a_dry_run_tells_all_and_sends_nothing(box: Box, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    dry = ["launcher.dry_run=true", "launcher.timeout_min=60", f"paths.outputs={tmp_path}"]
    assert main([*TRAIN, "seed=1,2", *dry]) == 0
    said = capsys.readouterr()
    assert "nothing was submitted" in said.out
    ceiling = 2 * 3600 * (0.000694 + 4 * 0.0000131 + 8 * 0.00000222)
    assert f"at most {ceiling:,.2f} USD if each job takes its 60 min once" in said.err
    assert "GPU L40S, A100, A10, T4, 4 cores, 8192 MiB" in said.err
    assert "volumes racing-runs at /runs" in said.err
    assert box.started() == []
    assert box.requests("VolumeGetOrCreate") == []


def test_the_server_goes_away_for_a_while_and_the_command_goes_on_waiting(
    box: Box, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    said: list[str] = []

    def outage() -> None:
        there = lambda: "racing-runs" in box.volumes.named  # noqa: E731
        wait_until(lambda: there() and begun(box, Sweep(tmp_path / "sweeps/acts").job(0)), "it has begun")
        (port,) = free_ports(1)
        monkeypatch.setenv("MODAL_SERVER_URL", f"http://127.0.0.1:{port}")
        wait_until(lambda: said.append(capsys.readouterr().err) or "cannot be reached" in "".join(said), "it is told")
        monkeypatch.setenv("MODAL_SERVER_URL", box.url)
        wait_until(lambda: said.append(capsys.readouterr().err) or "answers again" in "".join(said), "it is told")
        box.containers.preempt(box.containers.alive[0].id)

    trouble = threading.Thread(target=outage)
    trouble.start()
    _, jobs = run(tmp_path, [Act("last", then="work")])
    trouble.join()
    assert endings(jobs) == ["DONE"]
    assert "the jobs go on, asked again until it answers" in "".join(said)


def test_the_server_goes_away_while_a_sweep_is_watched(box: Box, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Jobs go on; what is asked of the server meanwhile is refused in one line."""
    _, jobs = run(tmp_path, [Act("last")], "wait=false")
    wait_until(lambda: begun(box, jobs[0]), "it has begun")
    (port,) = free_ports(1)
    point_at(box, monkeypatch, MODAL_SERVER_URL=f"http://127.0.0.1:{port}")
    assert main(["jobs", "collect", "acts", f"paths.outputs={tmp_path}"]) == 2
    point_at(box, monkeypatch)
    assert jobs_verb(tmp_path, "cancel") == 0
    assert jobs_verb(tmp_path, "collect", "wait=true") == 1
    assert endings(jobs) == ["STOPPED"]
    assert threading.active_count() < 100
    assert launcher_config("modal", list(FAST))["gpu"] is None
