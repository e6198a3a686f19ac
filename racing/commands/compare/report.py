"""Tables and files of matches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from racing.files import write_atomic, write_json
from racing.league.match import Contender
from racing.league.picture import matrix_picture
from racing.league.rules import SEQUENTIAL
from racing.league.table import Matches, matrix_csv, share_matrix

SCHEMA = 1  # of results.json
FILES = ("results.json", "matrix.csv", "matrix.png")
WIDE = 200  # columns that a table may take: a terminal wraps what it has not
ROWS = {  # of racing.league.table.standings -> their names in the table
    "win_share": "win share",
    "finish_rate": "finished",
    "position": "place",
    "contacts_per_km": "contacts/km",
    "faults_per_km": "faults/km",
}
Row = Mapping[str, Any]


def print_tables(rows: Sequence[Row], matches: Sequence[Row]) -> None:
    """Print who is how strong, and the matches. rows, matches: of racing.league.table."""
    from rich.console import Console
    from rich.table import Table

    console = Console(width=WIDE)
    named = ("won", "drawn", "lost")
    plain: dict[str, Any] = {"box": None, "pad_edge": False, "title_justify": "left"}
    table = Table("", "rating", *named, *ROWS.values(), title="\nratings, best first", **plain)
    for row in rows:
        counts = (str(row[name]) for name in ("wins", "draws", "losses"))
        table.add_row(row["name"], _cell(row, "rating", 0), *counts, *(_cell(row, key, 2) for key in ROWS))
    console.print(table)
    alike = len({row["games"] for row in matches}) == 1
    heading = f"\nmatches of {matches[0]['games']} games" if alike else "\nmatches"
    told = ["told: it is"] if "sprt" in matches[0] else []
    table = Table("", "against", *named, "win share", "different games", *told, title=heading, **plain)
    for row in matches:
        counts = (str(row[name]) for name in ("wins", "draws", "losses"))
        verdict = [str(row["sprt"]["verdict"])] if told else []
        table.add_row(row["a"], row["b"], *counts, _cell(row, "win_share", 2), str(row["distinct"]), *verdict)
    console.print(table)


def _cell(row: Row, key: str, digits: int) -> str:
    """A number, with its interval if that has a width."""
    if row[key] is None:
        return "-"
    low, high = row.get(f"{key}_low"), row.get(f"{key}_high")
    return f"{row[key]:.{digits}f}" + ("" if low == high else f" ({low:.{digits}f}..{high:.{digits}f})")


def write_results(
    folder: Path,
    contenders: Sequence[Contender],
    matches: Matches,
    rows: Sequence[Row],
    met: Sequence[Row],
    terms: Mapping[str, Any],
    spent: Mapping[str, float],
) -> list[Path]:
    """Write FILES; returns their paths.

    rows, met: of racing.league.table: standings, match_rows. terms, spent: to be recorded.
    """
    results, sheet, picture = (folder / name for name in FILES)
    content = {"entries": list(rows), "matches": list(met), "terms": dict(terms)}
    write_json(results, {"schema_version": SCHEMA, **content, "spent": dict(spent)})
    shares, names = share_matrix(contenders, matches), [row["name"] for row in rows]
    write_atomic(sheet, matrix_csv(names, shares))
    laps = f"{terms['laps']} lap{'s' if terms['laps'] > 1 else ''}"
    games = "games" if terms["games"] == SEQUENTIAL else f"{terms['games']} games"
    facts = [terms["track"]["name"], terms["vehicle"]["name"], f"{games} of {laps}"]
    matrix_picture(rows, shares, picture, facts=facts)
    return [results, sheet, picture]
