"""`racing jobs`: sweeps and their jobs, wherever they run; from any shell, whether or not one waits for them."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from racing.commands.options import action_options
from racing.errors import ExitCode, InputError, require
from racing_launchers.backend import Backend, JobInfo, JobState, make_backend
from racing_launchers.job import JobStatus
from racing_launchers.sweep import Job, Sweep, all_sweeps, find_sweep, jobs_text
from racing_launchers.sweep_record import SweepRun, show_cost, show_results
from racing_launchers.table import jobs_table, status_of, summary_line
from racing_launchers.watch import SAME, SweepWatcher, cancel_jobs, report_failures, watch

EXAMPLES = """usage: racing jobs list | status | logs | collect | cancel  [SWEEP] [key=value ...]

Sweeps and their jobs, wherever they run. SWEEP is short for sweep=SWEEP, a name or a folder; the newest if left away.

examples:
  racing jobs list                      every sweep under outputs/, newest first
  racing jobs status                    the jobs of the newest one: how far, where, how they ended
  racing jobs logs SWEEP job=3          the log of a job; follow=true goes on until it has ended
  racing jobs collect SWEEP             bring what is there to this machine and to MLflow, note which are lost
  racing jobs collect SWEEP wait=true   the same until all have ended, as racing train -m does
  racing jobs cancel SWEEP job=3        stop a job, or without job= all of them; state is saved
"""
KEYS = {  # action -> keys that it takes besides paths.outputs
    "list": (),
    "status": ("sweep",),
    "logs": ("sweep", "job", "follow"),
    "collect": ("sweep", "wait"),
    "cancel": ("sweep", "job"),
}


def main(argv: Sequence[str]) -> int:
    """Entry point of the verb; returns the exit code."""
    options = parse(argv)
    if options is None:
        return ExitCode.DONE
    outputs = Path(options["paths"]["outputs"]).resolve()
    if options["action"] == "list":
        return show_list(outputs)
    sweep = find_sweep(options["sweep"], outputs)
    jobs = sweep.jobs
    if options["job"] is not None:
        known = ", ".join(str(job.number) for job in jobs)
        jobs = [job for job in jobs if job.number == options["job"]]
        require(len(jobs) > 0, f"job={options['job']} is not in {sweep.name}; it has {known}")
    backend = make_backend(sweep.launcher)
    try:
        return {"status": status, "logs": logs, "collect": collect, "cancel": cancel}[options["action"]](
            sweep, backend, jobs, options
        )
    finally:
        backend.close()


def parse(argv: Sequence[str]) -> dict[str, Any] | None:
    """The options of conf/verbs/jobs.yaml, checked, and `action`; None after printing help. Raises InputError."""
    parsed = action_options("jobs", argv, EXAMPLES, KEYS, "sweep")
    if parsed is None:
        return None
    options, _ = parsed
    job = options["job"]
    number = job is None or (isinstance(job, int) and not isinstance(job, bool))
    require(number, f"job must be a number, got {job!r}; racing jobs status shows them")
    for key in ("follow", "wait"):
        require(isinstance(options[key], bool), f"{key} must be true or false, got {options[key]!r}; choose one")
    return options | {"sweep": str(options["sweep"])}


def show_list(outputs: Path) -> int:
    """Print the sweeps, newest first."""
    for sweep in all_sweeps(outputs):
        try:
            began = datetime.fromtimestamp(sweep.manifest["created_ms"] / 1000, UTC)
            statuses = {job.number: status_of(job) for job in sweep.jobs}
            launcher = str(sweep.manifest.get("launcher", {}).get("name", "-"))
            print(f"{began:%Y-%m-%d %H:%M}  {launcher:<8} {summary_line(sweep, statuses)}")
        except InputError as error:  # damaged: the others are shown
            print(f"{'-':<16}  {'DAMAGED':<8} {error}")
    return ExitCode.DONE


def poll(sweep: Sweep, backend: Backend, jobs: Sequence[Job]) -> dict[int, JobInfo] | None:
    """What the backend knows; None where it does not answer: that is printed, the jobs' folders are all there is."""
    unfinished = [job for job in jobs if job.folder.attempts and job.ended is None]
    try:
        return backend.poll(sweep, unfinished) if unfinished else {}
    except InputError as error:
        print(error, file=sys.stderr)
        return None


