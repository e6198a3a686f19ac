"""`init_from`: a new run with the weights of another one, steps that add up, and the record of where they came from."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from racing.algos.state import weights_sha256
from racing.cli import main
from racing.config import compose
from racing.policies.init_from import find_initial_weights
from racing.policies.loading import load_model
from racing.runs.checkpoints import read_checkpoint
from racing.runs.directory import RunDirectory, all_runs, reopen_run
from racing.runs.journal import read_journal
from racing.tracking.model_registry import promote
from racing.training.build import build_experiment
from racing.training.resolve import resolve
from tests.support.mlflow_server import Copy
from tests.support.processes import points, state_bytes
from tests.support.signals import contents, only_run, stopped_run, train, trained_run

pytestmark = pytest.mark.slow

SHORT = ["algo.n_steps=16", "eval.every_steps=0", "checkpoint.every=2048"]  # 2048 steps an update


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("lineage")


@pytest.fixture(scope="module")
def parent(outputs: Path) -> RunDirectory:
    """A finished run of 6144 steps, in MLflow, too; models:/kart@champion."""
    arguments = ["debug=fast", "eval.episodes=2", *SHORT, "name=parent", "algo.total_timesteps=6144"]
    assert main(["train", *arguments, f"paths.outputs={outputs}"]) == 0
    run = only_run(outputs)
    promote(run.name, "kart", "champion", outputs)
    return run


def weights_of(run: RunDirectory, step: int | None = None) -> str:
    """sha256 of the policy that the run ships, or of its checkpoint."""
    if step is None:
        return weights_sha256(load_model(run.path / "export/policy.zip").policy.state_dict())
    return weights_sha256(read_checkpoint(run.path / "checkpoints" / f"{step:09d}").load("policy"))


def tags_of(run: RunDirectory) -> dict[str, str]:
    tags: dict[str, str] = {}
    for line in read_journal(run.path / "journal.jsonl"):
        tags.update(line.record["values"] if line.record["kind"] == "tags" else {})
    return tags


def called(name: str, outputs: Path) -> RunDirectory:
    (run,) = [run for run in all_runs(outputs) if run.name.startswith(name + "-")]
    return run


SPECS = {
    "name": (lambda run: run.name, None),
    "directory": (lambda run: str(run.path), None),
    "name@policy": (lambda run: f"{run.name}@policy", None),
    "policy.zip": (lambda run: str(run.path / "export" / "policy.zip"), None),
    "MLflow id": (lambda run: run.mlflow["run_id"], None),
    "model": (lambda run: "models:/kart@champion", None),
    "name@step": (lambda run: f"{run.name}@4096", 4096),
    "directory@step": (lambda run: f"{run.path}@2048", 2048),
    "checkpoint": (lambda run: str(run.path / "checkpoints" / "000002048"), 2048),
}


@pytest.mark.parametrize("kind", SPECS)
def test_a_run_is_named_in_many_ways_and_its_weights_are_what_training_begins_with(
    kind: str, parent: RunDirectory, outputs: Path
):
    spec, step = SPECS[kind][0](parent), SPECS[kind][1]
    sha = weights_of(parent, step)
    cfg = compose("train", ["debug=fast", f"init_from='{spec}'", f"paths.outputs={outputs}"])
    config = resolve(cfg)
    model = build_experiment(config).model
    assert weights_sha256(model.policy.state_dict()) == sha
    assert model.num_timesteps == 0
    # However it was named, the record names exactly these weights; so the new run is the same one, too.
    assert config.tree.init_from == config.initial_weights.spec == f"{parent.name}@{step or 'policy'}#{sha[:12]}"
    assert config.initial_weights.steps == (step or 6144)
    assert config.initial_weights.run_id == parent.mlflow["run_id"]
    assert config.initial_weights.lineage == (parent.name,)
    again = find_initial_weights(config.initial_weights.spec, outputs)
    assert (again.spec, again.sha256) == (config.initial_weights.spec, sha)


def test_a_run_that_is_not_finished_must_be_named_with_its_step(tmp_path: Path):
    """Its newest checkpoint would be another one when the command is repeated."""
    run = stopped_run(3000, tmp_path, *SHORT, "algo.total_timesteps=8192")
    with pytest.raises(ValueError, match=f"yet; .*4096.*{run.name}@STEP"):
        find_initial_weights(run.name, tmp_path)
    found = find_initial_weights(f"{run.name}@4096", tmp_path)
    assert (found.spec.partition("#")[0], found.sha256) == (f"{run.name}@4096", weights_of(run, 4096))


def test_a_policy_file_of_nobody(parent: RunDirectory, tmp_path: Path):
    path = tmp_path / "mine.zip"
    shutil.copy(parent.path / "export/policy.zip", path)
    found = find_initial_weights(str(path), tmp_path)
    assert found.spec == f"{path}#{weights_of(parent)[:12]}"
    assert (found.run_id, found.lineage, found.steps) == (None, (str(path),), 6144)


@pytest.fixture(scope="module")
def child(parent: RunDirectory, outputs: Path) -> RunDirectory:
    """Two updates from the parent's policy, so small that it hardly changes; recorded in MLflow."""
    slow = ["algo.learning_rate=1e-9", "algo.learning_rate_end=1e-9", "algo.total_timesteps=4096"]
    arguments = ["debug=fast", "eval.episodes=2", *SHORT, *slow, "name=child", f"init_from={parent.name}"]
    assert main(["train", *arguments, f"paths.outputs={outputs}"]) == 0
    return called("child", outputs)


