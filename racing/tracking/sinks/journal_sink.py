"""What the sinks beside MLflow have in common: they are rebuilt from the journal when they start, then follow it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from racing.runs.directory import RunDirectory
from racing.runs.journal import read_journal
from racing.runs.lock import FileLock
from racing.tracking.errors import Refused, Unreachable


class JournalSink(ABC):
    """Takes the journal of one run from its first line on; only one process at a time (`lock`)."""

    name = ""  # of the sink: its key in `tracking`, its package, its folder in the run directory

    def __init__(self, run: RunDirectory) -> None:
        """Prepare; nothing is read or written yet."""
        self.run = run
        self.lock = FileLock(run.paths.sink_lock(self.name))
        self.ended = False
        self._offset = 0
        self._begun = False

    def deliver(self) -> bool:
        """Take the lines that came since; False if there were none. After an error the next call begins anew.

        Raises Unreachable if it may succeed later, Refused if not.
        """
        try:
            if not self._begun:
                if self._has_all():
                    return False
                self._offset, self.ended = 0, False
                self._begin()
                self._begun = True
            before = self._offset
            for line in read_journal(self.run.paths.journal, before):
                record = line.record or {}  # what is no JSON has been named by MLflow's delivery
                if record.get("kind") in ("start", "end"):
                    self.ended = record["kind"] == "end"
                self._take(record)
                self._offset = line.end
            if self._offset > before:
                self._settle()
            return self._offset > before
        except Refused:
            raise
        except Exception as error:
            self._begun = False
            raise Unreachable(f"{self.name}: {type(error).__name__}: {error}") from error

    def mark_killed(self) -> None:
        """Record that the run's process ended without an `end`."""
        self.close()

    def close(self) -> None:
        """Close; nothing more comes from this process."""
        return

    def _has_all(self) -> bool:
        """Whether an earlier process has done everything; called before `_begin`."""
        return False

    @abstractmethod
    def _begin(self) -> None:
        """Make ready for the first line of the journal."""

    @abstractmethod
    def _take(self, record: dict[str, Any]) -> None:
        """Take one line of the journal, of any kind."""

    @abstractmethod
    def _settle(self) -> None:
        """Let others see what was taken: all lines that there are."""


def numbers(record: dict[str, Any]) -> tuple[int, float, dict[str, float]] | None:
    """Return step, time [s] and values of a line with metrics; None for another kind, or a damaged one."""
    if record.get("kind") != "metrics":
        return None
    try:
        values = {str(name): float(value) for name, value in dict(record["values"]).items()}
        return int(record["step"]), record["ts"] / 1000, values
    except (KeyError, TypeError, ValueError):
        return None
