"""What SLURM calls on a node: one attempt at one job, which may be requeued and begin several times.

A job that is requeued begins again under the same id and as the same attempt, and its training resumes from its
checkpoint. Signals come to the training first, which saves its state and stops. What follows depends on why SLURM, or
somebody, sent them:

    preemption, or time is nearly over    the job asks to be requeued (submitit's own handler does it)
    `scontrol requeue`                    SLURM has done so; the process only leaves
    cancelled                             the attempt has ended: STOPPED
    time is over                          the process leaves without a result, and the launcher sees why
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from enum import Enum, auto
from pathlib import Path
from types import FrameType
from typing import Any

from racing.errors import ExitCode, InputError
from racing_launchers.job import JobFolder, JobStatus
from racing_launchers.slurm.queue_watcher import Unanswered, show_job
from racing_launchers.sweep import CANCEL_FILE
from racing_launchers.worker import read_payload, run

SUBMITTER_TIMEOUT = 60.0  # [s] that whoever submitted a job has to note its id


class StopReason(Enum):
    """Why a job was sent a signal."""

    REQUEUE = auto()  # it shall ask to be requeued
    REQUEUED = auto()  # SLURM has requeued it
    CANCELLED = auto()
    TIME_LIMIT = auto()


class SlurmJob:
    """Does one job; submitit carries it to the node."""

    def __call__(self, folder: str, attempt: int, digest: str) -> Any:
        """Do the job; returns its value, leaves with the exit code of one that is not done.

        folder: of the job.
        attempt: number of the submission.
        digest: of the payload that was submitted.
        """
        job = JobFolder(Path(folder))
        with job.log.open("ab") as log:
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
        job_attempt = JobAttempt(job, attempt)
        if not job_attempt.is_current():
            print(f"job {job_attempt.id} of SLURM is not attempt {attempt} at {folder}: it leaves", flush=True)
            raise SystemExit(ExitCode.STOPPED)
        result = job.result or job_attempt.run(digest)
        if result["status"] != JobStatus.DONE:
            raise SystemExit(result["exit_code"] or ExitCode.STOPPED)
        return result["value"]

    def checkpoint(self, folder: str, attempt: int, digest: str) -> Any:
        """What submitit is to call when the job begins again."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self, folder, attempt, digest)


class JobAttempt:
    """An attempt at a job, from where SLURM starts it to its end, or to where it is requeued."""

    def __init__(self, job: JobFolder, number: int) -> None:
        """number: of the attempt. To be made in the main thread, which gets the signals."""
        array = os.environ.get("SLURM_ARRAY_JOB_ID")
        self.id = f"{array}_{os.environ['SLURM_ARRAY_TASK_ID']}" if array else os.environ["SLURM_JOB_ID"]
        self.job, self.number = job, number
        self._requeue: Callable[[int, FrameType | None], None] = signal.getsignal(signal.SIGUSR2)  # type: ignore[assignment]
        self._leaving = False
        for stop_signal in (signal.SIGUSR2, signal.SIGTERM):
            signal.signal(stop_signal, self._on_signal)
        signal.signal(signal.SIGCONT, signal.SIG_DFL)  # SLURM sends it along; submitit's handler would log in any line

    def is_current(self) -> bool:
        """Whether this is the submission that the job's folder knows; it may not have been noted yet."""
        until = time.monotonic() + SUBMITTER_TIMEOUT
        while time.monotonic() < until:
            if self.job.attempts > self.number:
                return False
            if self.job.attempts == self.number:
                return bool(self.job.attempt["handle"].get("slurm") == self.id)
            time.sleep(0.1)
        return False

    def run(self, digest: str) -> dict[str, Any]:
        """Do the job; returns its result, which is written. Leaves where the attempt goes on after a requeue.

        digest: of the payload that was submitted.
        """
        if (self.job.path / CANCEL_FILE).exists():
            return self._stopped("cancelled before it began")
        result = run(self.job, self.number, lambda: read_payload(self.job, digest))
        self._leaving = True
        return self._leave(result) if result["exit_code"] == ExitCode.STOPPED else self._write(result)

    def _leave(self, result: dict[str, Any]) -> dict[str, Any]:
        """End the attempt, or leave it to be requeued: the job has saved its state and stopped."""
        reason = self._stop_reason()
        if reason is StopReason.CANCELLED:
            return self._write(result)
        if reason is StopReason.REQUEUE:
            from submitit.core.utils import UncompletedJobError

            try:
                self._requeue(signal.SIGUSR2, None)  # raises SystemExit once it is done
            except UncompletedJobError:
                return self._write(result | {"error": f"{result['error']}; requeued max_num_timeout times"})
            except (subprocess.SubprocessError, OSError) as error:
                return self._write(result | {"error": f"{result['error']}; it could not be requeued: {error}"})
        raise SystemExit(ExitCode.STOPPED)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        """Leave at once: no training listens, so there is nothing to be saved.

        An exception could be caught by whatever runs just now, so there is none.
        """
        if self._leaving:
            return
        self._leaving = True
        reason = self._stop_reason()
        if reason is StopReason.CANCELLED:
            self._stopped(f"cancelled ({signal.Signals(number).name})")
        if reason is StopReason.REQUEUE:
            try:
                self._requeue(signal.SIGUSR2, None)
            except SystemExit:
                pass
            except Exception as error:
                self._stopped(f"{signal.Signals(number).name}, and it could not be requeued: {error}")
        os._exit(ExitCode.STOPPED)

    def _stop_reason(self) -> StopReason:
        """Why we were asked to stop."""
        if (self.job.path / CANCEL_FILE).exists():
            return StopReason.CANCELLED
        try:
            known = show_job(self.id)
        except (Unanswered, InputError) as error:
            print(f"{error}; so it is requeued", file=sys.stderr)
            return StopReason.REQUEUE
        restarts = int(os.environ.get("SLURM_RESTART_COUNT", "0"))
        if int(known.get("Restarts", restarts)) > restarts:
            return StopReason.REQUEUED
        if known.get("JobState") in ("RUNNING", "SUSPENDED"):
            return StopReason.REQUEUE
        return StopReason.TIME_LIMIT if known.get("Reason") == "TimeLimit" else StopReason.CANCELLED

    def _stopped(self, error: str) -> dict[str, Any]:
        return self._write({"status": JobStatus.STOPPED, "exit_code": ExitCode.STOPPED, "error": error})

    def _write(self, result: dict[str, Any]) -> dict[str, Any]:
        self.job.write("result", self.number, result)
        return result
