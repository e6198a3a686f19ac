"""Waits for the jobs of a sweep: notes how each ended, resubmits lost ones, shows and records what happens."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence

from racing.errors import JobsFailed, Stopped
from racing.training.stop_flag import StopFlag
from racing_launchers.backend import TIME_LIMIT, Backend, JobInfo, JobState, NoAnswer
from racing_launchers.job import JobStatus
from racing_launchers.sweep import Job, Sweep, jobs_text
from racing_launchers.sweep_record import SweepRun, show_cost, show_results
from racing_launchers.table import View

SAME = "run the same command to resume"
PATIENCE_S = 1800.0  # for a place that does not answer; its jobs go on
LONGEST_PAUSE_S = 60.0  # between two questions to it


class SweepWatcher:
    """The jobs of a sweep that one process looks after. See racing_launchers.backend for how a job goes on."""

    def __init__(self, sweep: Sweep, backend: Backend, jobs: Sequence[Job], sweep_run: SweepRun) -> None:
        """sweep_run: of the sweep, begun."""
        self.sweep, self.backend, self.jobs, self.sweep_run = sweep, backend, list(jobs), sweep_run
        # Also those that have ended while nobody watched, and may go on.
        self.unfinished = [job for job in jobs if job.ended is None or self._may_go_on(job)]
        self.infos: Mapping[int, JobInfo] = {}
        self._lost_since: dict[int, float] = {}  # number -> time.monotonic() when it was first LOST, without a result

    def poll(self) -> None:
        """See once how far every job is that has not ended."""
        self.infos = self.backend.poll(self.sweep, [job for job in self.unfinished if job.ended is None])
        for job in list(self.unfinished):
            self.backend.fetch_results(self.sweep, job)
            if job.ended is None and self.infos[job.number].state == JobState.LOST:
                self._mark_lost(job, self.infos[job.number])
            if job.ended is not None:
                self._finish(job)
        self.sweep_run.count(self.jobs)

    def _mark_lost(self, job: Job, info: JobInfo) -> None:
        """Give a job that disappeared a result, unless its own one arrives within the backend's grace."""
        since = self._lost_since.setdefault(job.number, time.monotonic())
        if time.monotonic() - since >= self.backend.grace:
            self.backend.fetch_results(self.sweep, job, last=True)
            if job.ended is None:
                status = JobStatus.STOPPED if job.cancel_requested else JobStatus.LOST
                job.end(status, info.detail or "disappeared without a result")

    def _finish(self, job: Job) -> None:
        """Fetch all that a job has left whose attempt has ended, note it, and submit it again if it may go on."""
        self.backend.fetch_results(self.sweep, job, last=True)
        ended = {"attempt": job.folder.attempts, "status": job.ended, "error": job.folder.result.get("error")}
        again = self._may_go_on(job)
        if again:  # before anything is noted: where nobody answers it is tried again
            self.sweep.require_ours()
            self.backend.submit(self.sweep, [job])
        self._lost_since.pop(job.number, None)
        self.sweep_run.event("job ended", job=job.number, **ended)
        if again:
            self.sweep_run.event("job resubmitted", job=job.number, attempt=job.folder.attempts)
        else:
            self.unfinished.remove(job)

    def _may_go_on(self, job: Job) -> bool:
        """Whether it is submitted again: its machine was lost or taken away, and launcher.max_resubmits allows that."""
        lost = job.ended in (JobStatus.LOST, JobStatus.STOPPED) and not job.cancel_requested
        first = int(job.folder.spec.get("first_attempt", job.folder.attempts))  # since the command that launched it
        return lost and job.folder.attempts - first < self.backend.max_resubmits

    def cancel(self) -> None:
        """Ask all that have not ended to stop."""
        cancel_jobs(self.sweep, self.backend, self.unfinished)


