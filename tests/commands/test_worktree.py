"""The code of a past run comes back as it was: its commit, with its uncommitted changes; or one line says why not."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from racing.commands.reproduce import worktree
from racing.errors import InputError
from racing.runs.provenance import git_state


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.com"]
    command = ["git", "-C", str(folder), *identity, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package in a git repository, standing for ours."""
    folder = tmp_path / "repo" / "racing"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("a = 1\n")
    (folder / "windows.py").write_bytes(b"b = 1\r\nc = 1\r\n")
    (folder / "picture.png").write_bytes(bytes(range(256)))
    git(tmp_path, "init", "-q", "repo")
    git(tmp_path / "repo", "config", "diff.noprefix", "true")  # what users set must not matter
    git(tmp_path / "repo", "add", ".")
    git(tmp_path / "repo", "commit", "-qm", "first")
    monkeypatch.setattr(worktree, "PACKAGE", folder)
    return folder


def change(package: Path) -> None:
    (package / "__init__.py").write_text("a = 2\n")
    (package / "windows.py").write_bytes(b"b = 1\r\nc = 2\r\n")
    (package / "picture.png").write_bytes(bytes(range(255, -1, -1)))


def test_commit_and_uncommitted_changes_come_back(package: Path, tmp_path: Path):
    change(package)
    state = git_state(package)
    wanted = {path.name: path.read_bytes() for path in package.iterdir()}
    git(package, "checkout", "-q", ".")
    (package / "__init__.py").write_text("a = 3\n")
    git(package, "commit", "-qam", "second")
    tree = worktree.checkout(state, state["diff"], tmp_path / "trees")
    assert {path.name: path.read_bytes() for path in (tree / "racing").iterdir()} == wanted
    assert tree.name.startswith(state["commit"][:12] + "-")
    again = git_state(tree / "racing")
    assert (again["commit"], again["diff"]) == (state["commit"], state["diff"])
    made = (tree / "racing/__init__.py").stat().st_mtime_ns
    assert worktree.checkout(state, state["diff"], tmp_path / "trees") == tree
    assert (tree / "racing/__init__.py").stat().st_mtime_ns == made  # not made anew
    plain = worktree.checkout(state, "", tmp_path / "trees")
    assert plain.name == state["commit"][:12]
    assert (plain / "racing/__init__.py").read_text() == "a = 1\n"
    assert (package / "__init__.py").read_text() == "a = 3\n"
    assert {path.name for path in (tmp_path / "trees").iterdir()} == {tree.name, plain.name}


def test_a_tree_that_was_removed_by_hand_is_made_again(package: Path, tmp_path: Path):
    state = git_state(package)
    shutil.rmtree(worktree.checkout(state, "", tmp_path / "trees"))
    assert (worktree.checkout(state, "", tmp_path / "trees") / "racing/__init__.py").exists()


def refusal(provenance: dict, patch: str, folder: Path) -> str:
    with pytest.raises(InputError) as refused:
        worktree.checkout(provenance, patch, folder)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_what_cannot_be_had_is_refused_in_a_line_and_leaves_nothing(package: Path, tmp_path: Path):
    trees = tmp_path / "trees"
    change(package)
    state = git_state(package)
    assert "installed without git; leave checkout=true away" in refusal({"commit": None}, "", trees)
    assert "--unshallow" in refusal({"commit": "0" * 40}, "", trees)
    assert not trees.exists()
    line = refusal(state, state["diff"].replace("-a = 1", "-a = 7"), trees)
    assert "do not apply to its commit" in line
    assert "does not apply" in line
    assert list(trees.iterdir()) == []
    assert len(git(package, "worktree", "list").splitlines()) == 1
    (tmp_path / "file").write_text("")
    assert "set paths.outputs=FOLDER" in refusal(state, "", tmp_path / "file" / "trees")


def test_a_tree_in_which_somebody_worked_is_refused(package: Path, tmp_path: Path):
    change(package)
    state = git_state(package)
    tree = worktree.checkout(state, state["diff"], tmp_path / "trees")
    (tree / "racing/__init__.py").write_text("a = 9\n")
    line = refusal(state, state["diff"], tmp_path / "trees")
    assert "racing/__init__.py differs; remove it (git worktree remove --force" in line


def test_without_a_clone_there_is_no_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "racing").mkdir()
    monkeypatch.setattr(worktree, "PACKAGE", tmp_path / "racing")
    assert "must be run from a git clone of racing" in refusal({"commit": "0" * 40}, "", tmp_path / "trees")


def test_files_that_git_did_not_know_are_named_until_they_are_there(tmp_path: Path):
    names = [f"conf/{number}.yaml" for number in range(7)]
    note = worktree.untracked_note({"untracked": names}, tmp_path)
    assert "conf/0.yaml" in note
    assert "and 2 more" in note
    assert f"copy them to {tmp_path}" in note
    (tmp_path / "conf").mkdir()
    for name in names:
        (tmp_path / name).write_text("")
    assert worktree.untracked_note({"untracked": names}, tmp_path) == ""
    assert worktree.untracked_note({}, tmp_path) == ""


CLI = """
import os, signal, sys, time
if sys.argv[1:] == ["wait"]:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(75))
    os.kill(os.getppid(), signal.SIGTERM)
    time.sleep(60)
sys.exit(int(sys.argv[1]))
"""


def test_the_code_of_the_tree_runs_and_its_exit_code_is_ours(tmp_path: Path):
    (tmp_path / "racing").mkdir()
    (tmp_path / "racing/__init__.py").write_text("")
    (tmp_path / "racing/cli.py").write_text(CLI)
    assert worktree.run_there(tmp_path, ["3"]) == 3
    before = signal.getsignal(signal.SIGTERM)
    assert worktree.run_there(tmp_path, ["wait"]) == 75  # it was asked to stop through us
    assert signal.getsignal(signal.SIGTERM) == before
    assert sys.modules["racing"].__file__ != str(tmp_path / "racing/__init__.py")
