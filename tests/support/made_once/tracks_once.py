"""Circuits that ship with racing are read once in a process: it takes a quarter of a small training."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import replace
from pathlib import Path
from typing import Any

from racing.sim.track import Track
from racing.tracks import catalog

read = catalog.read_native
_known: dict[Hashable, Track] = {}


def read_once(picture: Path, **options: Any) -> Track:
    """What read_native returns; what others have drawn is read each time."""
    if any(options.values()) or picture.parent not in catalog.shipped().values():
        return read(picture, **options)
    files = [(str(path), path.stat().st_mtime_ns) for path in sorted(picture.parent.iterdir())]
    key = (str(picture), *files)
    if key not in _known:
        _known[key] = read(picture, **options)
    return replace(_known[key], source=dict(_known[key].source))


def install() -> None:
    """From now on, remember."""
    catalog.read_native = read_once
