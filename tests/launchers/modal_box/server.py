"""The box itself: an event loop in a thread, a gRPC and an HTTP server on it, and the dispatch to the parts."""

from __future__ import annotations

import asyncio
import inspect
import itertools
import shutil
import socket
import subprocess
import threading
import traceback
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import grpclib.server
from google.protobuf.message import Message
from grpclib import GRPCError, Status
from modal_proto import api_pb2
from modal_proto.api_grpc import ModalClientBase

from tests.launchers.modal_box.calls import Calls
from tests.launchers.modal_box.containers import Containers
from tests.launchers.modal_box.registry import Registry
from tests.launchers.modal_box.volumes import Volumes
from tests.launchers.modal_box.web import Web

TOKEN = ("ak-box", "as-box")
QUIET = ("AppHeartbeat", "ContainerHeartbeat", "FunctionGetOutputs", "FunctionGetInputs")  # polls


class Box:
    """A Modal of our own. A context manager.

    folder: where it keeps everything. gpus: how many there are of each kind; who asks for others waits.
    background_commit: [s] between the commits that Modal makes by itself; None: it makes none.
    """

    def __init__(self, folder: Path, gpus: dict[str, int] | None = None, background_commit: float | None = 2.0) -> None:
        self.folder = folder
        self.gpus = {"T4": 8} if gpus is None else gpus
        self.background_commit = background_commit
        self.calls: list[tuple[str, Message]] = []
        self.unknown: list[str] = []  # RPCs that the client wanted and the box lacks
        self.failures: list[str] = []  # tracebacks of our own mistakes
        self._numbers = itertools.count(1)
        self.registry, self.volumes = Registry(self), Volumes(self)
        self.functions, self.containers, self.web = Calls(self), Containers(self), Web(self)
        parts = (self.registry, self.volumes, self.functions, self.containers)
        self.handlers = {name: getattr(part, name) for part in parts for name in dir(part) if name[0].isupper()}
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)

    def __enter__(self) -> Box:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._thread.start()
        self.run(self._start())
        return self

    def __exit__(self, *error: object) -> None:
        self.run(self._stop())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        shutil.rmtree(self.folder / "containers", ignore_errors=True)

    async def _start(self) -> None:
        self.server = grpclib.server.Server([servicer(self)])
        await self.server.start("127.0.0.1", 0)
        self.port = self.server._server.sockets[0].getsockname()[1]
        await self.web.start()
        self._tasks = [asyncio.ensure_future(self.guarded(part.serve())) for part in (self.functions, self.containers)]

    async def _stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await self.containers.stop()
        await self.web.stop()
        self.server.close()

    async def guarded(self, work: Awaitable[None]) -> None:
        """Do `work`; what it raises is a mistake in the box, and fails the test (conftest.py)."""
        try:
            await work
        except asyncio.CancelledError:
            raise
        except Exception:
            self.failures.append(traceback.format_exc())

    def run(self, work: Any, timeout: float = 60) -> Any:
        """Do something on the loop of the box, from the test."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(timeout)

    def id(self, kind: str) -> str:
        """A name as Modal makes them: `fu-` and 22 characters."""
        return f"{kind}-{next(self._numbers):022d}"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def env(self, token: tuple[str, str] = TOKEN) -> dict[str, str]:
        """Environment that makes this box the client's Modal. Nothing of the user's own settings is left."""
        nothing = self.folder / "no-settings.toml"
        nothing.touch()
        return {
            "MODAL_SERVER_URL": self.url,
            "MODAL_TOKEN_ID": token[0],
            "MODAL_TOKEN_SECRET": token[1],
            "MODAL_CONFIG_PATH": str(nothing),
            "MODAL_ENVIRONMENT": "",
        }

    def requests(self, name: str) -> list[Any]:
        """What was sent to one RPC."""
        return [request for called, request in self.calls if called == name]

    def started(self) -> list[str]:
        """RPCs that make something run, or cost something, and were called."""
        spending = ("AppCreate", "FunctionCreate", "FunctionMap", "ImageGetOrCreate", "AppPublish")
        return [name for name, _ in self.calls if name in spending]

    async def answer(self, name: str, stream: Any) -> None:
        """One RPC."""
        request = await stream.recv_message()
        if name not in QUIET:
            self.calls.append((name, request))
        metadata = dict(stream.metadata)
        handler: Callable[..., Any] | None = self.handlers.get(name)
        if handler is None:
            self.unknown.append(name)
            raise GRPCError(Status.UNIMPLEMENTED, f"the box has no {name}")
        inside = metadata.get("x-modal-client-type") == str(api_pb2.CLIENT_TYPE_CONTAINER)
        if not inside and (metadata.get("x-modal-token-id"), metadata.get("x-modal-token-secret")) != TOKEN:
            raise GRPCError(Status.UNAUTHENTICATED, "Token ID is malformed or not found")
        try:
            replies = handler(request, metadata.get("x-box-task", ""))
            if inspect.isasyncgen(replies):
                async for reply in replies:
                    await stream.send_message(reply)
            else:
                await stream.send_message(await replies)
        except (GRPCError, asyncio.CancelledError, ConnectionError, grpclib.exceptions.StreamTerminatedError):
            raise
        except Exception:
            self.failures.append(f"{name}: {traceback.format_exc()}")
            raise


def servicer(box: Box) -> ModalClientBase:
    """Every RPC of the client leads to `Box.answer`."""

    def handler(name: str) -> Callable[..., Awaitable[None]]:
        async def handle(self: object, stream: Any) -> None:
            await box.answer(name, stream)

        return handle

    names = ModalClientBase.__abstractmethods__
    return type("Servicer", (ModalClientBase,), {name: handler(name) for name in names})()


def hindrance() -> str:
    """Why the box cannot run here, with the remedy; empty if it can."""
    if not shutil.which("unshare") or not shutil.which("mount"):
        return "needs unshare and mount (apt-get install util-linux mount)"
    done = subprocess.run(["unshare", "-m", "sh", "-c", "mount --bind /tmp /tmp"], capture_output=True, text=True)
    return f"needs the right to mount in a namespace of its own ({done.stderr.strip()})" if done.returncode else ""


def free_ports(count: int) -> Iterator[int]:
    """Ports that nobody listens on."""
    for _ in range(count):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            yield probe.getsockname()[1]
