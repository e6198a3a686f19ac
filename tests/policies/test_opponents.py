"""`env.pool`: policies that race against the learner's cars, named so that the command means the same for ever."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from racing.config import compose, plain
from racing.errors import InputError
from racing.policies.opponents import find_opponents
from racing.runs.directory import RunDirectory, all_runs
from tests.support.processes import points, state_bytes
from tests.support.signals import only_run, stopped_run, train, train_until, trained_run

pytestmark = pytest.mark.slow

TINY = ["algo=ppo_scratch", "algo.n_steps=16", "algo.n_envs=32", "algo.batch_size=128", "algo.net_arch=[8]"]
TINY += ["eval.every_steps=0", "hardware=cpu"]
RACE = [*TINY, "env=race", "env.line=centre", "env.cars=2", "name=racer", "algo.total_timesteps=2560"]
RACE += ["env.mix.alone=0", "env.mix.line=0", "env.mix.pool=0.5", "checkpoint.every=512"]


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunDirectory, RunDirectory]:
    """Two finished runs whose policies know the sensors alone."""
    runs = []
    for seed in (0, 1):
        outputs = tmp_path_factory.mktemp("pool")
        settings = [
            "env=mlp_preview",
            "env.line=centre",
            "env.motion=[yaw_rate,steering,slip,acceleration,line_offset]",
        ]
        settings += ["algo.total_timesteps=512", f"seed={seed}", f"name=old{seed}"]
        assert train(outputs, *TINY, *settings) == 0
        runs.append(only_run(outputs))
    return runs[0], runs[1]


@pytest.fixture(scope="module")
def env() -> dict[str, Any]:
    return dict(plain(compose("train", ["env=race", "env.line=centre"]))["env"])


def sha_of(run: RunDirectory) -> str:
    return hashlib.sha256((run.path / "export/policy.onnx").read_bytes()).hexdigest()[:12]


def test_a_policy_is_found_and_named_by_what_it_is(pool, env, tmp_path: Path):
    first, second = pool
    file = second.path / "export/policy.onnx"
    found = find_opponents([first.name, str(file)], first.path.parents[1], env)
    assert found.names == [f"{first.name}#{sha_of(first)}", f"{file}#{sha_of(second)}"]
    assert [policy.name for policy in found.policies] == [first.name, "policy"]
    seen = np.random.default_rng(0).uniform(-1, 1, (5, *found.policies[0].shapes["observation"])).astype(np.float32)
    one, other = (policy.predict(seen) for policy in found.policies)
    assert one.shape == (5, 2)
    assert (one != other).any()
    again = find_opponents(found.names, first.path.parents[1], env)
    assert again.names == found.names
    np.testing.assert_array_equal(again.policies[0].predict(seen), one)


def test_one_that_has_changed_since_is_refused(pool, env, tmp_path: Path):
    first, second = pool
    file = tmp_path / "rival.onnx"
    shutil.copy(first.path / "export/policy.onnx", file)
    (name,) = find_opponents([str(file)], tmp_path, env).names
    shutil.copy(second.path / "export/policy.onnx", file)
    says = f"env.pool: {file} must be the policy {sha_of(first)}, it is {sha_of(second)} now; name it anew"
    with pytest.raises(InputError) as refused:
        find_opponents([name], tmp_path, env)
    assert str(refused.value) == says


@pytest.mark.parametrize(
    ("key", "value"), [("rays", 9), ("line", "reference"), ("motion", "slip"), ("action_repeat", 3)]
)
def test_one_with_other_sensors_is_refused(pool, env, key: str, value: Any):
    run = pool[0]
    rule = f"env.pool: {run.name} must have the sensors of the others in the race"
    with pytest.raises(InputError, match="must have the sensors") as refused:
        find_opponents([run.name], run.path.parents[1], {**env, key: value})
    differs = f"its env.{key} is {env[key]}, not {value}; set env.{key}, or take another one"
    assert str(refused.value) == f"{rule}, {differs}"


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (["latest"], "env.pool must name runs: repeated, the command would race against others; name them"),
        (["latest#1a2b"], "env.pool must name runs"),
        ("old0", "env.pool must be a list of runs or files, got 'old0'; e.g. env.pool="),
        ([7], r"env.pool must be a list of runs or files, got \[7\]"),
        ([""], r"env.pool must be a list of runs or files, got \[''\]"),
        (["absent"], "run 'absent' must be a run directory, its name"),
        (["absent.onnx"], "policy absent.onnx must be an existing file"),
    ],
)
def test_what_names_no_policy(wrong: Any, says: str, env, tmp_path: Path):
    with pytest.raises(InputError, match=says):
        find_opponents(wrong, tmp_path, env)


def test_a_training_against_them_is_recorded_and_continues_exactly(pool, tmp_path: Path):
    files = [str(run.path) for run in pool]
    arguments = [*RACE, f"env.pool=[{','.join(files)}]"]
    calm = trained_run(tmp_path / "calm", *arguments)
    exactly = [f"{file}#{sha_of(run)}" for file, run in zip(files, pool, strict=True)]
    assert yaml.safe_load((calm.path / "config.yaml").read_text())["env"]["pool"] == exactly

    stopped = stopped_run(1200, tmp_path / "stopped", *arguments)
    assert stopped.status == "STOPPED"
    assert train(tmp_path / "stopped", *arguments) == 0
    assert stopped.status == "FINISHED"
    assert state_bytes(stopped, 2560) == state_bytes(calm, 2560)
    assert points(stopped) == points(calm)
    assert (stopped.path / "export/policy.onnx").read_bytes() == (calm.path / "export/policy.onnx").read_bytes()


def test_against_another_policy_of_the_same_name_it_is_another_run(pool, tmp_path: Path, capsys):
    file = tmp_path / "rival.onnx"
    shutil.copy(pool[0].path / "export/policy.onnx", file)
    run = stopped_run(600, tmp_path, *RACE, f"env.pool=[{file}]")
    shutil.copy(pool[1].path / "export/policy.onnx", file)
    line = refused(capsys, tmp_path, *RACE, f"env.pool=['{file}#{sha_of(pool[0])}']")
    assert f"{file} must be the policy {sha_of(pool[0])}, it is {sha_of(pool[1])} now; name it anew" in line
    assert train_until(600, tmp_path, *RACE, f"env.pool=[{file}]") == 75
    assert run.status == "STOPPED"
    first, other = all_runs(tmp_path)
    assert first.path != other.path


def refused(capsys: pytest.CaptureFixture[str], outputs: Path, *arguments: str) -> str:
    capsys.readouterr()
    assert train(outputs, *arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_a_training_that_cannot_be_is_refused_in_one_line(pool, tmp_path: Path, capsys):
    rival = f"env.pool=[{pool[0].path}]"
    line = refused(capsys, tmp_path, *RACE, rival, "env.mix.pool=0")
    assert "env.mix.pool must be above 0 exactly where pool names policies, got 0 and 1 of them; set both" in line
    assert "algo.n_envs must be a multiple of env.cars=2, got 31" in refused(
        capsys, tmp_path, *RACE, rival, "algo.n_envs=31"
    )
    assert "its env.rays is 7, not 5" in refused(capsys, tmp_path, *RACE, rival, "env.rays=5")
    assert not (tmp_path / "runs").exists()
