"""conf/launcher: what every launcher has, what launchers of other programs and verbs are given, renamed keys."""

from __future__ import annotations

from pathlib import Path

import pytest
from hydra.core.global_hydra import GlobalHydra

from racing.cli import main
from racing.commands import submit
from racing.config import choices, compose, plain
from racing.errors import InputError
from racing_launchers.backend import launcher_config

BASE = {"wait": True, "max_resubmits": 0, "poll_interval_s": 1.0, "upload_from": "auto", "dry_run": False}


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
        ("_base", "wait=true", "unknown choice launcher=_base; choose one of: local, modal, slurm"),
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
