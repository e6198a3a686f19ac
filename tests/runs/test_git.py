"""A clone of another user's: what git says of it is recorded, and where it says nothing, why."""

from __future__ import annotations

import subprocess

import pytest

from racing.commands.reproduce import worktree
from racing.errors import InputError
from racing.runs import git
from racing.runs.provenance import git_state


@pytest.fixture
def clone(tmp_path, monkeypatch):
    """A clone with a change, of which git believes that somebody else owns it."""
    package = tmp_path / "clone/racing"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("a = 1\n")
    identity = ("-c", "user.name=me", "-c", "user.email=me@example.com")
    for command in (("init", "-q"), ("add", "."), (*identity, "commit", "-qm", "first")):
        subprocess.run(["git", *command], cwd=package.parent, check=True)
    (package / "__init__.py").write_text("a = 2\n")
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    refused = subprocess.run(["git", "status"], cwd=package, capture_output=True, text=True)
    if "dubious ownership" not in refused.stderr:
        pytest.skip("this git does not care who owns a clone; git 2.36 does")
    return package


def test_its_commit_and_changes_are_recorded(clone):
    state = git_state(clone)
    assert len(state["commit"]) == 40
    assert state["dirty"] is True
    assert "+a = 2" in state["diff"]


def test_its_settings_start_no_program(clone, tmp_path):
    ran = tmp_path / "ran"
    monitor = tmp_path / "monitor"
    monitor.write_text(f"#!/bin/sh\ntouch {ran}\n")
    monitor.chmod(0o755)
    with (clone.parent / ".git/config").open("a") as file:
        file.write(f"[core]\n\tfsmonitor = {monitor}\n")
    assert git_state(clone)["commit"]
    assert not ran.exists()


def test_where_git_refuses_nevertheless_its_reason_and_remedy_are_recorded(clone, monkeypatch):
    ask = git.run_git

    def strict(folder, *arguments, trusted=None, **options):
        return ask(folder, *arguments, **options)  # as git before 2.38, which takes no trust from its command line

    monkeypatch.setattr(git, "run_git", strict)
    state = git_state(clone)
    assert state["commit"] is None
    assert "dubious ownership" in state["git_problem"]
    assert f"git config --global --add safe.directory {clone.parent}" in state["git_problem"]
    with pytest.raises(InputError, match="names no commit, git in .*dubious ownership"):
        worktree.checkout(state, "", clone)


def test_outside_a_clone_there_is_nothing_to_tell(tmp_path):
    package = tmp_path / "site-packages/racing"
    package.mkdir(parents=True)
    assert git_state(package) == {"commit": None, "dirty": None, "untracked": [], "diff": ""}


def test_a_work_tree_is_only_made_where_git_itself_trusts(clone, monkeypatch):
    monkeypatch.setattr(worktree, "PACKAGE", clone)
    with pytest.raises(InputError, match=r"checkout=true needs git in .*safe\.directory"):
        worktree.repository()
