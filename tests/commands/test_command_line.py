"""`python -m racing` as a user types it; other tests call the same code in a process that is warm already."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from racing.cli import VERBS

pytestmark = pytest.mark.cold


@pytest.mark.slow
@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help(verb: str, tmp_path: Path):
    command = [sys.executable, "-m", "racing", verb, "--help"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"usage: racing {verb}")
    assert not list(tmp_path.iterdir())
