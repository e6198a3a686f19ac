"""`racing reproduce`: the same comes out, or the first difference is named; variations; the code of the past."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from racing.cli import main
from racing.commands.reproduce.main import EXAMPLES, print_rows
from racing.commands.reproduce.plan import Task, fitting_overrides
from racing.config import choices, compose
from racing.runs.directory import RunDirectory, all_runs
from racing.runs.journal import read_journal
from tests.conftest import REPOSITORY
from tests.support.mlflow_server import Copy

pytestmark = pytest.mark.slow

ARGUMENTS = ["debug=fast", "seed=5", "algo.total_timesteps=8192", "eval.episodes=2"]

GIT = {"commit", "uncommitted changes", "files unknown to git"}


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def recorded(run: RunDirectory, kind: str) -> list[dict]:
    return [line.record for line in read_journal(run.path / "journal.jsonl") if line.record["kind"] == kind]


def tags(run: RunDirectory) -> dict[str, str]:
    return {name: value for line in recorded(run, "tags") for name, value in line["values"].items()}


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    outputs = tmp_path_factory.mktemp("reproduce") / "outputs"
    assert main(["train", *ARGUMENTS, f"paths.outputs={outputs}"]) == 0
    return all_runs(outputs)[0]


@pytest.fixture
def reproduced(original: RunDirectory, again: RunDirectory, tmp_path: Path) -> Path:
    """A copy of an outputs folder in which a run and its reproduction lie; the test may spoil it."""
    (tmp_path / "outputs/runs").mkdir(parents=True)
    for run in (original, again):
        shutil.copytree(run.path, tmp_path / "outputs/runs" / run.name)
    return tmp_path / "outputs"


@pytest.fixture(scope="module")
def again(original: RunDirectory, tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    """The run again, from MLflow alone: its directory is out of the way."""
    outputs = tmp_path_factory.mktemp("elsewhere") / "outputs"
    away = original.path.parents[1].with_name("away")
    run_id, uri = original.mlflow["run_id"], original.mlflow["uri"]
    original.path.parent.rename(away)
    try:
        arguments = [f"run={run_id}", f"tracking.uri={uri}", "tracking.enabled=false", f"paths.outputs={outputs}"]
        assert main(["reproduce", *arguments]) == 0
    finally:
        away.rename(original.path.parent)
    return all_runs(outputs)[0]


def test_a_run_is_reproduced_from_mlflow_alone(original: RunDirectory, again: RunDirectory):
    assert again.name == f"{original.name}.again"
    assert again.finished
    report = json.loads((again.path / "reproduction.json").read_text())
    assert report["verdict"] == "EQUAL"
    assert report["points"] > 60
    assert set(report["checksums"].values()) == {True}
    assert report["original"]["run_id"] == original.mlflow["run_id"]
    assert report["differences"]["configuration"] == []
    assert {row[0] for row in report["differences"]["code"]} <= GIT  # somebody may be at work here
    assert tags(again)["racing.reproduces"] == original.mlflow["run_id"]
    assert tags(again)["racing.reproduction"] == "EQUAL"
    assert recorded(again, "event")[-1]["verdict"] == "EQUAL"


def test_a_run_is_reproduced_beside_its_directory_and_recorded_in_mlflow(
    original: RunDirectory, capsys: pytest.CaptureFixture[str]
):
    before = snapshot(original.path)
    capsys.readouterr()
    assert main(["reproduce", f"run={original.path}"]) == 0
    said = capsys.readouterr().out
    assert "what differs from the record" in said
    assert re.search(r"^EQUAL: \d+ metrics, \d+ points, all equal$", said, re.MULTILINE)
    assert snapshot(original.path) == before
    copy = Copy(RunDirectory(original.path.with_name(f"{original.name}.again")))
    assert copy.status == "FINISHED"
    assert copy.tags["racing.reproduction"] == "EQUAL"
    assert copy.tags["racing.reproduces"] == original.mlflow["run_id"]
    assert json.loads(copy.text("reproduction.json"))["verdict"] == "EQUAL"
    # Again: nothing is trained, and the newest run, a reproduction, stands for its original.
    outputs = original.path.parents[1]
    assert main(["reproduce", "run=latest", f"paths.outputs={outputs}"]) == 0
    said = capsys.readouterr().out
    assert f"is itself a reproduction of {original.mlflow['run_id']}" in said
    assert "already finished; use fresh=true" in said
    assert len(all_runs(outputs)) == 2
    assert len(recorded(all_runs(outputs)[0], "start")) == 1


def test_a_difference_is_named_and_so_is_what_may_have_caused_it(
    reproduced: Path, original: RunDirectory, capsys: pytest.CaptureFixture[str]
):
    run = RunDirectory(reproduced / "runs" / original.name)
    journal = (run.path / "journal.jsonl").read_bytes().splitlines(keepends=True)
    changed = next(n for n, line in enumerate(journal) if b'"train/value_loss"' in line and b'"step":8192' in line)
    journal[changed] = re.sub(rb'"train/value_loss":[^,}]+', b'"train/value_loss":0.125', journal[changed])
    (run.path / "journal.jsonl").write_bytes(b"".join(journal))
    provenance = json.loads((run.path / "provenance.json").read_text())
    provenance["packages"]["numpy"] = "1.0.0"
    provenance["tracks"]["circuit"]["sha256"] = "f" * 64
    (run.path / "provenance.json").write_text(json.dumps(provenance))
    assert main(["reproduce", f"run={run.name}", f"paths.outputs={reproduced}"]) == 1
    said = capsys.readouterr().out
    assert "DIFFERENT from step 8,192: train/value_loss was 0.125 and is" in said
    assert "policy: equal" in said
    assert re.search(r"package numpy +1\.0\.0 ", said)
    assert "track circuit" in said
    assert re.search(r"reward +-?[\d.]+ +-?[\d.]+ +\+0", said)  # the final results are no distance apart
    new = RunDirectory(run.path.with_name(f"{run.name}.again"))
    report = json.loads((new.path / "reproduction.json").read_text())
    assert (report["verdict"], report["first"]["step"]) == ("DIFFERENT", 8192)
    assert tags(new)["racing.reproduction"] == "DIFFERENT"
    assert len(recorded(new, "start")) == 1


def test_the_recorded_configuration_counts_and_an_interrupted_reproduction_goes_on(
    reproduced: Path, original: RunDirectory, capsys: pytest.CaptureFixture[str]
):
    """What conf/ makes of the typed settings has changed since: here because one of them is gone."""
    run = RunDirectory(reproduced / "runs" / original.name)
    typed = yaml.safe_load((run.path / "overrides.yaml").read_text())
    (run.path / "overrides.yaml").write_text(yaml.safe_dump([text for text in typed if text != "seed=5"]))
    new = RunDirectory(run.path.with_name(f"{run.name}.again"))
    lines = (new.path / "journal.jsonl").read_bytes().splitlines(keepends=True)
    ended = next(number for number, line in enumerate(lines) if b'"kind":"end"' in line)
    (new.path / "journal.jsonl").write_bytes(b"".join(lines[:ended]))
    for name in ("summary.json", "reproduction.json"):
        (new.path / name).unlink()
    assert main(["reproduce", f"run={run.path}", "hardware=cpu", "tracking=none"]) == 0
    said = capsys.readouterr().out
    assert "conf/ would compose another configuration now; the recorded one is used" in said
    assert re.search(r"^seed +5 +0 *$", said, re.MULTILINE)
    assert new.config["seed"] == 5
    assert len(recorded(new, "start")) == 2
    assert "EQUAL" in said


def test_other_settings_make_a_variation(original: RunDirectory, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    spec = f"run={original.path}"
    assert main(["reproduce", spec, "algo.gamma=0.9", "tracking=none", f"paths.outputs={tmp_path}"]) == 0
    said = capsys.readouterr().out
    assert f"a variation of {original.name}" in said
    assert re.search(r"^algo.gamma +0\.98 +0\.9 *$", said, re.MULTILINE)
    assert "original  variation" in said
    assert "EQUAL" not in said
    (run,) = all_runs(tmp_path)
    assert (run.config["algo"]["gamma"], run.config["seed"], run.summary["steps"]) == (0.9, 5, 8192)
    assert tags(run)["racing.parent"] == original.mlflow["run_id"]
    assert "racing.reproduces" not in tags(run)


def test_the_weights_that_a_run_began_with_are_found_from_elsewhere(original: RunDirectory, tmp_path: Path, capsys):
    here, there = tmp_path / "here", tmp_path / "there"
    shutil.copytree(original.path, here / "runs" / original.name)
    child = [*ARGUMENTS, f"init_from={original.name}", "name=child", "tracking=none"]
    assert main(["train", *child, f"paths.outputs={here}"]) == 0
    spec = f"run={all_runs(here)[0].path}"
    capsys.readouterr()
    assert main(["reproduce", spec, f"paths.outputs={there}"]) == 0
    said = capsys.readouterr().out
    assert "conf/ would compose" not in said
    assert "all equal" in said
    assert main(["reproduce", spec, f"paths.outputs={there}", "algo.gamma=0.9"]) == 0
    assert "init_from" not in capsys.readouterr().out
    variation = all_runs(there)[0]
    assert variation.config["algo"]["gamma"] == 0.9
    assert tags(variation)["racing.init_from"].startswith(f"{original.name}@policy#")


def test_nothing_that_differs_is_said_to_be_nothing(capsys):
    print_rows("what differs", [])
    assert capsys.readouterr().out == "what differs: nothing, all the same\n"


def past(*overrides: str) -> SimpleNamespace:
    return SimpleNamespace(overrides=list(overrides), run_id=None, name="past", directory=None)


@pytest.mark.parametrize(
    ("typed", "changes", "settings"),
    [
        (["seed=1", "algo.gamma=0.9"], ["seed=2"], ["algo.gamma=0.9", "seed=2"]),
        (["algo=ppo", "algo.n_epochs=2", "algo.gamma=0.9"], ["algo=sac"], ["algo.gamma=0.9", "algo=sac"]),
        (["track=file", "track.file=a.csv", "track.scale=2"], ["track=oval"], ["track.scale=2", "track=oval"]),
        (["+algo.gamma=1", "fresh=true", "launcher=local", "paths.outputs=x"], ["algo.gamma=0.5"], ["algo.gamma=0.5"]),
    ],
)
def test_settings_of_a_variation(typed: list[str], changes: list[str], settings: list[str]):
    task = Task(original=past(*typed), outputs=Path(), place=[], changes=changes, fresh=False)
    assert fitting_overrides(task) == settings


def test_another_choice_of_tracking_is_none_of_what_was_typed_for_the_first():
    """`tracking=none` must not ask for TensorBoard, which the original had, and this machine has not."""
    typed = ["tracking.tensorboard=true", "hardware.torch_threads=2", "seed=1"]
    for place, kept in (
        (["tracking=none"], ["hardware.torch_threads=2", "seed=1", "tracking=none"]),
        (["hardware=cpu"], [*typed, "hardware=cpu"]),
        (["tracking.wandb=true"], [*typed, "tracking.wandb=true"]),
    ):
        task = Task(original=past(*typed), outputs=Path(), place=place, changes=[], fresh=False, trust=True)
        assert sorted(task.overrides()) == sorted(kept)


BAD = [
    (["run=absent"], "run 'absent' must be a run directory", "racing runs list"),
    (["run=" + "0" * 32], "must be MLflow's database, there is no such file", "tracking.uri="),
    (["checkout=maybe"], "checkout must be true or false, got 'maybe'", "choose one"),
    (["checkout=true", "algo.gamma"], "'algo.gamma' must be key=value", "--help"),
    (["-m", "seed=1,2"], "unrecognized argument '-m'", "--help"),
    (
        ["seed=1,2"],
        "'seed=1,2' has several values",
        "give the command once for each of them",
    ),
    (["hydra.verbose=true"], "'hydra.verbose=true' cannot be changed here", "leave it away"),
    (["algo.nenvs=3"], "unknown key 'algo.nenvs'", "did you mean algo.n_envs?"),
    (["algo=null"], "'algo=null' must name a choice of algo", "choose one of"),
    (["seed=5"], "seed=5 must change something", "leave it away to reproduce it"),
    (["algo.gamma=2"], "algo.gamma must be a number in [0, 1]", "see conf/algo"),
    (["hardware.torch_threads=0"], "hardware.torch_threads must be in 1..256", "1 is usual"),
    (["tracking=nowhere"], "unknown choice tracking=nowhere", "choose one of"),
]


@pytest.mark.parametrize(("arguments", "rule", "remedy"), BAD, ids=[" ".join(bad[0]) for bad in BAD])
def test_wrong_input(
    arguments: list[str], rule: str, remedy: str, original: RunDirectory, tmp_path: Path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(original.path, tmp_path / "outputs/runs" / original.name)
    before = snapshot(tmp_path)
    line = refusal(capsys, *arguments)
    assert rule in line
    assert remedy in line
    assert snapshot(tmp_path) == before


def refusal(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line on stderr."""
    capsys.readouterr()
    assert main(["reproduce", *arguments]) == 2
    said = capsys.readouterr()
    (line,) = said.err.splitlines()
    return line


