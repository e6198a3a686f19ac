"""Containers: processes that run the entrypoint of Modal itself, with volumes where their function wants them.

They are forks, as are the Pythons that their jobs start (inside.py, start.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from google.protobuf.empty_pb2 import Empty
from modal_proto import api_pb2

from tests.conftest import REPOSITORY
from tests.launchers.modal_box.calls import Function, Input, Result
from tests.launchers.modal_box.registry import known_file
from tests.launchers.modal_box.volumes import Copy, commit, private_copy
from tests.support import fork_client
from tests.support.forks import held

if TYPE_CHECKING:
    from tests.launchers.modal_box.server import Box

HERE = Path(__file__).parent
PYTHON = """#!/bin/sh
case " $* " in *" -m racing"*) exec {python} -I -S {here}/start.py {address} {python} "$@" ;; esac
exec {python} "$@"
"""
IDLE = 30.0  # [s] that a container which takes several inputs waits for the next
NAMES = {
    "A100": "A100-SXM4-40GB",
    "A100-80GB": "A100-SXM4-80GB",
    "T4": "T4",
    "H100": "H100 80GB HBM3",
}  # as drivers say


@dataclass
class Container:
    """assigned: what it shall do next; item: what it does. gpu: what it got, such as L40S:1; '' for none."""

    id: str
    function: Function
    definition: api_pb2.Function
    gpu: str
    folder: Path
    assigned: Input | None
    call_id: str = ""
    item: Input | None = None
    copies: dict[str, Copy] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None
    began: float = 0.0  # with its input
    idle_since: float = field(default_factory=time.monotonic)
    taken: int = 0  # inputs so far
    ending: str = ""  # why we ended it
    told: bool = False  # of the cancellation
    log_at: int = 0


class Containers:
    """All that run, and those that did."""

    def __init__(self, box: Box) -> None:
        self.box = box
        self.all: dict[str, Container] = {}

    @property
    def alive(self) -> list[Container]:
        return [found for found in self.all.values() if found.process is None or found.process.poll() is None]

    def of_call(self, call_id: str) -> list[Container]:
        """Containers that have worked, or work, at a call; the newest last."""
        return [found for found in self.all.values() if found.call_id == call_id]

    def copy(self, task: str, volume_id: str) -> Copy:
        return self.all[task].copies[volume_id]

    def has_open_files(self, task: str, copy: Copy) -> bool:
        """Whether the container has a file of that volume open, or stands in it."""
        process = self.all[task].process
        assert process is not None
        mounts = [m.mount_path for m in self.all[task].definition.volume_mounts if m.volume_id == copy.volume.id]
        links = [f"/proc/{process.pid}/cwd", *Path(f"/proc/{process.pid}/fd").iterdir()]
        for link in links:
            with contextlib.suppress(OSError):
                if any(str(Path(link).readlink()).startswith(f"{mount}/") for mount in mounts):
                    return True
        return False

    # placing

    def free_gpu(self, function: Function) -> tuple[api_pb2.Function, str] | None:
        """The first definition whose GPU is free, and its name; None while all are taken."""
        used: dict[str, int] = {}
        for container in self.alive:
            name, _, count = container.gpu.partition(":")
            used[name] = used.get(name, 0) + int(count or 0)
        for definition in function.ranks:
            wanted = definition.resources.gpu_config
            if not wanted.gpu_type:
                return definition, ""
            name, count = wanted.gpu_type, wanted.count or 1
            if used.get(name, 0) + count <= self.box.gpus.get(name, 0):
                return definition, f"{name}:{count}"
        return None

    async def place(self, item: Input) -> None:
        """Give an input to a container that waits, or to a new one."""
        function = item.call.function
        mine = [found for found in self.alive if found.function is function]
        for container in mine:
            waits = container.assigned is None and container.item is None and container.process is not None
            if waits and not function.definition.single_use_containers and not container.ending:
                self._assign(container, item)
                return
        limit = function.definition.autoscaler_settings.max_containers or function.definition.concurrency_limit
        found = self.free_gpu(function)
        if found is None or (limit and len(mine) >= limit):
            return
        definition, gpu = found
        task = self.box.id("ta")
        container = Container(task, function, definition, gpu, self.box.folder / "containers" / task, None)
        self.all[task] = container
        self._assign(container, item)
        await asyncio.to_thread(self._start, container)

    def _assign(self, container: Container, item: Input) -> None:
        container.assigned, item.state = item, "running"
        container.call_id = item.call.id
        container.began = time.monotonic()

    def _start(self, container: Container) -> None:
        """Make its volumes and start the process."""
        definition, folder = container.definition, container.folder
        code = self._code(definition)
        (folder / "root").mkdir(parents=True)
        script: list[str] = []
        for number, mount in enumerate(definition.volume_mounts):
            volume = self.box.volumes.all[mount.volume_id]
            copy = private_copy(volume, folder / f"volume{number}", read_only=mount.read_only)
            container.copies[mount.volume_id] = copy
            # It stays, empty: to remove it would unmount what another box has mounted there in its own namespace.
            Path(mount.mount_path).mkdir(parents=True, exist_ok=True)
            source = copy.path / mount.sub_path.strip("/") if mount.HasField("sub_path") else copy.path
            script.append(f"mount --bind {shlex.quote(str(source))} {shlex.quote(mount.mount_path)}")
            if mount.read_only:
                script.append(f"mount -o remount,bind,ro {shlex.quote(mount.mount_path)}")
        command = [sys.executable, "-m", "modal._container_entrypoint"]
        arguments = api_pb2.ContainerArguments(
            task_id=container.id,
            function_id=container.function.id,
            app_id=container.function.app_id,
            function_def=definition,
            app_layout=self.box.functions.layout(container.function.app_id),
            environment_name="main",
        )
        (folder / "arguments").write_bytes(arguments.SerializeToString())
        options: dict[str, Any] = {"stdin": subprocess.DEVNULL, "cwd": folder / "root", "start_new_session": True}
        options["env"] = self._environment(container, code)
        warm = subprocess.Popen is fork_client.ForkingPopen and fork_client.same_settings(options["env"])
        python = sys.executable
        if warm:
            address = f"racing-container-{uuid.uuid4().hex}"
            command = [sys.executable, str(HERE / "inside.py"), address]
            python = str(folder / "bin/python")
            Path(python).write_text(PYTHON.format(python=sys.executable, here=HERE, address=address))
            Path(python).chmod(0o755)
        self._blinkers(container, python)
        with (folder / "log.txt").open("wb") as log:
            options |= {"stdout": log, "stderr": log}
            if warm:
                container.process = fork_client.Container(command, "\n".join(script), **options)
            else:
                script.append(f"exec {shlex.join(command)}")
                container.process = subprocess.Popen(["unshare", "-m", "sh", "-ec", "\n".join(script)], **options)

    def _code(self, definition: api_pb2.Function) -> Path:
        """The files that the image and its mounts bring along, made once for all containers with the same ones."""
        files: dict[str, str] = {}
        for mount in definition.mount_ids:
            files |= self.box.registry.mounts.get(mount, {})
        digest = hashlib.sha256(repr(sorted(files.items())).encode()).hexdigest()[:16]
        place = Path(tempfile.gettempdir()) / "modal-code" / digest
        if not place.exists():
            part = place.with_name(f"{digest}.{os.getpid()}.{self.box.id('part')}")
            part.mkdir(parents=True)
            for name, sha256 in files.items():
                target = part / name.lstrip("/")
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(known_file(sha256), target)
            try:
                part.rename(place)
            except OSError:  # another box was faster
                shutil.rmtree(part)
        return place

    def _environment(self, container: Container, code: Path) -> dict[str, str]:
        kept = ("PATH", "LANG", "HOME", "RACING_CACHE", "TMPDIR", held.VARIABLE, *fork_client.READ_AT_IMPORT)
        environment = {name: value for name, value in os.environ.items() if name.startswith(kept)}
        tools = container.folder / "bin"
        tools.mkdir()
        if container.gpu:
            name = container.gpu.partition(":")[0]
            smi = tools / "nvidia-smi"
            smi.write_text(f"#!/bin/sh\necho 'NVIDIA {NAMES.get(name, name)}'\n")
            smi.chmod(0o755)
        for secret in container.definition.secret_ids:
            environment |= self.box.registry.secrets[secret]
        return environment | {
            "PATH": f"{tools}:{environment.get('PATH', '')}",
            "PYTHONPATH": os.pathsep.join([str(code / "root"), str(container.folder / "blinkers")]),
            "MODAL_CONTAINER_ARGUMENTS_PATH": str(container.folder / "arguments"),
            "MODAL_SERVER_URL": self.box.url,
            "MODAL_TASK_ID": container.id,
            "MODAL_IS_REMOTE": "1",
            "MODAL_IMAGE_ID": container.definition.image_id,
            "MODAL_OVERRIDE_HEADERS": f"x-box-task:{container.id}",
            "MODAL_HEARTBEAT_INTERVAL": "1",
            "MODAL_CONFIG_PATH": str(self.box.folder / "no-settings.toml"),
        }

    def _blinkers(self, container: Container, python: str) -> None:
        """A folder with a module that Python imports at its start: the checkout, which is installed, is not seen.

        python: what starts another one.
        """
        hidden = [str(REPOSITORY), str(REPOSITORY / "launchers")]
        folder = container.folder / "blinkers"
        folder.mkdir()
        code = f"import sys\nsys.path[:] = [path for path in sys.path if path not in {hidden!r}]\n"
        code += f"sys.executable = {python!r}\n{held.IN_SITE}"
        (folder / "sitecustomize.py").write_text(code)

    # what containers say

    async def ContainerHello(self, request: Empty, task: str) -> Empty:
        return Empty()

    async def ContainerHeartbeat(self, request: Any, task: str) -> Any:
        container = self.all[task]
        if container.item and container.item.cancelled and not container.told:
            container.told = True
            event = api_pb2.CancelInputEvent(input_ids=[container.item.id])
            return api_pb2.ContainerHeartbeatResponse(cancel_input_event=event)
        return api_pb2.ContainerHeartbeatResponse()

    async def next_input(self, task: str) -> Input | None:
        """Wait for something to do; None: leave."""
        container = self.all[task]
        while not container.ending:
            if container.assigned is not None:
                container.item, container.assigned = container.assigned, None
                container.taken += 1
                container.told = False
                container.began = time.monotonic()
                return container.item
            if container.taken and container.definition.single_use_containers:
                return None
            if time.monotonic() - container.idle_since > IDLE:
                return None
            await asyncio.sleep(0.02)
        return None

    def finished(self, task: str, item: Input) -> None:
        container = self.all[task]
        if container.item is item:
            container.item, container.idle_since = None, time.monotonic()

    async def TaskResult(self, request: Any, task: str) -> Empty:
        """The container could not even begin: its code cannot be imported."""
        container = self.all[task]
        item, container.assigned = container.assigned or container.item, None
        if item is not None and item.state == "running":
            container.item = None
            self.box.functions.settle(item, request.result)
        return Empty()

    async def ContainerStop(self, request: Any, task: str) -> Any:
        self.end(request.task_id, "stopped")
        return api_pb2.ContainerStopResponse()

    async def TaskList(self, request: Any, task: str) -> Any:
        return api_pb2.TaskListResponse()

    def logs(self, app_id: str, call_id: str = "") -> list[Any]:
        """What the containers of an app, or of one call, have printed."""
        batches = []
        for container in self.all.values():
            wanted = not call_id or container.call_id == call_id
            path = container.folder / "log.txt"
            if container.function.app_id == app_id and wanted and path.exists():
                now = time.time()
                lines = path.read_text(errors="replace").splitlines(keepends=True)
                out = api_pb2.FILE_DESCRIPTOR_STDOUT
                items = [
                    api_pb2.TaskLogs(data=line, timestamp=now, file_descriptor=out, function_call_id=call_id)
                    for line in lines
                ]
                batches.append(api_pb2.TaskLogsBatch(task_id=container.id, items=items, entry_id=f"{len(items)}-0"))
        return batches

    # how they end

    def end(self, task: str, why: str, number: int = signal.SIGKILL) -> None:
        """Send a signal to a container."""
        container = self.all[task]
        container.ending = why
        if container.process is not None and container.process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(container.process.pid, number)

    async def cancel(self, item: Input, *, kill: bool) -> None:
        for container in self.alive:
            if kill and item in (container.item, container.assigned):
                self.end(container.id, "cancelled")

    def preempt(self, task: str, grace: float = 30.0) -> None:
        """Modal wants the machine: SIGINT, some time to save, SIGKILL; the same input goes to another container."""
        container = self.all[task]
        container.ending = "preempted"
        assert container.process is not None
        os.kill(container.process.pid, signal.SIGINT)

        def kill() -> None:
            if container.process is not None and container.process.poll() is None:
                self.end(task, "preempted")

        self.box.loop.call_soon_threadsafe(self.box.loop.call_later, grace, kill)

    def lose(self, task: str) -> None:
        """The machine breaks."""
        self.end(task, "lost")

    async def serve(self) -> None:
        """Watch the clocks and the processes; commit what Modal commits by itself."""
        committed = time.monotonic()
        while True:
            for container in list(self.all.values()):
                if container.process is not None:
                    self._watch(container)
            pause = self.box.background_commit
            if pause and time.monotonic() - committed > pause:
                committed = time.monotonic()
                for container in self.alive:
                    if container.process is not None and container.process.poll() is None:
                        for copy in container.copies.values():
                            await asyncio.to_thread(commit, copy)
            await asyncio.sleep(0.02)

    def _watch(self, container: Container) -> None:
        assert container.process is not None
        item = container.item or container.assigned
        if container.process.poll() is None:
            limit = container.definition.timeout_secs
            if container.item and limit and time.monotonic() - container.began > limit and not container.ending:
                self.end(container.id, "time is over")
            return
        if item is None or item.state != "running":
            return
        container.item = container.assigned = None
        if container.ending == "time is over":
            text = f"Task's current input {item.id} hit its timeout of {container.definition.timeout_secs}s"
            self.box.functions.settle(item, Result(status=Result.GENERIC_STATUS_TIMEOUT, exception=text))
        else:
            self.box.functions.lose(item)

    async def stop(self) -> None:
        for container in self.alive:
            self.end(container.id, "stopped")
        for container in self.all.values():
            if container.process is not None:
                await asyncio.to_thread(container.process.wait)
