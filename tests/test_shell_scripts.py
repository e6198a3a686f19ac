"""Shell scripts of the project: shellcheck finds nothing in them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

SCRIPTS = [
    path for path in sorted((REPOSITORY / ".ci").iterdir()) if path.read_bytes().startswith(b"#!/usr/bin/env bash")
]


def shell_problems(script: Path) -> str:
    """What shellcheck has to say; skips the test where it is absent."""
    tool = Path(sys.executable).with_name("shellcheck")
    if not tool.exists():
        pytest.skip("needs shellcheck; pip install -e '.[dev]'")
    return subprocess.run([str(tool), "--format=gcc", str(script)], capture_output=True, text=True).stdout


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_scripts_are_sound(script: Path):
    assert shell_problems(script) == ""


def test_problems_are_found(tmp_path: Path):
    (tmp_path / "script").write_text("#!/bin/bash\nrm -rf $1/x\n")
    assert "[SC2086]" in shell_problems(tmp_path / "script")
