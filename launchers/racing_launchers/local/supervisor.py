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

from racing.runs.lock import FileLock
from racing_launchers.sweep import Job, Sweep

LOCK = "supervisor.lock"
LOOK = 0.1  # [s] between two looks at processes and the queue
PATIENCE = 60.0  # [s] that a job has to save its state before it is killed
PLACES = "CUDA_VISIBLE_DEVICES"


@dataclass
class Place:
    """Where one job at a time can run. gpu: what CUDA_VISIBLE_DEVICES becomes; '' is none, None leaves it alone."""

    gpu: str | None
    job: Job | None = None
    attempt: int = 0
    process: subprocess.Popen[bytes] | None = None
    began: float = 0.0
    asked: float = 0.0  # when it was told to stop for its time is over


def serve(sweep: Sweep) -> None:
    """Run jobs until none is left that waits."""
    settings = sweep.manifest["launcher"]
    places = make_places(settings)
    limit = 60 * settings["timeout"] if settings.get("timeout") else None
    while True:
        for place in places:
            if place.process is not None:
                watch(place, limit)
        free = [place for place in places if place.process is None]
        waiting = [job for job in sweep.jobs if waits(job)] if free else []
        for place, job in zip(free, waiting, strict=False):
            begin(sweep, place, job)
        if not waiting and len(free) == len(places):
            return
        time.sleep(LOOK)


def make_places(settings: dict[str, Any]) -> list[Place]:
    """The places that the launcher's settings and the machine's GPUs give: those with a GPU first.

    Where there are GPUs, and more jobs at once than they take, the others get none and run on the CPU.
    """
    gpus = settings["gpus"] if settings.get("gpus") is not None else all_gpus()
    with_gpu: list[str | None] = [str(gpu) for _ in range(settings["jobs_per_gpu"]) for gpu in gpus]
    count = settings["n_jobs"] or (len(with_gpu) if gpus else usable_cores())
    rest: list[str | None] = [None if not gpus and settings.get("gpus") is None else ""] * count
    return [Place(gpu) for gpu in [*with_gpu, *rest][:count]]


def usable_cores() -> int:
    """Cores that this process may use."""
    return len(psutil.Process().cpu_affinity()) if hasattr(psutil.Process, "cpu_affinity") else os.cpu_count() or 1


def all_gpus() -> list[str]:
    """GPUs that CUDA_VISIBLE_DEVICES or else the driver names."""
    if PLACES in os.environ:
        return [name for name in os.environ[PLACES].split(",") if name]
    if not shutil.which("nvidia-smi"):
        return []
    done = subprocess.run(["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"], capture_output=True, text=True)
    return done.stdout.split() if done.returncode == 0 else []


def waits(job: Job) -> bool:
    """Whether the last attempt of a job is one of ours that nobody has begun."""
    attempt = job.folder.attempt
    ours = attempt.get("launcher") == "local" and not job.folder.started and not job.folder.result
    return ours and not job.folder.left and not job.asked


def begin(sweep: Sweep, place: Place, job: Job) -> None:
    """Start the process of a job."""
    settings = os.environ | ({} if place.gpu is None else {PLACES: place.gpu})
    attempt = job.folder.attempts
    command = [sys.executable, "-m", "racing_launchers.worker", str(job.folder.path), str(attempt)]
    with job.folder.log.open("ab") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=settings, start_new_session=True
        )
    created = psutil.Process(process.pid).create_time()
    job.folder.write("started", attempt, {"pid": process.pid, "created": created, "gpu": place.gpu})
    place.job, place.attempt, place.process, place.began, place.asked = job, attempt, process, time.monotonic(), 0.0


def watch(place: Place, limit: float | None) -> None:
    """See whether the job of a place has ended; ask it to when its time [s] is over."""
    assert place.process is not None
    assert place.job is not None
    code = place.process.poll()
    now = time.monotonic()
    if code is not None:
        left = {"exit_code": code, "reason": reason(code, timed_out=place.asked > 0)}
        place.job.folder.write("left", place.attempt, left)
        place.process = place.job = None
    elif limit and not place.asked and now - place.began > limit:
        place.asked = now
        place.process.send_signal(signal.SIGTERM)
    elif place.asked and now - place.asked > PATIENCE:
        place.process.kill()


def reason(code: int, *, timed_out: bool) -> str:
    """How a process ended, for people."""
    late = "time is over (launcher.timeout), " if timed_out else ""
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
