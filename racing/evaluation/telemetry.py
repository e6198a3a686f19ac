"""Telemetry of a car, one row per step: columns, units, and file formats."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from racing.envs.rewards import REWARD_TERMS
from racing.files import atomic_path, write_atomic
from racing.sim import records
from racing.sim.records import Ending
from racing.sim.vehicle import GRAVITY

Array = npt.NDArray[Any]
F = npt.NDArray[np.float32]

COLUMNS = {  # name -> unit
    "x": "m",
    "y": "m",
    "yaw": "rad",
    "s": "m",  # arc length of the nearest centreline point
    "lateral": "m",  # offset from the centreline, left positive
    "distance": "m",  # centreline length driven since the first row
    "v": "m/s",
    "steer": "rad",  # road-wheel angle, left positive
    "steering_command": "1",  # [-1, 1], left positive
    "throttle_command": "1",  # [-1, 1], brake negative
    "longitudinal_g": "9.81 m/s^2",
    "lateral_g": "9.81 m/s^2",  # left positive
    "yaw_rate": "rad/s",
    "slip": "rad",  # side-slip angle, between heading and velocity
    "lap": "1",  # number of the lap being driven; 0 before the first gate
    "off_track": "1",  # 1 in the row in which the car has left the road, else 0
    "reward": "1",  # of the step that led to this row
    **{f"reward_{name}": "1" for name in REWARD_TERMS},  # its terms, weighted
}
CONDITION_COLUMNS = {  # name -> unit; after COLUMNS, where something changes while cars drive (racing.sim.conditions)
    "tyre_wear": "1",  # 0 new, 1 worn out
    "tyre_temperature": "degC",
    "fuel": "kg",
    "wetness": "1",  # of the road where the car is, 0 dry, 1 wet
    "damage": "1",  # 0 none, 1 ruined
    "grip": "1",  # factor on the tyres' friction that follows from these
}
UNITS = {**COLUMNS, **CONDITION_COLUMNS}
_FIELDS = {"tyre_wear": "wear", "tyre_temperature": "temperature"}  # of records that are named otherwise
_CAR = frozenset(records.car(np.float32).names or ())


def columns_of(rows: Array) -> dict[str, Array]:
    """Rows (..., K) of `row_of` by the names of their columns."""
    names = [*COLUMNS, *CONDITION_COLUMNS][: rows.shape[-1]]
    return {name: rows[..., k] for k, name in enumerate(names)}


def row_of(
    cars: Array,
    terms: Array | None = None,
    weights: Array | None = None,
    conditions: Array | None = None,
) -> F:
    """Extract COLUMNS of car records (N,) as (N, K), and CONDITION_COLUMNS where there are condition records.

    terms (N, T), weights (T,): reward terms of the step that led there and their weights; None at the start.
    conditions: any shape of N records; None: nothing changes.
    """
    columns: dict[str, Any] = {name: cars[name] for name in COLUMNS if name in _CAR}
    columns |= {
        "distance": cars["progress"],
        "longitudinal_g": cars["ax"] / GRAVITY,
        "lateral_g": cars["ay"] / GRAVITY,
        "lap": cars["laps"] + (cars["gates"] > 0),
        "off_track": cars["ended"] == Ending.OFF_TRACK,
    }
    if terms is not None:
        weighted = terms * weights
        columns["reward"] = weighted.sum(axis=1)
        columns |= {f"reward_{name}": weighted[:, k] for k, name in enumerate(REWARD_TERMS)}
    changing = {} if conditions is None else CONDITION_COLUMNS
    out = np.empty((len(cars), len(COLUMNS) + len(changing)), np.float32)
    for k, name in enumerate(COLUMNS):
        out[:, k] = columns.get(name, 0.0)
    for k, name in enumerate(changing, len(COLUMNS)):
        out[:, k] = conditions.reshape(-1)[_FIELDS.get(name, name)]  # type: ignore[union-attr]
    return out


def write_parquet(tables: Sequence[Mapping[str, Array]], path: Path, units: Mapping[str, str] = UNITS) -> None:
    """Write the episodes `tables` as one table: episode (index) and their columns.

    units: of all columns that there may be, by name; they are in the fields' metadata.
    """
    import pyarrow
    import pyarrow.parquet

    units = {"episode": "1", "time_s": "s", **units}
    names = list(tables[0])
    columns = [np.repeat(np.arange(len(tables), dtype=np.int32), [len(table["time_s"]) for table in tables])]
    columns += [np.concatenate([table[name] for table in tables]) for name in names]
    fields = [
        pyarrow.field(name, pyarrow.from_numpy_dtype(column.dtype), metadata={"unit": units[name]})
        for name, column in zip(("episode", *names), columns, strict=True)
    ]
    # From buffers: pyarrow would import pandas to find out that these are arrays.
    arrays = [
        pyarrow.Array.from_buffers(f.type, len(column), [None, pyarrow.py_buffer(column)])
        for f, column in zip(fields, columns, strict=True)
    ]
    table = pyarrow.table(arrays, schema=pyarrow.schema(fields))
    # Split bytes halve the file: neighbouring rows of an episode agree in their high bytes.
    options = {"use_dictionary": ["episode"], "use_byte_stream_split": names}
    with atomic_path(path) as temporary:
        pyarrow.parquet.write_table(table, temporary, compression="zstd", **options)


def write_csv(table: Mapping[str, Array], path: Path) -> None:
    """Write one episode as CSV: a header with the columns' names, one line per step."""
    rows = np.stack(list(table.values()), axis=1).tolist()
    lines = [",".join(table), *(",".join(f"{value:.7g}" for value in row) for row in rows)]
    write_atomic(path, "\n".join(lines) + "\n")
