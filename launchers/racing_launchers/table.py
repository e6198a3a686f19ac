"""Shows the jobs of a sweep: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Literal

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
COLUMNS: tuple[tuple[str, Literal["left", "right"]], ...] = (
    *(("job", "right"), (" ", "left"), ("state", "left"), ("steps", "right"), ("steps/s", "right")),
    *(("lap", "right"), ("left", "right"), ("", "left")),
)
LEFT_AWAY = (4, 5, 6, 3)  # of them, in this order, in a narrow terminal
LEAST_DETAIL = 16  # characters that the last one has in a line
PLAIN_EVERY = 10.0  # [s] between two plain lines
MAX_ROWS = 40  # jobs that a live table shows; the others are counted


def status_of(job: Job, info: JobInfo | None = None) -> JobStatus:
    """How far a job is. info: what its backend knows; without it, as its folder says."""
    if job.ended or not job.folder.attempts:
        return job.ended or JobStatus.NEW
    running = info.state == JobState.RUNNING if info else bool(job.folder.started)
    return JobStatus.RUNNING if running else JobStatus.WAITING


def jobs_table(
    sweep: Sweep, jobs: Sequence[Job], infos: Mapping[int, JobInfo], *, title: str = "", width: int | None = None
) -> Table:
    """One row for each job: what varies, how far it is, where it runs or why it failed.

    width: of the terminal [columns]; where not all fit in, some columns are left away. None: it is wide enough.
    """
    rows = []
    for job in jobs:
        status = status_of(job, infos.get(job.number))
        state = f"[{COLORS.get(status, 'red')}]{status.lower()}"
        cells = progress_cells(progress_of(job, sweep.outputs), status)
        rows.append([str(job.number), escape(job.label), state, *cells, escape(detail(job, infos))])
    title, left_away = title or sweep.name, list(LEFT_AWAY)
    narrow = [[*row[:-1], row[-1][:LEAST_DETAIL]] for row in rows]  # that much of it, the rest folds
    shown = list(range(len(COLUMNS)))
    while left_away and width is not None and _table("", narrow, shown)[1] > width:
        shown.remove(left_away.pop(0))
    return _table(title, rows, shown)[0]


def _table(title: str, rows: Sequence[Sequence[str]], shown: Sequence[int]) -> tuple[Table, int]:
    """A table of some of the COLUMNS, and how wide it would like to be."""
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for name, justify in (COLUMNS[number] for number in shown):
        last = COLUMNS[shown[-1]] == (name, justify)
        table.add_column(name, justify=justify, no_wrap=not last, overflow="fold" if last else "ellipsis")
    for row in rows:
        table.add_row(*(row[number] for number in shown))
    console = Console(width=10_000)
    return table, console.measure(table).maximum


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
            title, width = summary_line(self.sweep, statuses), self.console.width
            self._live.update(jobs_table(self.sweep, shown, infos, title=title, width=width), refresh=True)
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
