"""Runs the jobs of one sweep that nobody has begun: python -m racing_launchers.local.supervisor FOLDER

There is one for a sweep at a time (`supervisor.lock`). It only starts and reaps processes and writes down what it sees,
so it can be killed, and replaced by another: jobs that run go on.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from racing.processes import python, usable_cores
from racing.runs.lock import FileLock
from racing_launchers.backend import TIME_LIMIT
from racing_launchers.sweep import Job, Sweep

LOCK = "supervisor.lock"
POLL_INTERVAL = 0.1  # [s] between two looks at processes and the queue
PATIENCE = 60.0  # [s] that a job has to save its state before it is killed
GPUS = "CUDA_VISIBLE_DEVICES"


@dataclass
class Slot:
    """Where one job at a time can run. gpu: what CUDA_VISIBLE_DEVICES becomes; '' is none, None leaves it alone."""

    gpu: str | None
    job: Job | None = None
    attempt: int = 0
    process: subprocess.Popen[bytes] | None = None
    began: float = 0.0
    stop_requested: float = 0.0  # when it was asked to stop because its time is over


def serve(sweep: Sweep) -> None:
    """Run jobs until none is left that waits."""
    launcher = sweep.launcher
    slots = make_slots(launcher)
    limit = 60 * launcher["timeout_min"] if launcher.get("timeout_min") else None
    while True:
        for slot in slots:
            if slot.process is not None:
                check(slot, limit)
        free = [slot for slot in slots if slot.process is None]
        waiting = [job for job in sweep.jobs if is_waiting(job)] if free else []
        for slot, job in zip(free, waiting, strict=False):
            start(sweep, slot, job)
        if not waiting and len(free) == len(slots):
            return
        time.sleep(POLL_INTERVAL)


def make_slots(launcher: dict[str, Any]) -> list[Slot]:
    """The slots that the launcher's configuration and the machine's GPUs give: those with a GPU first.

    Where there are GPUs, and more jobs at once than they take, the others get none and run on the CPU.
    """
    gpus = launcher["gpus"] if launcher.get("gpus") is not None else all_gpus()
    with_gpu: list[str | None] = [str(gpu) for _ in range(launcher["jobs_per_gpu"]) for gpu in gpus]
    count = launcher["n_jobs"] or (len(with_gpu) if gpus else usable_cores())
    rest: list[str | None] = [None if not gpus and launcher.get("gpus") is None else ""] * count
    return [Slot(gpu) for gpu in [*with_gpu, *rest][:count]]


def all_gpus() -> list[str]:
    """GPUs that CUDA_VISIBLE_DEVICES or else the driver names."""
    if GPUS in os.environ:
        return [name for name in os.environ[GPUS].split(",") if name]
    if not shutil.which("nvidia-smi"):
        return []
    done = subprocess.run(["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"], capture_output=True, text=True)
    return done.stdout.split() if done.returncode == 0 else []


def is_waiting(job: Job) -> bool:
    """Whether the last attempt of a job is one of ours that nobody has begun."""
    attempt = job.folder.attempt
    ours = attempt.get("launcher") == "local" and not job.folder.started and not job.folder.result
    return ours and not job.folder.exit_status and not job.cancel_requested


def start(sweep: Sweep, slot: Slot, job: Job) -> None:
    """Start the process of a job."""
    environment = os.environ | ({} if slot.gpu is None else {GPUS: slot.gpu})
    attempt = job.folder.attempts
    command = python("-m", "racing_launchers.worker", str(job.folder.path), str(attempt))
    with job.folder.log.open("ab") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, start_new_session=True
        )
    created = psutil.Process(process.pid).create_time()
    job.folder.write("started", attempt, {"pid": process.pid, "created": created, "gpu": slot.gpu})
    slot.job, slot.attempt, slot.process = job, attempt, process
    slot.began, slot.stop_requested = time.monotonic(), 0.0


def check(slot: Slot, limit: float | None) -> None:
    """See whether the job of a slot has ended; ask it to when its time [s] is over."""
    assert slot.process is not None
    assert slot.job is not None
    code = slot.process.poll()
    now = time.monotonic()
    if code is not None:
        exit_status = {"exit_code": code, "reason": reason(code, timed_out=slot.stop_requested > 0)}
        slot.job.folder.write("exit", slot.attempt, exit_status)
        slot.process = slot.job = None
    elif limit and not slot.stop_requested and now - slot.began > limit:
        slot.stop_requested = now
        slot.process.send_signal(signal.SIGTERM)
    elif slot.stop_requested and now - slot.stop_requested > PATIENCE:
        slot.process.kill()


def reason(code: int, *, timed_out: bool) -> str:
    """How a process ended, for people."""
    late = f"{TIME_LIMIT} (launcher.timeout_min), " if timed_out else ""
    if code >= 0:
        return f"{late}left with exit code {code}"
    name = signal.Signals(-code).name
    return f"{late}killed by {name}" + (": out of memory, or by hand" if name == "SIGKILL" and not timed_out else "")


def process_of(job: Job) -> psutil.Process | None:
    """The process that has begun with the job's last attempt; None if it is gone."""
    started = job.folder.started
    with contextlib.suppress(psutil.Error, KeyError):
        process = psutil.Process(started["pid"])
        same = abs(process.create_time() - started["created"]) < 0.01
        return process if same and process.status() != psutil.STATUS_ZOMBIE else None
    return None


def main(argv: Sequence[str] | None = None) -> int:
    """The process."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    sweep = Sweep(Path(arguments[0]))
    lock = FileLock(sweep.path / LOCK)
    lock.acquire(wait=True)
    serve(sweep)
    return 0


if __name__ == "__main__":
    sys.exit(main())
