"""The process beside the one that watches a sweep: brings its journal to MLflow, and sets its runs' mlflow.parentRunId.

    python -m racing_launchers.collector SWEEP --experiment NAME --parent PID

The store's address comes in the environment (racing.tracking.sender.spawn). Where workers reach no store
(`workers_upload` in the manifest), it uploads their runs, too, as far as their journals are on this disk. All that it
does can be repeated, so it may be killed at any instant.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from racing.processes import print_any_text
from racing.runs.directory import RunDirectory
from racing.tracking.errors import Unreachable
from racing.tracking.mlflow_sink import Delivery
from racing.tracking.sender import attend
from racing.tracking.store import ADDRESS, open_client
from racing_launchers.sweep import Job, Sweep

PARENT_TAG = "mlflow.parentRunId"


class SweepDelivery:
    """Delivers a sweep and its runs to one store. A Sink of racing.tracking.sender."""

    def __init__(self, sweep: Sweep, uri: str, experiment: str) -> None:
        """Nothing is sent yet."""
        self.sweep, self.uri, self.experiment = sweep, uri, experiment
        self.run = RunDirectory(sweep.path)
        self.parent = Delivery(self.run, uri, experiment)
        self.lock = self.parent.lock
        self.ended = False
        self._children: dict[Path, Delivery] = {}
        self._have_parent: set[str] = set()  # ids of MLflow runs whose parent is set
        self._client: Any = None

    def deliver(self) -> bool:
        """See Sink."""
        more = self.parent.deliver()
        for job, run in self.runs():
            if not self.sweep.workers_upload:
                more = self._deliver_run(job, run) or more
            self._set_parent(run)
        self.ended = self.parent.ended and not more
        return more

    def mark_killed(self) -> None:
        """See Sink. A sweep whose watcher is gone goes on: nothing is to be noted."""

    def runs(self) -> Iterator[tuple[Job, RunDirectory]]:
        """The runs of all jobs that are on this disk."""
        for job in self.sweep.jobs:
            for path in job.folder.runs:
                run = RunDirectory(self.sweep.outputs / path)
                if run.exists:
                    yield job, run

    def _deliver_run(self, job: Job, run: RunDirectory) -> bool:
        """Deliver what is new of a run; False if nothing is."""
        delivery = self._children.setdefault(run.path, Delivery(run, self.uri, self.experiment))
        if not delivery.lock.acquire():
            return False
        try:
            more = delivery.deliver()
            killed = not more and job.ended and not delivery.ended and run.last_end() is None
            if killed and not run.in_use:
                delivery.mark_killed()
                delivery.ended = True
            return more
        finally:
            delivery.lock.release()

    def _set_parent(self, run: RunDirectory) -> None:
        """Make the sweep's run the parent of a job's run, once both are in the store."""
        about = run.mlflow
        child = about.get("run_id", "")
        if not self.parent.run_id or not child or about.get("uri") != self.uri or child in self._have_parent:
            return
        try:
            self._client = self._client or open_client(self.uri, self.sweep.outputs)
            self._client.set_tag(child, PARENT_TAG, self.parent.run_id)
        except Exception as error:
            raise Unreachable(f"{self.uri}: {error}") from error
        self._have_parent.add(child)


def main(argv: Sequence[str] | None = None) -> int:
    """The process: 0 if all was delivered."""
    print_any_text()
    parser = argparse.ArgumentParser(prog="python -m racing_launchers.collector")
    parser.add_argument("sweep", type=Path)
    parser.add_argument("--experiment", required=True)
    parser.add_argument("--parent", type=int, required=True)
    options = parser.parse_args(argv)
    return attend(SweepDelivery(Sweep(options.sweep), os.environ[ADDRESS], options.experiment), options.parent)


if __name__ == "__main__":
    sys.exit(main())
