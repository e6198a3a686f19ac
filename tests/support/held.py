"""Trainings that wait in the middle until they are told to go on, however fast they are: for whoever takes them away.

A program that is forked reads from its environment where it waits, and hands that on to the programs that it starts.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

VARIABLE = "RACING_TESTS_HELD"  # STEP:FILE


@contextlib.contextmanager
def held(step: int, until: Path) -> Iterator[None]:
    """Trainings of programs that are started meanwhile wait at that step until the file is there, or for a signal."""
    os.environ[VARIABLE] = f"{step}:{until}"
    try:
        yield
    finally:
        del os.environ[VARIABLE]


def install() -> None:
    """In a fork: wait where its environment says, if it says so."""
    if VARIABLE not in os.environ:
        return
    from racing.training.checkpoint_callback import CheckpointCallback

    step, _, file = os.environ[VARIABLE].partition(":")
    real = CheckpointCallback._on_step

    def on_step(callback: CheckpointCallback) -> bool:
        while callback.model.num_timesteps >= int(step) and not Path(file).exists() and not callback._stop.reason:
            time.sleep(0.02)
        return real(callback)

    CheckpointCallback._on_step = on_step  # type: ignore[method-assign]
