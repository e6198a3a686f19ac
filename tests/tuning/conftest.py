"""Tiny searches, in this process or others, and what they leave behind."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest

from racing.runs.directory import RunDirectory
from racing.tuning.report import FIGURES
from racing.tuning.storage import open_storage
from tests.support.signals import train
from tests.tuning.plain import leave_out_pictures

# Two updates of 2048 decisions, a judgement after the first.
TINY = ["env=mlp", "algo.n_steps=16", "algo.n_epochs=1", "eval.every_steps=2048", "eval.start_fraction=0"]
ALONE = ["hydra.mode=RUN"]  # one worker, in the process itself

ALL_FIGURES = dict(FIGURES)


@pytest.fixture(scope="package", autouse=True)
def no_pictures() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        leave_out_pictures(patch)
        yield


def search(outputs: Path, *arguments: str) -> int:
    """`racing train`: one worker in this process; its exit code."""
    return train(outputs, *TINY, *ALONE, *arguments)


def start(outputs: Path, *arguments: str) -> subprocess.Popen[bytes]:
    """The same in a process of its own."""
    fast = ["debug=fast", "eval.episodes=2", "tracking=none"]
    command = [sys.executable, "-m", "tests.tuning.plain", *fast, *TINY, *ALONE, *arguments, f"paths.outputs={outputs}"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def study_of(outputs: Path) -> optuna.Study:
    (path,) = [*(outputs / "studies").glob("*.journal"), *(outputs / "sweeps").glob("*.journal")]
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna.load_study(study_name=None, storage=open_storage(str(path)))


def states(study: optuna.Study) -> list[str]:
    return [trial.state.name for trial in study.trials]


def run_of(outputs: Path, trial) -> RunDirectory:
    return RunDirectory(outputs / "runs" / trial.user_attrs["run"])
