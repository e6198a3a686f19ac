"""A run of several agents: what it writes of each, how MLflow has them, that it continues bit for bit, who uses it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from racing.cli import main
from racing.policies.init_from import find_initial_weights
from racing.policies.loading import agents_of, load_policy
from racing.runs.checkpoints import Checkpoints
from racing.runs.directory import RunDirectory
from tests.support.mlflow_server import Copy
from tests.support.processes import points, state_bytes
from tests.support.signals import copied, only_run, stopped_run, train

pytestmark = pytest.mark.slow

TOTAL = 1280
AGENTS = [
    *("name=c", "algo=masac", "env=race", "track=oval", "env.cars=2", "env.mix={alone:1,self:3,line:0,pool:0}"),
    *(f"algo.total_timesteps={TOTAL}", "checkpoint.every=256", "eval.every_steps=512", "eval.start_fraction=0"),
    *("algo.n_envs=16", "algo.learning_starts=160", "algo.buffer_size=320", "algo.batch_size=64"),
    "algo.gradient_steps=1",
    "algo.agents={bold:{},calm:{gamma:0.9,reward:{contact:-5}}}",
]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    """With MLflow's embedded store."""
    outputs = tmp_path_factory.mktemp("agents")
    assert main(["train", "debug=fast", "eval.episodes=2", *AGENTS, f"paths.outputs={outputs}"]) == 0
    return only_run(outputs)


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    """Checkpoints at 256, 512, 768 and 912 steps; the buffers of 320 have wrapped."""
    return stopped_run(900, tmp_path_factory.mktemp("agents"), *AGENTS, "checkpoint.keep_last=9")


@pytest.mark.parametrize("ending", ["a signal", "a kill"])
def test_all_agents_continue_bit_for_bit(ending: str, stopped: RunDirectory, undisturbed: RunDirectory, tmp_path: Path):
    """What a kill leaves is the checkpoint before, with a journal and rows of replay that go beyond it."""
    run = copied(stopped, tmp_path)
    if ending == "a kill":
        newest = Checkpoints(run.path).all()[-1]
        assert newest.logs.keys() == {"bold", "calm"}
        for file in newest.path.iterdir():
            file.unlink()
        newest.path.rmdir()
    assert train(tmp_path, *AGENTS) == 0
    assert state_bytes(run, TOTAL) == state_bytes(undisturbed, TOTAL)
    assert points(run) == points(undisturbed)
    for agent in ("bold", "calm"):
        ours, theirs = (directory.path / "export" / agent / "policy.onnx" for directory in (run, undisturbed))
        assert ours.read_bytes() == theirs.read_bytes()
        np.testing.assert_array_equal(weights(run, f"@{agent}@half"), weights(undisturbed, f"@{agent}@half"))
    assert not np.array_equal(weights(run, "@bold"), weights(run, "@calm"))


def weights(run: RunDirectory, whose: str = "") -> np.ndarray:
    policy = load_policy(f"{run.path}{whose}", run.path.parents[1], "torch")
    return policy.model.policy.actor.mu.weight.detach().numpy()


def test_checkpoints_hold_all_agents_or_are_none(stopped: RunDirectory, tmp_path: Path, capsys):
    """Rows of one agent's replay that are damaged make the checkpoint none; the one before is used for all."""
    run = copied(stopped, tmp_path)
    checkpoints = Checkpoints(run.path)
    assert checkpoints.all()[-1].load("policy").keys() == {"bold", "calm"}
    newest = sorted((run.path / "replay").glob("calm-*"))[-1]
    newest.write_bytes(newest.read_bytes()[:-1] + b"x")
    found, problems = checkpoints.newest()
    assert found is not None
    assert (found.step, len(problems)) == (768, 1)


