"""Computed laps on disk: one file per circuit, vehicle and version of the algorithm. Losing one costs only time."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from racing.files import atomic_path
from racing.sim.kernels.kernel import cache_directory
from racing.sim.track import Track

Lap = TypeVar("Lap")
DECIMALS = 6  # [1 um] of the geometry: other processors compute other last bits


def lap_path(kind: str, version: int, track: Track, parameters: Sequence[float | str]) -> Path:
    """Return the file of this geometry, these parameters and this version, beside the compiled kernels."""
    digest = hashlib.sha256(f"{kind} lap {version}".encode())
    grid = track.clearance
    for array in (track.points, track.left, track.right, grid.values):
        digest.update(f"{array.shape}{array.dtype}".encode())
        digest.update(np.add(np.round(array, DECIMALS), 0.0).tobytes())  # adding 0 leaves no -0.0
    digest.update(repr((np.round(grid.origin, DECIMALS).tolist(), grid.resolution, list(parameters))).encode())
    if track.grip is not None:
        digest.update(track.grip.values.tobytes())
        digest.update(repr((track.grip.values.shape, track.grip.origin, track.grip.resolution)).encode())
    return cache_directory().parent / kind / f"{digest.hexdigest()[:32]}.npz"


def read_lap(kind: type[Lap], path: Path) -> Lap | None:
    """Read the lap, a dataclass of numbers and arrays, in `path`; None if it is missing or damaged."""
    values: dict[str, Any] = {}
    try:
        with np.load(path, allow_pickle=False) as stored:
            for field in fields(kind):  # type: ignore[arg-type]
                value = stored[field.name]
                values[field.name] = value if value.ndim else float(value)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
    return kind(**values)


def write_lap(path: Path, lap: Any) -> None:
    """Write the lap to `path`; raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path, sync=False) as temporary:  # a damaged one is computed anew
        np.savez_compressed(temporary, **{f.name: getattr(lap, f.name) for f in fields(lap)})
