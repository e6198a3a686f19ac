"""Starts our Python programs as forks of a warm process: without the seconds in which torch and MLflow are imported.

While it is installed, `subprocess.Popen([sys.executable, "-m", MODULE, ...])` forks (MODULES, OTHERS, tests.*), in
tests, in what they call, and in the forks themselves (a trainer's sender, a sweep's workers, what a notebook starts),
and so do the processes of pytest-xdist.
All else is the same: arguments, environment, directory, streams, signals, exit codes. A test that is about the start
itself is marked `cold`.
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
from tests.support.forks.pytest_worker import BOOTSTRAP

MODULES = (
    *("racing", "racing.tracking.sender", "mlflow"),
    *("racing_launchers.worker", "racing_launchers.collector", "racing_launchers.local.supervisor"),
)
OTHERS = ("ipykernel_launcher", "uvicorn")  # what notebooks, and `mlflow server`, start
WORKER = ["-u", "-m", "tests.support.forks.pytest_worker"]  # of pytest-xdist
READ_AT_IMPORT = ("OMP_", "OPENBLAS_", "MKL_", "NUMBA_", "TORCH_", "LD_")  # begin of variables' names
RealPopen = subprocess.Popen

_address = ""  # of the server
_environment: dict[str, str] = {}  # of this process as it was when it installed
_starter = False  # whether it may start a server
_leases: dict[str, socket.socket] = {}  # of servers that this process keeps alive, by what they have imported
_scripts = False  # whether they are forked, too
_others: dict[str, str] = {}  # servers with the code of other checkouts: their addresses by the file of its `racing`


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


@contextlib.contextmanager
def scripts_too() -> Iterator[None]:
    """Fork also `python SCRIPT.py ...`."""
    global _scripts
    _scripts = True
    try:
        yield
    finally:
        _scripts = False


class ForkingPopen(subprocess.Popen[Any]):
    """subprocess.Popen, which forks where it can."""

    _status: socket.socket | None = None
    mounts: str | None = None  # of a container, see `fork_server.go_inside`

    @property
    def is_fork(self) -> bool:
        """Whether it is one: what cannot be forked is started as ever."""
        return self._status is not None

    def _execute_child(self, args: Any, *rest: Any) -> None:
        """Called by Popen's constructor with all of its arguments, pipes made."""
        if self.mounts is None:
            program = forkable(args, *rest)
            server = server_for(*rest[4:6], safe="-P" in program) if program else None
        else:
            program, server = list(args[1:]), warm_server("others")
        if program is None or server is None:
            super()._execute_child(args, *rest)  # type: ignore[misc]
            return
        cwd, env, pipes = rest[4], rest[5], rest[9:15]
        child_ends = [pipes[0], pipes[3], pipes[5]]
        fds = [number if end == -1 else end for number, end in enumerate(child_ends)]
        where, variables = str(Path(cwd or ".").absolute()), os.environ if env is None else env
        bound = rest[1] is not None or "uvicorn" in program  # which is in the group of `mlflow server`
        self._status = ask(server, program, where, variables, fds, bound=bound, mounts=self.mounts)
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


class Container(ForkingPopen):
    """A program in mounts of its own; ours it has from its own PYTHONPATH."""

    def __init__(self, args: list[str], mounts: str, **options: Any) -> None:
        self.mounts = mounts
        super().__init__(args, **options)


def forkable(args: Any, *rest: Any) -> list[str] | None:
    """Options, module and arguments of a command that can be forked, else None. rest: what else Popen was given."""
    executable, preexec, _, pass_fds, *_ = rest
    other = preexec and "_die_with_parent" not in preexec.__qualname__  # of racing.processes: the fork is bound to us
    if isinstance(args, str | bytes | os.PathLike) or executable or other or pass_fds:
        return None
    command = [os.fspath(part) for part in args]
    if command == [sys.executable, "-u", "-c", BOOTSTRAP]:
        return WORKER
    program = command[2:] if command[1:2] == ["-P"] else command[1:]
    modules = program[:1] == ["-m"] and (program[1] in (*MODULES, *OTHERS) or program[1].startswith("tests."))
    script = _scripts and program[0].endswith(".py")
    return command[1:] if command[0] == sys.executable and (modules or script) else None


def server_for(cwd: Any, env: Mapping[str, str] | None, *, safe: bool) -> str | None:
    """The address of the server that has what a Python there would import, None if there is none.

    safe: Python's option -P.
    """
    variables = os.environ if env is None else env
    here = [] if safe or variables.get("PYTHONSAFEPATH") else [str(Path(cwd or ".").absolute())]
    path = [*here, *variables.get("PYTHONPATH", "").split(os.pathsep), *sys.path]
    found = PathFinder.find_spec("racing", [part for part in path if part])
    if found is None or not same_settings(variables):
        return None
    if found.origin == racing.__file__:
        return warm_server()
    return _others.get(str(found.origin)) or server_of_others()


def same_settings(env: Mapping[str, str]) -> bool:
    """Whether what libraries read as they are imported is the same as for the server."""

    def read(variables: Mapping[str, str]) -> dict[str, str]:
        return {name: value for name, value in variables.items() if name.startswith(READ_AT_IMPORT)}

    return read(env) == read(_environment)


def warm_server(what: str = "all") -> str:
    """The address of the server, which is started if there is none yet. what: it has imported."""
    address = _address if what == "all" or _address.endswith(what) else f"{_address}-{what}"
    if _starter and what not in _leases:
        _leases[what] = lease(address, _environment, what)
    return address


def server_of_others() -> str | None:
    """The address of the server that has imported nothing of ours; None if there is none and we may start none."""
    address = warm_server("others")
    with contextlib.suppress(ConnectionRefusedError), reach(address):
        return address
    return None


@contextlib.contextmanager
def checkout_is_warm(checkout: Path) -> Iterator[None]:
    """Fork also what runs the code of another checkout. What is new in it is imported when it is needed, as ever."""
    address = f"{_address}-{os.getpid()}-{len(_others)}"
    path = os.pathsep.join(map(str, (checkout, checkout / "launchers", Path(__file__).parents[2])))
    held = lease(address, _environment | {"PYTHONPATH": path, "PYTHONSAFEPATH": "1"})
    file = str(checkout / "racing" / "__init__.py")
    _others[file] = address
    try:
        yield
    finally:
        del _others[file]
        held.close()


def lease(address: str, environment: dict[str, str], what: str = "all") -> socket.socket:
    """Start a server, if there is none, and wait until it is warm; it lives as long as the connection."""
    held = _reach_or_start(address, environment, what)
    held.sendall(LENGTH.pack(0))
    answer(held)
    return held


def _reach_or_start(address: str, environment: dict[str, str], what: str) -> socket.socket:
    process = None
    while True:
        with contextlib.suppress(ConnectionRefusedError):
            return reach(address)
        if process is None:
            process = RealPopen(
                [sys.executable, "-m", "tests.support.fork_server", address, what, PADDING],
                stdin=subprocess.DEVNULL,
                cwd=Path(__file__).parents[2],
                env=environment | MLFLOW_ENVIRONMENT,
                start_new_session=True,
            )
        assert not process.poll(), f"the fork server left with exit code {process.returncode}"
        time.sleep(0.01)
