"""How benchmarks say what they measured: progress, a table, a JSON file."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from racing.errors import InputError

Row = dict[str, Any]
Result = tuple[list[Row], dict[str, Any]]  # rows of the table, what else is worth keeping


def say(message: str) -> None:
    """Progress, on stderr."""
    print(message, file=sys.stderr, flush=True)


def make_folder(folder: Path) -> Path:
    """`folder`, made if missing. Raises InputError if that is impossible."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: {error.strerror}, results need a folder; set paths.outputs=FOLDER") from error
    return folder


def write(folder: Path, name: str, options: Mapping[str, Any], rows: Sequence[Row], summary: Mapping[str, Any]) -> Path:
    """Write <folder>/<name>-<UTC time>.json: the result, the options, the machine, the versions."""
    from racing.files import write_atomic
    from racing.runs.provenance import collect

    where = {key: value for key, value in collect().items() if key not in ("diff", "untracked", "tracks")}
    where["load_average"] = list(os.getloadavg())  # of the last 1, 5 and 15 minutes
    path = folder / f"{name}-{stamp_now()}.json"
    content = {"benchmark": name, **where, "options": dict(options), "summary": dict(summary), "rows": list(rows)}
    write_atomic(path, json.dumps(content, indent=2) + "\n")
    return path


def stamp_now() -> str:
    """UTC time for file names."""
    return datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")


def print_table(title: str, rows: Sequence[Row]) -> None:
    """The rows as a table, or where that is wider than the terminal as several, each with the first column.

    Single measurements are in the JSON only.
    """
    from rich.console import Console
    from rich.table import Table

    console = Console(width=None if sys.stdout.isatty() else 140)
    for number, columns in enumerate(fitting([key for key in rows[0] if key != "rates"], rows, console.width)):
        table = Table(title=None if number else title, title_justify="left")
        for column in columns:
            right = not isinstance(rows[0][column], str)
            table.add_column(column.replace("_", " "), no_wrap=True, justify="right" if right else "left")
        for row in rows:
            table.add_row(*(show(row[column]) for column in columns))
        console.print(table)


def fitting(columns: Sequence[str], rows: Sequence[Row], width: int) -> list[list[str]]:
    """The columns in parts whose tables are at most `width` characters wide; the first column leads each part."""
    wide = {column: 3 + max(len(column), *(len(show(row[column])) for row in rows)) for column in columns}
    first, *others = columns
    parts = [[first]]
    for column in others:
        if len(parts[-1]) > 1 and 1 + sum(wide[key] for key in (*parts[-1], column)) > width:
            parts.append([first])
        parts[-1].append(column)
    return parts


def show(value: Any) -> str:
    """A value of a table."""
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return "-" if value is None else str(value)
