"""What lies in the current folder is not imported by the processes that a command starts."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from racing.cli import main
from racing.processes import end_of_log, python
from racing.runs.directory import all_runs
from racing.tracking import sender
from racing_launchers.local import backend
from tests.conftest import REPOSITORY
from tests.support.fork_client import real_processes
from tests.support.made_once.store_template import copy_tables
from tests.support.mlflow_server import wait_until

pytestmark = pytest.mark.slow

TINY = [
    *("debug=fast", "eval.episodes=2", "eval.every_steps=0", "algo.total_timesteps=2048", "algo.n_steps=16"),
    *("launcher.poll_interval_s=0.1", "launcher.n_jobs=2"),
]


@pytest.fixture
def trap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current folder with modules that must not be imported."""
    for name in ("racing", "racing_launchers", "launchers", "mlflow", "numpy", "hydra", "submitit"):
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'imported')!r}, 'a').write({name!r})\n1 / 0\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PYTHONPATH", raising=False)
    return tmp_path


def test_children_do_not_import_from_it(trap: Path):
    """Real processes, of which each would."""
    for arguments in (["-c", "import numpy"], ["-m", "racing", "--version"]):
        environment = {"PYTHONPATH": str(REPOSITORY), "PATH": "/usr/bin:/bin"}
        done = subprocess.run(python(*arguments), capture_output=True, text=True, env=environment)
        assert done.returncode == 0, done.stderr
    assert not (trap / "imported").exists()


def test_a_sweep_and_its_senders_run_beside_it(trap: Path):
    """In real processes; the tables of their store are there."""
    (trap / "outputs").mkdir()
    copy_tables(trap / "outputs/mlflow.db")
    arguments = ["-m", "seed=1", *TINY, "tracking=mlflow", f"paths.outputs={trap / 'outputs'}"]
    with real_processes():
        assert main(["train", *arguments]) == 0
    assert not (trap / "imported").exists()
    (run,) = all_runs(trap / "outputs")
    wait_until(lambda: run.mlflow.get("run_id"), "the sender has begun the run in MLflow")


def every_command_line() -> list[str]:
    """Places in our code that name the interpreter themselves."""
    found = []
    for folder in ("racing", "launchers"):
        for path in (REPOSITORY / folder).rglob("*.py"):
            text = path.read_text()
            if path.name == "summary_table.py":  # lines for people to paste
                continue
            if re.search(r"sys\.executable[,\]]", text) or re.search(r"\bpython -m [a-z]+.*run\(", text):
                found.append(path.relative_to(REPOSITORY).as_posix())
    return found


def test_one_function_starts_pythons():
    assert every_command_line() == ["racing/processes.py"]


BROKEN = "import sys; print('the reason', file=sys.stderr); raise ImportError('no such thing')"


def broken(*arguments: str) -> list[str]:
    """The command of a child that dies at once."""
    return [sys.executable, "-c", BROKEN]


def test_a_supervisor_that_dies_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(backend, "python", broken)
    assert main(["train", "-m", "seed=1,2", *TINY, "tracking=none", f"paths.outputs={tmp_path}"]) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert "the process that starts the jobs of" in error
    assert "ended with exit code 1" in error
    assert "ImportError: no such thing" in error
    assert "supervisor.log" in error


def test_a_sender_that_dies_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(sender, "python", broken)
    assert main(["train", *TINY, "tracking=mlflow", f"paths.outputs={tmp_path}"]) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert "the process that sends to mlflow ended at once, exit code 1" in error
    assert "ImportError: no such thing" in error
    assert "sender.log" in error
    (run,) = all_runs(tmp_path)
    assert run.finished
    assert json.loads(run.paths.summary.read_text())


def test_the_end_of_a_log(tmp_path: Path):
    log = tmp_path / "log"
    assert end_of_log(log) == ""
    log.write_bytes(b"x\n" * 200_000 + b"one\n\n  two\xff \n")
    assert end_of_log(log, 2) == "one | two�"
