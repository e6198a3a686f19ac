"""A secret in an address is refused, and printed nowhere."""

from __future__ import annotations

import json

import pytest

from racing.cli import main
from racing.errors import InputError
from racing.runs.directory import open_run
from racing.tracking import sender
from racing.tracking.address import masked, masked_address
from racing.tracking.store import resolve_uri

SECRET = "hunter2"
ADDRESSES = {  # typed -> what is shown of it
    "postgresql://me:hunter2@db/mlflow": "postgresql://...@db/mlflow",
    "mysql+pymysql://me:hunter2@db:3306/mlflow": "mysql+pymysql://...@db:3306/mlflow",
    "databricks://token:hunter2@host": "databricks://...@host",
    "HTTP://me:hunter2@host": "HTTP://...@host",
    "https://hunter2@host": "https://...@host",
    "http://me:p@ss/hunter2@host:5000": "http://...@host:5000",
    "http:///me:hunter2@host": "http://...@host",
    "http://host/?token=hunter2": "http://host/?...",
    "http://host#password=hunter2": "http://host?...",
    "sqlite:////tmp/x.db?token=hunter2": "sqlite:////tmp/x.db?...",
    "mssql+pyodbc:///?odbc_connect=PWD%3Dhunter2": "mssql+pyodbc:///?...",
}
HARMLESS = (
    "http://host:5000",
    "https://host/mlflow",
    "databricks",
    "databricks://profile",
    "sqlite:////home/me@work/mlflow.db",
    "sqlite:////tmp/a#b=c/mlflow.db",
    "file:///tmp/a@b?c=d",
)


@pytest.mark.parametrize("address", ADDRESSES)
def test_what_is_secret_is_hidden_also_in_the_middle_of_a_text(address):
    assert masked_address(address) == ADDRESSES[address]
    assert masked(f"cannot reach {address} today") == f"cannot reach {ADDRESSES[address]} today"
    assert SECRET not in masked_address(f"[sqlite:///x,{address}]")


@pytest.mark.parametrize("address", HARMLESS)
def test_an_address_without_a_secret_is_shown_whole(address):
    assert masked_address(address) == masked(address) == address


def test_of_an_address_without_a_scheme_everything_that_may_be_one_is_hidden():
    assert masked_address("me:hunter2@db") == "...@db"
    assert masked_address("host=db password=hunter2") == "host=db password=..."


@pytest.mark.parametrize("address", [*ADDRESSES, "me:hunter2@db"])
def test_the_store_refuses_it(address, tmp_path):
    with pytest.raises(InputError, match=r"must not hold a user or password.*MLFLOW_TRACKING_USERNAME") as refused:
        resolve_uri(address, tmp_path)
    assert SECRET not in str(refused.value)


def test_the_scheme_may_be_in_capitals(tmp_path):
    assert resolve_uri("HTTP://host:5000", tmp_path) == "http://host:5000"


@pytest.mark.parametrize(
    "line",
    [
        "train tracking.uri=ADDRESS",
        "train -m seed=1,2 tracking.uri=ADDRESS",
        "train tuning=tpe tuning.storage=ADDRESS",
        "train +extra=ADDRESS",
        "train phases=[[tracking.uri=ADDRESS]]",
        "runs list tracking.uri=ADDRESS",
        "runs show ADDRESS",
        "reproduce tracking.uri=ADDRESS",
        "evaluate launcher=slurm tracking.uri=ADDRESS",
        "ADDRESS",
    ],
)
def test_no_verb_takes_prints_or_writes_one(line, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(line.replace("ADDRESS", "postgresql://me:hunter2@db/mlflow").split()) == 2
    printed = capsys.readouterr()
    assert "postgresql://...@db/mlflow" in printed.err
    assert len(printed.err.splitlines()) == 1
    assert SECRET not in printed.out + printed.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("line", ["runs show 0123456789abcdef0123456789abcdef", "train", "train -m seed=1,2"])
def test_nor_from_the_environment(line, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:hunter2@host")
    assert main(line.split()) == 2
    printed = capsys.readouterr()
    assert "http://...@host" in printed.err
    assert SECRET not in printed.out + printed.err
    assert list(tmp_path.iterdir()) == []


def test_nor_from_a_file_of_the_users(tmp_path, capsys, monkeypatch):
    (tmp_path / "mine/experiment").mkdir(parents=True)
    text = "# @package _global_\ntuning:\n  storage: postgresql://me:hunter2@db/optuna\n"
    (tmp_path / "mine/experiment/own.yaml").write_text(text)
    monkeypatch.chdir(tmp_path)
    assert main(["train", "-cd", "mine", "tuning=tpe", "experiment=own", "paths.outputs=o"]) == 2
    printed = capsys.readouterr()
    assert "tuning.storage must not hold" in printed.err
    assert SECRET not in printed.out + printed.err
    assert not (tmp_path / "o").exists()


def test_senders_get_the_address_in_their_environment(tmp_path, monkeypatch):
    started = []
    monkeypatch.setattr(sender.subprocess, "Popen", lambda command, **options: started.append((command, options)))
    tracking = {"enabled": True, "uri": "http://host.example:5000", "experiment": "e"}
    with open_run(tmp_path, "demo", {}, [], {}) as run:
        sender.Sender.start(run, tracking)
    ((command, options),) = started
    assert "host.example" not in json.dumps(command)
    assert options["env"]["MLFLOW_TRACKING_URI"] == "http://host.example:5000"
