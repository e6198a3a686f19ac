"""The machine under the instances: boots what moto has launched, gives notices, cuts the power."""

from __future__ import annotations

import base64
import contextlib
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from moto.core import DEFAULT_ACCOUNT_ID
from moto.ec2.models import ec2_backends

from racing.sim.kernels.kernel import cache_directory
from tests.launchers.aws_spot.instances.inside import relay
from tests.launchers.aws_spot.instances.metadata import Service
from tests.support import fork_client
from tests.support.forks import held

HERE = Path(__file__).parent
TAKEN, ITSELF = "Server.SpotInstanceTermination", "Client.InstanceInitiatedShutdown"  # why instances end
STAND_IN = HERE / "start.py"
OWN = ("/opt", "/etc/racing", "/etc/systemd/system", "/var/log")  # folders that each instance has for itself
BYTECODE = "instances-bytecode"  # in the folder for temporary files: all instances have the same code
SETTINGS = {"OMP_NUM_THREADS": "1", "AWS_ENDPOINT_URL": "http://127.0.0.1:9000"}  # the second: the network of AWS
BLINKERS = """
import os, sys
# The checkout is installed where the tests run: an instance has its own copy of the code only.
sys.path[:] = [
    path for path in sys.path
    if path == "/opt/racing/code" or not os.path.isfile(f"{{path}}/racing/__init__.py")
    and not os.path.isdir(f"{{path}}/racing_launchers")
]
sys.executable = "/opt/racing/venv/bin/python"
sys.pycache_prefix = {bytecode!r}
os.environ |= {settings!r}
{held}"""
UV = """#!/bin/bash
# The packages of an instance are those of the tests: nothing is downloaded.
set -e
echo "$@" >>{folder}/uv.log
if [ "$1" = venv ]; then
  place="${{@: -1}}"
  mkdir -p "$place/bin"
  cp {folder}/python "$place/bin/python"
else
  cp "${{@: -1}}" {folder}/requirements.txt
fi
"""
PYTHON = """#!/bin/sh
export PYTHONPATH="$PYTHONPATH:{folder}/blinkers"
case " $* " in *" -m "*) exec {start} "$@" ;; esac
exec {python} "$@"
"""
SYSTEMCTL = """#!/bin/sh
exec {python} -I {here}/systemd.py {folder} "$@"
"""
SHUTDOWN = """#!/bin/bash
[ "$1" = -h ]
if [ "$2" = now ]; then touch {folder}/off; else echo "$2" >{folder}/dead-man; fi
"""


@dataclass
class Machine:
    """An instance that runs. ending: why it ended; '' while it runs."""

    id: str
    folder: Path
    metadata: Service
    process: subprocess.Popen[bytes]
    tags: dict[str, str]
    ending: str = ""

    @property
    def console(self) -> str:
        return (self.folder / "console.log").read_text(errors="replace")

    def pid_of(self, module: str) -> int:
        """The process that runs a module inside, as this machine numbers it."""
        inside = psutil.Process(self.process.pid).children(recursive=True)
        commands = [(one.pid, one.cmdline()) for one in inside]
        return next(pid for pid, command in commands if module in command and str(STAND_IN) not in command)