def test_training_begins_with_the_weights_and_steps_add_up(parent: RunDirectory, child: RunDirectory):
    before, after = (load_model(run.path / "export/policy.zip").policy.state_dict() for run in (parent, child))
    assert all(torch.allclose(before[name], after[name], atol=1e-5) for name in before)
    assert weights_of(child) != weights_of(parent)
    assert (child.summary["steps"], child.summary["total_steps"]) == (4096, 10_240)
    assert sorted(path.name for path in (child.path / "checkpoints").iterdir()) == ["000008192", "000010240"]
    assert sorted(path.name for path in (child.path / "evaluations").iterdir()) == ["000010240"]
    assert {step for name, step, _ in points(child) if name == "train/policy_loss"} == {8192, 10_240}
    assert {step for _, step, _ in points(child)} == {8192, 10_240}


def test_where_it_came_from_is_recorded(parent: RunDirectory, child: RunDirectory, outputs: Path):
    sha = weights_of(parent)
    expected = {
        "racing.init_from": f"{parent.name}@policy#{sha[:12]}",
        "racing.ancestor": parent.mlflow["run_id"],
        "racing.lineage": parent.name,
        "racing.steps_before": "6144",
    }
    copy = Copy(child)
    assert copy.tags.items() >= expected.items()
    assert copy.params["init_from"] == child.config["init_from"] == expected["racing.init_from"]
    found = find_initial_weights(child.name, outputs)
    assert found.lineage == (parent.name, child.name)
    assert found.steps == 10_240


def test_a_third_run_has_two_before_it(parent: RunDirectory, child: RunDirectory, outputs: Path):
    from_step = ["name=third", f"init_from={child.name}@8192", "algo.total_timesteps=2048"]
    assert train(outputs, *SHORT, *from_step) == 0
    third = called("third", outputs)
    tags = tags_of(third)
    assert tags["racing.lineage"] == f"{parent.name} > {child.name}"
    assert tags["racing.steps_before"] == "8192"
    assert third.summary["total_steps"] == 10_240


def test_stopped_and_killed_it_continues_exactly(parent: RunDirectory, tmp_path: Path):
    arguments = [*SHORT, "name=heir", f"init_from={parent.path}", "algo.total_timesteps=8192"]
    arguments += ["eval.every_steps=2048", "eval.start_fraction=0"]
    calm = trained_run(tmp_path / "calm", *arguments)
    disturbed = stopped_run(3000, tmp_path / "disturbed", *arguments)
    assert sorted(path.name for path in (disturbed.path / "checkpoints").iterdir()) == ["000008192", "000010240"]
    assert train(tmp_path / "disturbed", *arguments) == 0
    assert state_bytes(disturbed, 6144 + 8192) == state_bytes(calm, 6144 + 8192)
    assert points(disturbed) == points(calm)
    assert weights_of(disturbed) == weights_of(calm)


# refusals


def refused(capsys: pytest.CaptureFixture[str], outputs: Path, *arguments: str) -> str:
    """The one line that the command says; nothing was written."""
    locks = ("run.lock", "mlflow.lock")
    before = contents(outputs, locks)
    capsys.readouterr()
    assert train(outputs, "algo.total_timesteps=4096", *arguments) == 2
    said = capsys.readouterr()
    assert said.out == ""
    (line,) = said.err.splitlines()
    assert len(line) < 400
    assert contents(outputs, locks) == before
    return line


