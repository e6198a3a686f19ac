"""Trainings in this process that get a real signal at a known step, and what they leave behind."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Sequence
from pathlib import Path

import pytest

from racing.cli import main
from racing.runs.directory import RunDirectory, all_runs
from racing.training.checkpoint_callback import CheckpointCallback


def train(outputs: Path, *arguments: str) -> int:
    """`racing train arguments`, without MLflow; its exit code."""
    return main(["train", "debug=fast", "eval.episodes=2", "tracking=none", *arguments, f"paths.outputs={outputs}"])


def train_until(step: int, outputs: Path, *arguments: str, signals: Sequence[int] = (signal.SIGTERM,)) -> int:
    """As `train`, but the process gets signals, one at each step from `step` on."""
    real = CheckpointCallback._on_step
    left = list(signals)

    def on_step(self: CheckpointCallback) -> bool:
        if left and self.model.num_timesteps >= step:
            os.kill(os.getpid(), left.pop(0))
        return real(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CheckpointCallback, "_on_step", on_step)
        code = train(outputs, *arguments)
    assert not left
    return code


def only_run(outputs: Path) -> RunDirectory:
    (run,) = all_runs(outputs)
    return run


def trained_run(outputs: Path, *arguments: str) -> RunDirectory:
    """The run of a training that nobody disturbed, the only one in `outputs`."""
    assert train(outputs, *arguments) == 0
    return only_run(outputs)


def stopped_run(step: int, outputs: Path, *arguments: str) -> RunDirectory:
    """The run of a training that was stopped at `step` with its state saved, the only one in `outputs`."""
    assert train_until(step, outputs, *arguments) == 75
    return only_run(outputs)


def copied(run: RunDirectory, outputs: Path) -> RunDirectory:
    """The run in other outputs: the same command with them continues it there."""
    shutil.copytree(run.path, outputs / "runs" / run.name)
    return RunDirectory(outputs / "runs" / run.name)


def contents(folder: Path, without: Sequence[str] = ("run.lock",)) -> dict[str, bytes]:
    """Every file below `folder` by its relative path."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.name not in without)
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}
