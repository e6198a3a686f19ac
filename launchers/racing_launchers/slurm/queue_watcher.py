"""Asks SLURM where jobs are, all of them in one call; and about partitions, limits, and a job that runs."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

from racing.errors import InputError, require
from racing_launchers.backend import JobInfo, JobState

TIMEOUT = 60  # [s] for one command; a busy slurmctld takes its time
FIELDS = {"JobArrayID": 40, "State": 20, "exit_code": 12, "NodeList": 60, "Reason": 60, "TimeLimit": 20}  # widths
RUNNING = ("RUNNING", "COMPLETING", "CONFIGURING", "STAGE_OUT", "SIGNALING", "RESIZING")
HELD = ("REQUEUE_HOLD", "RESV_DEL_HOLD", "SPECIAL_EXIT", "SUSPENDED", "STOPPED")
PENDING = ("PENDING", "REQUEUED", "REQUEUE_FED", *HELD)
REASONS = {  # why a job waits, where SLURM's own word is not enough
    "BeginTime": "requeued, begins in a moment",
    "Priority": "waiting for higher-priority jobs",
    "Resources": "waiting for free nodes",
    "None": "waiting for the scheduler",
    "PartitionConfig": "no node that is up is large enough",
}


class Unanswered(Exception):
    """SLURM did not answer; the message is what its command said."""


@dataclass(frozen=True)
class QueueEntry:
    """What SLURM knows of a job, in its own words. code: as wait() gives it, exit code * 256 + signal."""

    state: str
    code: int = 0
    node: str = ""
    reason: str = ""
    limit: str = ""

    @property
    def info(self) -> JobInfo:
        """The same as every backend gives it."""
        if self.state in RUNNING:
            return JobInfo(JobState.RUNNING, f"on {self.node}" if self.node else self.state.lower())
        if self.state in PENDING:
            return JobInfo(JobState.PENDING, REASONS.get(self.reason) or f"{self.state.lower()}: {self.reason}")
        return JobInfo(JobState.LOST, self.ending)

    @property
    def ending(self) -> str:
        """Why a job is over, for people."""
        where = f" on {self.node}" if self.node else ""
        words = {
            "TIMEOUT": f"time limit reached ({self.limit}, launcher.timeout_min)",
            "DEADLINE": "the deadline of the job was reached",
            "NODE_FAIL": f"its node failed ({self.node})",
            "BOOT_FAIL": f"its node did not boot ({self.node})",
            "OUT_OF_MEMORY": f"out of memory{where} (launcher.mem_gb)",
            "PREEMPTED": f"preempted{where} and not requeued",
            "REVOKED": "revoked by another cluster",
            "COMPLETED": f"left{where} without a result",
        }
        if self.state.startswith("CANCELLED"):
            return self.state.lower().replace("cancelled by", "cancelled by user")
        return words.get(self.state) or exit_text(self.code) + where

    @classmethod
    def read(cls, cells: Sequence[str]) -> QueueEntry:
        """From the columns of FIELDS, but for the first."""
        state, code, node, reason, limit = cells
        return cls(state, int(code) if code.isdigit() else 0, node.removeprefix("(null)"), reason, limit)


def exit_text(code: int) -> str:
    """How a process ended, for people. code: as wait() gives it; srun adds 128 to the signal that killed its task."""
    left, number = code >> 8, code & 127
    number = number or (left - 128 if 128 < left < 160 else 0)
    if number == 9:
        return "killed by SIGKILL: out of memory, or by hand"
    return f"killed by signal {number}" if number else f"left with exit code {left}"


def command(*arguments: str) -> str:
    """What a command of SLURM prints. Raises InputError where it is not installed, Unanswered if it fails."""
    name = arguments[0]
    require(
        shutil.which(name) is not None,
        f"launcher=slurm needs {name}, which is not on PATH; run it where the cluster takes jobs, often a login node",
    )
    try:
        done = subprocess.run(arguments, capture_output=True, text=True, timeout=TIMEOUT)
    except subprocess.TimeoutExpired as error:
        raise Unanswered(f"{name} said nothing for {TIMEOUT} s") from error
    if done.returncode:
        lines = [line for line in done.stderr.strip().splitlines() if line] or [f"exit code {done.returncode}"]
        raise Unanswered(f"{name}: {lines[-1]}")
    return done.stdout


def poll_queue(ids: Sequence[str]) -> dict[str, QueueEntry]:
    """By id what SLURM knows of these jobs, also of ended ones while it remembers them. Raises Unanswered."""
    found = _in_queue(ids)
    forgotten = [id for id in ids if id not in found]
    return found | (_in_accounting(forgotten) if forgotten else {})


def _in_queue(ids: Sequence[str]) -> dict[str, QueueEntry]:
    """What is in slurmctld's memory: MinJobAge seconds after its end a job is not."""
    wanted = ",".join(sorted({id.partition("_")[0] for id in ids}))
    layout = ",".join(f"{name}:{width}" for name, width in FIELDS.items())
    try:
        output = command("squeue", "--noheader", "--array", "--states=all", f"--jobs={wanted}", f"--Format={layout}")
    except Unanswered as error:
        if "Invalid job id" in str(error):
            return {}
        raise
    found = {}
    for line in output.splitlines():
        cells = []
        for width in FIELDS.values():
            cells.append(line[:width].strip())
            line = line[width:]
        found[cells[0]] = QueueEntry.read(cells[1:])
    return {id: found[id] for id in ids if id in found}


def _in_accounting(ids: Sequence[str]) -> dict[str, QueueEntry]:
    """What sacct knows; many clusters have none, or one that answers later."""
    try:
        output = command(
            *("sacct", "--noheader", "--allocations", "--parsable2", f"--jobs={','.join(ids)}"),
            "--format=JobID,State,ExitCode,NodeList,Reason,Timelimit",
        )
    except (Unanswered, InputError):
        return {}
    found = {}
    for line in output.splitlines():
        id, state, code, *rest = line.split("|")
        left, _, number = code.partition(":")
        found[id] = QueueEntry.read([state, str(int(left) * 256 + int(number or 0)), *rest])
    return found


def partitions() -> list[str]:
    """Names of the partitions. Raises Unanswered."""
    return sorted(set(command("sinfo", "--noheader", "--format=%R").split()))


def largest_array() -> int:
    """How many jobs one array may have. Raises Unanswered."""
    found = re.search(r"MaxArraySize\s*=\s*(\d+)", command("scontrol", "show", "config"))
    return int(found[1]) if found else 1001


def show_job(job: str) -> dict[str, str]:
    """What slurmctld knows of a job that runs, such as JobState and Restarts. Raises Unanswered."""
    return dict(re.findall(r"(\S+?)=(\S*)", command("scontrol", "--oneliner", "show", "job", job)))
