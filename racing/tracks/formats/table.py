"""Read tables of numbers as programs and people write them, with the names of their columns where they have some.

Separators are `,` `;` tab and blanks; cells may be quoted (RFC 4180); a comma is decimal where it separates nothing.
Names come from a header line, or from a comment as numpy.savetxt writes it. A row is parsed only in the columns that
are asked for, so that others may hold text.
"""

from __future__ import annotations

import csv
import io
import math
import re
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt

from racing.errors import InputError, require
from racing.tracks.formats.text import read_encoded

MOST_ROWS = 1_000_000
MOST_BYTES = 200_000_000
SAMPLE = 40  # lines that show the separator and the names
COMMENTS = ("#", "%", "//")  # of numpy; of MATLAB and of ROS' rostopic, whose header begins so
DECIMAL_COMMA = re.compile(r"[+-]?\d*,\d+([eE][+-]?\d+)?")
BLANKS_AND_DECIMAL_COMMAS = re.compile(r"\s*[+-]?\d+(,\d+)?([eE][+-]?\d+)?(\s+[+-]?\d+(,\d+)?([eE][+-]?\d+)?)+\s*")
SEPARATOR_LINE = re.compile(r'"?sep=(.)"?\s*')  # Excel's own first line
READ = "separators are , ; tab and blanks"


@dataclass
class Layout:
    """How a table is written. separator; names of its columns, None without; columns; line of the names, from 1."""

    separator: str
    names: list[str] | None
    columns: int
    line: int
    skipped: int  # records before the first row of numbers
    signs: set[str] = field(default_factory=set)  # decimal signs seen in it

    def number(self, cell: str) -> float:
        """Convert a cell. Raises ValueError if it is no number."""
        try:
            value = float(cell)
        except ValueError:
            if self.separator == "," or not DECIMAL_COMMA.fullmatch(cell):
                raise
            self.signs.add(",")
            return float(cell.replace(",", "."))
        if "." in cell:
            self.signs.add(".")
        return value


@dataclass
class _Lines:
    """The lines of a text that hold cells, and the number of the last one that was given out."""

    stream: io.TextIOWrapper
    blanks: bool = False
    number: int = 0
    comments: list[tuple[int, str]] = field(default_factory=list)

    def __iter__(self) -> Iterator[str]:
        for text in self.stream:
            self.number += 1
            line = text.strip()
            if not line or SEPARATOR_LINE.fullmatch(line):
                continue
            if line.startswith(COMMENTS):
                self.comments = [*self.comments[-SAMPLE:], (self.number, line)]
                continue
            yield line.replace("\t", " ") if self.blanks else text.rstrip("\n")


def read_numbers(
    path: Path, choose: Callable[[Layout], Sequence[int]]
) -> tuple[npt.NDArray[np.float64], Layout, npt.NDArray[np.int64]]:
    """Return (numbers (N, K), layout, line numbers (N,)) of the K columns of a table that `choose` asks for.

    Raises InputError naming line and column.
    """
    data, encoding = read_encoded(path, MOST_BYTES)
    layout = _layout(path.name, data, encoding)
    columns = list(choose(layout))
    values, at = array("d"), array("q")
    for number, cells in _records(path.name, data, encoding, layout.separator, layout.skipped):
        require(len(at) < MOST_ROWS, f"{path.name} has more than {MOST_ROWS:,} rows; thin it out")
        _append(values, cells, number, columns, layout, path.name)
        at.append(number)
    require(bool(at), f"{path.name} holds no numbers; give rows of x, y, w_right, w_left")
    mixed = len(layout.signs) > 1
    require(not mixed, f"{path.name} has numbers with decimal points and others with decimal commas; write one of them")
    return np.array(values).reshape(len(at), len(columns)), layout, np.array(at)


def _append(values: array[float], cells: list[str], number: int, columns: list[int], layout: Layout, file: str) -> None:
    """Add the numbers of a row in `columns` to `values`."""
    if len(cells) < layout.columns or any(cells[layout.columns :]):
        cause = f"the names in line {layout.line} are" if layout.names else "the first row has"
        count = len(_trimmed(cells))
        raise InputError(f"{file} line {number} has {count} columns, {cause} {layout.columns}; correct it")
    for column in columns:
        cell = cells[column]
        try:
            value = layout.number(cell)
        except ValueError:
            name = f"column {column + 1}" + (f" ({layout.names[column]})" if layout.names else "")
            if layout.names is None:
                row = layout.separator.join(cells)[:40]
                raise InputError(f"{file} line {number}: {row!r} is no row of numbers; {READ}") from None
            what = f"{cell[:40]!r} is no number" if cell else "is empty"
            raise InputError(f"{file} line {number} {name}: {what}; correct it") from None
        if not math.isfinite(value):
            raise InputError(f"{file} line {number} holds NaN or infinity; correct or remove it")
        values.append(value)


def _records(file: str, data: bytes, encoding: str, separator: str, skip: int) -> Iterator[tuple[int, list[str]]]:
    """Yield (line number, cells) of each record after the first `skip`; empty ones, as Excel leaves them, are not."""
    lines = _Lines(io.TextIOWrapper(io.BytesIO(data), encoding), blanks=separator == " ")
    rows = csv.reader(lines, delimiter=separator, skipinitialspace=True)
    while True:
        try:
            row = next(rows, None)
        except csv.Error as error:
            raise InputError(f"{file} line {lines.number}: {error}; correct it") from None
        if row is None:
            return
        cells = [cell.strip() for cell in row]
        if any(cells):
            skip -= 1
            if skip < 0:
                yield lines.number, cells


