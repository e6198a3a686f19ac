"""Laps in recorded telemetry: parquet files of evaluations, and of whoever writes the same columns."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from racing.errors import InputError, require
from racing.evaluation.comparing.lap import Lap, best_lap
from racing.evaluation.telemetry import COLUMNS
from racing.reading import read_regular
from racing.sim.track import Track

Array = npt.NDArray[Any]
NEEDED = tuple(name for name in ("episode", "time_s", *COLUMNS) if not name.startswith("reward"))
REMEDY = "evaluate the run again, or name another file"
MOST = 2 << 30  # [bytes] of a file; a hundred drives of two laps have 10 MB


def best_recorded(path: Path, track: Track) -> tuple[Lap | None, int]:
    """The fastest flying lap on a track in a telemetry file, None without any; and how many drives there are.

    Raises InputError for a file that is no telemetry.
    """
    tables = list(read_telemetry(path))
    laps = [lap for lap in (best_lap(table, track) for table in tables) if lap is not None]
    return min(laps, key=lambda lap: lap.time_s, default=None), len(tables)


def read_telemetry(path: Path) -> Iterator[dict[str, Array]]:
    """Columns of each episode (T,), of those that laps need. Raises InputError for a file that is no telemetry."""
    import pyarrow
    import pyarrow.parquet

    rule = f"{path} must be telemetry of a drive"
    try:
        file = pyarrow.parquet.ParquetFile(pyarrow.BufferReader(read_regular(path, MOST)))
        missing = [name for name in NEEDED if name not in file.schema_arrow.names]
        require(not missing, f"{rule}, it has no {', '.join(missing)}; {REMEDY}")
        columns = {name: column.to_numpy() for name, column in zip(NEEDED, file.read(NEEDED).columns, strict=True)}
    except (OSError, pyarrow.ArrowException) as error:
        why = getattr(error, "strerror", None) or " ".join(str(error).split())[:120]
        raise InputError(f"{rule}, {why}; {REMEDY}") from error
    numbers = all(values.dtype.kind in "if" and bool(np.isfinite(values).all()) for values in columns.values())
    require(numbers and len(columns["episode"]) > 0, f"{rule}, rows of numbers; {REMEDY}")
    starts = np.flatnonzero(np.diff(columns["episode"])) + 1
    for rows in np.split(np.arange(len(columns["episode"])), starts):
        yield {name: values[rows] for name, values in columns.items() if name != "episode"}
