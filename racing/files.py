"""Files that are written whole or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in `path`; empty where there is no such file. Raises ValueError where it is something else."""
    try:
        value = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    if not isinstance(value, dict):
        raise ValueError(f"{path} must hold a JSON object")
    return value


def write_atomic(path: Path, text: str) -> None:
    """Replace `path` by `text` so that no reader, and no power cut, ever sees a part of it."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)  # on a full disk it would take what little is left
        raise


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Replace `path` by `content` as JSON, as `write_atomic` does."""
    write_atomic(path, json.dumps(dict(content), indent=2) + "\n")


def aside(path: Path) -> Path:
    """The first of `<path>.1`, `<path>.2`, ... that is free."""
    number = 1
    while path.with_name(f"{path.name}.{number}").exists():
        number += 1
    return path.with_name(f"{path.name}.{number}")
