"""Disk cache of generated circuits, keyed by seed, style, size and the generator's source."""

from __future__ import annotations

import contextlib
import hashlib
import sys
import time
import zipfile
from functools import cache
from pathlib import Path

import numpy as np

from racing.errors import require
from racing.files import atomic_path
from racing.sim.kernels.kernel import cache_directory
from racing.sim.track import Points, Track
from racing.tracks import generator as generator
from racing.tracks import geometry
from racing.tracks.generator import checked_ratio, circuit, drawing

FEW = 256  # circuits that fit any memory
SHARE = 0.8  # of the free memory that circuits may take
COPIES = 2  # of a circuit's clearance grid: its own, and the one that the simulator has beside those of all others
QUIET = 5.0  # [s] between two reports of progress


class Progress:
    """Says on stderr how far the drawing of many circuits has come, and how long it takes."""

    def __init__(self, count: int) -> None:
        self.count, self.began = count, time.monotonic()
        self.said = self.began

    def drawn(self, done: int, track: Track) -> None:
        """Report the circuit `track`, the `done`-th. Raises InputError after the first one if they all do not fit."""
        if done == 1:
            refuse_too_many(self.count, track)
        now = time.monotonic()
        if now - self.said < QUIET or done == self.count:
            return
        self.said = now
        left = (now - self.began) / done * (self.count - done)
        about = f"{left:.0f} s" if left < 120 else f"{left / 60:.0f} min"
        print(f"drawing circuits: {done:,} of {self.count:,}, about {about} left", file=sys.stderr, flush=True)


def refuse_too_many(count: int, track: Track) -> None:
    """Raise InputError if the memory that is free does not hold `count` circuits such as `track`."""
    if count <= FEW:
        return
    import psutil

    free, each = int(psutil.virtual_memory().available), COPIES * track.clearance.values.nbytes
    fit = int(SHARE * free / each)
    rule = (
        f"track.count={count:,} circuits take about {count * each / 1e9:.3g} GB of memory, {free / 1e9:.3g} GB are free"
    )
    require(count <= fit, f"{rule}; at most {fit:,} of this size fit here")


def drawn_circuit(seed: int, style: str, length: float, width: float) -> Track:
    """Return `generate(seed, style, length, width)`, from disk if cached.

    The cache is the folder `circuits` beside the compiled kernels; a damaged file is regenerated, and a read-only
    folder costs only time.
    """
    ratio = checked_ratio(seed, style, length, width)
    path = circuit_path(seed, style, ratio)
    points, attempt = _read(path) or (None, 0)
    if points is None:
        points, attempt = drawing(seed, style, ratio)
        with contextlib.suppress(OSError):
            _write(path, points, attempt)
    return circuit(points, attempt, seed, style, length, width)


def circuit_path(seed: int, style: str, ratio: float) -> Path:
    """Return the cache file of this drawing by this version of the generator. ratio: length / width."""
    key = hashlib.sha256(f"{_sources()} {seed!r} {style} {float(ratio)!r}".encode())
    return cache_directory().parent / "circuits" / f"{key.hexdigest()[:32]}.npz"


@cache
def _sources() -> str:
    """Hash the source code that determines a circuit."""
    digest = hashlib.sha256()
    for module in (generator, geometry):
        digest.update(Path(str(module.__file__)).read_bytes())
    return digest.hexdigest()


def _read(path: Path) -> tuple[Points, int] | None:
    try:
        with np.load(path, allow_pickle=False) as stored:
            points, attempt = stored["points"], int(stored["attempt"])
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
    sound = points.ndim == 2 and points.shape[1] == 2 and bool(np.isfinite(points).all())
    return (points, attempt) if sound else None


def _write(path: Path, points: Points, attempt: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path, sync=False) as temporary:  # a damaged one is drawn anew
        np.savez(temporary, points=points, attempt=attempt)