def watch(sweep: Sweep, backend: Backend, jobs: Sequence[Job], sweep_run: SweepRun) -> None:
    """Look after jobs until all have ended; the sweep's run gets its end. Raises Stopped after Ctrl-C.

    Where the jobs belong to this terminal they are stopped with it, else they go on; so they do when the place has not
    answered for PATIENCE_S: Stopped is raised then, too.
    """
    watcher = SweepWatcher(sweep, backend, jobs, sweep_run)
    with StopFlag() as stop, View(sweep) as view:
        cancelled = False
        outage = Outage(watcher, view)
        while True:
            with outage.survived():
                watcher.poll()
            view.show(watcher.jobs, watcher.infos)
            if not watcher.unfinished:
                break
            if stop.signal and not backend.stops_with_us:
                hint = f"racing jobs status | logs | collect | cancel {sweep.named}"
                raise Stopped(f"{stop.signal}: {jobs_text(len(watcher.unfinished))} left on {backend.name}; {hint}")
            if stop.signal and not cancelled:
                cancelled = True
                view.print_line(f"{stop.signal}: {jobs_text(len(watcher.unfinished))} asked to save their state")
                watcher.cancel()
            _sleep(outage.pause_s, stop)
    figures = backend.results(sweep)
    sweep_run.end(jobs, figures, stopped=bool(stop.signal))
    if sweep_run.wanted:
        show_results(sweep, jobs)
    show_cost(figures)
    if stop.signal and any(job.ended != JobStatus.DONE for job in jobs):
        left = sum(job.ended != JobStatus.DONE for job in jobs)
        raise Stopped(f"{sweep.name} stopped on {stop.signal}, {left} of {jobs_text(len(jobs))} left; {SAME}")


class Outage:
    """Has the watcher of a sweep survive that the place of its jobs does not answer for a while."""

    def __init__(self, watcher: SweepWatcher, view: View) -> None:
        """view: where it is told."""
        self._watcher, self._view = watcher, view
        self._began = 0.0  # time.monotonic(); 0: it answers
        self.pause_s = watcher.backend.poll_interval_s  # until the next question

    @contextlib.contextmanager
    def survived(self) -> Iterator[None]:
        """While the body asks. Raises Stopped where nobody has answered for PATIENCE_S."""
        backend, sweep = self._watcher.backend, self._watcher.sweep
        try:
            yield
        except NoAnswer as error:
            if not self._began:
                self._began = time.monotonic()
                self._view.print_line(f"{error}; the jobs go on, asked again until it answers")
            self.pause_s = min(max(2 * self.pause_s, backend.poll_interval_s), LONGEST_PAUSE_S)
            if time.monotonic() - self._began > PATIENCE_S:
                left = f"{backend.name} has not answered for {PATIENCE_S / 60:g} min ({error})"
                count = jobs_text(len(self._watcher.unfinished))
                hint = f"{count} left there; when it answers: racing jobs collect {sweep.named} wait=true"
                raise Stopped(f"{left}; {hint}") from error
            return
        if self._began:
            self._view.print_line(f"{backend.name} answers again")
        self._began, self.pause_s = 0.0, backend.poll_interval_s


def _sleep(seconds: float, stop: StopFlag) -> None:
    """Sleep, but wake up when a signal comes."""
    until = time.monotonic() + seconds
    while time.monotonic() < until and not stop.signal:
        time.sleep(min(0.2, seconds))
    if stop.signal:
        time.sleep(min(0.2, seconds))


def cancel_jobs(sweep: Sweep, backend: Backend, jobs: Sequence[Job]) -> list[Job]:
    """Ask those of `jobs` that have not ended to stop; returns them. Those that were lost or stopped do not go on."""
    chosen = [job for job in jobs if job.folder.attempts and job.ended is None]
    for job in [*chosen, *(job for job in jobs if job.ended in (JobStatus.LOST, JobStatus.STOPPED))]:
        job.request_cancel()
    if chosen:
        backend.cancel(sweep, chosen)
    return chosen


def report_failures(sweep: Sweep, jobs: Sequence[Job], *, max_resubmits: int) -> None:
    """Raise JobsFailed, which names every job that is not done, with its reason and log."""
    failed = [job for job in jobs if job.ended not in (None, JobStatus.DONE)]
    if not failed:
        return
    lines = [f"racing: {len(failed)} of {jobs_text(len(jobs))} of {sweep.name} not done:"]
    for job in failed:
        lines.append(f"  {job.number} {job.label}: {str(job.ended).lower()}, {reason(job)}; log: {job.folder.log}")
    remedies = [f"{SAME}; the others are kept"]
    if any(job.ended in (JobStatus.LOST, JobStatus.STOPPED) for job in failed):
        remedies.append(f"launcher.max_resubmits={max(1, max_resubmits)} submits lost jobs again")
    if any(job.ended in (JobStatus.FAILED, JobStatus.REFUSED) for job in failed):
        remedies.append(f"racing jobs logs {sweep.named} job=N shows the log of one")
    raise JobsFailed("\n".join([*lines, "; ".join(remedies)]))


def reason(job: Job) -> str:
    """Why a job is not done."""
    error = str(job.folder.result.get("error") or "no reason is known")
    exit_reason = str(job.folder.exit_status.get("reason", ""))
    late = job.ended == JobStatus.STOPPED and exit_reason.startswith(TIME_LIMIT)
    return f"{exit_reason.partition(',')[0]}: {error}" if late else error
