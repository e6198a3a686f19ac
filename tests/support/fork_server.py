"""A process that has everything imported, and forks: what begins in a fork of it begins at once.

python -m tests.support.fork_server ADDRESS WHAT PADDING. fork_client.py starts it, one for a whole run of pytest, and
talks to it. It ends when the last process of pytest that asked for it is gone. WHAT it has imported: `all`, or what
`others` wrote, for those that run another copy of our code: containers, instances, checkouts.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import faulthandler
import gc
import importlib
import io
import json
import os
import pkgutil
import runpy
import select
import selectors
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import traceback
import warnings
import weakref
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn

LENGTH = struct.Struct("!I")  # of a request, before it
NUMBER = struct.Struct("!i")  # an answer: the process id, and later its wait status
CREDENTIALS = struct.Struct("3i")  # of SO_PEERCRED: pid, uid, gid

HUGE = 1 << 21  # [bytes] of a huge page: one entry in the table instead of 512
MADV_COLLAPSE = 25  # of Linux 6.1: put what lies there into huge pages
PADDING = " " * 8192  # last argument of the server's command line; see show_command
CLONE_NEWNS = 0x20000  # unshare: mounts of one's own
PR_SET_PDEATHSIG = 1  # prctl: choose the signal that a process gets when its parent dies
OTHERS = [
    *("modal._container_entrypoint", "hydra._internal.hydra", "cloudpickle", "numpy", "scipy.interpolate"),
    *("scipy.ndimage", "scipy.sparse", "scipy.spatial", "numba", "cv2", "PIL.Image", "contourpy", "gymnasium"),
    *("torch", "stable_baselines3", "onnx", "onnxruntime", "starlette.applications", "matplotlib.figure"),
    *("mlflow.pyfunc", "mlflow.store.tracking.sqlalchemy_store", "submitit", "boto3.session"),
]
TINY = [
    *("debug=fast", "eval.episodes=2", "eval.every_steps=0", "tracking=none"),
    *("algo.total_timesteps=2048", "algo.n_steps=16"),
]


def warm_up() -> None:
    """Import what commands import, and train once: kernels are loaded, lazy imports done, no thread is left."""
    import logging

    import fastapi  # noqa: F401  # of MLflow's server, which must not be imported before it knows its store
    import flask  # noqa: F401
    import mlflow.pyfunc
    import mlflow.store.tracking.sqlalchemy_store  # noqa: F401  # its tables are what is configured below
    import sqlalchemy.orm
    import uvicorn  # noqa: F401
    import wandb  # noqa: F401

    import racing.commands
    import racing_launchers
    from racing.cli import main
    from tests.support.made_once import blank_pictures, code_once, composed_once, store_template, tracks_once

    sqlalchemy.orm.configure_mappers()
    for package in (racing.commands, racing_launchers):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if ".modal" not in module.name:  # leaves a thread behind
                importlib.import_module(module.name)
    handlers, level = logging.root.handlers[:], logging.root.level
    store_template.install()
    blank_pictures.install()
    code_once.install()
    composed_once.install()
    tracks_once.install()
    with tempfile.TemporaryDirectory(prefix="racing-warm-") as folder:
        store_template.copy_tables(Path(folder) / "mlflow.db")
        assert main(["train", *TINY, f"paths.outputs={folder}"]) == 0
    logging.root.handlers[:], logging.root.level = handlers, level  # as Hydra found it
    assert threading.active_count() == 1, f"must not fork: {threading.enumerate()}"


def warm_up_others() -> None:
    """Import what racing imports, not racing itself: whoever is forked has it from elsewhere."""
    os.environ |= {"MODAL_IS_REMOTE": "1", "MODAL_CONFIG_PATH": os.devnull}  # as in a container
    for module in OTHERS:
        importlib.import_module(module)
    assert not {"racing", "racing_launchers"} & set(sys.modules)
    assert threading.active_count() == 1, f"must not fork: {threading.enumerate()}"


def settle() -> None:
    """Make forks cheap: they copy the tables of pages, and pages that they touch, also as they end."""
    gc.collect()
    gc.freeze()  # collecting it in a fork would copy all of it
    for finalizer in weakref.finalize._registry:  # type: ignore[attr-defined]
        finalizer.atexit = False  # it is of what the server has
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "malloc_trim"):  # another C library
        return
    libc.malloc_trim(0)
    for line in Path("/proc/self/maps").read_text().splitlines():
        span, rights, *_, name = [*line.split(maxsplit=5), "", ""][:6]
        begin, end = (int(part, 16) for part in span.split("-"))
        begin, end = -(-begin // HUGE) * HUGE, end // HUGE * HUGE
        if rights.startswith("rw") and name in ("", "[heap]") and end > begin:
            libc.madvise(ctypes.c_void_p(begin), ctypes.c_size_t(end - begin), MADV_COLLAPSE)  # in vain on old kernels


class ForkServer:
    """Forks when asked. A connection without a request is a lease: with the last one the server ends."""

    def __init__(self, listener: socket.socket) -> None:
        self.listener = listener
        self.selector = selectors.DefaultSelector()
        self.selector.register(listener, selectors.EVENT_READ, self._accept)
        self.leases: set[socket.socket] = set()
        self.bound: dict[socket.socket, int] = {}  # children that do not outlive who asked for them
        self.done = False

    def serve(self) -> None:
        while not self.done:
            for key, _ in self.selector.select():
                key.data()

    def _accept(self) -> None:
        client, _ = self.listener.accept()
        pid, uid, _ = CREDENTIALS.unpack(client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, CREDENTIALS.size))
        if uid != os.getuid():  # whoever asks runs code as us
            client.close()
            return
        self.selector.register(client, selectors.EVENT_READ, lambda: self._hear(client, pid))

    def _hear(self, client: socket.socket, pid: int) -> None:
        """The request of a new client, or the end of an old one."""
        try:
            header, fds, _, _ = socket.recv_fds(client, LENGTH.size, 3)
        except OSError:
            header, fds = b"", []
        if not header:
            self.selector.unregister(client)
            client.close()
            if client in self.bound:
                os.kill(self.bound[client], signal.SIGKILL)
            if client in self.leases:
                self.leases.remove(client)
                self.done = not self.leases
            return
        length = LENGTH.unpack(header)[0]
        if not length:
            self.leases.add(client)
            client.sendall(NUMBER.pack(os.getpid()))
            return
        request = json.loads(read_exactly(client, length))
        child = os.fork()
        if child == 0:
            os.setsid()  # before anybody knows the process: a signal to its group must find it
            with contextlib.suppress(OSError):
                client.sendall(NUMBER.pack(os.getpid()))
            self._forget()
            if request["bound"]:
                ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # where there is no server, nobody ends it
            become(request, fds, pid)
        for fd in fds:
            os.close(fd)
        ended = os.pidfd_open(child)
        self.selector.register(ended, selectors.EVENT_READ, lambda: self._reap(client, child, ended))
        if request["bound"]:
            self.bound[client] = child

    def _reap(self, client: socket.socket, child: int, ended: int) -> None:
        self.selector.unregister(ended)
        os.close(ended)
        self.bound.pop(client, None)
        _, status = os.waitpid(child, 0)
        with contextlib.suppress(OSError):  # it did not wait
            client.sendall(NUMBER.pack(status))

    def _forget(self) -> None:
        """In a fork: close what is the server's."""
        for key in list(self.selector.get_map().values()):
            os.close(key.fd)
        self.selector.close()


