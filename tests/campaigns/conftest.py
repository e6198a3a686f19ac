"""A campaign of two small entries, trained once; each test has its own copy."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest

from racing.cli import main
from racing.runs.lock import FileLock

TINY = """
defaults: [_base, _self_]
entries:
  first: [seed=1]
  second: [seed=2]
  general: [seed=3, 'track.file=[oval,karting]']
overrides: [debug=fast, env=mlp, track=oval, eval.every_steps=0, eval.episodes=2, algo.total_timesteps=8192]
validation: {tracks: [oval, karting], games: 4, laps: 1, start: grid, anchor: null, episodes: 2}
gate: {games: 4, finish_rate: 0.0}
"""
ENTRIES = ("first", "second", "general")
Command = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with conf/campaign/tiny.yaml, and outputs in which its entries are trained."""
    root = tmp_path_factory.getbasetemp()
    folder = (root.parent if "PYTEST_XDIST_WORKER" in os.environ else root) / "campaign-trained"
    folder.mkdir(exist_ok=True)
    lock = FileLock(folder / "test.lock")
    lock.acquire(wait=True)
    try:
        if not (folder / "done").exists():
            (folder / "conf/campaign").mkdir(parents=True, exist_ok=True)
            (folder / "conf/campaign/tiny.yaml").write_text(TINY)
            said = ["campaign=tiny", "--config-dir", str(folder / "conf"), f"paths.outputs={folder / 'outputs'}"]
            assert main(["campaign", *said, "mode=train", "tracking.close_timeout=600"]) == 0
            (folder / "done").touch()
    finally:
        lock.release()
    return folder


@pytest.fixture(scope="session")
def matches(trained: Path) -> Path:
    """All matches between its entries, and their drives alone."""
    folder = trained / "validated"
    lock = FileLock(trained / "test.lock")
    lock.acquire(wait=True)
    try:
        if not (folder / "done").exists():
            shutil.rmtree(folder, ignore_errors=True)
            copy_campaign(trained, folder)
            said = ["campaign=tiny", "--config-dir", str(trained / "conf"), f"paths.outputs={folder / 'outputs'}"]
            assert main(["campaign", *said, "mode=validate", "sequential=true", "tracking=none"]) == 0
            (folder / "done").touch()
    finally:
        lock.release()
    return folder / "outputs/matches"


def copy_campaign(trained: Path, folder: Path) -> None:
    """Into another folder; runs are those of all."""
    shutil.copytree(trained / "outputs/campaigns", folder / "outputs/campaigns")
    (folder / "outputs/runs").mkdir()
    for run in (trained / "outputs/runs").iterdir():
        (folder / "outputs/runs" / run.name).symlink_to(run)
    manifest = folder_of(folder) / "sweep.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"outputs": str(folder / "outputs")}))


@pytest.fixture
def place(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a copy of the campaign that is trained."""
    copy_campaign(trained, tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def validated(place: Path, matches: Path) -> None:
    """The matches of its entries are driven."""
    shutil.copytree(matches, place / "outputs/matches")


@pytest.fixture
def campaign(trained: Path, place: Path, capsys: pytest.CaptureFixture[str]) -> Command:
    """campaign(*arguments): exit code, what was printed, and to stderr."""

    def call(*arguments: str, tracking: str = "tracking=none") -> tuple[int, str, str]:
        capsys.readouterr()
        named = ["campaign=tiny", "--config-dir", str(trained / "conf"), tracking]
        code = main(["campaign", *named, *arguments])
        said = capsys.readouterr()
        return code, said.out, said.err

    return call


def folder_of(place: Path) -> Path:
    """Of the one campaign that is there."""
    (found,) = (place / "outputs/campaigns").iterdir()
    return found


def texts(folder: Path) -> dict[str, Any]:
    """The content of every file below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def policy_of(place: Path, name: str) -> Path:
    """The ONNX file of an entry."""
    run = (folder_of(place) / f"jobs/{ENTRIES.index(name)}/runs.txt").read_text().split()[-1]
    return place / "outputs" / run / "export/policy.onnx"


def change_policy(place: Path, name: str) -> None:
    """Another file for an entry: as if it had been trained again."""
    run = policy_of(place, name).parents[1]
    real = run.resolve()
    if run.is_symlink():
        run.unlink()
        shutil.copytree(real, run)
    model = onnx.load(policy_of(place, name))
    again = {entry.key: entry.value for entry in model.metadata_props}
    onnx.helper.set_model_props(model, again | {"again": again.get("again", "") + "1"})
    onnx.save(model, policy_of(place, name))
