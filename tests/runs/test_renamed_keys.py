"""Runs of earlier versions, whose keys had other names, are read, compared and continued."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from racing.errors import InputError
from racing.renamed_keys import RENAMED_KEYS, upgraded_overrides
from racing.runs.checkpoints import MARKER, read_checkpoint, seal
from racing.runs.directory import RunDirectory, open_run, run_path
from racing.runs.identity import config_hash, differing_keys, identity, recorded_hash
from racing.runs.paths import RunPaths
from racing.runs.status import RunStatus
from racing.tracking.run_record import local_record
from tests.support.signals import only_run, train, train_until

RENAMED = {"algo.discount": "algo.gamma", "env.episodes.upright": "env.episodes.laps"}
OLD = {"name": "demo", "seed": 0, "algo": {"discount": 0.9}, "env": {"episodes": {"upright": 1}}, "paths": {}}
NEW = {"name": "demo", "seed": 0, "algo": {"gamma": 0.9}, "env": {"episodes": {"laps": 1}}, "paths": {"outputs": "x"}}


@pytest.fixture
def renamed(monkeypatch: pytest.MonkeyPatch) -> None:
    for old, new in RENAMED.items():
        monkeypatch.setitem(RENAMED_KEYS, old, new)


@pytest.fixture
def old_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunDirectory:
    """A run of a version that knew the old names only, then the new version."""
    with open_run(tmp_path, "demo", OLD, ["algo.discount=0.9"], {}) as run:
        run.journal.metrics(5, {"loss": 1.0})
    for old, new in RENAMED.items():
        monkeypatch.setitem(RENAMED_KEYS, old, new)
    return run


def begin(outputs: Path, config: dict[str, Any], **options: Any) -> RunDirectory:
    return open_run(outputs, "demo", config, [], {}, **options)


@pytest.mark.usefixtures("renamed")
def test_old_and_new_names_are_the_same_configuration():
    assert identity(OLD) == identity(NEW)
    assert config_hash(OLD) == config_hash(NEW) == recorded_hash(NEW) != recorded_hash(OLD)
    assert differing_keys(OLD, NEW) == []
    other = NEW | {"algo": {"gamma": 0.95}}
    assert config_hash(other) != config_hash(OLD)
    assert differing_keys(OLD, other) == ["algo.gamma is 0.9, not 0.95"]


@pytest.mark.usefixtures("renamed")
def test_overrides_get_new_names():
    old = ["algo.discount=0.5", "+env.episodes.upright=2", "~algo.discount", "name=algo.discount", "seed=1"]
    new = ["algo.gamma=0.5", "+env.episodes.laps=2", "~algo.gamma", "name=algo.discount", "seed=1"]
    assert upgraded_overrides(old) == new


def test_an_old_run_is_read_with_the_new_names(old_run: RunDirectory):
    assert old_run.config == NEW | {"paths": {}}
    record = local_record(old_run)
    assert record.config == old_run.config
    assert record.overrides == ["algo.discount=0.9"]  # as typed: its own code wants them so


def test_an_old_run_is_continued_where_it_is(old_run: RunDirectory, tmp_path: Path):
    before = old_run.paths.config.read_bytes()
    with begin(tmp_path, NEW) as run:
        assert run.path == old_run.path
        run.finish({"a": 1})
    assert old_run.paths.config.read_bytes() == before
    with begin(tmp_path, NEW) as run:
        assert run.finished
    assert [path.name for path in (tmp_path / "runs").iterdir()] == [old_run.name]


def test_a_run_with_a_suffix_is_another(old_run: RunDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with begin(tmp_path, NEW, suffix=".again") as again:
        assert again.name == f"demo-{config_hash(NEW)[:8]}.again"
    with monkeypatch.context() as before:
        for old in RENAMED:
            before.delitem(RENAMED_KEYS, old)
        begin(tmp_path / "b", OLD, suffix=".again").close()
    with begin(tmp_path / "b", NEW, suffix=".again") as again:
        assert again.name == f"{old_run.name}.again"


def test_what_differs_is_another_run(old_run: RunDirectory, tmp_path: Path):
    for other in (NEW | {"seed": 1}, NEW | {"algo": {"gamma": 0.91}}, NEW | {"algo": {"gamma": 0.9, "extra": 1}}):
        with begin(tmp_path, other) as run:
            assert run.name == f"demo-{config_hash(other)[:8]}"
    with open_run(tmp_path, "demo-2", NEW, [], {}) as run:
        assert run.name == f"demo-2-{config_hash(NEW)[:8]}"
    assert old_run.status == RunStatus.KILLED  # nobody touched it


def test_a_new_directory_goes_before_an_old_one(old_run: RunDirectory, tmp_path: Path):
    own = tmp_path / "runs" / f"demo-{config_hash(NEW)[:8]}"
    own.mkdir()
    with begin(tmp_path, NEW) as run:
        assert run.path == own != old_run.path


def test_an_edited_configuration_is_not_taken_for_that_of_its_directory(old_run: RunDirectory, tmp_path: Path):
    old_run.paths.config.write_text(yaml.safe_dump(OLD | {"seed": 7}))
    assert run_path(tmp_path, "demo", NEW | {"seed": 7}) != old_run.path
    assert run_path(tmp_path, "demo", NEW) != old_run.path


@pytest.mark.parametrize("text", ["", "[1, 2]", "a: [", "\x00"])
def test_a_damaged_configuration_is_passed_over(text: str, old_run: RunDirectory, tmp_path: Path):
    old_run.paths.config.write_text(text)
    assert run_path(tmp_path, "demo", NEW).name == f"demo-{config_hash(NEW)[:8]}"


def test_fresh_moves_the_old_one_aside_and_takes_the_new_name(old_run: RunDirectory, tmp_path: Path):
    with begin(tmp_path, NEW, fresh=True) as run:
        names = sorted(path.name for path in (tmp_path / "runs").iterdir())
    assert run.name == f"demo-{config_hash(NEW)[:8]}"
    assert names == sorted([run.name, f"{old_run.name}.1"])


def test_a_configuration_that_was_edited_there_is_still_refused(old_run: RunDirectory, tmp_path: Path):
    new = tmp_path / "runs" / f"demo-{config_hash(NEW)[:8]}"
    old_run.path.rename(new)
    RunPaths(new).config.write_text(yaml.safe_dump(OLD | {"algo": {"discount": 0.8}}))
    with pytest.raises(InputError, match=r"it was edited: algo\.gamma is 0\.8, not 0\.9"):
        begin(tmp_path, NEW)


def aged(run: RunDirectory, old: dict[str, str]) -> RunDirectory:
    """The run as a version would have left it that gave keys of the group `algo` other names. old: new -> old."""

    def renamed(config: dict[str, Any]) -> dict[str, Any]:
        return config | {"algo": {old.get(key, key): value for key, value in config["algo"].items()}}

    config = renamed(run.config)
    run.paths.config.write_text(yaml.safe_dump(config, sort_keys=False))
    for path in run.paths.checkpoints.iterdir():
        notes = read_checkpoint(path).notes
        (path / MARKER).write_bytes(seal(notes | {"config": renamed(notes["config"])}))
    name = f"{config['name']}-{recorded_hash(config)[:8]}"
    return RunDirectory(run.path.rename(run.path.with_name(name)))


@pytest.mark.slow
def test_a_training_goes_on_from_a_checkpoint_with_old_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    arguments = [
        "name=aged",
        "algo.n_steps=16",
        "algo.total_timesteps=8192",
        "checkpoint.every=2048",
        "eval.every_steps=0",
    ]
    assert train_until(5000, tmp_path, *arguments) == 75
    before = only_run(tmp_path)
    run = aged(before, {"gamma": "discount"})
    assert run.name != before.name
    for old, new in {"algo.discount": "algo.gamma"}.items():
        monkeypatch.setitem(RENAMED_KEYS, old, new)
    assert train(tmp_path, *arguments) == 0
    assert only_run(tmp_path).path == run.path
    assert run.status == RunStatus.FINISHED
    assert run.summary["steps"] == 8192
    starts = [json.loads(line) for line in run.paths.journal.read_text().splitlines() if '"kind":"start"' in line]
    assert [start["continued"] for start in starts] == [False, True]
    steps = [path.name for path in sorted(run.paths.checkpoints.iterdir())]
    assert steps[-1] == "000008192"