def _trimmed(row: Sequence[str]) -> list[str]:
    """The cells without empty ones at the end of the line."""
    cells = list(row)
    while cells and not cells[-1]:
        cells.pop()
    return cells


def _layout(file: str, data: bytes, encoding: str) -> Layout:
    """Find separator and names in the first lines."""
    lines = _Lines(io.TextIOWrapper(io.BytesIO(data), encoding))
    sample = list(islice(lines, SAMPLE))
    separator = _separator(sample)
    layout = Layout(separator, None, 0, 0, 0)
    records = _records(file, data, encoding, separator, 0)
    number, cells = next(records, (0, []))
    cells = _trimmed(cells)
    if any(cell.startswith(("[", "(")) for cell in cells):  # between blanks `x [m]` is one name
        cells = re.sub(r"\s+(?=[\[(])", "", " ".join(cells)).split()
    require(bool(cells), f"{file} holds no numbers; give rows of x, y, w_right, w_left")
    layout.columns = len(cells)
    names = all(re.match(r"[^\W\d]", cell) for cell in cells if cell)
    if names and not _is_row(cells, layout):
        _name(layout, number, cells, _trimmed(next(records, (0, []))[1]))
    else:
        comments = [(line, text) for line, text in lines.comments if line < number]
        layout.line, layout.names = _commented_names(comments, len(cells), separator)
        rule = f"{file} line {number}: {separator.join(cells)[:40]!r} is no row of numbers, and no line of names"
        require(_is_row(cells, layout) or layout.names is not None, f"{rule}; {READ}")
        _refuse_commas_for_points(file, separator, sample)
    layout.signs.clear()
    return layout


def _name(layout: Layout, number: int, cells: list[str], second: list[str]) -> None:
    """Take the names from the line `number`, and their units from the line after it if that holds some."""
    layout.names, layout.line, layout.skipped, layout.columns = cells, number, 1, len(cells)
    if second and _are_units(second, len(cells)) and not _is_row(second, layout):
        layout.names = [f"{name} [{unit.strip('[]()')}]" for name, unit in zip(cells, second, strict=True)]
        layout.skipped = 2


def _is_row(cells: Sequence[str], layout: Layout) -> bool:
    """Whether all cells are numbers."""
    try:
        for cell in cells:
            layout.number(cell)
    except ValueError:
        return False
    return True


def _are_units(cells: Sequence[str], count: int) -> bool:
    """Whether a line below the names holds their units: m,m,rad,m/s."""
    return len(cells) == count and all(re.fullmatch(r"[\[(]?[^\W\d_][\w/^*°-]{0,8}[\])]?", cell) for cell in cells)


def _commented_names(comments: Sequence[tuple[int, str]], count: int, separator: str) -> tuple[int, list[str] | None]:
    """Find the names of `count` columns in the comments above the first row: (line, names), or (0, None).

    Words between blanks are names only if one of them is a usual one: `# made by hand today` is none.
    """
    from racing.tracks.formats.columns import is_usual

    for number, text in reversed(comments):
        bare = text.lstrip("#%/ \t")
        for sign in dict.fromkeys((separator, ";", ",", "\t", " ")):
            cells = bare.split(sign) if sign != " " else re.sub(r"\s+(?=[\[(])", "", bare).split()
            names = _trimmed([cell.strip().strip('"') for cell in cells])
            if len(names) != count or not all(re.match(r"[^\W\d]", name) for name in names):
                continue
            if any(is_usual(name) for name in names) or (sign != " " and not any(" " in name for name in names)):
                return number, names
    return 0, None


def _separator(sample: Sequence[str]) -> str:
    """Find what separates the cells of these lines."""
    bare = [re.sub(r'"[^"]*"', '""', line) for line in sample]  # what is quoted separates nothing
    if any(";" in line for line in bare):
        return ";"
    rows = [line for line in bare if re.match(r'\s*[-+.\d"]', line)] or bare
    if any("\t" in line.strip() for line in rows) and not any(re.search(r",\s", line) for line in rows):
        aligned = all(re.search(r"\t\s", line.strip()) or "\t" not in line.strip() for line in bare)
        return " " if aligned else "\t"
    if any("," in line for line in rows):
        decimal = all(BLANKS_AND_DECIMAL_COMMAS.fullmatch(line) for line in rows)
        return " " if decimal else ","
    return " " if rows and all(re.search(r"\S\s+\S", line) for line in rows) else ","


def _refuse_commas_for_points(file: str, separator: str, sample: Sequence[str]) -> None:
    """Refuse 60,05,0,07: commas between cells and in numbers cannot be told apart."""
    if separator != "," or any("." in line for line in sample):
        return
    padded = re.compile(r"(?:^|,)\s*[+-]?0\d+\s*(?:,|$)")
    found = next((line for line in sample if padded.search(line)), None)
    rule = f"{file}: {(found or '')[:40]!r} has decimal commas between commas, which cannot be told apart"
    require(found is None, f"{rule}; separate columns by ;")
