"""How a run is."""

from __future__ import annotations

from enum import StrEnum


class RunStatus(StrEnum):
    """What journals, `racing runs` and MLflow say of a run; MLflow has no STOPPED and calls that KILLED."""

    FINISHED = "FINISHED"
    FAILED = "FAILED"
    STOPPED = "STOPPED"  # on request, state saved: the same command continues it
    RUNNING = "RUNNING"
    KILLED = "KILLED"  # it neither ended nor runs


ENDS = (RunStatus.FINISHED, RunStatus.FAILED, RunStatus.STOPPED)  # that a run itself records
