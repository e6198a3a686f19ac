"""A sweep's own run in MLflow, the parent of its jobs' runs: what varies, how far it is, which job was best."""

from __future__ import annotations

import csv
import io
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import yaml

from racing.files import write_atomic
from racing.runs.directory import RunDirectory, read_config
from racing.runs.journal import Journal
from racing.runs.metrics import HEADLINE, SCORE, rank
from racing.runs.status import RunStatus
from racing.tracking.client import KIND_TAG
from racing.tracking.sender import Sender, spawn
from racing.tracking.store import resolve_uri
from racing_launchers.job import JobStatus
from racing_launchers.sweep import Job, Sweep

RESULTS = (*HEADLINE, "steps", "steps_per_s", "learning_s")  # of a run's summary
DIGITS = {"finish_rate": 2, "lap_time_s": 2, "lap_ratio": 3, "limit_ratio": 3, SCORE: 1}  # in the printed table
COLUMNS = {"lap_time_s": "lap [s]"}  # of it, that are called otherwise
TABLE = "results.csv"
NO_BEST = "none, nobody has finished; train longer, or look at the runs"


class SweepRun:
    """Writes the sweep's journal while it is entered, and has a process (collector.py) that brings it to MLflow.

    Only the process that watches the sweep has one: it holds `sweep.lock`.
    """

    def __init__(self, sweep: Sweep) -> None:
        """sweep: whose manifest says how it is tracked."""
        self.sweep = sweep
        self.directory = RunDirectory(sweep.path)
        self.tracking = sweep.manifest.get("tracking") or {}
        self._journal: Journal | None = None
        self._sender: Sender | None = None
        self._counted: Mapping[str, int] = {}
        self.complete = True  # at its end: MLflow has all of it; else `racing jobs collect`

    @property
    def wanted(self) -> bool:
        """Whether the sweep has a run: those of racing train do."""
        return bool(self.sweep.manifest.get("recorded"))

    def begin(self) -> None:
        """Note that a process begins to watch; does nothing where the sweep is not to be recorded."""
        manifest = self.sweep.manifest
        if not self.wanted:
            return
        self._journal = Journal(self.directory.paths.journal)
        self._journal.params({key: ", ".join(values) for key, values in manifest["axes"].items()})
        self._journal.tags(
            {
                KIND_TAG: "sweep",
                "racing.sweep": self.sweep.name,
                "racing.launcher": manifest["launcher"]["name"],
                "racing.command": manifest["command"],
                "racing.axes": ", ".join(manifest["axes"]) or "none",
                "mlflow.runName": self.sweep.name,
            }
        )
        self._journal.start(pid=os.getpid(), jobs=len(self.sweep.jobs))
        self._sender = start_collector(self.sweep, self.directory)

    def resend(self) -> None:
        """Upload again what MLflow may lack; nothing new is noted."""
        if self.wanted:
            self._sender = start_collector(self.sweep, self.directory)

    def event(self, name: str, **fields: Any) -> None:
        """Note that something happened to a job."""
        if self._journal:
            self._journal.event(name, **fields)

    def note(self, tags: Mapping[str, str], files: Sequence[str], folder: str) -> None:
        """Add tags, and files of the sweep's folder, to be kept in MLflow under `folder`."""
        if self._journal:
            self._journal.tags(tags)
            for name in files:
                if (self.sweep.path / name).is_file():
                    self._journal.artifact(name, folder)

    def count(self, jobs: Sequence[Job]) -> None:
        """Note how many jobs have ended, and how, if that has changed."""
        counts = {"jobs/done": 0, "jobs/failed": 0}
        for job in jobs:
            if job.ended:
                counts["jobs/done" if job.ended == JobStatus.DONE else "jobs/failed"] += 1
        if self._journal and counts != self._counted:
            self._counted = counts
            self._journal.metrics(sum(counts.values()), counts)

    def end(self, jobs: Sequence[Job], figures: Mapping[str, float], *, stopped: bool = False) -> None:
        """Note results, the best job and the end. figures: of the whole sweep, such as its cost."""
        if self._journal is None:
            return
        self.count(jobs)
        rows = results(self.sweep, jobs)
        write_atomic(self.sweep.path / TABLE, as_csv(rows))
        self._journal.artifact(TABLE)
        study = study_folder(self.sweep)
        for path in sorted(study.iterdir()) if study else ():
            if path.suffix in (".csv", ".yaml", ".png") and not path.name.startswith("."):
                self._journal.artifact(path, "study")
        self._journal.metrics(len(jobs), dict(figures))
        chosen = best_trial(self.sweep) if study else best(rows)
        if chosen:
            texts = {"racing.best_run": chosen["run"], "racing.best": chosen["label"]}
            self._journal.tags(texts | ({"racing.best_run_id": chosen["run_id"]} if chosen["run_id"] else {}))
            numbers = {f"best/{name}": chosen[name] for name in HEADLINE if chosen[name] is not None}
            self._journal.metrics(len(jobs), numbers)
        done = all(job.ended == JobStatus.DONE for job in jobs)
        unfinished = RunStatus.STOPPED if stopped else RunStatus.FAILED
        self._journal.end(RunStatus.FINISHED if done else unfinished)

    @property
    def died(self) -> str | None:
        """After the end: see Sender.died."""
        return self._sender.died if self._sender else None

    def __enter__(self) -> SweepRun:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        """Close the journal, and wait until MLflow has it, but not after Ctrl-C; see `complete`."""
        if self._journal is not None:
            self._journal.close()
            self._journal = None
        if self._sender is not None:
            self.complete = False
            if kind is None or not issubclass(kind, KeyboardInterrupt):
                self.complete = self._sender.close(float(self.tracking["close_timeout"]))


