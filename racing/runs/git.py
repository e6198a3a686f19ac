"""Asking git."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path


def run_git(
    folder: Path, *arguments: str, given: str = "", trusted: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a git command in `folder`, its messages in English. Raises OSError where git is missing.

    given: its standard input.
    trusted: a work tree that may belong to another user.
    """
    environment = os.environ | {"LC_ALL": "C"}
    # Without a monitor of files: that is a program which the tree's settings name.
    trust = ["-c", f"safe.directory={trusted}", "-c", "core.fsmonitor=false"] if trusted else []
    command = ["git", *trust, "-C", str(folder), *arguments]
    done = subprocess.run(command, input=given.encode(), capture_output=True, env=environment)
    # Not text=True, which makes \r\n into \n: such a diff no longer applies.
    texts = (stream.decode(errors="replace") for stream in (done.stdout, done.stderr))
    return subprocess.CompletedProcess(done.args, done.returncode, *texts)


def git_output(folder: Path, *arguments: str, trusted: Path | None = None) -> str | None:
    """Return the output of a git command in `folder`, None if it fails or git is missing; trusted: see `run_git`."""
    try:
        done = run_git(folder, *arguments, trusted=trusted)
    except OSError:
        return None
    return done.stdout if done.returncode == 0 else None


def own_tree(package: Path) -> Path | None:
    """Return the clone that `package` is run from, to be trusted as its code is; None if it is installed elsewhere."""
    root = package.resolve().parent
    return root if (root / ".git").exists() else None


def is_tracked(package: Path) -> bool:
    """Whether `package` belongs to a git repository: a copy installed inside somebody else's is not part of it."""
    command = ("ls-files", "--error-unmatch", "__init__.py")
    return git_output(package, *command, trusted=own_tree(package)) is not None


def problem(package: Path) -> dict[str, str]:
    """Say as `git_problem` why git tells nothing of the clone that `package` is run from; {} where that is none."""
    root = own_tree(package)
    if root is None:
        return {}
    try:
        asked = run_git(package, "rev-parse", "HEAD", trusted=root)
    except OSError as error:
        return {"git_problem": f"git: {error.strerror}; install git"}
    return {"git_problem": explanation(root, asked.stderr)} if asked.returncode else {}


def explanation(root: Path, complaint: str) -> str:
    """Say what git complains of in the clone `root`, on one line, and the remedy."""
    reason = complaint.strip().partition("\n")[0].removeprefix("fatal: ")
    return f"git in {root}: {reason}; where another user owns it: git config --global --add safe.directory {root}"
