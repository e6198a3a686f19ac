"""What SLURM calls on a node: one attempt at one job, which may take several lives.

A job that is put back into the queue begins again under the same id and as the same attempt, and its training goes on
from its checkpoint. Signals come to the training first, which saves its state and stops. What follows depends on why
SLURM, or somebody, sent them:

    preemption, or time is nearly over    the job asks to be put back into the queue (submitit's own handler does it)
    `scontrol requeue`                    SLURM has done so; the process only leaves
    cancelled                             the attempt has ended: STOPPED
    time is over                          the process leaves without a word, and the launcher sees why
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

from racing.errors import ExitCode, InputError
from racing_launchers.job import JobFolder, JobStatus
from racing_launchers.slurm.queue import Unanswered, shown
from racing_launchers.sweep import ASKED
from racing_launchers.worker import read_payload, run

REQUEUE, REQUEUED, CANCELLED, OVER = "requeue", "requeued", "cancelled", "over"  # what a signal meant
KNOWN = 60.0  # [s] that whoever submitted a job has to note its id


class Task:
    """Does one job; submitit carries it to the node."""

    def __call__(self, folder: str, attempt: int) -> Any:
        """folder: of the job. Returns the job's value; leaves with the exit code of a job that is not done."""
        job = JobFolder(Path(folder))
        with job.log.open("ab") as log:
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
        life = Life(job, attempt)
        if not life.wanted():
            print(f"job {life.id} of SLURM is not attempt {attempt} at {folder}: it leaves", flush=True)
            raise SystemExit(ExitCode.STOPPED)
        result = job.result or life.live()
        if result["status"] != JobStatus.DONE:
            raise SystemExit(result["exit_code"] or ExitCode.STOPPED)
        return result["value"]

    def checkpoint(self, folder: str, attempt: int) -> Any:
        """What submitit is to call when the job begins again."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self, folder, attempt)


class Life:
    """One life of an attempt: from where SLURM starts it to its end, or to where it is put back into the queue."""

    def __init__(self, job: JobFolder, attempt: int) -> None:
        """To be made in the main thread, which gets the signals."""
        array = os.environ.get("SLURM_ARRAY_JOB_ID")
        self.id = f"{array}_{os.environ['SLURM_ARRAY_TASK_ID']}" if array else os.environ["SLURM_JOB_ID"]
        self.job, self.attempt = job, attempt
        self._put_back: Callable[[int, FrameType | None], None] = signal.getsignal(signal.SIGUSR2)  # type: ignore[assignment]
        self._leaving = False
        for number in (signal.SIGUSR2, signal.SIGTERM):
            signal.signal(number, self._now)
        signal.signal(signal.SIGCONT, signal.SIG_DFL)  # SLURM sends it along; submitit's handler would log in any line

    def wanted(self) -> bool:
        """Whether this is the submission that the job's folder knows; it may not have been noted yet."""
        until = time.monotonic() + KNOWN
        while time.monotonic() < until:
            if self.job.attempts > self.attempt:
                return False
            if self.job.attempts == self.attempt:
                return bool(self.job.attempt["handle"].get("slurm") == self.id)
            time.sleep(0.1)
        return False

    def live(self) -> dict[str, Any]:
        """Do the job; returns its result, which is written. Leaves where the attempt goes on in another life."""
        if (self.job.path / ASKED).exists():
            return self._stopped("cancelled before it began")
        result = run(self.job, read_payload(self.job), self.attempt)
        self._leaving = True
        return self._leave(result) if result["exit_code"] == ExitCode.STOPPED else self._write(result)

    def _leave(self, result: dict[str, Any]) -> dict[str, Any]:
        """The job has saved its state and stopped."""
        meant = self._meaning()
        if meant == CANCELLED:
            return self._write(result)
        if meant == REQUEUE:
            from submitit.core.utils import UncompletedJobError

            try:
                self._put_back(signal.SIGUSR2, None)  # raises SystemExit once it is done
            except UncompletedJobError:
                said = "put back into the queue max_num_timeout times"
                return self._write(result | {"error": f"{result['error']}; {said}"})
            except (subprocess.SubprocessError, OSError) as error:
                return self._write(result | {"error": f"{result['error']}; it could not be put back: {error}"})
        raise SystemExit(ExitCode.STOPPED)

    def _now(self, number: int, frame: FrameType | None) -> None:
        """A signal while no training listens: there is nothing to be saved, and every instant is a safe one to leave.

        An exception could be caught by whatever runs just now, so there is none.
        """
        if self._leaving:
            return
        self._leaving = True
        meant = self._meaning()
        if meant == CANCELLED:
            self._stopped(f"cancelled ({signal.Signals(number).name})")
        if meant == REQUEUE:
            try:
                self._put_back(signal.SIGUSR2, None)
            except SystemExit:
                pass
            except Exception as error:
                self._stopped(f"{signal.Signals(number).name}, and it could not be put back into the queue: {error}")
        os._exit(ExitCode.STOPPED)

    def _meaning(self) -> str:
        """Why we were asked to stop."""
        if (self.job.path / ASKED).exists():
            return CANCELLED
        try:
            known = shown(self.id)
        except (Unanswered, InputError) as error:
            print(f"{error}; so it is put back into the queue", file=sys.stderr)
            return REQUEUE
        lives = int(os.environ.get("SLURM_RESTART_COUNT", "0"))
        if int(known.get("Restarts", lives)) > lives:
            return REQUEUED
        if known.get("JobState") in ("RUNNING", "SUSPENDED"):
            return REQUEUE
        return OVER if known.get("Reason") == "TimeLimit" else CANCELLED

    def _stopped(self, error: str) -> dict[str, Any]:
        return self._write({"status": JobStatus.STOPPED, "exit_code": ExitCode.STOPPED, "error": error})

    def _write(self, result: dict[str, Any]) -> dict[str, Any]:
        self.job.write("result", self.attempt, result)
        return result