def status(sweep: Sweep, backend: Backend, jobs: Sequence[Job], options: dict[str, Any]) -> int:
    """Print how far the jobs are."""
    from rich.console import Console

    infos = poll(sweep, backend, jobs) or {}
    for job in jobs:
        if job.number in infos:
            backend.fetch_results(sweep, job)
    statuses = {job.number: status_of(job, infos.get(job.number)) for job in jobs}
    console = Console(width=None if sys.stdout.isatty() else 200)
    console.print(jobs_table(sweep, jobs, infos, title=summary_line(sweep, statuses), width=console.width))
    watched = f"watched by {sweep.lock.owner}" if sweep.lock.held else "nobody waits for it"
    print(f"launcher {backend.name}, {watched}; {sweep.path}")
    show_cost(backend.results(sweep))
    if page := backend.page(sweep):
        print(f"page     {page}")
    return ExitCode.DONE


def logs(sweep: Sweep, backend: Backend, jobs: Sequence[Job], options: dict[str, Any]) -> int:
    """Print the logs of jobs; several with their numbers before each line."""
    shown = dict.fromkeys((job.number for job in jobs), 0)
    while True:
        infos = poll(sweep, backend, jobs) if options["follow"] else {}
        ended = infos is not None and all(info.state == JobState.LOST for info in infos.values())
        for job in jobs if infos is not None else ():
            lines = list(backend.log(sweep, job))
            for line in lines[shown[job.number] :]:
                print(line if len(jobs) == 1 else f"{job.number}: {line}")
            shown[job.number] = len(lines)
        if ended or not options["follow"]:
            return ExitCode.DONE
        sys.stdout.flush()
        time.sleep(backend.poll_interval_s)


def collect(sweep: Sweep, backend: Backend, jobs: Sequence[Job], options: dict[str, Any]) -> int:
    """Bring what there is, note which are lost, complete MLflow; 1 if a job is not done."""
    owner = f"{sweep.path} is watched by {sweep.lock.owner}"
    require(sweep.lock.acquire(), f"{owner}, which collects; see racing jobs status {sweep.named}")
    sweep_run = SweepRun(sweep)
    begun = [job for job in jobs if job.folder.attempts]
    known = sweep_run.directory.last_end() is not None and all(job.ended for job in begun)
    try:
        with sweep_run:
            if known:
                sweep_run.resend()
                if sweep_run.wanted:
                    show_results(sweep, jobs)
                show_cost(backend.results(sweep))
            else:
                sweep_run.begin()
                (watch if options["wait"] else _once)(sweep, backend, begun, sweep_run)
    finally:
        sweep.lock.release()
    if not sweep_run.complete:
        print(f"{sweep.name}: upload to mlflow incomplete; run the command again when the server answers")
    report_failures(sweep, begun, max_resubmits=backend.max_resubmits)
    return ExitCode.DONE if sweep_run.complete else ExitCode.FAILED


def _once(sweep: Sweep, backend: Backend, jobs: Sequence[Job], sweep_run: SweepRun) -> None:
    """Poll all jobs once; those that nobody works on are given the backend's grace once."""
    watcher = SweepWatcher(sweep, backend, jobs, sweep_run)
    watcher.poll()
    infos = [watcher.infos.get(job.number) for job in watcher.unfinished]  # none of those just submitted again
    if any(info is not None and info.state == JobState.LOST for info in infos):
        time.sleep(backend.grace)
        watcher.poll()
    for job in jobs:
        if job.ended:
            backend.fetch_results(sweep, job, last=True)
    if watcher.unfinished:
        statuses = {job.number: status_of(job, watcher.infos.get(job.number)) for job in jobs}
        print(f"{summary_line(sweep, statuses)}; run the command again later, or with wait=true")
        return
    stopped = all(job.ended == JobStatus.DONE or job.cancel_requested for job in jobs)
    figures = backend.results(sweep)
    sweep_run.end(jobs, figures, stopped=stopped)
    if sweep_run.wanted:
        show_results(sweep, jobs)
    show_cost(figures)


def cancel(sweep: Sweep, backend: Backend, jobs: Sequence[Job], options: dict[str, Any]) -> int:
    """Ask jobs to stop."""
    chosen = cancel_jobs(sweep, backend, jobs)
    print(f"asked {jobs_text(len(chosen))} of {sweep.name} to save their state and stop; {SAME}")
    return ExitCode.DONE
