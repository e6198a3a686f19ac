"""Jobs of a sweep side by side on this machine, each in a process of its own.

A supervisor process (supervisor.py) starts and reaps them. It does not belong to the terminal: a shell that is closed
or killed takes nothing with it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from racing.errors import JobsFailed, require, require_number
from racing.processes import end_of_log, import_path, python, usable_cores
from racing.runs.lock import FileLock
from racing_launchers.backend import Backend, JobInfo, JobState, begin_attempt
from racing_launchers.job import JobStatus
from racing_launchers.local.supervisor import LOCK, make_slots, process_of
from racing_launchers.sweep import Job, Sweep

LOG = "supervisor.log"  # in the sweep's folder
FIRST = 10.0  # [s] that a supervisor may take to begin


class LocalBackend(Backend):
    """See conf/launcher/local.yaml."""

    stops_with_us = True
    grace = 1.0

    def __init__(
        self, *, n_jobs: int | None, gpus: list[int] | None, jobs_per_gpu: int, timeout_min: float | None, **common: Any
    ) -> None:
        """Raises InputError for values off range."""
        super().__init__(**common)
        if n_jobs is not None:
            require_number("launcher.n_jobs", n_jobs, 1, 4096, whole=True)
        require_number("launcher.jobs_per_gpu", jobs_per_gpu, 1, 64, whole=True)
        if timeout_min is not None:
            require_number("launcher.timeout_min", timeout_min, 0.01, 1e6, unit="min")
        fits = gpus is None or (isinstance(gpus, list) and all(isinstance(gpu, int) and gpu >= 0 for gpu in gpus))
        require(fits, f"launcher.gpus must be a list of numbers, got {gpus!r}; null takes all that nvidia-smi names")
        self.n_jobs, self.gpus, self.jobs_per_gpu = n_jobs, gpus, jobs_per_gpu
        self._supervisor: subprocess.Popen[bytes] | None = None  # the last one that we have started

    def workers_upload(self, uri: str | None) -> bool:
        """See Backend: workers are on this machine, they reach what we reach."""
        return self.upload_from != "collector"

    def plan(self, count: int) -> list[str]:
        """See Backend."""
        slots = len(make_slots({"n_jobs": self.n_jobs, "gpus": self.gpus, "jobs_per_gpu": self.jobs_per_gpu}))
        return [f"{min(count, slots)} at a time, on {usable_cores()} cores of this machine"] if count else []

    def submit(self, sweep: Sweep, jobs: Sequence[Job]) -> None:
        """See Backend."""
        for job in jobs:
            begin_attempt(job, self.name)
        self._supervisor = supervise(sweep)

    def poll(self, sweep: Sweep, jobs: Sequence[Job]) -> dict[int, JobInfo]:
        """See Backend. A supervisor that was killed while jobs wait for it is replaced.

        Raises JobsFailed if it failed: the next one would, too.
        """
        found = {job.number: job_info(job) for job in jobs}
        waiting = [job for job in jobs if found[job.number].state == JobState.PENDING]
        recent = any(time.time() - job.folder.attempt["submitted_ms"] / 1000 < FIRST for job in waiting)
        code = self._supervisor.poll() if self._supervisor else None
        if waiting and code is not None and code > 0:
            log = sweep.path / LOG
            rule = f"racing: the process that starts the jobs of {sweep.name} ended with exit code {code}"
            raise JobsFailed(f"{rule}: {end_of_log(log)}; see {log}, then run the same command again")
        if waiting and not recent and not FileLock(sweep.path / LOCK).held:
            self._supervisor = supervise(sweep)
        return found

    def cancel(self, sweep: Sweep, jobs: Sequence[Job]) -> None:
        """See Backend."""
        for job in jobs:
            process = process_of(job)
            if process is not None:
                process.send_signal(signal.SIGTERM)

    def fetch_results(self, sweep: Sweep, job: Job, *, last: bool = False) -> None:
        """See Backend. Why a job has stopped is known once its process has left."""
        until = time.monotonic() + FIRST
        while last and job.ended == JobStatus.STOPPED and not job.folder.exit_status and time.monotonic() < until:
            if process_of(job) is None and not FileLock(sweep.path / LOCK).held:
                return
            time.sleep(0.05)


def job_info(job: Job) -> JobInfo:
    """How far the last attempt of a job is, from its files and the processes of this machine."""
    exit_status = job.folder.exit_status
    if exit_status:
        return JobInfo(JobState.LOST, str(exit_status["reason"]))
    started = job.folder.started
    if not started:
        if job.cancel_requested:
            return JobInfo(JobState.LOST, "cancelled before it began")
        return JobInfo(JobState.PENDING, "waiting for a free slot")
    if process_of(job) is not None:
        gpu = f", GPU {started['gpu']}" if started.get("gpu") else ""
        return JobInfo(JobState.RUNNING, f"process {started['pid']}{gpu}")
    return JobInfo(JobState.LOST, f"process {started['pid']} is gone, and nobody saw how it ended")


def supervise(sweep: Sweep) -> subprocess.Popen[bytes]:
    """Start a supervisor for the jobs that nobody has begun; where one is at work, it waits and then finds nothing."""
    command = python("-m", "racing_launchers.local.supervisor", str(sweep.path))
    with (sweep.path / LOG).open("ab") as log:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=sweep.manifest.get("cwd") or Path.cwd(),
            env={**os.environ, "PYTHONPATH": import_path()},
            start_new_session=True,
        )
