"""Sweeps of jobs that train nothing, on instances of the box."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from racing_launchers.backend import launcher_config, make_backend
from racing_launchers.launch import LaunchRequest, PlannedJob, launch
from racing_launchers.sweep import Job, Sweep
from tests.launchers.modal.driving import by_value
from tests.launchers.payloads import Act

FAST = ("poll_interval_s=0.3", "upload_every=0.5", "instance_types=[c7i.xlarge,c7i.2xlarge]")


def run(outputs: Path, acts: Sequence[Act], *overrides: str) -> tuple[Sweep, list[Job]]:
    """Run a sweep named `acts`."""
    known = launcher_config("aws_spot", [*FAST, *overrides])
    backend = make_backend(known)
    backend.grace = 1.0
    sweep = Sweep(outputs / "sweeps" / "acts")
    planned = [PlannedJob(number, [f"act={act.what}", f"number={number}"], act) for number, act in enumerate(acts)]
    with by_value():
        return sweep, launch(sweep, backend, planned, LaunchRequest(command="acts", launcher=known, outputs=outputs))