def start_collector(sweep: Sweep, run: RunDirectory) -> Sender | None:
    """Start the process that brings the sweep to MLflow; None where tracking is disabled."""
    tracking = sweep.manifest.get("tracking") or {}
    if not tracking.get("enabled"):
        return None
    uri = resolve_uri(tracking["uri"], sweep.outputs)
    arguments = ["-m", "racing_launchers.collector", str(sweep.path), "--experiment", str(tracking["experiment"])]
    return Sender(run, {"mlflow": spawn(run, arguments, sweep.outputs, uri)})


def results(sweep: Sweep, jobs: Sequence[Job]) -> list[dict[str, Any]]:
    """One row a job: what varied, how it ended, what its run reached (None where it did not)."""
    rows = []
    for job in jobs:
        run = last_run(sweep, job)
        damage = run.damage if run and run.path.exists() else None
        summary = run.summary if run and not damage and run.finished else {}
        took = job.folder.result.get("ended_ms", 0) - job.folder.result.get("began_ms", time.time_ns())
        rows.append(
            {
                "job": job.number,
                "label": job.label,
                "status": job.ended or "",
                "run": run.name if run else "",
                "run_id": run.mlflow.get("run_id", "") if run and not damage else "",
                **{name: summary.get(name) for name in RESULTS},
                "minutes": round(took / 60_000, 2) if took > 0 else None,
                "attempts": job.folder.attempts,
                "error": job.folder.result.get("error") or damage or "",
            }
        )
    return rows


def last_run(sweep: Sweep, job: Job) -> RunDirectory | None:
    """The run that the job has opened last."""
    paths = job.folder.runs
    return RunDirectory(sweep.outputs / paths[-1]) if paths else None


def best(rows: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The row with the best result, see racing.runs.metrics.rank; None where nobody has finished."""
    return max((row for row in rows if row["finish_rate"] or row.get(SCORE) is not None), key=rank, default=None)


def study_folder(sweep: Sweep) -> Path | None:
    """Where the workers of a search (racing/tune) have left its report; None where the sweep is none."""
    return next((path.parent for path in sweep.path.glob("*/trials.csv")), None)


def best_trial(sweep: Sweep) -> dict[str, Any] | None:
    """As `best`, the best trial of a search; its label is what was found. A score of 0 says that nobody finished."""
    path = next(sweep.path.glob("*/best.yaml"), None)
    try:
        found = read_config(path) if path else {}
    except (OSError, ValueError, yaml.YAMLError):
        return None
    run = RunDirectory(sweep.outputs / "runs" / str(found.get("run") or ""))
    if not found.get("overrides") or found.get("value") == 0 or run.damage or not run.finished:
        return None
    row = {"label": " ".join(map(str, found["overrides"])), "run": run.name, "run_id": run.mlflow.get("run_id", "")}
    return row | {name: run.summary.get(name) for name in RESULTS}


def as_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows as a table with a head."""
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]) if rows else ["job"])
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def show_cost(figures: Mapping[str, float]) -> None:
    """Print what the jobs of a sweep have cost so far, where something is paid. figures: see Backend.results."""
    hours = next(
        (f" for {value:,.2f} {name.replace('_', ' ')}" for name, value in figures.items() if "hours" in name), ""
    )
    if "cost_usd" in figures:
        print(f"cost     {figures['cost_usd']:,.2f} USD{hours}")


def show_results(sweep: Sweep, jobs: Sequence[Job]) -> None:
    """Print what the jobs of racing reached, and which was best."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    rows = results(sweep, jobs)
    study = study_folder(sweep)
    chosen = best_trial(sweep) if study else best(rows)
    if study:
        print(f"best     {chosen['label'] if chosen else NO_BEST}\nreport   {study}")
        return
    names = [name for name in DIGITS if any(row[name] is not None for row in rows)]
    if not names:
        return
    table = Table(title=sweep.name, title_justify="left", box=None, pad_edge=False)
    for name in ("job", "", *(COLUMNS.get(name, name.replace("_", " ")) for name in names), "steps", "min", "run"):
        left, folds = name in ("", "run"), name == ""  # what varies is never cut
        table.add_column(name, justify="left" if left else "right", no_wrap=not folds, overflow="fold")
    for row in rows:
        lap = [
            "" if row[name] is None else f"{row[name]:.{digits}f}" for name, digits in DIGITS.items() if name in names
        ]
        steps = f"{row['steps']:,}" if row["steps"] else ""
        style = "bold" if row is chosen else ""
        minutes = "" if row["minutes"] is None else f"{row['minutes']:.1f}"
        table.add_row(str(row["job"]), escape(row["label"]), *lap, steps, minutes, row["run"], style=style)
    Console(file=sys.stdout, soft_wrap=True, width=200 if not sys.stdout.isatty() else None).print(table)
    print(f"best     {(chosen['label'] or chosen['run']) if chosen else NO_BEST}")
    print(f"table    {Path(sweep.path / TABLE)}")
