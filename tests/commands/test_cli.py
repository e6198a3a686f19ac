"""What holds for every verb: any text is printed, a missing package is one line, Ctrl-C leaves at once."""

from __future__ import annotations

import io
import signal
import socket
import subprocess
import sys
import time

import pytest

from racing import cli
from racing.commands import doctor
from racing.config import choices
from racing.errors import missing_package, requirements
from racing.runs.directory import open_run
from racing.tracking.sender import Sender
from tests.support.mlflow_server import PATIENCE


def test_a_terminal_that_knows_ascii_only_gets_replacements(tmp_path, monkeypatch):
    name = "Nürburgring Nord \udcfc.csv"  # the last one: a byte that was no UTF-8
    (tmp_path / name).write_text("x_m,y_m,w_tr_right_m,w_tr_left_m\n0,0,1,1\n")
    screens = {stream: io.TextIOWrapper(io.BytesIO(), "ascii") for stream in ("stdout", "stderr")}
    for stream, screen in screens.items():
        monkeypatch.setattr(sys, stream, screen)
    code = cli.main(["tracks", "validate", str(tmp_path / name)])
    for screen in screens.values():
        screen.flush()
    text = b"".join(screen.buffer.getvalue() for screen in screens.values())
    assert code in (1, 2)
    assert b"N?rburgring Nord ?.csv" in text


@pytest.mark.parametrize(
    ("module", "remedy"),
    [
        ("cv2", "pip install opencv-python-headless"),
        ("yaml", "pip install pyyaml"),
        ("wandb", "pip install 'racing[wandb]', in a checkout '.[wandb]'"),
        ("tensorboard", "pip install 'racing[tensorboard]', in a checkout '.[tensorboard]'"),
    ],
)
def test_a_missing_package_is_one_line_with_the_command(module, remedy, monkeypatch, capsys):
    def verb(arguments):
        try:
            raise ModuleNotFoundError(f"No module named {module!r}", name=module)
        except ModuleNotFoundError as error:
            raise RuntimeError("Hydra: Error locating target") from error

    monkeypatch.setattr(cli, "_main_of", lambda *_: verb)
    assert cli.main(["train"]) == 2
    said = capsys.readouterr().err
    assert said.rstrip().endswith(remedy)
    assert len(said.splitlines()) == 1


def test_what_racing_never_asked_for_keeps_its_traceback():
    assert "numpy" in requirements()
    assert missing_package(ModuleNotFoundError("x", name="somebodys_own")) is None
    assert missing_package(ModuleNotFoundError("x", name="optuna.samplers.TPESamplr")) is None
    circle = RuntimeError("a")
    circle.__context__, other = (other := RuntimeError("b")), other
    other.__context__ = circle
    assert missing_package(circle) is None


def test_doctor_lists_the_launchers_that_there_are(monkeypatch):
    assert [finding.what for finding in doctor.launchers()] == [f"launcher={name}" for name in choices("launcher")]
    monkeypatch.setattr(doctor, "choices", lambda group: ["local", "moon"])
    assert [finding.what for finding in doctor.launchers()] == ["launcher=local", "launcher=moon"]


def test_python_m_racing_is_the_command_line():
    done = subprocess.run([sys.executable, "-m", "racing", "--version"], capture_output=True, text=True)
    assert (done.returncode, done.stdout.split()[0]) == (0, "racing")


@pytest.mark.parametrize("more", [["runs", "list"], ["train", "debug=fast", "algo.total_timesteps=100000000"]])
def test_the_last_ctrl_c_leaves_at_once_while_a_server_hangs(more, tmp_path):
    """A server that takes every connection and never answers; MLflow would wait for 10 s, a sender's end for 60 s."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        uri = f"tracking.uri=http://127.0.0.1:{server.getsockname()[1]}"
        command = [sys.executable, "-m", "racing", *more, uri]
        process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        server.settimeout(PATIENCE)
        connection, _ = server.accept()  # kept: closed, it would be an answer
        while process.poll() is None:
            process.send_signal(signal.SIGINT)
            time.sleep(0.1)
        said, _ = process.communicate()
        connection.close()
    assert (process.returncode, b"racing: interrupted" in said) == (130, True), said


def test_after_a_second_ctrl_c_no_sender_is_waited_for(tmp_path):
    class Hanging:
        stdin = None

        def wait(self, timeout):
            raise AssertionError("waited for")

    with open_run(tmp_path, "demo", {}, [], {}) as run:
        sender = Sender(run, {"mlflow": Hanging()})
        with pytest.raises(KeyboardInterrupt), sender.attending(60):
            raise KeyboardInterrupt
