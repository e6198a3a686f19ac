"""Starts our Python programs as forks of a warm process: without the seconds in which torch and MLflow are imported.

While it is installed, `subprocess.Popen([sys.executable, "-m", MODULE, ...])` forks (MODULES, and tests.*), in tests,
in what they call, and in the forks themselves (a trainer's sender, a sweep's workers). All else is the same: arguments,
environment, directory, streams, signals, exit codes. A test that is about the start itself is marked `cold`.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

import racing
from racing.tracking.store import ENVIRONMENT as MLFLOW_ENVIRONMENT
from tests.support.fork_server import LENGTH, PADDING, answer, ask, reach

MODULES = (
    *("racing", "racing.tracking.sender"),
    *("racing_launchers.worker", "racing_launchers.collector", "racing_launchers.local.supervisor"),
)
READ_AT_IMPORT = ("OMP_", "OPENBLAS_", "MKL_", "NUMBA_", "TORCH_", "LD_")  # begin of variables' names
RealPopen = subprocess.Popen

_address = ""  # of the server
_environment: dict[str, str] = {}  # of this process as it was when it installed
_starter = False  # whether it may start a server
_lease: socket.socket | None = None


def install(address: str, *, start: bool = False) -> None:
    """From now on, fork. start: start the server when it is first needed, and keep it alive."""
    global _address, _environment, _starter
    # They set LD_LIBRARY_PATH and NUMBA_CACHE_DIR when they are imported: if that were later, nothing that is started
    # from then on would have the server's settings, and nothing would be forked.
    import cv2  # noqa: F401

    import racing.sim.kernels.kernel  # noqa: F401

    _address, _environment, _starter = address, dict(os.environ), start
    if sys.platform == "linux":
        subprocess.Popen = ForkingPopen  # type: ignore[misc]


@contextlib.contextmanager
def real_processes() -> Iterator[None]:
    """Start every process as a user does."""
    installed, subprocess.Popen = subprocess.Popen, RealPopen  # type: ignore[misc]
    try:
        yield
    finally:
        subprocess.Popen = installed  # type: ignore[misc]


class ForkingPopen(subprocess.Popen[Any]):
    """subprocess.Popen, which forks where it can."""

    _status: socket.socket | None = None

    @property
    def is_fork(self) -> bool:
        """Whether it is one: what cannot be forked is started as ever."""
        return self._status is not None

    def _execute_child(self, args: Any, *rest: Any) -> None:
        """Called by Popen's constructor with all of its arguments, pipes made."""
        program = forkable(args, *rest)
        if program is None:
            super()._execute_child(args, *rest)  # type: ignore[misc]
            return
        cwd, env, pipes = rest[4], rest[5], rest[9:15]
        child_ends = [pipes[0], pipes[3], pipes[5]]
        fds = [number if end == -1 else end for number, end in enumerate(child_ends)]
        where, variables = str(Path(cwd or ".").absolute()), os.environ if env is None else env
        self._status = ask(warm_server(), program, where, variables, fds, bound=rest[1] is not None)
        self.pid = answer(self._status)
        self._child_created = True
        self._close_pipe_fds(*pipes)  # type: ignore[attr-defined]

    def _try_wait(self, wait_flags: int) -> tuple[int, int]:
        if self._status is None:
            return super()._try_wait(wait_flags)  # type: ignore[misc,no-any-return]
        if self._status.fileno() == -1:  # collected as garbage before us: nobody will know, as subprocess says then
            return self.pid, 0
        if wait_flags & os.WNOHANG and not select.select([self._status], [], [], 0)[0]:
            return 0, 0
        status = answer(self._status)
        self._status.close()
        return self.pid, status

    def _internal_poll(self, *args: Any, **options: Any) -> int | None:
        if self._status is None:
            return super()._internal_poll(*args, **options)  # type: ignore[misc,no-any-return]
        if self.returncode is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._wait(0)  # type: ignore[attr-defined]
        return self.returncode


def forkable(args: Any, *rest: Any) -> list[str] | None:
    """Options, module and arguments of a command that can be forked, else None. rest: what else Popen was given."""
    executable, preexec, _, pass_fds, cwd, env, *_ = rest
    other = preexec and "_die_with_parent" not in preexec.__qualname__  # of racing.processes: the fork is bound to us
    if isinstance(args, str | bytes | os.PathLike) or executable or other or pass_fds:
        return None
    command = [os.fspath(part) for part in args]
    safe = command[1:2] == ["-P"]
    program = command[2:] if safe else command[1:]
    modules = program[:1] == ["-m"] and (program[1] in MODULES or program[1].startswith("tests."))
    if command[0] != sys.executable or not modules:
        return None
    variables = os.environ if env is None else env
    if not (same_code(cwd, safe_path(variables, safe)) and same_settings(variables)):
        return None
    return command[1:]


def safe_path(variables: Mapping[str, str], safe: bool) -> Mapping[str, str]:
    """The environment of a Python that is started with -P, or is not."""
    return {**variables, "PYTHONSAFEPATH": "1"} if safe else variables


def same_code(cwd: Any, env: Mapping[str, str]) -> bool:
    """Whether that Python would import the package that we have."""
    here = [] if env.get("PYTHONSAFEPATH") else [str(Path(cwd or ".").absolute())]
    path = [*here, *env.get("PYTHONPATH", "").split(os.pathsep), *sys.path]
    found = PathFinder.find_spec("racing", [part for part in path if part])
    return found is not None and found.origin == racing.__file__


def same_settings(env: Mapping[str, str]) -> bool:
    """Whether what libraries read as they are imported is the same as for the server."""

    def read(variables: Mapping[str, str]) -> dict[str, str]:
        return {name: value for name, value in variables.items() if name.startswith(READ_AT_IMPORT)}

    return read(env) == read(_environment)


def warm_server() -> str:
    """The address of the server, which is started if there is none yet."""
    global _lease
    if _starter and _lease is None:
        _lease = _reach_or_start()
        _lease.sendall(LENGTH.pack(0))
        answer(_lease)  # when it is warm
    return _address


def _reach_or_start() -> socket.socket:
    process = None
    while True:
        with contextlib.suppress(ConnectionRefusedError):
            return reach(_address)
        if process is None:
            process = RealPopen(
                [sys.executable, "-m", "tests.support.fork_server", _address, PADDING],
                stdin=subprocess.DEVNULL,
                cwd=Path(__file__).parents[2],
                env=_environment | MLFLOW_ENVIRONMENT,
                start_new_session=True,
            )
        assert not process.poll(), f"the fork server left with exit code {process.returncode}"
        time.sleep(0.01)