REFUSED = {
    "latest": ("init_from=latest must name one run", "take a name of `racing runs list paths.outputs="),
    "''": ("init_from must be a run, got ''", "runs list paths.outputs="),
    "7": ("init_from must be a run, got 7", "runs list paths.outputs="),
    "absent": ("run 'absent' must be a run directory, its name", "see `racing runs list"),
    "absent@policy": ("run 'absent' must be a run directory, its name", "see `racing runs list"),
    "/absent/policy.zip": (
        "init_from=/absent/policy.zip must be an existing file",
        "runs list paths.outputs=",
    ),
    "/absent.zip": ("init_from=/absent.zip must be an existing file", "runs list paths.outputs="),
    "PARENT@999": ("must have the checkpoint asked for, it has: 2048, 4096, 6144", "choose one of them"),
    "PARENT@policy#000000000000": ("must be the weights 000000000000, they are", "name the run anew"),
    "PARENT@4096#000000000000": ("must be the weights 000000000000, they are", "name the run anew"),
    "PARENT@policy#zz": ("must be a run directory, its name", "see `racing runs list"),
    "PARENT/export": ("has no journal.jsonl", "see `racing runs list"),
    "models:/kart@nobody": ("nobody", ""),
}


@pytest.mark.parametrize("spec", REFUSED)
def test_what_names_no_weights_is_refused(spec: str, parent: RunDirectory, outputs: Path, capsys):
    name = str(parent.path) if "/export" in spec else parent.name
    quoted = spec if spec in ("''", "7") else f'"{spec.replace("PARENT", name)}"'
    line = refused(capsys, outputs, f"init_from={quoted}")
    rule, remedy = REFUSED[spec]
    assert rule in line
    assert remedy in line[line.index(rule) :]


SENSES = "yaw_rate,steering,slip,acceleration,line_offset,speed_error"
SAC = f"algo=sac env.line=best env.motion=[{SENSES}]"
OTHERS = {
    "env=mlp": ("has observations of shape (39,), this run (10,)", "choose the env that it was trained with"),
    "algo.net_arch=[32,32]": ("of shape (64, ", "choose the algo and algo.net_arch that it was trained with"),
    "algo.net_arch=[64]": ("this run none", "choose the algo and algo.net_arch that it was trained with"),
    SAC: ("of shape none, this run (", "choose the algo and algo.net_arch that it was trained with"),
}


@pytest.mark.parametrize("other", OTHERS)
def test_weights_that_do_not_fit_are_refused_with_both_shapes(other: str, parent: RunDirectory, outputs: Path, capsys):
    line = refused(capsys, outputs, f"init_from={parent.name}", *other.split())
    rule, remedy = OTHERS[other]
    assert rule in line
    assert line.endswith(remedy)
    assert f"init_from={parent.name}@policy#" in line


def test_weights_that_were_changed_are_refused(parent: RunDirectory, tmp_path: Path, capsys):
    """The record of a run names a file; another one lies there now."""
    path = tmp_path / "policy.zip"
    shutil.copy(parent.path / "export/policy.zip", path)
    spec = find_initial_weights(str(path), tmp_path).spec
    model = load_model(path)
    with torch.no_grad():
        model.policy.log_std += 1e-3
    model.save(path)
    line = refused(capsys, tmp_path, f"init_from='{spec}'")
    assert f"must be the weights {spec.partition('#')[2]}, they are " in line


def test_files_that_are_no_weights(parent: RunDirectory, tmp_path: Path, capsys):
    garbage = tmp_path / "garbage.zip"
    garbage.write_bytes(b"PK\x03\x04 no policy")
    assert f"{garbage} must be a policy saved by Stable-Baselines3" in refused(capsys, tmp_path, f"init_from={garbage}")
    torn = tmp_path / "torn.zip"
    whole = (parent.path / "export/policy.zip").read_bytes()
    torn.write_bytes(whole[: len(whole) // 2])
    assert f"{torn} must be a policy saved by Stable-Baselines3" in refused(capsys, tmp_path, f"init_from={torn}")
    checkpoint = tmp_path / "run" / "checkpoints" / "000002048"
    shutil.copytree(parent.path / "checkpoints" / "000002048", checkpoint)
    data = (checkpoint / "policy.npz").read_bytes()
    (checkpoint / "policy.npz").write_bytes(data[:-9])
    assert "the checkpoint is damaged" in refused(capsys, tmp_path, f"init_from={checkpoint}")
    (checkpoint / "COMPLETE").write_text("{}")
    assert f"{checkpoint / 'COMPLETE'} is missing or damaged" in refused(capsys, tmp_path, f"init_from={checkpoint}")


def test_a_run_without_weights(tmp_path: Path, capsys):
    run = stopped_run(1, tmp_path, *SHORT, "algo.total_timesteps=8192")
    assert "(STOPPED) has no export/policy.zip yet; train it to its end" in refused(
        capsys, tmp_path, f"init_from={run.name}@policy"
    )
    shutil.rmtree(run.path / "checkpoints")
    reopen_run(run.path).close()
    assert "must have the checkpoint asked for, it has: none" in refused(capsys, tmp_path, f"init_from={run.name}@9")
