"""Asking git."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path


def run_git(folder: Path, *arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
    """Run a git command in `folder`, its messages in English. Raises OSError where git is missing.

    given: its standard input.
    """
    environment = os.environ | {"LC_ALL": "C"}
    command = ["git", "-C", str(folder), *arguments]
    done = subprocess.run(command, input=given.encode(), capture_output=True, env=environment)
    # Not text=True, which makes \r\n into \n: such a diff no longer applies.
    texts = (stream.decode(errors="replace") for stream in (done.stdout, done.stderr))
    return subprocess.CompletedProcess(done.args, done.returncode, *texts)


def git_output(folder: Path, *arguments: str) -> str | None:
    """Return the output of a git command in `folder`, None if it fails or git is missing."""
    try:
        done = run_git(folder, *arguments)
    except OSError:
        return None
    return done.stdout if done.returncode == 0 else None


def is_tracked(package: Path) -> bool:
    """Whether `package` belongs to a git repository: a copy installed inside somebody else's is not part of it."""
    return git_output(package, "ls-files", "--error-unmatch", "__init__.py") is not None
