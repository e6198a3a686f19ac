"""Phases: runs one after another, each from the one before; the same command goes on wherever it was left."""

from __future__ import annotations

from pathlib import Path

import pytest

from racing.algos.state import weights_sha256
from racing.policies.loading import load_model
from racing.runs.directory import RunDirectory, all_runs
from racing.runs.journal import read_journal
from tests.conftest import REPOSITORY
from tests.support.processes import state_bytes
from tests.support.signals import contents, train, train_until

pytestmark = pytest.mark.slow

PHASES = "phases={a:['track=oval','algo.total_timesteps=2048'],b:['seed=5','algo.total_timesteps=4096']}"
OWN = [PHASES, "name=p", "algo.n_steps=16", "eval.every_steps=0"]


def tags_of(run: RunDirectory) -> dict[str, str]:
    tags: dict[str, str] = {}
    for line in read_journal(run.path / "journal.jsonl"):
        tags.update(line.record["values"] if line.record["kind"] == "tags" else {})
    return tags


def runs_of(outputs: Path) -> list[RunDirectory]:
    """Oldest first."""
    return list(reversed(all_runs(outputs)))


def sha_of(run: RunDirectory) -> str:
    return weights_sha256(load_model(run.path / "export/policy.zip").policy.state_dict())


def test_progressive_training_is_three_runs_that_follow_each_other(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    arguments = ["experiment=progressive", "algo.total_timesteps=4096", "algo.n_envs=64"]
    assert train(tmp_path, *arguments) == 0
    oval, circuit, polish = runs_of(tmp_path)
    for run, name in ((oval, "oval"), (circuit, "circuit"), (polish, "polish")):
        assert run.name.startswith(f"progressive-{name}-")
        assert run.config["algo"]["total_timesteps"] == 4096  # typed: above the phase's
        assert run.status == "FINISHED"
    assert [run.summary["total_steps"] for run in (oval, circuit, polish)] == [4096, 8192, 12_288]
    assert [tags_of(run)["racing.tracks"] for run in (oval, circuit, polish)] == ["oval", "circuit", "circuit"]
    assert [run.config["algo"]["learning_rate"] for run in (oval, circuit, polish)] == [2e-3, 1e-3, 5e-4]
    assert oval.config["init_from"] is None
    assert circuit.config["init_from"] == f"{oval.name}@policy#{sha_of(oval)[:12]}"
    assert tags_of(polish)["racing.lineage"] == f"{oval.name} > {circuit.name}"

    before = contents(tmp_path / "runs")
    capsys.readouterr()
    assert train(tmp_path, *arguments) == 0
    assert capsys.readouterr().out.count("already finished; use fresh=true") == 3
    assert contents(tmp_path / "runs") == before


def test_stopped_in_the_second_phase_it_goes_on_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert train(tmp_path / "calm", *OWN) == 0
    outputs = tmp_path / "stopped"
    assert train(outputs, *OWN[1:], "name=p-a", "track=oval", "algo.total_timesteps=2048", "eval.every_steps=0") == 0
    (first,) = runs_of(outputs)
    assert train_until(3000, outputs, *OWN) == 75  # the first phase has 2048 steps only
    first, second = runs_of(outputs)
    assert (first.status, second.status) == ("FINISHED", "STOPPED")
    capsys.readouterr()
    assert train(outputs, *OWN) == 0
    said = capsys.readouterr()
    assert said.out.count("already finished; use fresh=true") == 1
    assert f"{second.name}: resuming from step 6,144" in said.err
    calm = runs_of(tmp_path / "calm")
    assert [run.name for run in runs_of(outputs)] == [run.name for run in calm]
    assert state_bytes(second, 6144) == state_bytes(calm[1], 6144)


def test_in_a_sweep_each_value_has_its_own_phases(tmp_path: Path):
    phases = "phases={a:['track=oval'],b:['seed=9','algo.gamma=0.9']}"
    arguments = [phases, "name=p", "algo.n_steps=16", "eval.every_steps=0", "algo.total_timesteps=2048"]
    assert train(tmp_path, "-m", "seed=1,2", *arguments, "track=mini") == 0
    runs = sorted(runs_of(tmp_path), key=lambda run: (run.config["seed"], run.name))
    assert [run.name[:4] for run in runs] == ["p-a-", "p-b-", "p-a-", "p-b-"]
    assert [run.config["seed"] for run in runs] == [1, 1, 2, 2]  # typed: above the phase's
    assert {tags_of(run)["racing.tracks"] for run in runs} == {"mini"}  # this, too
    assert [run.config["algo"]["gamma"] for run in runs] == [0.98, 0.9, 0.98, 0.9]
    assert [tags_of(run).get("racing.lineage") for run in runs] == [None, runs[0].name, None, runs[2].name]


def test_the_first_phase_may_begin_from_another_run(tmp_path: Path):
    assert train(tmp_path, "name=old", "algo.n_steps=16", "eval.every_steps=0", "algo.total_timesteps=2048") == 0
    (old,) = runs_of(tmp_path)
    assert train(tmp_path, *OWN, f"init_from={old.name}") == 0
    _, first, second = runs_of(tmp_path)
    assert tags_of(first)["racing.lineage"] == old.name
    assert tags_of(second)["racing.lineage"] == f"{old.name} > {first.name}"
    assert second.summary["total_steps"] == 2048 + 2048 + 4096


def test_a_phase_takes_a_track_by_its_path(tmp_path: Path):
    track = REPOSITORY / "tracks" / "oval" / "oval.png"
    phases = f"phases={{a:['track={track}','algo.total_timesteps=2048']}}"
    for typed, driven in (([], "oval"), (["track=mini"], "mini")):
        assert train(tmp_path / driven, phases, "name=p", "algo.n_steps=16", "eval.every_steps=0", *typed) == 0
        (run,) = runs_of(tmp_path / driven)
        assert tags_of(run)["racing.tracks"] == driven


@pytest.mark.parametrize(
    ("second", "says"),
    [
        ("env=mlp", "has observations of shape (39,), this run (10,); choose the env"),
        ("algo.net_arch=[32,32]", "of shape (64, 39), this run (32, 39); choose the algo and algo.net_arch"),
    ],
)
def test_a_phase_that_cannot_begin_from_the_one_before_is_refused_at_once(
    second: str, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert train(tmp_path / "outputs", f"phases={{a:['env=mlp_preview'],b:['{second}']}}") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert says in line
    assert not list(tmp_path.iterdir())
