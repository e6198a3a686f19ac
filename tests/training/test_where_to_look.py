"""The last line of a training says where the run is seen, and can be pasted into a shell."""

from __future__ import annotations

import shlex
import socket
import sys
from types import SimpleNamespace

import pytest

from racing.training.summary_table import own_command, where_to_look
from racing.training.trainer import warn_of_silence


def run_with(address=None, *, enabled=True, **mlflow):
    return SimpleNamespace(config={"tracking": {"enabled": enabled, "uri": address}}, mlflow=mlflow)


def test_of_a_server_it_is_the_page_of_the_run(tmp_path):
    uri = "http://mlflow.example.com:5000"
    run = run_with(uri, uri=uri, experiment_id="3", run_id="abc")
    assert where_to_look(run, tmp_path) == f"{uri}/#/experiments/3/runs/abc"
    assert where_to_look(run_with(f"{uri}/"), tmp_path) == uri  # it has not answered yet
    assert where_to_look(run_with("databricks"), tmp_path) == "databricks"


def test_of_a_server_that_does_not_answer_it_is_said_when_the_training_begins(tmp_path, capsys):
    run = SimpleNamespace(name="kart-1a2b3c4d")
    with socket.create_server(("127.0.0.1", 0)) as server:
        uri = f"http://127.0.0.1:{server.getsockname()[1]}"
        warn_of_silence(run, {"enabled": True, "uri": uri}, tmp_path)
        warn_of_silence(run, {"enabled": True, "uri": None}, tmp_path)
    assert capsys.readouterr().err == ""
    warn_of_silence(run, {"enabled": False, "uri": uri}, tmp_path)
    assert capsys.readouterr().err == ""
    warn_of_silence(run, {"enabled": True, "uri": uri}, tmp_path)
    said = capsys.readouterr().err
    assert said.startswith(f"warning: MLflow at {uri} does not answer (Connection refused); ")
    assert said.endswith(f"or by racing runs sync kart-1a2b3c4d paths.outputs={tmp_path}\n")


def test_without_tracking_there_is_nothing_to_see(tmp_path):
    assert where_to_look(run_with(enabled=False), tmp_path) == ""


@pytest.mark.parametrize("name", ["outputs", "my runs", "it's $HOME & more"])
def test_of_the_embedded_store_it_is_a_line_for_the_shell(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    line = where_to_look(run_with(), tmp_path / name)
    assert shlex.split(line) == [*own_command(), "ui", f"paths.outputs={name}"]
    elsewhere = where_to_look(run_with("sqlite:////data/a b.db"), tmp_path / name)
    assert shlex.split(elsewhere)[1:] == ["-m", "mlflow", "ui", "--backend-store-uri", "sqlite:////data/a b.db"]


def test_the_program_is_one_that_is_there(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "executable", str(tmp_path / "bin/python"))
    assert own_command() == [str(tmp_path / "bin/python"), "-m", "racing"]
    script = tmp_path / "bin/racing"
    script.parent.mkdir()
    script.touch(mode=0o755)
    assert own_command() == [str(script)]
    monkeypatch.setenv("PATH", str(script.parent))
    assert own_command() == ["racing"]
