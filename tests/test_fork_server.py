"""A fork of the warm process is for everybody what a fresh interpreter is."""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

import racing
import racing_launchers
from tests.conftest import REPOSITORY
from tests.support import fork_client
from tests.support.fork_client import MODULES, ForkingPopen, real_processes, warm_server
from tests.support.mlflow_server import wait_until


@pytest.fixture(params=["forked", "fresh"])
def forked(request: pytest.FixtureRequest) -> Iterator[bool]:
    if request.param == "forked":
        yield True
    else:
        with real_processes():
            yield False


def probe(*arguments: str, **options) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.support.probe", *arguments]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, **options)


def is_fork(process: subprocess.Popen) -> bool:
    return isinstance(process, ForkingPopen) and process.is_fork


def test_it_gets_what_it_is_given(forked: bool, tmp_path: Path):
    environment = os.environ | {"WORD": "ä b", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    del environment["HOME"]
    process = probe("0", "--two words=ü", cwd=tmp_path, env=environment, stderr=subprocess.STDOUT)
    assert is_fork(process) == forked
    said, _ = process.communicate("a line\n", timeout=60)
    told = [line for line in said.splitlines() if line.startswith("{")]
    assert sorted(line for line in said.splitlines() if line not in told) == ["and on stderr", "at the end"]
    assert json.loads(told[0]) == {
        "argv": ["0", "--two words=ü"],
        "cwd": str(tmp_path),
        "path": str(tmp_path),
        "word": "ä b",
        "home": False,
        "parent": os.getpid(),
        "pid": process.pid,
        "stdin": "a line\n",
    }
    assert process.returncode == 0


@pytest.mark.parametrize(
    ("end", "code", "on_stderr"),
    [
        ("0", 0, ""),
        ("75", 75, ""),
        ("no fuel", 1, "no fuel"),
        ("raise", 1, "RuntimeError: as asked"),
        ("interrupt", -signal.SIGINT, "KeyboardInterrupt"),
    ],
)
def test_it_ends_as_it_wants(forked: bool, end: str, code: int, on_stderr: str):
    process = probe(end, stderr=subprocess.PIPE)
    said, error = process.communicate(timeout=60)
    assert process.returncode == code
    assert said.splitlines()[-1] == "at the end"
    assert on_stderr in error
    assert error.splitlines()[0] == "and on stderr"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_signals_reach_it(forked: bool, number: signal.Signals):
    process = probe("wait", stderr=subprocess.DEVNULL)
    process.stdin.close()
    assert json.loads(process.stdout.readline())["pid"] == process.pid
    assert process.poll() is None
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.01)
    process.send_signal(number)
    assert process.wait(60) == -number
    assert process.poll() == -number
    assert not psutil.pid_exists(process.pid)
    process.stdout.close()


def test_others_see_its_command_line(forked: bool):
    with probe("wait", stderr=subprocess.DEVNULL) as process:
        process.stdin.close()
        process.stdout.readline()
        assert [part for part in psutil.Process(process.pid).cmdline() if part] == list(process.args)
        process.kill()


def test_it_notices_that_its_parent_is_gone(forked: bool):
    parent = probe("parent")
    orphan = int(parent.stdout.readline())
    assert psutil.pid_exists(orphan)
    parent.kill()
    parent.communicate()
    wait_until(lambda: not psutil.pid_exists(orphan) or psutil.Process(orphan).status() == "zombie", "it has ended")


def test_it_is_a_fork_whatever_was_imported_meanwhile():
    """Some packages change the environment, and with it what others read when they are imported."""
    for package in (racing, racing_launchers):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not module.name.endswith("__main__") and ".modal" not in module.name:
                importlib.import_module(module.name)
    with probe("0") as process:
        assert is_fork(process)


def test_every_program_that_ours_start_is_forked():
    code = [path.read_text() for folder in ("racing", "launchers") for path in (REPOSITORY / folder).rglob("*.py")]
    started = {module for text in code for module in re.findall(r'"-m", "([\w.]+)"', text)}
    elsewhere = {"racing_launchers.aws_spot.instance.job_process"}  # by the Python of an instance
    assert started - elsewhere == set(MODULES)


def stub(*arguments: str, **options) -> subprocess.Popen[str]:
    """What stands for a fork in the place of `probe`."""
    options["env"] = {"PYTHONPATH": str(REPOSITORY)} | options.get("env", {})
    command = [
        sys.executable,
        "-I",
        "-S",
        Path(fork_client.__file__).with_name("fork_stub.py"),
        warm_server(),
        sys.executable,
        "-P",
        "-u",
    ]
    command += ["-m", "tests.support.probe", *arguments]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, **options)


def test_what_stands_for_it_gives_it_what_it_gets(tmp_path: Path):
    process = stub("3", "--two words=ü", cwd=tmp_path, env={"WORD": "ä b"}, stderr=subprocess.STDOUT)
    said, _ = process.communicate("a line\n", timeout=60)
    assert process.returncode == 3
    first, *more = said.splitlines()
    assert more == ["and on stderr", "at the end"]  # in that order: -u
    told = json.loads(first)
    assert (told["argv"], told["cwd"], told["word"]) == (["3", "--two words=ü"], str(tmp_path), "ä b")
    assert (told["home"], told["parent"], told["stdin"]) == (False, process.pid, "a line\n")
    assert told["pid"] != process.pid


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGUSR2, signal.SIGKILL])
@pytest.mark.parametrize("to_stub", [True, False])
def test_what_stands_for_it_ends_with_it(number: signal.Signals, to_stub: bool):
    """Whichever of them gets the signal; SIGINT is an exception in the program."""
    with stub("wait", stderr=subprocess.DEVNULL) as process:
        process.stdin.close()
        process.stdin = None
        pid = json.loads(process.stdout.readline())["pid"]
        os.kill(process.pid if to_stub else pid, number)
        try:
            assert process.communicate(timeout=60)[0] == ("at the end\n" if number == signal.SIGINT else "")
        finally:
            process.kill()
        assert process.returncode == -number
        wait_until(lambda: not psutil.pid_exists(pid), "both are gone")


def test_what_stands_for_another_checkout_starts_it(tmp_path: Path):
    (tmp_path / "racing").mkdir()
    (tmp_path / "racing/__init__.py").write_text("")
    path = os.pathsep.join((str(tmp_path), str(REPOSITORY)))
    process = stub("0", env={"PYTHONPATH": path}, stderr=subprocess.DEVNULL)
    said, _ = process.communicate("", timeout=60)
    assert json.loads(said.splitlines()[0])["pid"] == process.pid


@pytest.mark.cold
def test_what_is_marked_cold_starts_an_interpreter():
    with probe("0") as process:
        assert not is_fork(process)


def test_a_checkout_elsewhere_has_its_own_code(tmp_path: Path):
    """Which the warm process has not imported."""
    for folder in ("other/racing", "elsewhere"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "other/racing/__init__.py").write_text("")
    (tmp_path / "other/racing/__main__.py").write_text("print('other code')")
    for folder, path in (("other", ""), ("elsewhere", str(tmp_path / "other"))):
        environment = os.environ | {"PYTHONPATH": path}
        command = [sys.executable, "-m", "racing"]
        done = subprocess.run(command, cwd=tmp_path / folder, env=environment, capture_output=True, text=True)
        assert done.stdout == "other code\n"
