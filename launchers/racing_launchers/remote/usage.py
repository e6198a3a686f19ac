"""For how long the machines of a job have worked: each keeps a file in `usage/` of the job's folder."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def usage_of(folder: Path) -> list[Mapping[str, Any]]:
    """What the machines of a job have used, from its folder."""
    found = []
    for path in sorted((folder / "usage").glob("*.json")):
        with contextlib.suppress(ValueError):
            found.append(json.loads(path.read_text()))
    return found
