"""The record of a run may come from elsewhere: what it names is not run unless it is racing's own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from racing.cli import main
from racing.commands.reproduce.plan import plan
from racing.commands.runs.main import sync
from racing.config import compose_run
from racing.errors import InputError
from racing.policies.foreign_code import TARGETS, refuse_foreign_code
from racing.runs.directory import RunDirectory, open_run
from racing.sim.vehicle import Vehicle
from racing.tracking.client import Store
from racing.tracking.mlflow_sink import rejected
from tests.support.drivers import linear_driver, make_run


def call(mark: Path) -> dict[str, str]:
    """What Hydra would call."""
    return {"_target_": "subprocess.getoutput", "cmd": f"touch {mark}"}


def refused(capsys: pytest.CaptureFixture[str], mark: Path, *command: str) -> str:
    capsys.readouterr()
    assert main(list(command)) == 2
    assert not mark.exists()
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error


@pytest.mark.parametrize("group", ["track", "vehicle", "env"])
def test_driving_runs_nothing_that_a_run_names(
    group: str, kart: Vehicle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    mark = tmp_path / "executed"
    run = make_run(tmp_path, linear_driver(kart, 15.0), **{group: call(mark)})
    for verb in (["evaluate", "backend=torch"], ["export"]):
        error = refused(capsys, mark, *verb, f"run={run.path}", f"paths.outputs={tmp_path}")
        assert f"must name racing's own {group} only, it has {group}._target_='subprocess.getoutput'" in error
        assert "trust=true" in error


def record(outputs: Path, overrides: list[str], **changes: Any) -> RunDirectory:
    """A finished run of `racing train debug=fast`, whose record was changed."""
    typed = ["debug=fast", "tracking=none", f"paths.outputs={outputs}"]
    config = compose_run(typed) | changes
    provenance = {"commit": "0" * 40, "diff": "--- a\n+++ b\n", "packages": {}, "tracks": []}
    with open_run(outputs, "foreign", config, [*typed, *overrides], provenance) as run:
        run.finish({"finish_rate": 1.0, "lap_time_s": None, "lap_ratio": None})
    return RunDirectory(run.path)


@pytest.mark.parametrize("group", ["track", "vehicle", "env", "algo"])
def test_reproducing_runs_nothing_that_a_record_names(group: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    mark = tmp_path / "executed"
    run = record(tmp_path, [], **{group: call(mark)})
    assert f"{group}._target_" in refused(capsys, mark, "reproduce", f"run={run.path}")


def test_varying_runs_nothing_that_recorded_overrides_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    mark = tmp_path / "executed"
    overrides = ["track._target_=subprocess.getoutput", f"+track.cmd='touch {mark}'"]
    run = record(tmp_path, overrides)
    assert "track._target_" in refused(capsys, mark, "reproduce", f"run={run.path}", "seed=7")


@pytest.mark.slow
def test_the_code_of_another_machine_needs_trust(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    run = record(tmp_path / "theirs", [])
    elsewhere = f"paths.outputs={tmp_path / 'ours'}"
    error = refused(capsys, tmp_path / "x", "reproduce", f"run={run.path}", "checkout=true", elsewhere)
    assert "it was not trained here; trust=true does" in error


def test_the_server_of_another_machine_is_not_sent_our_credentials(tmp_path: Path):
    recorded = ["seed=3", "tracking.uri=http://theirs.example", "tracking.experiment=duel"]
    run = record(tmp_path / "theirs", recorded)
    for outputs, kept in (("theirs", recorded), ("ours", ["seed=3", "tracking.experiment=duel"])):
        task = plan(
            {"run": str(run.path), "paths": {"outputs": str(tmp_path / outputs)}, "fresh": False, "trust": False},
            [],
            outputs_given=True,
        )
        assert task.overrides() == ["debug=fast", "tracking=none", *kept]


def test_our_own_configurations_are_none_of_it():
    for overrides in ([], ["env=vision", "algo=ppo_cnn"], ["algo=sac", "track=generated", "vehicle=f1tenth"]):
        config = compose_run(overrides)
        refuse_foreign_code(config, "ours", tuple(TARGETS))
        with pytest.raises(InputError, match=r"env\.reward\._target_"):
            refuse_foreign_code({**config, "env": {**config["env"], "reward": call(Path("x"))}}, "theirs")
        with pytest.raises(InputError, match="env.range"):
            refuse_foreign_code({**config, "env": {**config["env"], "range": "${oc.env:HOME}"}}, "theirs")


def test_names_of_a_server_do_not_lead_out_of_the_folder(tmp_path: Path):
    store = Store.__new__(Store)
    store.uri = "http://theirs"
    for name in ("../x", "a/../../x", "/etc/x"):
        with pytest.raises(InputError, match="leads elsewhere"):
            store.download("0" * 32, name, tmp_path / "folder")
    assert not list(tmp_path.iterdir())


def test_a_journal_does_not_have_other_files_sent(tmp_path: Path):
    """A run that was fetched, or came with a sweep, is sent on: what it names outside itself is not."""
    (tmp_path / "secret").write_text("secret")
    run = record(tmp_path / "outputs", [])
    lines = [{"kind": "artifact", "path": name, "folder": "", "ts": 1} for name in ("../../../secret", "/etc/passwd")]
    with run.paths.journal.open("a") as journal:
        journal.writelines(json.dumps(line, separators=(",", ":")) + "\n" for line in lines)
    assert sync(run) == 0
    said = [entry["reason"] for entry in rejected(run)]
    assert ["does not lie in the run directory" in reason for reason in said] == [True, True]
