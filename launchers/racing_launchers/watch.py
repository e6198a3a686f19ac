"""Waits for the jobs of a sweep: notes how each ended, continues lost ones, shows and records what happens."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from racing.errors import JobsFailed, Stopped
from racing.training.stop_flag import StopFlag
from racing_launchers.backend import Backend, JobInfo, JobState
from racing_launchers.job import JobStatus
from racing_launchers.sweep import Job, Sweep, jobs_text
from racing_launchers.sweep_record import Record, show_results
from racing_launchers.table import View


class Watch:
    """The jobs of a sweep that one process looks after."""

    def __init__(self, sweep: Sweep, backend: Backend, jobs: Sequence[Job], record: Record) -> None:
        """record: of the sweep, begun."""
        self.sweep, self.backend, self.jobs, self.record = sweep, backend, list(jobs), record
        self.again = dict.fromkeys((job.number for job in jobs), backend.retry)  # attempts that are left to each
        self.open = [job for job in jobs if job.ended is None]
        self.infos: Mapping[int, JobInfo] = {}
        self._gone: dict[int, float] = {}  # number -> since when it is gone without a result

    def step(self) -> None:
        """One look at every job that has not ended."""
        self.infos = self.backend.poll(self.sweep, self.open)
        for job in list(self.open):
            self.backend.bring(self.sweep, job)
            if job.ended is None and self.infos[job.number].state == JobState.LOST:
                self._mark_lost(job, self.infos[job.number])
            if job.ended is not None:
                self._settle(job)
        self.record.count(self.jobs)

    def _mark_lost(self, job: Job, info: JobInfo) -> None:
        """A job that disappeared gets its result from us, unless its own one arrives within the backend's grace."""
        since = self._gone.setdefault(job.number, time.monotonic())
        if time.monotonic() - since >= self.backend.grace:
            self.backend.bring(self.sweep, job, last=True)
            if job.ended is None:
                status = JobStatus.STOPPED if job.asked else JobStatus.LOST
                job.end(status, info.detail or "it disappeared, nobody saw how it ended")

    def _settle(self, job: Job) -> None:
        """A job has ended: fetch all of it, note it, and continue it if it died and may."""
        self.backend.bring(self.sweep, job, last=True)
        self.open.remove(job)
        self._gone.pop(job.number, None)
        error = job.folder.result.get("error")
        self.record.event("job ended", job=job.number, attempt=job.folder.attempts, status=job.ended, error=error)
        if job.ended in (JobStatus.LOST, JobStatus.STOPPED) and not job.asked and self.again[job.number] > 0:
            self.again[job.number] -= 1
            self.backend.submit(self.sweep, [job])
            self.record.event("job continued", job=job.number, attempt=job.folder.attempts)
            self.open.append(job)

    def cancel(self) -> None:
        """Ask all that have not ended to stop."""
        cancel_jobs(self.sweep, self.backend, self.open)


def watch(sweep: Sweep, backend: Backend, jobs: Sequence[Job], record: Record) -> None:
    """Look after jobs until all have ended; the record gets its end. Raises Stopped after Ctrl-C.

    Where the jobs belong to this terminal they are stopped with it, else they go on.
    """
    mine = Watch(sweep, backend, jobs, record)
    with StopFlag() as stop, View(sweep) as view:
        asked = False
        while True:
            mine.step()
            view.show(mine.jobs, mine.infos)
            if not mine.open:
                break
            if stop.signal and not backend.stops_with_us:
                hint = f"racing jobs status | logs | collect | cancel {sweep.name}"
                raise Stopped(f"{stop.signal}: {jobs_text(len(mine.open))} left on {backend.name}; {hint}")
            if stop.signal and not asked:
                asked = True
                view.say(f"{stop.signal}: {jobs_text(len(mine.open))} asked to save their state")
                mine.cancel()
            _rest(backend.poll_interval_s, stop)
    record.end(jobs, backend.results(sweep), stopped=bool(stop.signal))
    if record.wanted:
        show_results(sweep, jobs)
    if stop.signal and any(job.ended != JobStatus.DONE for job in jobs):
        left = sum(job.ended != JobStatus.DONE for job in jobs)
        raise Stopped(f"{sweep.name} stopped on {stop.signal}, {left} of {jobs_text(len(jobs))} left; {SAME}")


SAME = "the same command continues what is not done"


def _rest(seconds: float, stop: StopFlag) -> None:
    """Sleep, but wake up when a signal comes."""
    until = time.monotonic() + seconds
    while time.monotonic() < until and not stop.signal:
        time.sleep(min(0.2, seconds))
    if stop.signal:
        time.sleep(min(0.2, seconds))


def cancel_jobs(sweep: Sweep, backend: Backend, jobs: Sequence[Job]) -> list[Job]:
    """Ask those of `jobs` that have not ended to stop; returns them."""
    chosen = [job for job in jobs if job.folder.attempts and job.ended is None]
    for job in chosen:
        job.ask(stop=True)
    if chosen:
        backend.cancel(sweep, chosen)
    return chosen


def report_failures(sweep: Sweep, jobs: Sequence[Job], *, retry: int) -> None:
    """Raise JobsFailed, which names every job that is not done, with its reason and log."""
    failed = [job for job in jobs if job.ended not in (None, JobStatus.DONE)]
    if not failed:
        return
    lines = [f"racing: {len(failed)} of {jobs_text(len(jobs))} of {sweep.name} not done:"]
    for job in failed:
        lines.append(f"  {job.number} {job.label}: {str(job.ended).lower()}, {reason(job)}; log: {job.folder.log}")
    remedies = [f"{SAME}; the others are kept"]
    if any(job.ended in (JobStatus.LOST, JobStatus.STOPPED) for job in failed):
        remedies.append(f"launcher.retry={max(1, retry)} continues jobs that are lost")
    if any(job.ended in (JobStatus.FAILED, JobStatus.REFUSED) for job in failed):
        remedies.append(f"racing jobs logs {sweep.name} job=N shows what one said")
    raise JobsFailed("\n".join([*lines, "; ".join(remedies)]))


def reason(job: Job) -> str:
    """Why a job is not done."""
    said = str(job.folder.result.get("error") or "no reason is known")
    seen = str(job.folder.left.get("reason", ""))
    late = job.ended == JobStatus.STOPPED and seen.startswith("time is over")
    return f"{seen.partition(',')[0]}: {said}" if late else said
