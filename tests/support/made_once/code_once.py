"""What a run records of the code, asked for once: git is called five times, thirty packages are read."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

from racing.runs import provenance

git_state = provenance.git_state
packages = provenance.packages
_known: dict[str, Any] = {}


def git_state_once(package: Path) -> dict[str, Any]:
    """What git_state returns; of other code than ours it is asked for each time."""
    if package != provenance.PACKAGE:
        return git_state(package)
    if "git" not in _known:
        _known["git"] = git_state(package)
    return copy.deepcopy(_known["git"])


def packages_once() -> dict[str, str | None]:
    """What packages returns."""
    if "packages" not in _known:
        _known["packages"] = packages()
    return dict(_known["packages"])


def install() -> None:
    """From now on, remember."""
    provenance.git_state, provenance.packages = git_state_once, packages_once