def test_a_track_that_is_gone_is_refused(reproduced: Path, original: RunDirectory, tmp_path: Path, capsys):
    run = RunDirectory(reproduced / "runs" / original.name)
    config = run.config
    config["track"]["file"] = str(tmp_path / "gone.csv")
    (run.path / "config.yaml").write_text(yaml.safe_dump(config))
    before = snapshot(tmp_path)
    assert "gone.csv" in refusal(capsys, f"run={run.path}")
    assert snapshot(tmp_path) == before


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A git repository with this code."""
    folder = tmp_path_factory.mktemp("clone")
    for name in ("racing", "conf", "tracks"):
        shutil.copytree(REPOSITORY / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / ".gitignore").write_text("__pycache__\noutputs\n")
    git(folder, "init", "-q")
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "then")
    return folder


def git(folder: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.com"]
    subprocess.run(["git", "-C", str(folder), *identity, *arguments], check=True, capture_output=True)


def racing(clone: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(clone)}
    command = [sys.executable, "-m", "racing", *arguments]
    return subprocess.run(command, cwd=clone, env=environment, capture_output=True, text=True)


def replace(path: Path, old: str, new: str) -> None:
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


def test_checkout_brings_back_commit_and_uncommitted_changes(clone: Path):
    """Trained with a change to conf/ and one to the code, neither committed; then both went other ways."""
    replace(clone / "conf/algo/ppo.yaml", "gamma: 0.98", "gamma: 0.97")
    replace(clone / "racing/training/build.py", '"seed": cfg.seed, "device"', '"seed": cfg.seed + 1, "device"')
    (clone / "notes.txt").write_text("git does not know me")
    done = racing(clone, "train", "debug=fast", "eval.episodes=2", "tracking=none")
    assert done.returncode == 0, done.stderr
    (run,) = all_runs(clone / "outputs")
    git(clone, "checkout", "-q", ".")
    replace(clone / "conf/algo/ppo.yaml", "gamma: 0.98", "gamma: 0.5")
    replace(clone / "racing/training/build.py", '"seed": cfg.seed, "device"', '"seed": cfg.seed + 2, "device"')
    git(clone, "commit", "-qam", "now")
    different = racing(clone, "reproduce", f"run={run.name}")
    assert different.returncode == 1, different.stderr
    assert re.search(r"^algo.gamma +0\.97 +0\.5 *$", different.stdout, re.MULTILINE)
    for what in ("commit", "uncommitted changes"):
        assert re.search(rf"^{what} ", different.stdout, re.MULTILINE)
    assert re.search(r"^DIFFERENT from step 4,096: ", different.stdout, re.MULTILINE)
    assert "policy: different" in different.stdout
    equal = racing(clone, "reproduce", f"run={run.name}", "checkout=true")
    assert equal.returncode == 0, equal.stdout + equal.stderr
    assert "git did not know notes.txt" in equal.stdout
    assert "all equal" in equal.stdout
    (there,) = all_runs(clone / "outputs/reproductions" / run.name)
    assert there.name == run.name
    assert tags(there)["racing.reproduces"] == run.name
    assert json.loads((there.path / "reproduction.json").read_text())["verdict"] == "EQUAL"
    assert json.loads((there.path / "provenance.json").read_text())["commit"] == recorded_commit(run)


def recorded_commit(run: RunDirectory) -> str:
    return json.loads((run.path / "provenance.json").read_text())["commit"]


@pytest.mark.parametrize("algo", [name for name in choices("algo") if name != "cmaes"])
def test_the_variation_of_the_page_is_one_of_every_algorithm_with_gradients(algo: str):
    """Its learning rate is not below that at the end, which is an algorithm's own."""
    for text in (EXAMPLES, (REPOSITORY / "docs/reproduction.md").read_text()):
        (rate,) = re.findall(r"algo\.learning_rate=(\S+)  ", text)
        algorithm = compose("train", [f"algo={algo}"]).algo
        assert algorithm.get("learning_rate_end", 0) <= float(rate) != algorithm.learning_rate