def test_what_is_written_of_each(undisturbed: RunDirectory):
    run = undisturbed
    assert agents_of(run) == ["bold", "calm"]
    summary = run.summary
    assert summary["agents"].keys() == {"bold", "calm"}
    leader = summary["agents"][summary["leader"]]
    assert {name: summary[name] for name in leader} == leader
    np.testing.assert_array_equal(weights(run), weights(run, f"@{summary['leader']}"))
    for agent in ("bold", "calm"):
        assert (run.path / "evaluations" / f"{TOTAL:09d}" / agent / "laps.csv").is_file()
        assert (run.path / "export" / agent / "half.zip").is_file()


def test_mlflow_has_a_run_for_each_agent(undisturbed: RunDirectory):
    """Below that of the training, with the metrics' plain names; it is no run that commands would take for one."""
    training = Copy(undisturbed)
    children = training.client.search_runs(
        [training.run.info.experiment_id], f"tags.`mlflow.parentRunId` = '{training.run_id}'"
    )
    assert sorted(child.info.run_name for child in children) == ["agent=bold", "agent=calm"]
    for child in children:
        agent = child.data.tags["racing.agent"]
        assert child.info.status == training.status == "FINISHED"
        for name in ("validation/finish_rate", "train/critic_loss", "eval/finish_rate"):
            history = training.client.get_metric_history(child.info.run_id, name)
            found = [(point.step, point.value) for point in history]
            assert dict(training.points(f"agents/{agent}/{name}")) == {point: 1 for point in found}
            assert found


def test_only_the_training_is_listed(undisturbed: RunDirectory, capsys: pytest.CaptureFixture[str]):
    outputs = undisturbed.path.parents[1]
    uri = undisturbed.mlflow["uri"]
    assert main(["runs", "list", f"tracking.uri={uri}", f"paths.outputs={outputs}"]) == 0
    assert "agent=" not in capsys.readouterr().out


def test_an_agent_is_a_policy_like_any_other(undisturbed: RunDirectory, tmp_path: Path, capsys):
    outputs = undisturbed.path.parents[1]
    here = f"paths.outputs={outputs}"
    assert main(["evaluate", f"run={undisturbed.name}@calm", "episodes=2", "laps=1", here]) == 0
    told = capsys.readouterr().out
    assert f"{undisturbed.name}@calm" in told
    assert list((undisturbed.path / "evaluations").glob(f"{undisturbed.name}_calm-*"))
    out = tmp_path / "calm.onnx"
    assert main(["export", f"run={undisturbed.name}@calm", f"out={out}", here]) == 0
    assert out.is_file()
    wrong = {"loud": "has no agent 'loud'; it has: bold, calm", "calm@whole": "@calm' must be a run directory"}
    for name, message in wrong.items():
        assert main(["evaluate", f"run={undisturbed.name}@{name}", here]) == 2
        assert message in capsys.readouterr().err


def test_agents_meet_each_other_and_their_former_selves(undisturbed: RunDirectory, capsys, tmp_path: Path):
    arguments = ["match=true", "games=2", "laps=1", "anchor=null", f"out={tmp_path}"]
    outputs = undisturbed.path.parents[1]
    assert main(["compare", f"run=[{undisturbed.name}]", *arguments, f"paths.outputs={outputs}"]) == 0
    results = json.loads((tmp_path / "results.json").read_text())
    names = {entry["name"].partition("@")[2] for entry in results["entries"]}
    assert names == {"bold", "calm", "bold@half", "calm@half"}


def test_one_policy_meets_nobody(undisturbed: RunDirectory, capsys):
    outputs = undisturbed.path.parents[1]
    one = f"run=[{undisturbed.name}@calm]"
    assert main(["compare", one, "match=true", f"paths.outputs={outputs}"]) == 2
    assert "run must name two or more, or a run of several agents" in capsys.readouterr().err


def test_a_run_begins_from_an_agent(undisturbed: RunDirectory):
    outputs = undisturbed.path.parents[1]
    found = find_initial_weights(f"{undisturbed.name}@calm", outputs)
    assert found.spec.startswith(f"{undisturbed.name}@calm#")
    assert found.steps == TOTAL
    assert find_initial_weights(found.spec, outputs).sha256 == found.sha256
