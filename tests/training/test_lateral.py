"""`racing train env=lateral`: everything that runs for cars, on an environment without tracks and laps."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import onnx
import pytest

from racing.cli import main
from racing.envs.lateral.default_model import default_model
from racing.envs.lateral.task import LateralTask
from racing.runs.checkpoints import Checkpoints
from racing.runs.directory import RunDirectory
from racing.runs.journal import read_journal
from tests.support.mlflow_server import Copy
from tests.support.processes import points, state_bytes
from tests.support.signals import only_run, stopped_run, train, trained_run

pytestmark = pytest.mark.slow

SMALL = ["name=c", "env=lateral", "env.route_count=4", "env.holdout_routes=2", "eval.start_fraction=0"]
PPO = [*SMALL, "algo.n_envs=16", "algo.n_steps=64", "algo.total_timesteps=12288", "checkpoint.every=2048"]
PPO += ["eval.every_steps=4096"]
CMAES = [*SMALL, "algo=cmaes", "algo.n_envs=16", "algo.population=8", "algo.starts=2", "algo.horizon.start=40"]
CMAES += ["algo.horizon.end=40", "algo.total_timesteps=2560", "checkpoint.every=640", "eval.every_steps=1280"]
SAC = [*SMALL, "algo=sac", "algo.n_envs=16", "algo.learning_starts=320", "algo.buffer_size=1600"]
SAC += ["algo.total_timesteps=2560", "algo.batch_size=64", "algo.gradient_steps=1"]
SAC += ["checkpoint.every=640", "eval.every_steps=1280"]
MPC = [*PPO, "algo.total_timesteps=4096", "eval.every_steps=2048", "algo.teacher=driver@mpc"]
MPC += ["env.mpc.samples=2", "env.mpc.horizon=2", "env.mpc.iterations=1"]
TRAININGS = {
    "ppo": (PPO, 12_288, 7000),
    "mpc": (MPC, 4096, 2500),
    "cmaes": (CMAES, 2560, 1500),
    "sac": (SAC, 2560, 1500),
}


@pytest.fixture(scope="module", autouse=True)
def same_code() -> Iterator[None]:
    """The code stays the same, whatever is done in this checkout meanwhile; see tests/runs/test_provenance.py."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("racing.training.trainer.facts", lambda _: {"commit": "27066771d6c9"})
        yield


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    return trained_run(tmp_path_factory.mktemp("lateral"), *PPO)


@pytest.mark.parametrize("name", list(TRAININGS))
def test_stopped_and_continued_it_ends_with_the_same_bytes(name: str, trained: RunDirectory, tmp_path: Path):
    arguments, total, stop = TRAININGS[name]
    calm = trained if arguments is PPO else trained_run(tmp_path / "calm", *arguments)
    run = stopped_run(stop, tmp_path / "stopped", *arguments)
    assert train(tmp_path / "stopped", *arguments) == 0
    assert state_bytes(run, total) == state_bytes(calm, total)
    assert (run.path / "export/policy.onnx").read_bytes() == (calm.path / "export/policy.onnx").read_bytes()
    assert points(run) == points(calm)
    assert run.summary["total_cost"] == calm.summary["total_cost"]


def test_the_summary_and_what_is_recorded(trained: RunDirectory):
    summary, references = trained.summary, trained.summary["references"]
    assert set(references) == {"pid", "preview_pid", "feed_forward"}
    assert summary["score"] == -summary["total_cost"]
    assert set(summary["better_than_pid"]) == {"steps", "seconds"}  # which the teacher is: it was imitated
    assert summary["total_cost"] < references["pid"]["total_cost"]
    assert "first_lap" not in summary
    assert {Path(summary[name]).name for name in ("costs", "cost_picture", "worst_picture", "onnx")} == {
        "costs.csv",
        "costs.png",
        "worst.png",
        "policy.onnx",
    }
    assert (trained.path / "result.png").read_bytes() == Path(summary["cost_picture"]).read_bytes()
    lines = [line.record for line in read_journal(trained.path / "journal.jsonl")]
    tags = {k: v for line in lines if line["kind"] == "tags" for k, v in line["values"].items()}
    assert (tags["racing.dynamics"], tags["racing.routes"]) == ("default", "generated")
    assert "racing.tracks" not in tags
    metrics = {name for line in lines if line["kind"] == "metrics" for name in line["values"]}
    assert {"validation/total_cost", "eval/total_cost", "eval/references/pid/total_cost"} <= metrics
    assert {"rollout/total_cost", "rollout/terms/jerk", "rollout/ep_rew_mean"} <= metrics
    assert not {name for name in metrics if "lap" in name or "track" in name}


def test_a_checkpoint_knows_the_dynamics_and_the_routes(trained: RunDirectory):
    """Who continues it with another file of the same name is warned."""
    facts = Checkpoints(trained.path).all()[-1].notes["facts"]
    assert facts["dynamics_sha256"] == hashlib.sha256(default_model()).hexdigest()
    assert facts["routes_sha256"] == LateralTask(races=1, route_count=4).facts()["routes_sha256"]


