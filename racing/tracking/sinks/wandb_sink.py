"""Weights & Biases: the journal as a run of the project `tracking.experiment`, online or as offline files.

The number of a line of metrics in the journal is W&B's own step. So a continued run says which lines W&B has already,
and offline files, of which a killed process leaves a part, are simply made again as a whole.
"""

from __future__ import annotations

import os
import shutil
from typing import Any

from racing.runs.directory import RunDirectory
from racing.runs.identity import flatten
from racing.runs.journal import read_cursor, read_journal, write_cursor
from racing.runs.status import RunStatus
from racing.tracking.errors import Refused
from racing.tracking.sinks.journal_sink import JournalSink, numbers

MODES = ("online", "offline", "shared", "disabled", "dryrun", "run")  # that WANDB_MODE may have
AXIS = "global_step"  # environment steps: what every metric is drawn over
MAX_TAG = 64  # [characters] W&B's limit


class WandbSink(JournalSink):
    """Writes <run>/wandb/. WANDB_MODE decides whether online; without it: where somebody is logged in."""

    name = "wandb"

    def __init__(self, run: RunDirectory) -> None:
        """Prepare; nothing is read or written yet."""
        super().__init__(run)
        self._cursor = run.paths.sink_cursor(self.name)
        self._wandb: Any = None
        self._lines = self._there = 0  # lines of metrics: taken, and how many W&B has from an earlier process

    def close(self) -> None:
        """Close the W&B run, if it is open; a run that has not ended has failed."""
        self._finish(1)

    def _has_all(self) -> bool:
        return read_cursor(self._cursor) == self.run.paths.journal.stat().st_size

    def _begin(self) -> None:
        import wandb

        self._wandb = None
        wandb.teardown()  # nothing of an attempt that failed goes on writing
        mode = os.environ.get("WANDB_MODE") or ("online" if _logged_in() else "offline")
        offline = mode in ("offline", "dryrun")
        first = next(read_journal(self.run.paths.journal)).record or {}
        config = self.run.config
        if offline:
            for partial in self.run.paths.sink(self.name).glob(f"offline-run-*-{first['id']}"):
                shutil.rmtree(partial)
        try:
            self._wandb = wandb.init(
                project=(config.get("tracking") or {}).get("experiment", "racing"),
                id=first["id"],
                name=self.run.name,
                dir=self.run.path,
                config=config,
                resume=None if offline else "allow",
                settings=_settings(mode),
            )
        except (wandb.errors.UsageError, wandb.errors.AuthenticationError) as error:
            raise Refused(f"wandb: {error}") from error
        self._wandb.define_metric("*", step_metric=AXIS)
        self._known = set(flatten(config))
        self._lines, self._there = 0, 0 if offline else self._wandb.step
        self._end: str = RunStatus.KILLED

    def _take(self, record: dict[str, Any]) -> None:
        if point := numbers(record):
            step, time, values = point
            if self._lines >= self._there:
                self._wandb.log({AXIS: step, "_timestamp": time, **values}, step=self._lines, commit=True)
            self._lines += 1
        elif record.get("kind") == "params":
            late = {name: value for name, value in record["values"].items() if name not in self._known}
            self._wandb.config.update(late, allow_val_change=True)
        elif record.get("kind") == "tags":
            self._wandb.config.update({f"tags.{k}": v for k, v in record["values"].items()}, allow_val_change=True)
            labels = (f"{name}={value}" for name, value in record["values"].items())
            shown = [*(self._wandb.tags or ()), *(label for label in labels if len(label) <= MAX_TAG)]
            self._wandb.tags = tuple(dict.fromkeys(shown))
        elif record.get("kind") == "end":
            self._end = record["status"]

    def _settle(self) -> None:
        if not self.ended:
            return
        if self._end == RunStatus.STOPPED:
            self._wandb.mark_preempting()
        if self._end == RunStatus.FINISHED:
            self._wandb.summary.update(self.run.summary)
        self._finish(0 if self._end == RunStatus.FINISHED else 1)

    def _finish(self, exit_code: int) -> None:
        """Close the W&B run and note that all up to here is in it."""
        if self._wandb is None:
            return
        import wandb

        self._wandb.finish(exit_code)
        wandb.teardown(exit_code)  # only when its service has ended is everything in the file
        self._wandb, self._begun = None, False
        self._cursor.parent.mkdir(exist_ok=True)
        write_cursor(self._cursor, self._offset)


def _settings(mode: str) -> Any:
    """Send only what the journal says: no console, no machine statistics of the sender, no terminal output."""
    import wandb

    quiet = {"silent": True, "console": "off", "quiet": True}
    nothing_else = {"disable_git": True, "save_code": False, "x_disable_stats": True, "x_disable_machine_info": True}
    return wandb.Settings(**quiet, **nothing_else, mode=mode, x_save_requirements=False)


def _logged_in() -> bool:
    import wandb

    return bool(wandb.login(prompt=False, verify=False))
