"""What jobs typically take and cost: as runs of their kind have taken."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from racing.runs.directory import open_run
from racing_launchers.backend import launcher_config, make_backend
from racing_launchers.estimate import typical_lines
from racing_launchers.launch import PlannedJob
from racing_launchers.payload import HydraJob

KART = {"env": {"_target_": "a.Sensors"}, "algo": {"_target_": "b.ppo", "net_arch": [64, 64], "total_timesteps": 1_000}}
SEEN = {"env": {"_target_": "a.Vision", "width": 84}, "algo": KART["algo"]}


def trained(outputs: Path, name: str, config: dict[str, Any], launcher: str, **summary: float) -> str:
    """A finished run; its name."""
    whole = config | {"name": name, "launcher": {"name": launcher}}
    with open_run(outputs, name, whole, [], {}) as run:
        run.finish({"finish_rate": 1.0, **summary})
    return run.name


def planned(number: int, config: dict[str, Any], steps: int) -> PlannedJob:
    tree = OmegaConf.create(config | {"algo": {**config["algo"], "total_timesteps": steps}})
    return PlannedJob(number, [], HydraJob(None, None, tree))  # type: ignore[arg-type]


def test_as_the_longest_run_of_that_kind_has_taken_on_that_launcher_else_here(tmp_path: Path):
    slurm = make_backend(launcher_config("slurm", ["cpus_per_task=3"]))
    jobs = [planned(0, KART, 3_600_000), planned(1, KART, 7_200_000)]
    assert typical_lines(jobs, tmp_path, slurm) == [
        f"what it typically costs is told once runs of these kinds are in {tmp_path / 'runs'}"
    ]
    trained(tmp_path, "short", KART, "slurm", steps=4096, learning_s=1.0)  # has mostly compiled
    trained(tmp_path, "seen", SEEN, "slurm", steps=1_000_000, learning_s=1000.0)
    here = trained(tmp_path, "here", KART, "local", steps=1_000_000, learning_s=800.0, eval_time_s=200.0)
    # 1,000 steps/s: one hour and two, of three cores.
    told = (
        f"typically about 9.0 core hours: 2:00:00 for the longest job, at 1,000 steps/s as {here} had on this machine"
    )
    assert typical_lines(jobs, tmp_path, slurm) == [told]
    there = trained(tmp_path, "there", KART, "slurm", steps=500_000, learning_s=250.0)
    told = f"typically about 4.5 core hours: 1:00:00 for the longest job, at 2,000 steps/s as {there} had on slurm"
    assert typical_lines(jobs, tmp_path, slurm) == [told]
    assert typical_lines([], tmp_path, slurm) == []


@pytest.mark.parametrize("launcher", ["local"])
def test_where_nothing_is_paid_nothing_is_told(launcher: str, tmp_path: Path):
    assert typical_lines([planned(0, KART, 1000)], tmp_path, make_backend(launcher_config(launcher, []))) == []
