"""Sweeps of jobs that train nothing, on instances of the box."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from racing_launchers.sweep import Job, Sweep
from tests.launchers.modal.driving import run_on
from tests.launchers.payloads import Act

FAST = ("poll_interval_s=0.3", "upload_every=0.5", "instance_types=[c7i.xlarge,c7i.2xlarge]")


def run(outputs: Path, acts: Sequence[Act], *overrides: str) -> tuple[Sweep, list[Job]]:
    """Run a sweep named `acts`."""
    return run_on("aws_spot", outputs, acts, *FAST, *overrides)
