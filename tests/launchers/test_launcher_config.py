"""conf/launcher: what every launcher has, what launchers of other programs and verbs are given, renamed keys."""

from __future__ import annotations

from pathlib import Path

import pytest
from hydra.core.global_hydra import GlobalHydra

from racing.cli import main
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