class Host:
    """A context manager: while it is entered, instances of moto that have user data run."""

    def __init__(self, ec2: Any, url: str, folder: Path) -> None:
        longest = len(f"{folder}/i-0123456789abcdef0/imds.sock")
        assert longest < 108, f"{folder}: sockets of instances have names of at most 107 characters; shorten it"
        self.ec2, self.url, self.folder = ec2, url, folder
        self.machines: dict[str, Machine] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self.problem: BaseException | None = None

    def __enter__(self) -> Host:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._thread.start()
        return self

    def __exit__(self, *error: Any) -> None:
        self._ended.set()
        self._thread.join()
        for machine in self.machines.values():
            self._kill(machine)
            machine.metadata.close()
        if self.problem is not None:
            raise self.problem

    @property
    def alive(self) -> list[Machine]:
        return [machine for machine in self.machines.values() if not machine.ending]

    def cut_power(self, machine: Machine) -> None:
        """Nobody is told."""
        machine.ending = "power cut"
        self._kill(machine)
        self._terminate(machine, TAKEN)

    def _terminate(self, machine: Machine, why: str) -> None:
        """why: moto knows only that a user may do it."""
        self.ec2.terminate_instances(InstanceIds=[machine.id])
        instance = ec2_backends[DEFAULT_ACCOUNT_ID][self.ec2.meta.region_name].get_instance(machine.id)
        instance.state_reason.code = instance.state_reason.message = why

    def _serve(self) -> None:
        try:
            while not self._ended.wait(0.2):
                for machine in self.alive:
                    if machine.process.poll() is not None:
                        machine.ending = "off" if (machine.folder / "off").exists() else "crashed"
                        self._terminate(machine, ITSELF)  # the template says so
                filters = [{"Name": "instance-state-name", "Values": ["pending", "running"]}]
                for reservation in self.ec2.describe_instances(Filters=filters)["Reservations"]:
                    for instance in reservation["Instances"]:
                        if instance["InstanceId"] not in self.machines:
                            self._boot(instance)
        except BaseException as error:
            self.problem = error

    def _boot(self, instance: dict[str, Any]) -> None:
        id = instance["InstanceId"]
        asked = self.ec2.describe_instance_attribute(InstanceId=id, Attribute="userData")
        folder = self.folder / id
        (folder / "bin").mkdir(parents=True)
        (folder / "user_data").write_bytes(base64.b64decode(asked["UserData"]["Value"]))
        for name in OWN:
            (folder / name.strip("/")).mkdir(parents=True, exist_ok=True)
        tags_of = {tag["Key"]: tag["Value"] for tag in instance.get("Tags", [])}
        metadata = Service(folder / "imds.sock", id, instance["InstanceType"], "role-of-the-job")
        _forward(folder / "aws.sock", self.url)
        self.machines[id] = Machine(id, folder, metadata, self._start(folder), tags_of)

    def _start(self, folder: Path) -> subprocess.Popen[Any]:
        """Start its first process."""
        kept = {name: value for name, value in os.environ.items() if name.startswith(fork_client.READ_AT_IMPORT)}
        warm = subprocess.Popen is fork_client.ForkingPopen and fork_client.same_settings(kept)
        furnish(folder, kept if warm else None)
        for name, text in {"systemctl": SYSTEMCTL, "shutdown": SHUTDOWN}.items():
            write_program(folder / "bin" / name, text.format(folder=folder, python=sys.executable, here=HERE))
        mounts = [
            f"mkdir -p {name} && mount --bind {shlex.quote(str(folder / name.strip('/')))} {name}" for name in OWN
        ]
        command = [sys.executable, str(HERE / "inside.py"), str(folder)]
        environment = {"PATH": f"{folder / 'bin'}:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", **SETTINGS}
        environment |= {name: value for name, value in os.environ.items() if name == held.VARIABLE}
        with (folder / "console.log").open("ab") as log:
            options = {"env": environment, "stdin": subprocess.DEVNULL, "stdout": log, "stderr": log, "cwd": "/"}
            options["start_new_session"] = True
            if warm:
                return fork_client.Container([*command, "warm"], "\n".join(mounts), **options)
            mounts.append(f"exec {shlex.join([command[0], '-I', *command[1:]])}")
            return fork_client.RealPopen(["unshare", "-m", "sh", "-ec", "\n".join(mounts)], **options)

    def _kill(self, machine: Machine) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(machine.process.pid, signal.SIGKILL)
        machine.process.wait()


def furnish(folder: Path, warm: dict[str, str] | None) -> None:
    """Write what an instance has in place of Python and uv. warm: settings of Pythons that are forks; None: none is."""
    if warm is None and cache_directory().is_dir():  # an image whose kernels are compiled
        shutil.copytree(cache_directory(), folder / "opt/racing/cache" / cache_directory().name)
    bytecode = str(Path(tempfile.gettempdir()) / BYTECODE)
    (folder / "blinkers").mkdir()
    (folder / "blinkers/sitecustomize.py").write_text(
        BLINKERS.format(bytecode=bytecode, settings=warm or {}, held=held.IN_SITE)
    )
    stand_in = f"{sys.executable} -I -S {STAND_IN} /opt/racing/venv/bin/python"
    start = sys.executable if warm is None else stand_in
    write_program(folder / "python", PYTHON.format(folder=folder, start=start, python=sys.executable))
    write_program(folder / "bin/uv", UV.format(folder=folder))


def write_program(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)


def _forward(path: Path, url: str) -> None:
    """What comes to a Unix socket goes to moto, and back."""
    port = int(url.rpartition(":")[2])
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(path))
    listening.listen(64)
    relay(listening, lambda: socket.create_connection(("127.0.0.1", port)))


def hindrance() -> str:
    """Why instances cannot run here, with the remedy; '' if they can."""
    if not shutil.which("unshare") or not shutil.which("mount"):
        return "needs unshare and mount (apt-get install util-linux mount)"
    done = subprocess.run(["unshare", "-m", "-p", "-n", "--fork", "true"], capture_output=True, text=True)
    return f"needs the right to make namespaces ({done.stderr.strip()})" if done.returncode else ""


def wait(condition: Any, what: str, seconds: float = 300.0) -> None:
    """Until something holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain until {what}"
        time.sleep(0.1)
