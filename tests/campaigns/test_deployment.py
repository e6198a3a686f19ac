"""Winners become files, whole ones, if they pass the gate."""

from __future__ import annotations

import hashlib
import json
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from racing.campaigns import deployment
from racing.campaigns.gate import Judged
from racing.cli import main
from racing.errors import InputError
from racing.policies.loading import load_policy
from tests.campaigns.conftest import Command, change_policy, folder_of, policy_of, texts
from tests.support.fork_client import scripts_too

pytestmark = pytest.mark.slow


def manifest(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "manifest.json").read_text())


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def specialist(place: Path) -> Path:
    """Folder of the one that is deployed."""
    (found,) = (place / "policies/specialists").iterdir()
    return found


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The gate lets everybody through, as if they were better."""
    monkeypatch.setattr(deployment, "judge", lambda *_: Judged(passed=True, reasons=(), figures={}))


def test_winners_are_deployed_and_drive(campaign: Command, place: Path, capsys: pytest.CaptureFixture[str]):
    code, out, err = campaign("campaign.model=null")
    assert code == 0, err
    folder = specialist(place)
    assert f"specialist {folder.name}: deployed, policies/specialists/{folder.name}" in out
    assert "generalist general: deployed, policies/generalist" in out
    for where, name in ((folder, folder.name), (place / "policies/generalist", "general")):
        assert {path.name for path in where.iterdir()} == {"policy.onnx", "manifest.json"}
        assert sha256(where / "policy.onnx") == sha256(policy_of(place, name)) == manifest(where)["sha256"]
    told = manifest(folder)
    assert (told["role"], told["tracks"], told["vehicle"]["name"]) == ("specialist", ["oval"], "kart")
    assert told["observation"]["observation_names"][-1] == "yaw_rate"
    assert told["gate"]["judged_on"] == ["oval"]
    assert f"name={folder.name}" in told["lineage"]["overrides"]
    assert manifest(place / "policies/generalist")["gate"]["judged_on"] == ["oval", "karting"]
    capsys.readouterr()
    assert main(["evaluate", f"run={folder}", "episodes=2", "laps=1", "telemetry=false", "format=json"]) == 0
    assert json.loads(capsys.readouterr().out)
    before = texts(place / "policies") | texts(folder_of(place) / "validation")
    code, out, _ = campaign("campaign.model=null")
    assert (code, out.count("already deployed")) == (0, 2)
    assert "3 entries trained before" in out
    assert "tiny-" in out.splitlines()[0]
    assert out.splitlines()[0].endswith(": 3 entries; 6 matches, 24 games, on 2 tracks")
    assert texts(place / "policies") | texts(folder_of(place) / "validation") == before


@pytest.mark.usefixtures("validated")
def test_without_deploy_nothing_is_written(campaign: Command, place: Path):
    assert campaign("deploy=false")[0] == 0
    assert campaign("mode=validate")[0] == 0
    assert not (place / "policies").exists()
    code, out, err = campaign("campaign.gate.finish_rate=1", "campaign.model=null")
    assert code == 0, err
    assert "refused, it finishes" in out
    assert not (place / "policies").exists()


@pytest.mark.usefixtures("validated")
def test_a_challenger_that_is_no_better_is_refused(campaign: Command, place: Path):
    """The same network in another file: half of all games."""
    assert campaign("campaign.model=null")[0] == 0
    name = specialist(place).name
    before = texts(place / "policies")
    change_policy(place, name)
    code, out, _ = campaign("campaign.model=null")
    assert code == 0
    assert f"specialist {name}: refused, it wins 0.50" in out
    assert texts(place / "policies") == before
    told = json.loads((folder_of(place) / "deployment.json").read_text())["winners"][name]
    assert (told["verdict"], told["figures"]["win_share"], told["note"]) == ("refused", 0.5, None)


@pytest.mark.usefixtures("validated")
def test_the_one_before_is_kept(campaign: Command, place: Path, passes: None):
    assert campaign("campaign.model=null")[0] == 0
    folder = specialist(place)
    first, told = sha256(folder / "policy.onnx"), manifest(folder)
    change_policy(place, folder.name)
    assert campaign("campaign.model=null")[0] == 0
    assert sha256(folder / "policy.onnx") != first
    assert sha256(folder / "previous/policy.onnx") == first
    assert manifest(folder / "previous") == told
    change_policy(place, folder.name)
    assert campaign("campaign.model=null")[0] == 0
    assert not (folder / "previous/previous").exists()
    assert load_policy(str(folder / "previous"), place).sha256 != first


KILLED = """
    import os, signal, sys
    from pathlib import Path
    from types import SimpleNamespace
    from racing import files
    from racing.campaigns import deployment
    folder, policy, steps = Path(sys.argv[1]), Path(sys.argv[2]), [int(step) for step in sys.argv[3:]]
    calls = step = 0
    def dying(call):
        def wrapped(*arguments, **more):
            global calls
            calls += 1
            if calls == step:
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*arguments, **more)
        return wrapped
    deployment.shutil.copyfile = dying(deployment.shutil.copyfile)
    deployment.write_json = dying(deployment.write_json)
    files._exchange = dying(files._exchange)
    files._sync = dying(files._sync)
    files.Path.rename = dying(files.Path.rename)
    files.shutil.rmtree = dying(files.shutil.rmtree)
    for step in steps:
        child = os.fork()
        if child == 0:
            place = folder / str(step) / "one"
            deployment.write_policy(place, SimpleNamespace(policy=policy), {"sha256": "new"})
            os._exit(0)
        print(step, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
STEPS = ("1", "2", "3", "4", "6", "9", "10", "11", "12", "13", "14")


def test_interrupted_at_any_step_the_files_are_whole(place: Path, tmp_path: Path):
    """A process is killed before its n-th call: either the old files, or the new ones, and next time it works."""
    policy = policy_of(place, "first")
    old = {"policy.onnx": b"old", "manifest.json": b'{"sha256": "old"}'}
    for step in STEPS:
        target = tmp_path / step / "one"
        target.mkdir(parents=True)
        for name, content in old.items():
            (target / name).write_bytes(content)
    script = tmp_path / "killed.py"
    script.write_text(textwrap.dedent(KILLED))
    command = [sys.executable, str(script), str(tmp_path), str(policy), *STEPS]
    with scripts_too():
        done = subprocess.run(command, check=True, capture_output=True, text=True)
    codes = dict(line.split() for line in done.stdout.splitlines())
    assert set(codes) == set(STEPS)
    assert codes["1"] == str(-signal.SIGKILL)
    ends = set()
    for step in STEPS:
        found = texts(tmp_path / step / "one")
        is_new = found["policy.onnx"] == policy.read_bytes()
        ends.add(is_new)
        assert codes[step] == str(-signal.SIGKILL) or is_new
        if is_new:
            assert json.loads(found["manifest.json"]) == {"sha256": "new"}
            assert {name: found[f"previous/{name}"] for name in old} == old
        else:
            assert found == old
    assert ends == {False, True}
    script.write_text(textwrap.dedent(KILLED).replace("calls == step", "False"))
    with scripts_too():
        subprocess.run(command, check=True, capture_output=True)
    for step in STEPS:
        assert (tmp_path / step / "one" / "policy.onnx").read_bytes() == policy.read_bytes()
        assert [path.name for path in (tmp_path / step).iterdir()] == ["one"]


@pytest.mark.usefixtures("validated")
def test_a_file_that_was_changed_is_no_policy(campaign: Command, place: Path):
    assert campaign("campaign.model=null")[0] == 0
    folder = specialist(place)
    (folder / "policy.onnx").write_bytes(policy_of(place, "general").read_bytes())
    with pytest.raises(InputError, match="must be the file that manifest.json names, its sha256 is another"):
        load_policy(str(folder), place)
    assert campaign("campaign.model=null")[0] == 0  # it is no champion: the winner is deployed again
    assert load_policy(str(folder), place).sha256 == manifest(folder)["sha256"]


@pytest.mark.usefixtures("validated")
def test_a_place_that_cannot_be_written_is_wrong_input(campaign: Command, place: Path):
    (place / "taken").write_text("a file")
    code, _, err = campaign("policies=taken", "campaign.model=null")
    assert code == 2
    assert "set policies=FOLDER to a writable one" in err
    assert len(err.strip().splitlines()) >= 1
    assert (place / "taken").read_text() == "a file"


@pytest.mark.usefixtures("validated")
def test_the_registrys_champion_moves_with_the_files(campaign: Command, place: Path, passes: None):
    """The embedded store of the outputs where it was trained knows the runs."""
    from mlflow import MlflowClient

    source = policy_of(place, "general").parents[1].resolve().parents[1]
    if not (place / "outputs/mlflow.db").exists():
        (place / "outputs/mlflow.db").symlink_to(source / "mlflow.db")
    uri = f"sqlite:///{source / 'mlflow.db'}"
    code, _, err = campaign("mode=general", tracking=f"tracking.uri={uri}")
    assert code == 0, err
    client = MlflowClient(uri)
    told = json.loads((folder_of(place) / "deployment.json").read_text())["winners"]["general"]
    assert told["model"] == "models:/racing-general@champion is version 1", told
    version = client.get_model_version_by_alias("racing-general", "champion")
    assert version.tags["run"] == policy_of(place, "general").parents[1].name
    # Its run stands above those of the entries, and has the matches' figures.
    (experiment,) = client.search_experiments(filter_string="name = 'racing'")
    runs = client.search_runs([experiment.experiment_id])
    (parent,) = [run for run in runs if run.data.tags.get("racing.campaign") == "tiny"]
    assert {"rating/general", "oval/win_share/general/first", "oval/alone/finish_rate/general"} <= set(
        parent.data.metrics
    )
    assert parent.data.tags["racing.winner/generalist"] == "general"
    below = [run for run in runs if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
    assert {run.data.tags["mlflow.runName"] for run in below} == {"first", "second", "general"}
    assert "results.json" in [Path(file.path).name for file in client.list_artifacts(parent.info.run_id, "validation")]
