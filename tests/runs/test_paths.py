"""One place knows where things lie in a run directory."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from racing.config import conf_directory
from racing.errors import InputError
from racing.runs.directory import RunDirectory, open_run
from racing.runs.paths import IN_RUN, OUTPUTS, RunPaths, step_name, where
from racing_launchers.sweep import Sweep
from tests.conftest import REPOSITORY


def test_what_a_run_writes_lies_where_the_paths_say(tmp_path: Path):
    with open_run(tmp_path, "demo", {"name": "demo"}, [], {"diff": "patch"}) as run:
        run.finish({"a": 1})
    paths = run.paths
    assert paths == RunPaths(run.path)
    assert paths.outputs == tmp_path
    written = [paths.config, paths.overrides, paths.provenance, paths.patch, paths.journal, paths.summary, paths.lock]
    folders = [paths.checkpoints, paths.evaluations, paths.export]
    assert sorted(run.path.iterdir()) == sorted([*written, *folders])


def test_the_longest_name_is_a_folders(tmp_path: Path):
    longest = "n" * 128
    with open_run(tmp_path, longest, {"name": longest}, [], {}) as run:
        run.finish({"a": 1})
    assert RunDirectory(run.path).finished
    with pytest.raises(InputError, match=r"must have at most 128 characters, got 129; shorten it"):
        open_run(tmp_path, f"{longest}n", {}, [], {})


def test_steps_sort_as_names():
    steps = [0, 5, 4096, 999_999_999]
    assert (
        sorted(map(step_name, steps))
        == [step_name(step) for step in steps]
        == ["000000000", "000000005", "000004096", "999999999"]
    )
    assert IN_RUN.checkpoint(4096) == Path("checkpoints/000004096")
    assert IN_RUN.evaluation(4096) == Path("evaluations/000004096")
    assert str(IN_RUN.journal) == "journal.jsonl"
    assert IN_RUN.sink_cursor("wandb") == Path("wandb/journal.cursor")


def test_the_way_back_leads_from_every_file_to_its_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    open_run(tmp_path, "demo", {"name": "demo"}, [], {}).close()
    (folder,) = (tmp_path / "runs").iterdir()
    paths = RunPaths(folder)
    inside = [paths.config, paths.policy_zip, paths.checkpoint(5), paths.checkpoint(5) / "policy.npz", paths.meta]
    assert [RunPaths.of(file) for file in inside] == [paths] * len(inside)
    assert RunPaths.of_checkpoint(paths.checkpoint(5)) == paths
    assert RunPaths.of(tmp_path / "runs" / "policy.zip") is None
    assert RunPaths.of(tmp_path / "policy.zip") is None
    monkeypatch.chdir(paths.folder)
    assert RunPaths.of(Path("export/policy.zip")) == paths
    assert RunDirectory(folder).paths == paths


# the only place

PROPERTIES = [name for name, value in vars(RunPaths).items() if isinstance(value, property) and name != "outputs"]
FILES = {getattr(IN_RUN, name).name for name in PROPERTIES if getattr(IN_RUN, name).suffix} - {IN_RUN.meta.name}
NAMES = re.compile("|".join(rf"(^|/){re.escape(name)}($|/)" for name in FILES) + "|^09d$|\\.meta\\.json")
SOURCES = [*(REPOSITORY / "racing").rglob("*.py"), *(REPOSITORY / "launchers").rglob("*.py")]


def spelled(code: str) -> Iterator[str]:
    """Texts of `code` that name a file of a run, or a step; docstrings, examples and messages may."""
    tree = ast.parse(code)
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        is_text = isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings
        if is_text and not set(" \n") & set(node.value) and NAMES.search(node.value):
            yield f"line {node.lineno}: {node.value!r}"


def test_nobody_else_spells_the_names():
    found = {path.relative_to(REPOSITORY).as_posix(): [*spelled(path.read_text())] for path in SOURCES}
    assert found.pop("racing/runs/paths.py"), "the search finds nothing"
    assert {path: lines for path, lines in found.items() if lines} == {}


@pytest.mark.parametrize(
    "code", ["run.path / 'journal.jsonl'", "f'{folder}/config.yaml'", "f'{step:09d}'", "path = 'export/policy.zip'"]
)
def test_the_search_finds_what_is_spelled(code: str):
    assert len([*spelled(code)]) == 1
    assert [*spelled("'a journal of config'; 'config_yaml'")] == []


def test_a_hint_says_where_to_look_unless_it_is_the_usual_place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert yaml.safe_load((conf_directory() / "paths" / "default.yaml").read_text())["outputs"] == OUTPUTS
    assert where(Path("outputs")) == where(tmp_path / "outputs") == ""
    assert where(Path("other")) == where(tmp_path / "other") == " paths.outputs=other"
    assert where(tmp_path / "my runs") == " 'paths.outputs=my runs'"
    assert where(Path("/data/racing")) == " paths.outputs=/data/racing"
    assert Sweep(tmp_path / "outputs/sweeps/s-1").named == "s-1"
    assert Sweep(tmp_path / "other/sweeps/s-1").named == "s-1 paths.outputs=other"
    assert Sweep(tmp_path / "multirun").named == str(tmp_path / "multirun")