def become(request: dict[str, Any], fds: list[int], parent: int) -> NoReturn:
    """In a fork: be the `python -m module ...`, or `python script.py ...`, that was asked for.

    parent: the process that asked.
    """
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    tempfile.tempdir = None  # TMPDIR may be another one
    sys.dont_write_bytecode = bool(os.environ.get("PYTHONDONTWRITEBYTECODE"))
    os.getppid = parent_of(parent)  # type: ignore[assignment]
    program: list[str] = request["program"]
    script = program[0].endswith(".py")
    at = 0 if script else program.index("-m") + 1
    options, name, arguments = program[:at], program[at], program[at + 1 :]
    open_streams(fds, unbuffered="-u" in options or bool(os.environ.get("PYTHONUNBUFFERED")))
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if os.environ.get("PYTHONFAULTHANDLER"):
        faulthandler.enable()
    show_command([sys.executable, *program])
    given = [part for part in os.environ.get("PYTHONPATH", "").split(os.pathsep) if part]
    place = str(Path(name).parent.absolute()) if script else request["cwd"]
    here = [] if os.environ.get("PYTHONSAFEPATH") or "-P" in options else [place]
    sys.path[:] = list(dict.fromkeys([*here, *given, *sys.path[1:]]))
    sys.argv = [name, *arguments]
    sys.orig_argv = [sys.executable, *program]
    # Those of numpy and torch; random's and os.urandom's are renewed in each fork.
    import numpy as np
    import torch

    np.random.seed()
    torch.random.seed()
    if request["mounts"] is None:
        with contextlib.suppress(ImportError):  # other code of that name
            from tests.support import fork_client

            fork_client.install(request["address"])
            from tests.support.forks import held

            held.install()
    else:
        go_inside(request["mounts"], given)
    if script:
        leave(lambda: runpy.run_path(name, run_name="__main__"))
    leave(lambda: runpy.run_module(name, run_name="__main__", alter_sys=True))


