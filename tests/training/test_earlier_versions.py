"""What an earlier version has left is still read: its run directories, checkpoints and records.

data/earlier_run/ was trained until step 1024 by the version before keys, metrics and records got the names they have
now.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from racing.cli import main
from racing.runs.directory import RunDirectory, all_runs
from racing.runs.journal import read_journal
from racing.tracking.run_record import local_record
from tests.conftest import REPOSITORY

EARLIER = REPOSITORY / "tests/data/earlier_run/earlier-a3f56ccd"
COMMAND = ["train", "debug=fast", "algo=ppo_scratch", "name=earlier", "env=mlp", "track=oval"]
COMMAND += ["algo.n_envs=4", "algo.n_steps=64", "eval.confirmations=0"]  # as it was without being said
COMMAND += ["algo.batch_size=64", "algo.net_arch=[8,8]", "hardware=cpu", "tracking=none", "checkpoint.every=1024"]


@pytest.fixture
def earlier(tmp_path: Path) -> RunDirectory:
    path = tmp_path / "runs" / EARLIER.name
    shutil.copytree(EARLIER, path)
    return RunDirectory(path)


def test_its_configuration_has_todays_keys(earlier: RunDirectory):
    assert "decision_repeat:" in earlier.paths.config.read_text()  # it is as it was
    env, algo = earlier.config["env"], earlier.config["algo"]
    assert env["action_repeat"] == 2
    assert env["episodes"]["start_speed"] == [0.5, 1.0]
    assert algo["distillation_fraction"] == 0.5
    assert algo["normalize_advantage_per_mini_batch"] is False  # what it did


def test_its_metrics_have_todays_names(earlier: RunDirectory):
    values = {"rollout/reward": -1.5, "selection/finish_rate": 0.25, "train/std": 0.5, "time/steps_per_s": 9.0}
    with earlier.paths.journal.open("a") as file:
        file.write(json.dumps({"ts": 1_800_000_000_000, "kind": "metrics", "step": 1024, "values": values}) + "\n")
    series = local_record(earlier).series()
    assert series["rollout/ep_rew_mean"] == [(1024, -1.5)]
    assert series["validation/finish_rate"] == [(1024, 0.25)]
    assert not [name for name in series if name.startswith(("selection/", "rollout/reward", "time/"))]


@pytest.mark.slow
def test_the_same_command_resumes_it(earlier: RunDirectory, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main([*COMMAND, f"paths.outputs={tmp_path}"]) == 0
    assert "resuming from step 1,024" in capsys.readouterr().err
    assert [run.path for run in all_runs(tmp_path)] == [earlier.path]
    assert earlier.finished
    starts = [line.record for line in read_journal(earlier.paths.journal) if line.record.get("kind") == "start"]
    assert [start["continued"] for start in starts] == [False, True]
    assert main([*COMMAND, f"paths.outputs={tmp_path}"]) == 0
    assert "already finished" in capsys.readouterr().out
