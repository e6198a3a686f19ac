"""This process: what it prints, how it leaves at once; other Pythons: how they start, and one in place of this one."""

from __future__ import annotations

import contextlib
import ctypes
import io
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import NoReturn

STOP_SIGNALS = (signal.SIGTERM, signal.SIGUSR2)  # besides SIGINT: what schedulers and containers send
PR_SET_PDEATHSIG = 1  # of Linux: choose the signal that a process gets when its parent dies


TAIL = 1 << 16  # [bytes] of a log in which its last lines are looked for


def python(*arguments: str) -> list[str]:
    """The command of another Python such as ours: `python("-m", "racing.tracking.sender", ...)`.

    With -P it does not import from the current folder: what lies there may be called racing, or numpy, or be anybody's.
    """
    return [sys.executable, "-P", *arguments]


def import_path() -> str:
    """PYTHONPATH with which another Python finds the modules that this one does."""
    return os.pathsep.join(path for path in sys.path if path)


def end_of_log(path: Path, lines: int = 5) -> str:
    """The last lines of a log that say something, as one line; '' where there are none."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - TAIL))
            said = [line.strip() for line in file.read().decode(errors="replace").splitlines()]
    except OSError:
        return ""
    return " | ".join([line for line in said if line][-lines:])[-500:]


def print_any_text() -> None:
    """From now on print what the terminal or the file cannot hold (its encoding is ASCII, say) as ?."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors in ("strict", "surrogateescape"):
            stream.reconfigure(errors="replace")


def leave_now(code: int) -> NoReturn:
    """Leave without waiting for threads, which may wait for a server that hangs."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # nobody reads it any more
            stream.flush()
    os._exit(code)


def run_child(command: Sequence[str], *, env: Mapping[str, str] | None = None, shares_terminal: bool) -> int:
    """Run a command to its end, with our output; returns its exit code, -N where signal N has killed it.

    Signals that ask for a stop are left to the child: it saves its state, and leaves with the code that says so. On
    Linux it does not outlive this process. Must be called in the main thread.

    command: program and arguments.
    env: its environment; None: ours.
    shares_terminal: Ctrl-C reaches the child by itself; else our SIGINT becomes a SIGTERM for it.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    process = subprocess.Popen(command, env=env, preexec_fn=_die_with_parent())

    def pass_on(number: int, frame: FrameType | None) -> None:
        process.send_signal(signal.SIGTERM if number == signal.SIGINT else number)

    before = {number: signal.signal(number, pass_on) for number in STOP_SIGNALS}
    before[signal.SIGINT] = signal.signal(signal.SIGINT, signal.SIG_IGN if shares_terminal else pass_on)
    try:
        return process.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def usable_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextlib.contextmanager
def safe_children() -> Iterator[None]:
    """While entered, Pythons that the standard library starts do not import from the current folder; see `python`."""
    before = os.environ.get("PYTHONSAFEPATH")
    os.environ["PYTHONSAFEPATH"] = "1"
    try:
        yield
    finally:
        del os.environ["PYTHONSAFEPATH"]
        if before is not None:
            os.environ["PYTHONSAFEPATH"] = before


def die_with_parent() -> None:
    """Have this process killed when the thread that has started it ends; on Linux."""
    act = _die_with_parent()
    if act is not None:
        act()


def _die_with_parent() -> Callable[[], None] | None:
    """What a child calls before it becomes another program, so that it is killed when we are; None where it cannot."""
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None).prctl  # looked up now: between fork and exec little is safe
    return lambda: prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
