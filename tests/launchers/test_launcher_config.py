"""conf/launcher: what every launcher has, what launchers of other programs and verbs are given; what jobs will cost."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hydra.core.global_hydra import GlobalHydra

from racing.cli import main
from racing.commands import submit
from racing.config import choices, compose, plain
from racing.errors import InputError
from racing.runs.directory import open_run
from racing_launchers.backend import is_loopback, launcher_config, make_backend
from racing_launchers.estimate import typical_lines
from racing_launchers.hydra_jobs import PATIENCE, _counted
from racing_launchers.launch import Decision, PlannedJob, show_plan
from racing_launchers.payload import CommandJob
from racing_launchers.sweep import Sweep
from racing_launchers.watch import _sleep

BASE = {"wait": True, "max_resubmits": 0, "poll_interval_s": 1.0, "upload_from": "auto", "dry_run": False}
KART = {"env": {"_target_": "a.Sensors"}, "algo": {"_target_": "b.ppo", "net_arch": [64, 64], "total_timesteps": 1_000}}
SEEN = {"env": {"_target_": "a.Vision", "width": 84}, "algo": KART["algo"]}


@pytest.mark.parametrize("name", choices("launcher"))
def test_it_is_the_same_for_racing_train_and_for_others(name: str):
    launcher = launcher_config(name, [])
    assert launcher == plain(compose("train", [f"launcher={name}"]).launcher)
    assert launcher.keys() >= BASE.keys() | {"name", "_target_"}


def test_keys_of_all_launchers_have_one_place():
    assert "_base" not in choices("launcher")
    assert launcher_config("local", []).items() >= BASE.items()
    assert launcher_config("slurm", [])["poll_interval_s"] == 15.0


def test_overrides():
    launcher = launcher_config("modal", ["gpu=[A10,T4]", "env.A=1", "max_containers=null"])
    assert (launcher["gpu"], launcher["env"], launcher["max_containers"]) == (["A10", "T4"], {"A": 1}, None)


def test_another_hydra_of_this_process_is_left_alone():
    compose("train", [])
    GlobalHydra.instance().clear()
    launcher_config("local", [])
    assert not GlobalHydra.instance().is_initialized()


@pytest.mark.parametrize(
    ("choice", "override", "text"),
    [
        ("lokal", "n_jobs=1", "unknown choice launcher=lokal; did you mean local?"),
        ("_base", "wait=true", "unknown choice launcher=_base; choose one of: aws_spot, local, modal, slurm"),
        ("local", "njobs=1", "unknown key launcher.njobs of launcher=local; did you mean n_jobs?"),
        ("local", "poll=1", "unknown key launcher.poll of launcher=local; it is called launcher.poll_interval_s now"),
        ("slurm", "time_min=1", "it is called launcher.timeout_min now"),
        ("modal", "retries=1", "it is called launcher.max_restarts now"),
    ],
)
def test_wrong_input(choice: str, override: str, text: str):
    with pytest.raises(InputError) as refused:
        launcher_config(choice, [override])
    assert text in str(refused.value)


@pytest.mark.parametrize(("old", "new"), [("retry=1", "max_resubmits"), ("send=worker", "upload_from")])
def test_renamed_keys_are_refused_with_their_new_names(
    old: str, new: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    for arguments in (["train", "-m", "seed=1,2"], ["evaluate", "run=x", "launcher=local"]):
        assert main([*arguments, f"launcher.{old}", f"paths.outputs={tmp_path}"]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert f"it is called launcher.{new} now" in line


def backend_of(launcher: str, *overrides: str):
    return make_backend(launcher_config(launcher, list(overrides)))


@pytest.mark.parametrize(
    ("launcher", "upload_from", "uri", "workers"),
    [
        ("local", "auto", "sqlite:////a/mlflow.db", True),  # on this machine they reach what we reach
        ("local", "worker", None, True),
        ("local", "collector", "http://tracker:5000", False),
        ("slurm", "auto", "http://tracker:5000", True),
        ("slurm", "auto", "https://tracker/path", True),
        ("slurm", "auto", "databricks", True),
        ("slurm", "auto", "http://localhost:5000", False),
        ("slurm", "auto", "http://127.0.1.1:5000", False),
        ("slurm", "auto", "sqlite:////a/mlflow.db", False),
        ("slurm", "auto", None, False),
        ("slurm", "worker", None, True),
        ("slurm", "collector", "http://tracker:5000", False),
    ],
)
def test_who_uploads_records(launcher: str, upload_from: str, uri: str | None, workers: bool):
    assert backend_of(launcher, f"upload_from={upload_from}").workers_upload(uri) is workers


def test_addresses_that_only_this_machine_reaches():
    assert all(map(is_loopback, ("http://localhost:1", "http://127.3.2.1", "http://[::1]:1", "sqlite:///a")))
    assert not any(map(is_loopback, ("http://tracker:1", "http://10.127.0.1", "https://localhost.example.org")))


@pytest.mark.parametrize(
    ("key", "fits", "wrong"),
    [
        ("timeout_min", ["3", "525600"], ["0", "90.5", "525601", "null"]),
        ("cpus_per_task", ["1", "4096"], ["0", "1.5", "4097", "null"]),
        ("mem_gb", ["0.5", "65536", "null"], ["0", "65537"]),
        ("gpus_per_node", ["0", "64", "null"], ["-1", "0.5", "65"]),
        ("array_parallelism", ["1", "1000000"], ["0", "1.5", "1000001", "null"]),
        ("signal_delay_s", ["1", "14399"], ["0", "1.5", "14400", "86401", "null"]),  # 14400 s: timeout_min=240
        ("max_num_timeout", ["0", "1000000"], ["-1", "0.5", "1000001", "null"]),
    ],
)
def test_slurm_takes_numbers_in_their_ranges(key: str, fits: list[str], wrong: list[str]):
    for value in fits:
        backend_of("slurm", f"{key}={value}")
    for value in wrong:
        with pytest.raises(InputError, match=rf"launcher\.{key} must be "):
            backend_of("slurm", f"{key}={value}")


def test_gpus_are_numbered_from_nought():
    assert backend_of("local", "gpus=[0,1]").gpus == [0, 1]
    assert backend_of("local", "gpus=[]").gpus == []
    for wrong in ("[-1]", "[0,a]", "0"):
        with pytest.raises(InputError, match="must be a list of numbers"):
            backend_of("local", f"gpus={wrong}")


def test_the_plan_counts_core_hours():
    backend = backend_of("slurm", "cpus_per_task=4", "timeout_min=90", "mem_gb=8", "partition=main")
    said = "partition main: each 4 cores, 8 GB for 90 min, at most 18.0 core hours before one is requeued"
    assert backend.plan(3) == [said]
    assert backend.plan(0) == []


@pytest.mark.parametrize(("count", "shown", "more"), [(20, 20, []), (21, 20, ["  ... and 1 more"])])
def test_a_plan_shows_twenty_jobs_and_counts_the_others(
    count: int, shown: int, more: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    planned = [PlannedJob(number, [f"seed={number}"], CommandJob([])) for number in range(count)]
    backend = SimpleNamespace(name="there", plan=lambda count: [f"{count} at once"])
    show_plan(Sweep(tmp_path / "s"), backend, planned, dict.fromkeys(range(count), Decision.NEW))
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == f"s: {count} jobs on there"
    assert lines[1:] == [*(f"  {n:>3}  seed={n}  new" for n in range(shown)), *more, f"  {count} at once"]


def test_composing_many_jobs_says_how_far_it_is(monkeypatch, capsys: pytest.CaptureFixture[str]):
    """Each look at the clock is 2 s after the one before: the third job is the first beyond PATIENCE, 5 s."""
    clock = iter(range(1000, 2000, 2))
    monkeypatch.setattr("racing_launchers.hydra_jobs.time.monotonic", lambda: float(next(clock)))
    assert PATIENCE == 5.0
    jobs = [["seed=0"]] * 5
    assert [number for number, _ in _counted(jobs, 10)] == [10, 11, 12, 13, 14]
    assert capsys.readouterr().err == "composed 2 of 5 jobs\n"


def test_composing_few_jobs_says_nothing(capsys: pytest.CaptureFixture[str]):
    assert len(list(_counted([["seed=0"]] * 20, 0))) == 20
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(("seconds", "signal_after", "slept"), [(1.0, 99.0, 1.0), (0.05, 99.0, 0.05), (15.0, 0.6, 0.8)])
def test_between_two_polls_it_sleeps_but_wakes_up_on_a_signal(
    seconds: float, signal_after: float, slept: float, monkeypatch: pytest.MonkeyPatch
):
    clock, stop = SimpleNamespace(now=5000.0), SimpleNamespace(signal=None)

    def sleep(duration: float) -> None:
        clock.now += duration
        stop.signal = "SIGINT" if clock.now >= 5000 + signal_after - 1e-6 else None

    monkeypatch.setattr("racing_launchers.watch.time", SimpleNamespace(monotonic=lambda: clock.now, sleep=sleep))
    _sleep(seconds, stop)
    assert clock.now - 5000 == pytest.approx(slept, abs=0.21 if seconds > 0.2 else 1e-6)


class There:
    """A backend whose machine sees this disk, and accepts everything; nothing may come as far as to be submitted."""

    shared, name, max_resubmits = True, "there", 0

    def log(self, *_: object) -> list[str]:
        raise AssertionError("submitted")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["evaluate", "run=NOSUCH"], "run 'NOSUCH' must be a run directory"),
        (["evaluate", "run=NOSUCH", "driver=optimal"], "run 'NOSUCH' must be a run directory"),
        (["evaluate", "run=nosuch.onnx"], "policy nosuch.onnx must be an existing file"),
        (["evaluate"], "run 'latest' must be"),
        (["evaluate", "run=models:/nosuch/1"], "must be MLflow's database, there is no such file"),
        (["evaluate", "driver=optimal", "track=nosuch"], "'nosuch' is neither a known track nor a file"),
        (["evaluate", "driver=optimal", "track=oval", "vehicle=nosuch"], "'nosuch' is not in conf/vehicle"),
        (["evaluate", "run=x", "episodes=0"], "episodes must be a whole number"),
        (["evaluate", "run=x", "nosuch=1"], "unknown key 'nosuch'"),
        (["export", "run=NOSUCH"], "run 'NOSUCH' must be a run directory"),
        (["export", "run=x", "opset=a"], "opset must be a whole number"),
    ],
)
def test_what_a_verb_would_refuse_is_refused_before_it_is_submitted(
    arguments: list[str],
    text: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    monkeypatch.setattr(submit, "make_backend", lambda _: There())
    for launcher in ("local", "slurm"):
        outputs = tmp_path / launcher
        assert main([*arguments, f"launcher={launcher}", f"paths.outputs={outputs}"]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert text in line
        assert not outputs.exists()


def test_where_the_disk_is_another_one_its_backend_says_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(There, "shared", False)
    monkeypatch.setattr(submit, "make_backend", lambda _: There())
    with pytest.raises(AssertionError, match="submitted"):
        main(["evaluate", "run=NOSUCH", "launcher=modal", f"paths.outputs={tmp_path}"])
    assert main(["evaluate", "run=NOSUCH", "laps=0", "launcher=modal", f"paths.outputs={tmp_path}"]) == 2
    assert "laps must be a whole number" in capsys.readouterr().err


def trained(outputs: Path, name: str, config: dict[str, Any], launcher: str, **summary: float) -> str:
    """A finished run; its name."""
    whole = config | {"name": name, "launcher": {"name": launcher}}
    with open_run(outputs, name, whole, [], {}) as run:
        run.finish({"finish_rate": 1.0, **summary})
    return run.name


def test_jobs_typically_take_what_the_longest_run_of_their_kind_took_there_else_here(tmp_path: Path):
    slurm = make_backend(launcher_config("slurm", ["cpus_per_task=3"]))
    jobs = [(KART, 3_600_000), (KART, 7_200_000)]
    assert typical_lines(jobs, tmp_path, slurm) == [
        f"what it typically costs is told once runs of these kinds are in {tmp_path / 'runs'}"
    ]
    trained(tmp_path, "short", KART, "slurm", steps=4096, learning_s=1.0)  # has mostly compiled
    trained(tmp_path, "seen", SEEN, "slurm", steps=1_000_000, learning_s=1000.0)
    here = trained(tmp_path, "here", KART, "local", steps=1_000_000, learning_s=800.0, eval_time_s=200.0)
    # 1,000 steps/s: one hour and two, of three cores.
    told = (
        f"typically about 9.0 core hours: 2:00:00 for the longest job, at 1,000 steps/s as {here} had on this machine"
    )
    assert typical_lines(jobs, tmp_path, slurm) == [told]
    there = trained(tmp_path, "there", KART, "slurm", steps=500_000, learning_s=250.0)
    told = f"typically about 4.5 core hours: 1:00:00 for the longest job, at 2,000 steps/s as {there} had on slurm"
    assert typical_lines(jobs, tmp_path, slurm) == [told]
    assert typical_lines([], tmp_path, slurm) == []


def test_where_nothing_is_paid_nothing_is_told(tmp_path: Path):
    assert typical_lines([(KART, 1000)], tmp_path, make_backend(launcher_config("local", []))) == []
