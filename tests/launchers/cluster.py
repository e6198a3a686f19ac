"""A real SLURM cluster in a folder: munged, slurmctld and a slurmd for each node, on this machine, as root.

No systemd, no cgroups, no accounting, nothing in /etc: programs find the cluster by SLURM_CONF (`environment`). Jobs
are forked, as other programs of tests are: a srun before the real one starts tests/support/fork_stub.py in their place.
Partitions: main (default); low, which high pushes back into the queue after a grace of GRACE seconds.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil

from tests.support import fork_client

DAEMONS = ("munged", "slurmctld", "slurmd", "sbatch", "srun")
INSTALL = "install slurmctld slurmd slurm-client munge slurm-wlm-basic-plugins: sudo make packages"
SEARCH = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/sbin"))
GRACE = 15  # [s] from the signal of a preemption to the end
PATIENCE = 60.0  # [s] a loaded machine may need it
CPUS = 4  # that each node claims to have


def missing() -> str | None:
    """Why no cluster can run here; None if it can."""
    absent = [name for name in DAEMONS if not shutil.which(name, path=SEARCH)]
    if absent:
        return f"{', '.join(absent)} not installed; {INSTALL}"
    return None if os.geteuid() == 0 else "slurmd starts jobs as their users, which takes root; run the tests as root"


class Cluster:
    """Daemons of one cluster.

    nodes: how many.
    user_signal: a preempted job gets its own signal (--signal), else SIGTERM.
    forks: jobs are forked; else they start as a user's.
    """

    def __init__(self, folder: Path, nodes: int = 2, *, user_signal: bool = True, forks: bool = True) -> None:
        self.folder = folder
        self.nodes = [f"n{number + 1}" for number in range(nodes)]
        self.user_signal = user_signal
        path = f"{folder / 'bin'}{os.pathsep}{SEARCH}" if forks else SEARCH
        self.environment = {"SLURM_CONF": str(folder / "slurm.conf"), "PATH": path}
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self) -> None:
        for name in ("bin", "log", "state", "munge", *(f"spool/{node}" for node in self.nodes)):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        key = self.folder / "munge/key"
        key.touch(mode=0o600)
        key.write_bytes(secrets.token_bytes(1024))
        (self.folder / "slurm.conf").write_text(self._settings())
        (self.folder / "cgroup.conf").touch()
        self._write_srun()
        place = self.folder / "munge"
        self._daemon(
            *("munged", "munged", "--foreground", "--force", "--num-threads=2", f"--key-file={place}/key"),
            *(f"--socket={place}/socket", f"--pid-file={place}/pid", f"--seed-file={place}/seed"),
            f"--log-file={self.folder}/log/munged.log",
        )
        self._until(lambda: self._succeeds("munge", "-n", "-S", f"{place}/socket"), "munged does not answer")
        self._daemon("slurmctld", "slurmctld", "-D", "-i")
        self._until(lambda: "UP" in self.call("scontrol", "ping", check=False), "slurmctld does not answer")
        for node in self.nodes:
            self.revive_node(node)
        self.until_ready()

    def until_ready(self) -> None:
        """Wait until all nodes take jobs."""
        self._until(lambda: all(self._ready(node) for node in self.nodes), "nodes do not come up")

    def stop(self) -> None:
        """End all jobs and daemons."""
        for node in self.nodes:
            self.kill_node(node)
        for process in self._running.values():
            process.kill()
            process.wait()
        self._running.clear()

    def kill_node(self, node: str) -> None:
        """As if its power failed: slurmd and all processes of jobs on the node are gone at once."""
        slurmd = self._running.pop(f"slurmd.{node}", None)
        if slurmd:
            slurmd.kill()
            slurmd.wait()
        found = sorted(
            self._processes(node), key=lambda process: "slurmstepd" not in process.name()
        )  # they would report
        for process in found:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()

    def revive_node(self, node: str) -> None:
        """The machine is back; see `until_ready`."""
        self._daemon(f"slurmd.{node}", "slurmd", "-D", "-N", node)

    def call(self, *command: str, check: bool = True) -> str:
        """What one of SLURM's commands prints."""
        done = subprocess.run(command, env={**os.environ, **self.environment}, capture_output=True, text=True)
        assert done.returncode == 0 or not check, f"{' '.join(command)}: {done.stderr}"
        return done.stdout

    def show(self, job: str) -> dict[str, str]:
        """What slurmctld knows of a job, such as JobState, Restarts, ExitCode."""
        line = self.call("scontrol", "--oneliner", "show", "job", job)
        return dict(re.findall(r"(\S+?)=(\S*)", line))

    def _processes(self, node: str | None = None) -> Iterator[psutil.Process]:
        """The processes of jobs, and those of SLURM above them. node: only those there."""
        seen: set[int] = set()
        for process in psutil.process_iter():
            try:
                variables = process.environ()
                above = process.parents()
            except psutil.Error:
                continue
            where = variables.get("SLURMD_NODENAME")
            if variables.get("SLURM_CONF") != self.environment["SLURM_CONF"] or where is None:
                continue
            if node is None or where == node:
                yield process
                steps = (parent for parent in above if parent.pid not in seen and "slurmstepd" in parent.name())
                for step in steps:
                    seen.add(step.pid)
                    yield step

    def _daemon(self, name: str, *command: str) -> None:
        with (self.folder / "log" / f"{name}.out").open("ab") as log:
            self._running[name] = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **self.environment},
                start_new_session=True,
            )

    def _write_srun(self) -> None:
        """What the scripts of jobs call, if PATH is `environment`'s: the real one, with a stub for the fork."""
        stub = f"{sys.executable} -I -S {Path(fork_client.__file__).with_name('fork_stub.py')}"
        real = shutil.which("srun", path=SEARCH)
        text = SRUN.format(python=sys.executable, stub=f"{stub} {fork_client.warm_server()}", real=real)
        (self.folder / "bin/srun").write_text(text)
        (self.folder / "bin/srun").chmod(0o755)

    def _succeeds(self, *command: str) -> bool:
        return subprocess.run(command, capture_output=True, env={**os.environ, **self.environment}).returncode == 0

    def _ready(self, node: str) -> bool:
        return self.call("sinfo", "-h", "-n", node, "-p", "main", "-o", "%T", check=False).strip() in ("idle", "mixed")

    def _until(self, reached: Callable[[], bool], complaint: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while not reached():
            gone = [name for name, process in self._running.items() if process.poll() is not None]
            late = time.monotonic() > deadline
            said = "\n".join(path.read_text(errors="replace")[-800:] for path in (self.folder / "log").iterdir())
            assert not gone and not late, f"{complaint}; gone: {gone}\n{said}"
            time.sleep(0.1)

    def _settings(self) -> str:
        host = socket.gethostname().partition(".")[0]
        first = free_ports(1 + len(self.nodes))
        version = re.search(r"(\d+)\.(\d+)", self.call("slurmctld", "-V"))
        assert version
        old = (int(version[1]), int(version[2])) < (23, 11)
        key = "SlurmctldParameters=preempt_send_user_signal" if old else "PreemptParameters=send_user_signal"
        own = f"NodeHostname={host} NodeAddr=127.0.0.1 CPUs={CPUS} RealMemory=4000"
        nodes = "\n".join(f"NodeName={node} Port={first + 1 + number} {own}" for number, node in enumerate(self.nodes))
        return SETTINGS.format(
            host=host,
            port=first,
            folder=self.folder,
            preemption=key if self.user_signal else "",
            nodes=nodes,
            grace=GRACE,
        )


# cred_expire: a job that was put back waits about that long [s]; 120 where it is not set or less than 5. Other times
# are short as well: a real cluster takes minutes where this one takes seconds. CPUs are claimed (config_overrides),
# and without cgroups nothing is limited or bound.
SETTINGS = """
ClusterName=racing
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket,cred_expire=5
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmctldLogFile={folder}/log/slurmctld.log
SlurmdLogFile={folder}/log/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
ReturnToService=2
SlurmdTimeout=6
SlurmctldTimeout=10
InactiveLimit=0
KillWait=5
MinJobAge=300
UnkillableStepTimeout=20
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_interval=1,sched_min_interval=100000,bf_interval=1
PriorityType=priority/basic
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
{preemption}
JobRequeue=1
AccountingStorageType=accounting_storage/none
{nodes}
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE PriorityTier=5 PreemptMode=OFF
PartitionName=low Nodes=ALL MaxTime=INFINITE PriorityTier=1 PreemptMode=REQUEUE GraceTime={grace}
PartitionName=high Nodes=ALL MaxTime=INFINITE PriorityTier=9 PreemptMode=OFF
"""

SRUN = """#!/bin/bash
for part; do
    [ "$part" = "{python}" ] && command+=({stub})
    command+=("$part")
done
exec {real} "${{command[@]}}"
"""


def free_ports(count: int) -> int:
    """The first of `count` ports in a row that nobody uses."""
    for _ in range(100):
        with contextlib.ExitStack() as held, contextlib.suppress(OSError):
            first = held.enter_context(bound(0)).getsockname()[1]
            for port in range(first + 1, first + count):
                held.enter_context(bound(port))
            return int(first)
    raise AssertionError("no free ports")


def bound(port: int) -> socket.socket:
    """A socket of this machine at that port; 0 takes a free one."""
    opened = socket.socket()
    try:
        opened.bind(("127.0.0.1", port))
    except OSError:
        opened.close()
        raise
    return opened
