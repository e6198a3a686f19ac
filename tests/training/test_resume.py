"""Runs that are killed and continued end as one that nobody disturbed: the same bytes, the same points."""

from __future__ import annotations

import subprocess
import time
from collections import Counter
from pathlib import Path

import pytest

from racing.cli import main
from racing.evaluation.laps import MILESTONES
from racing.runs.directory import RunDirectory
from tests.support.faults import KINDS
from tests.support.mlflow_server import Copy
from tests.support.processes import PATIENCE, Killer, points, run_of, state_bytes, train_command

PPO = ["debug=fast", "algo.total_timesteps=49152", "checkpoint.every=4096"]
PPO += ["eval.every_steps=24576", "eval.start_fraction=0", "algo.n_steps=16", "algo.n_epochs=2"]  # short updates
PPO += ["env.randomize.mass=[0.8,1.2]", "env.randomize.command_delay=[0,0.3]", "env.randomize.throttle_lag=[0,0.2]"]
PPO += ["env.randomize.ray_noise=[0,0.1]"]  # what a checkpoint must hold beside the cars
SAC = ["debug=fast", "algo=sac", "env=mlp", "algo.total_timesteps=2560", "checkpoint.every=256"]
SAC += [
    "algo.n_envs=16",
    "algo.learning_starts=640",
    "algo.buffer_size=1600",
    "eval.every_steps=1600",
    "eval.start_fraction=0",
    "checkpoint.keep_last=2",
]
CMAES = ["debug=fast", "algo=cmaes", "env=mlp", "algo.total_timesteps=49152", "checkpoint.every=4096"]
CMAES += ["algo.horizon.start=32", "algo.horizon.end=32"]  # 4096 steps a generation
CMAES += ["eval.every_steps=20480", "eval.start_fraction=0"]


def mlflow_points(run: RunDirectory) -> Counter:
    """What MLflow has. On a busy machine the sender, which yields to everybody, may need longer than a run waits."""
    deadline = time.monotonic() + PATIENCE
    while main(["runs", "sync", str(run.path), f"paths.outputs={run.path.parents[1]}"]) != 0:
        assert time.monotonic() < deadline
        time.sleep(1)
    copy = Copy(run)
    assert copy.status == "FINISHED"
    found: Counter = Counter()
    for name in copy.run.data.metrics:
        for (step, value), number in copy.points(name).items():
            found[name, step, "" if "time/" in name else repr(value)] += number
    return found


def check_equal(disturbed: RunDirectory, calm: RunDirectory, total: int) -> None:
    assert state_bytes(disturbed, total) == state_bytes(calm, total)
    for name in ("policy.onnx",):
        assert (disturbed.path / "export" / name).read_bytes() == (calm.path / "export" / name).read_bytes()
    assert points(disturbed) == points(calm)
    assert set(points(disturbed).values()) == {1}
    assert mlflow_points(disturbed) == mlflow_points(calm) == points(calm)
    assert without_clock(disturbed) == without_clock(calm)


def without_clock(run: RunDirectory) -> dict:
    clocks = ("learning_s", "steps_per_s", "eval_time_s", *MILESTONES, "lap_picture", "replay", "onnx", "laps")
    return {name: value for name, value in run.summary.items() if name not in clocks}


# Arguments, steps, kills, seed: a few kills, of each kind for ppo, with its sender and without, and while it starts; of
# all but the last for the others. `make torture` does hundreds.
TRAININGS = [(PPO, 49_152, 7, 380), (SAC, 2560, 5, 104), (CMAES, 49_152, 4, 2)]


@pytest.mark.slow
@pytest.mark.parametrize("arguments, total, kills, seed", TRAININGS, ids=["ppo", "sac", "cmaes"])
def test_killed_at_any_instant_it_ends_as_if_it_had_not_been(arguments, total, kills, seed, tmp_path: Path):
    killer = Killer(tmp_path / "disturbed", arguments, total, kills, seed)
    killer.torment()
    kinds = {*KINDS, "start", "instant"} if arguments is PPO else {"rename", "checkpoint", "instant"}
    assert kinds | {"after learning"} <= set(killer.killed)
    assert sum(killer.killed.values()) - killer.killed["sender"] == kills, killer.killed
    done = subprocess.run(train_command(tmp_path / "calm", arguments), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    check_equal(killer.run, run_of(tmp_path / "calm", arguments), total)