def test_the_exported_file_says_what_it_is(trained: RunDirectory):
    model = onnx.load(trained.path / "export/policy.onnx")
    told = {entry.key: entry.value for entry in model.metadata_props}
    assert json.loads(told["action_names"]) == ["steering"]
    assert len(json.loads(told["observation_names"])) == 46
    assert json.loads(told["driven"])["dynamics"] == "default"
    assert json.loads(told["env"])["action"] == "delta"
    assert told["step_s"] == "0.1"
    assert [d.dim_value for d in model.graph.output[0].type.tensor_type.shape.dim][1:] == [1]


def outputs_of(run: RunDirectory) -> str:
    return f"paths.outputs={run.path.parents[1]}"


def test_evaluate_gives_the_result_of_the_training_again(
    trained: RunDirectory, capsys: pytest.CaptureFixture[str], tmp_path: Path
):
    for what in (f"run={trained.name}", f"run={trained.path}/export/policy.onnx"):
        assert main(["evaluate", what, "format=json", "episodes=2", f"out={tmp_path}", outputs_of(trained)]) == 0
        said = json.loads(capsys.readouterr().out)
        assert said["summary"]["total_cost"] == pytest.approx(trained.summary["total_cost"], rel=1e-4)
    assert main(["evaluate", f"run={trained.name}", "backend=torch", outputs_of(trained)]) == 0
    assert "preview_pid total_cost" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["track=oval"], "track=oval is of cars on tracks"),
        (["driver=optimal"], "driver must be one of policy, feed_forward, pid, preview_pid, mpc, got 'optimal'"),
        (["settings={dynamics:none.onnx}"], "none.onnx cannot be read"),
        (["settings={rays:3}"], "settings: unknown key 'rays'; choose one of: action, action_scale, "),
        (["settings={dynamic:3}"], "settings: unknown key 'dynamic'; did you mean dynamics?"),
        (["env=race"], "env=race is of cars on tracks"),
        (["settings={routes:nowhere}"], "routes must be generated or a folder"),
    ],
)
def test_wrong_arguments_are_one_line(
    trained: RunDirectory, capsys: pytest.CaptureFixture[str], arguments: list[str], expected: str
):
    assert main(["evaluate", f"run={trained.name}", *arguments, outputs_of(trained)]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert expected in line


def test_it_races_nobody(trained: RunDirectory, capsys: pytest.CaptureFixture[str]):
    assert main(["compare", "match=true", f"run=[{trained.name},line@0.8]", outputs_of(trained)]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert f"matches are of cars on tracks, policy {trained.name} drives none" in line


def test_export_for_the_challenge(trained: RunDirectory, capsys: pytest.CaptureFixture[str], tmp_path: Path):
    out = tmp_path / "controllers"
    named = [f"run={trained.name}", outputs_of(trained)]
    assert main(["export", *named, "format=controls_challenge", f"out={out}"]) == 0
    assert sorted(path.name for path in out.iterdir()) == ["policy.onnx", "racing.py"]
    assert str(out / "racing.py") in capsys.readouterr().out
    assert main(["export", *named, "format=controls_challenge"]) == 0
    assert (trained.path / "export/controls_challenge/racing.py").is_file()
    assert main(["export", *named, "format=tensorrt"]) == 2
    assert "format must be one of onnx, controls_challenge" in capsys.readouterr().err


def test_reproduced_it_is_equal(trained: RunDirectory, capsys: pytest.CaptureFixture[str]):
    assert main(["reproduce", f"run={trained.name}", "tracking=none", outputs_of(trained)]) == 0
    assert "equal" in capsys.readouterr().out


def test_runs_list_shows_the_score(trained: RunDirectory, capsys: pytest.CaptureFixture[str]):
    assert main(["runs", "list", outputs_of(trained)]) == 0
    assert f"{trained.summary['score']:.6g}" in capsys.readouterr().out


def test_mlflow_has_the_costs(tmp_path: Path):
    assert (
        train(tmp_path, *SMALL, "algo.n_envs=16", "algo.n_steps=64", "algo.total_timesteps=1024", "tracking=mlflow")
        == 0
    )
    run = only_run(tmp_path)
    copy = Copy(run)
    assert copy.run.data.metrics["eval/total_cost"] == run.summary["total_cost"]
    assert copy.run.data.tags["racing.dynamics"] == "default"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["env.dynamics=none.onnx"], "none.onnx cannot be read"),
        (["env.action=torque"], "env.action must be one of"),
        (["track=oval"], "track must be left away"),
        (["algo=cmaes", "algo.n_envs=128", "algo.fitness=lap_time"], "is of laps, which this environment has none"),
        (["conditions=stint"], "conditions are of cars"),
        (["algo.teacher=driver@optimal"], "NAME in algo.teacher=driver@NAME must be one of feed_forward, pid, "),
        (["algo.teacher=driver@mpc", "env.mpc.horizon=0"], "env.mpc.horizon must be a whole number in [2, 40], got 0"),
        (["algo.teacher_pace=0.5"], "pace is a share of a lap's speed, feed_forward drives none"),
    ],
)
def test_what_cannot_be_trained_is_refused(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, arguments: list[str], expected: str
):
    assert main(["train", *SMALL, *arguments, "tracking=none", f"paths.outputs={tmp_path}"]) == 2
    said = capsys.readouterr().err
    assert expected in said
    assert len(said.strip().splitlines()) == 1
    assert not (tmp_path / "runs").exists()
