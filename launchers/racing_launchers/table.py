"""Shows the jobs of a sweep: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from racing.training.progress_bar import clock
from racing_launchers.backend import JobInfo, JobState
from racing_launchers.job import JobStatus
from racing_launchers.job_progress import Progress, progress_of
from racing_launchers.sweep import Job, Sweep

COLORS = {  # others: red
    JobStatus.WAITING: "dim",
    JobStatus.RUNNING: "cyan",
    JobStatus.DONE: "green",
    JobStatus.STOPPED: "yellow",
}
PLAIN_EVERY = 10.0  # [s] between two plain lines
MAX_ROWS = 40  # jobs that a live table shows; the others are counted


def status_of(job: Job, info: JobInfo | None = None) -> JobStatus:
    """How far a job is. info: what its backend knows; without it, as its folder says."""
    if job.ended or not job.folder.attempts:
        return job.ended or JobStatus.NEW
    running = info.state == JobState.RUNNING if info else bool(job.folder.started)
    return JobStatus.RUNNING if running else JobStatus.WAITING


def jobs_table(sweep: Sweep, jobs: Sequence[Job], infos: Mapping[int, JobInfo], *, title: str = "") -> Table:
    """One row for each job: what varies, how far it is, where it runs or why it failed."""
    table = Table(title=title or sweep.name, title_justify="left", box=None, pad_edge=False)
    for name, justify in (("job", "right"), ("", "left"), ("state", "left"), ("steps", "right"), ("steps/s", "right")):
        table.add_column(name, justify="right" if justify == "right" else "left", no_wrap=True)
    for name in ("lap", "left"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("", overflow="fold")
    for job in jobs:
        status = status_of(job, infos.get(job.number))
        color = COLORS.get(status, "red")
        cells = progress_cells(progress_of(job, sweep.outputs), status)
        table.add_row(
            str(job.number), escape(job.label), f"[{color}]{status.lower()}", *cells, escape(detail(job, infos))
        )
    return table


def progress_cells(progress: Progress, status: JobStatus) -> list[str]:
    """Steps, speed, lap and time left as texts."""
    share = f" {progress.step / progress.total:4.0%}" if progress.step is not None and progress.total else ""
    steps = "" if progress.step is None else f"{progress.step:,}{share}"
    left = clock(progress.remaining_s) if status == JobStatus.RUNNING and progress.remaining_s is not None else ""
    speed = f"{progress.rate:,.0f}" if progress.rate else ""
    return [steps, speed, f"{progress.lap:.1f} s" if progress.lap else "", left]


def detail(job: Job, infos: Mapping[int, JobInfo]) -> str:
    """Where a job runs, what it reached, or why it failed."""
    result = job.folder.result
    if job.ended == JobStatus.DONE:
        value = result.get("value")
        if not isinstance(value, float):
            return ""
        reached = "finish rate" if 0 <= value <= 1 else "score"  # which is minus a cost
        return f"{reached if job.folder.spec.get('steps') else 'value'} {value:.2f}"
    if job.ended:
        return str(result.get("error") or "")
    info = infos.get(job.number)
    again = f", attempt {job.folder.attempts}" if job.folder.attempts > 1 else ""
    return (info.detail if info else "") + again


class View:
    """Shows jobs while they go on. A context manager."""

    def __init__(self, sweep: Sweep) -> None:
        """sweep: whose jobs are shown."""
        self.sweep = sweep
        self.console = Console(stderr=True)
        self._live = Live(console=self.console, auto_refresh=False) if self.console.is_terminal else None
        self._shown: dict[int, JobStatus] = {}
        self._last_line = time.monotonic()

    def __enter__(self) -> View:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if self._live:
            self._live.stop()

    def print_line(self, text: str) -> None:
        """Print a line that stays above the table."""
        self.console.print(text, soft_wrap=True, highlight=False, markup=False)

    def show(self, jobs: Sequence[Job], infos: Mapping[int, JobInfo]) -> None:
        """Show how far the jobs are now."""
        statuses = {job.number: status_of(job, infos.get(job.number)) for job in jobs}
        if self._live:
            lively = sorted(jobs, key=lambda job: (statuses[job.number].ended, job.number))[:MAX_ROWS]
            shown = sorted(lively, key=lambda job: job.number)
            self._live.update(
                jobs_table(self.sweep, shown, infos, title=summary_line(self.sweep, statuses)), refresh=True
            )
            return
        for job in jobs:
            status = statuses[job.number]
            if status != self._shown.get(job.number) and status != JobStatus.WAITING:
                self._shown[job.number] = status
                self._print_plain(f"{job.number}: {job.label}: {status.lower()}  {detail(job, infos)}".rstrip())
        if time.monotonic() - self._last_line > PLAIN_EVERY:
            self._last_line = time.monotonic()
            self._print_plain(summary_line(self.sweep, statuses))

    def _print_plain(self, text: str) -> None:
        """Print a line on stderr."""
        print(text, file=sys.stderr, flush=True)


def summary_line(sweep: Sweep, statuses: Mapping[int, JobStatus]) -> str:
    """`sweep-1a2b3c4d: 3 done, 2 running, 11 waiting`."""
    counts = Counter(statuses.values())
    first = (JobStatus.DONE, JobStatus.RUNNING, JobStatus.WAITING)
    last = (JobStatus.FAILED, JobStatus.REFUSED, JobStatus.STOPPED, JobStatus.LOST, JobStatus.NEW)
    parts = [f"{counts[status]} {status.lower()}" for status in (*first, *last) if counts[status]]
    return f"{sweep.name}: {', '.join(parts)}"