def go_inside(mounts: str, path: list[str]) -> None:
    """In a fork: be in a container, with mounts of its own and without our tests.

    mounts: shell script that makes them. path: of folders in which Python looks for sitecustomize.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNS) != 0:
        raise OSError(ctypes.get_errno(), "unshare")
    subprocess.run(["sh", "-ec", f"mount --make-rprivate /\n{mounts}"], check=True)
    for name in [name for name in sys.modules if name.partition(".")[0] == "tests"]:
        del sys.modules[name]
    for site in (Path(part) / "sitecustomize.py" for part in path):
        if site.exists():
            runpy.run_path(str(site))


def show_command(command: list[str]) -> None:
    """Put the command where `ps` and /proc read it: over the server's own, which PADDING has made long enough."""
    begin, end = map(int, Path("/proc/self/stat").read_text().rpartition(")")[2].split()[45:47])
    text = "".join(f"{part}\0" for part in command).encode()
    with Path("/proc/self/mem").open("r+b", buffering=0) as memory:
        memory.seek(begin)
        memory.write(text[: end - begin - 1].ljust(end - begin, b"\0"))


def leave(program: Callable[[], object]) -> NoReturn:
    """Run the program and end this process as the interpreter would."""
    code = 0
    try:
        program()
    except SystemExit as left:
        if left.code is not None and not isinstance(left.code, int):
            print(left.code, file=sys.stderr)
        code = left.code if isinstance(left.code, int) else int(left.code is not None)
    except KeyboardInterrupt:
        traceback.print_exc()
        code = -signal.SIGINT
    except BaseException:
        traceback.print_exc()
        code = 1
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            code = 120
    if code == -signal.SIGINT:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    os._exit(code & 0xFF)


def open_streams(fds: list[int], *, unbuffered: bool) -> None:
    """Make these file descriptors stdin, stdout, stderr."""
    for number, fd in enumerate(fds):
        os.dup2(fd, number)
        os.close(fd)
    sys.stdin = sys.__stdin__ = open(0, closefd=False)  # type: ignore[misc]  # noqa: SIM115
    for number, name, errors in ((1, "stdout", "strict"), (2, "stderr", "backslashreplace")):
        raw = io.FileIO(number, "w", closefd=False)
        buffered = raw if unbuffered else io.BufferedWriter(raw)
        stream = io.TextIOWrapper(
            buffered,  # type: ignore[arg-type]
            encoding="utf-8",
            errors=errors,
            line_buffering=name == "stderr" or raw.isatty(),
            write_through=unbuffered,
        )
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


def parent_of(pid: int) -> Callable[[], int]:
    """os.getppid of a fork: who asked for it while that lives, else 1."""
    try:
        ended = os.pidfd_open(pid)
    except ProcessLookupError:
        return lambda: 1
    return lambda: 1 if select.select([ended], [], [], 0)[0] else pid


def read_exactly(client: socket.socket, length: int) -> bytes:
    data = b""
    while len(data) < length:
        part = client.recv(length - len(data))
        if not part:
            raise ConnectionError("the other side is gone")
        data += part
    return data


def ask(
    address: str,
    program: list[str],
    cwd: str,
    env: Mapping[str, str],
    fds: list[int],
    *,
    bound: bool = False,
    mounts: str | None = None,
) -> socket.socket:
    """Ask for a fork; returns the connection on which first its process id, later its wait status comes as `answer`.

    address: of the server.
    program: options, module and arguments of Python.
    cwd, env: its directory and environment.
    fds: its stdin, stdout, stderr.
    bound: it is killed when the connection is closed on our side.
    mounts: it is a container with them, see `go_inside`.
    """
    server = reach(address)
    request = {"program": program, "cwd": cwd, "env": dict(env), "address": address, "bound": bound, "mounts": mounts}
    data = json.dumps(request).encode()
    socket.send_fds(server, [LENGTH.pack(len(data))], fds)
    server.sendall(data)
    return server


def reach(address: str) -> socket.socket:
    """A connection to the server. Raises ConnectionRefusedError where there is none."""
    client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        client.connect(address_of(address))
    except OSError:
        client.close()
        raise
    return client


def answer(server: socket.socket) -> int:
    """The number that the server says next."""
    return int(NUMBER.unpack(read_exactly(server, NUMBER.size))[0])


def main(address: str, what: str) -> int:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(address_of(address))  # first of all: it is also the lock that only one server starts
    except OSError:
        return 0
    listener.listen(1024)
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            {"all": warm_up, "others": warm_up_others}[what]()
    except BaseException:
        print(said.getvalue(), file=sys.stderr)
        raise
    warnings.filterwarnings("ignore", category=RuntimeWarning, module="runpy")  # what it runs is imported already
    settle()
    ForkServer(listener).serve()
    return 0


def address_of(name: str) -> str:
    """Of a socket without a file: nothing is left of it, and its name may be longer than a path."""
    return f"\0{name}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2]))
