"""A child stands for us: signals reach it, its exit code comes back, it does not outlive us."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from racing.processes import run_child
from tests.support.mlflow_server import wait_until

# Sends its parent a signal, and leaves with the number of the one that it gets itself.
ASK = """
import os, signal, sys, time
for number in (signal.SIGTERM, signal.SIGUSR2):
    signal.signal(number, lambda got, _: os._exit(100 + got))
os.kill(os.getppid(), int(sys.argv[1]))
time.sleep(60)
"""


def python(code: str, *arguments: object) -> list[str]:
    return [sys.executable, "-c", code, *map(str, arguments)]


@pytest.mark.parametrize("shares_terminal", [True, False])
def test_its_exit_code_comes_back(shares_terminal: bool):
    assert run_child(python("import sys; sys.exit(3)"), shares_terminal=shares_terminal) == 3
    kill = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    assert run_child(python(kill), shares_terminal=shares_terminal) == -signal.SIGKILL


@pytest.mark.parametrize(
    ("ours", "its"),
    [(signal.SIGTERM, signal.SIGTERM), (signal.SIGUSR2, signal.SIGUSR2), (signal.SIGINT, signal.SIGTERM)],
)
def test_our_signals_reach_it(ours: signal.Signals, its: signal.Signals):
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR2, signal.SIGINT)]
    assert run_child(python(ASK, int(ours)), shares_terminal=False) == 100 + its
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR2, signal.SIGINT)] == before


def test_ctrl_c_is_not_passed_on_where_it_reaches_the_child_by_itself():
    code = f"import os, signal; os.kill(os.getppid(), {int(signal.SIGINT)}); os._exit(7)"
    assert run_child(python(code), shares_terminal=True) == 7


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends children with their parents")
def test_it_dies_with_us(tmp_path: Path):
    note = tmp_path / "pid"
    child = f"import os, pathlib, time; pathlib.Path({str(note)!r}).write_text(str(os.getpid())); time.sleep(600)"
    call = f"run_child([sys.executable, '-c', {child!r}], shares_terminal=False)"
    parent = f"import sys; from racing.processes import run_child; {call}"
    process = subprocess.Popen(python(parent))
    wait_until(lambda: note.exists() and note.read_text(), "the child has begun")
    pid = int(note.read_text())
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    wait_until(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == "zombie", "the child is gone")
