"""Sweeps of jobs that train nothing, in containers of the box."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import cloudpickle

from racing_launchers.backend import launcher_config, make_backend
from racing_launchers.launch import LaunchRequest, PlannedJob, launch
from racing_launchers.sweep import Job, Sweep
from tests.launchers import payloads
from tests.launchers.payloads import Act

FAST = ("poll_interval_s=0.1", "commit_every=0.3", "gpu=null", "cpu=1", "memory=512")


@contextlib.contextmanager
def by_value() -> Iterator[None]:
    """Jobs bring their class with them: containers do not have the tests."""
    cloudpickle.register_pickle_by_value(payloads)
    try:
        yield
    finally:
        cloudpickle.unregister_pickle_by_value(payloads)


def run(outputs: Path, acts: Sequence[Act], *overrides: str) -> tuple[Sweep, list[Job]]:
    """Run a sweep named `acts`."""
    return run_on("modal", outputs, acts, *FAST, *overrides)


def run_on(launcher: str, outputs: Path, acts: Sequence[Act], *overrides: str) -> tuple[Sweep, list[Job]]:
    """The same with a launcher whose jobs work on another disk."""
    known = launcher_config(launcher, overrides)
    backend = make_backend(known)
    backend.grace = 1.0
    sweep = Sweep(outputs / "sweeps" / "acts")
    planned = [PlannedJob(number, [f"act={act.what}", f"number={number}"], act) for number, act in enumerate(acts)]
    with by_value():
        return sweep, launch(sweep, backend, planned, LaunchRequest(command="acts", launcher=known, outputs=outputs))
