"""This process: what it prints, how it leaves at once; and a child in place of it, whose exit code comes back."""

from __future__ import annotations

import contextlib
import ctypes
import io
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from types import FrameType
from typing import NoReturn

STOP_SIGNALS = (signal.SIGTERM, signal.SIGUSR2)  # besides SIGINT: what schedulers and containers send
PR_SET_PDEATHSIG = 1  # of Linux: choose the signal that a process gets when its parent dies


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


def _die_with_parent() -> Callable[[], None] | None:
    """What a child calls before it becomes another program, so that it is killed when we are; None where it cannot."""
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None).prctl  # looked up now: between fork and exec little is safe
    return lambda: prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
