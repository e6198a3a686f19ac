"""The journal of a run: one append-only file of JSON lines that holds every metric, parameter and event.

It is the truth about the run. MLflow gets a copy of it (racing/tracking/sender.py), so writing never waits for a
server: one line is one `os.write` on a file opened with O_APPEND, a few microseconds. Killing the process loses no line
that was written. Line kinds (every line also has `ts`, UTC milliseconds):

    journal   id, version            the first line; `id` names the run in MLflow
    start     ...                    a process begins or continues the run
    metrics   step, values           `values` maps names to numbers; NaN, Infinity as Python's json writes them
    params    values                 text by name; the same value may come again, another value may not
    tags      values                 text by name; the last one counts
    artifact  path, folder           a file or folder of the run directory, to be kept in MLflow under `folder`
    model     path, name             an ONNX policy of the run directory, to be kept as an MLflow model
    event     name, ...              anything else worth remembering; stays in the journal
    end       status, error          FINISHED, FAILED or STOPPED (state saved, to be continued)
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from racing.errors import require
from racing.files import read_json, write_atomic
from racing.reading import open_regular
from racing.runs.status import ENDS

VERSION = 1
MAX_NAME = 250  # [characters] MLflow's limit for the name of a metric, parameter or tag
_NAME = re.compile(r"[A-Za-z0-9_.:\- ]+(/[A-Za-z0-9_.:\- ]+)*")  # MLflow's alphabet; as a path it must be normal
_TAIL = 1 << 16  # [bytes] read at a time when looking for the last newline
_LOOKS = (1 << 16, 1 << 20, 1 << 26)  # [bytes] from the end, in which the last `start` or `end` is looked for
ENDING = 4096  # [bytes] before a position, by which a journal is told from another one
MOST_LINE = 32 << 20  # [bytes] a longer line is none of ours
LATEST = 253_402_300_799_999  # [ms] the end of the year 9999


@dataclass(frozen=True)
class Line:
    """One complete line: `record` is None where it is no JSON object; the next line begins at byte `end`."""

    start: int
    end: int
    raw: bytes
    record: dict[str, Any] | None


def read_journal(path: Path, offset: int = 0) -> Iterator[Line]:
    """Yield the complete lines of a journal from byte `offset` on; a torn last line (no newline yet) is left out.

    Raises OSError if it is no regular file, ValueError at a line that is longer than any of ours.
    """
    with open_regular(path) as file:
        file.seek(offset)
        while raw := file.readline(MOST_LINE):
            if not raw.endswith(b"\n"):
                if len(raw) < MOST_LINE:
                    return
                raise ValueError(f"{path} has a line of more than {MOST_LINE:,} bytes")
            try:
                record = json.loads(raw)
            except (ValueError, RecursionError):
                record = None
            yield Line(offset, offset + len(raw), raw, record if isinstance(record, dict) else None)
            offset += len(raw)


def metric_points(line: Line) -> list[tuple[int, str, float]]:
    """Return (step, name, value) of each metric in a journal's line; none in another line, or a damaged one."""
    record = line.record or {}
    if record.get("kind") != "metrics":
        return []
    try:
        step = int(record["step"])
        return [(step, str(name), float(value)) for name, value in record["values"].items()]
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
        return []


def newest_metrics(path: Path, tail: int) -> tuple[int | None, dict[str, float]]:
    """Read the last `tail` bytes: the greatest step (None without metrics) and the last value of each metric."""
    step: int | None = None
    values: dict[str, float] = {}
    for line in read_journal(path, max(0, path.stat().st_size - tail)):  # what is left of a cut line is no record
        for at, name, value in metric_points(line):
            step = max(step or 0, at)
            values[name] = value
    return step, values


def first_record(path: Path) -> tuple[str, int]:
    """Read the id of a journal and when it began [UTC ms]. Raises ValueError, OSError if it does not begin as one."""
    record = next((line.record for line in read_journal(path)), None) or {}
    if record.get("kind") != "journal" or not isinstance(record.get("id"), str):
        raise ValueError("its first line is no record of ours")
    began = record.get("ts")
    if not isinstance(began, int) or isinstance(began, bool) or not 0 <= began <= LATEST:
        raise ValueError("its first line lacks its time")
    return record["id"], began


def last_end(path: Path) -> str | None:
    """Read the status of the last `end`; None if the run started again since, or never ended.

    After an `end` little is written but by a `start`: where neither stands near the end of the file, the last was one.
    """
    size = path.stat().st_size
    for look in _LOOKS:
        found = None
        for line in read_journal(path, max(0, size - look)):
            # Most lines are metrics: two substring searches are much cheaper than more.
            if b'"kind":"end"' in line.raw or b'"kind":"start"' in line.raw:
                record = line.record or {}
                found = record if record.get("kind") in ("start", "end") else found
        if found is not None:
            return str(found.get("status")) if found["kind"] == "end" else None
        if look >= size:
            break
    return None


def read_cursor(path: Path) -> int:
    """Read from the cursor file `path` how many bytes of a journal a tracker has; 0 where there is none."""
    offset = read_json(path).get("offset", 0)
    if not isinstance(offset, int) or offset < 0:
        raise ValueError(f"{path} must say how many bytes, it says {offset!r}")
    return offset


def fitting_cursor(path: Path, journal: Path) -> int:
    """As `read_cursor`; 0 where another journal, or an older one, was put in the place of the one that it speaks of."""
    offset, ending = read_cursor(path), read_json(path).get("ending")
    fits = offset <= journal.stat().st_size and ending in (None, _sha256(read_before(journal, offset)))
    return offset if fits else 0


def write_cursor(path: Path, offset: int, before: bytes | None = None) -> None:
    """Note in the cursor file `path` that a tracker has the first `offset` bytes of a journal.

    before: as `read_before` gives it, by which that journal is known again.
    """
    write_atomic(path, json.dumps({"offset": offset} | ({"ending": _sha256(before)} if before else {})) + "\n")


def read_before(path: Path, position: int) -> bytes:
    """Read the last ENDING bytes of a journal before byte `position`: what tells it from another one."""
    with open_regular(path) as file:
        return _before(file.fileno(), position)


def _before(fd: int, position: int) -> bytes:
    begin = max(0, position - ENDING)
    return os.pread(fd, position - begin, begin)


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def utc_text(milliseconds: int) -> str:
    """Return a journal's time as UTC in ISO 8601, to the second."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="seconds")


def check_name(name: str) -> None:
    """Raise ValueError unless MLflow accepts `name` for a metric, parameter or tag."""
    normal = _NAME.fullmatch(name) and all(part not in (".", "..") for part in name.split("/"))
    if not normal or len(name) > MAX_NAME:
        rule = f"letters, digits and _-.: / only, at most {MAX_NAME} characters"
        raise ValueError(f"name {name!r} breaks MLflow's rule ({rule}); rename it")


def as_text(value: object) -> str:
    """Write a value as one types it in an override: true, null, 0.001, [1, 2]; text stays as it is."""
    return value if isinstance(value, str) else json.dumps(value, default=str)


class Journal:
    """The writing end; one process (and one thread) at a time. Opening repairs a torn last line."""

    def __init__(self, path: Path) -> None:
        """Open `path` for appending, or begin it. Raises OSError if it cannot be written, InputError if it is none."""
        self.path = path
        self._names: set[str] = set()
        self._again: Counter[tuple[int, str]] = Counter()
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        self._size = _complete_size(self._fd)
        os.ftruncate(self._fd, self._size)
        if self._size == 0:
            self._write("journal", id=uuid.uuid4().hex, version=VERSION)
        first = next(read_journal(path)).record or {}
        damaged = first.get("kind") != "journal"
        if damaged:
            self.close()
        require(not damaged, f"{path} must begin with a journal line; it is damaged: restore it, or use fresh=true")
        self.id = str(first["id"])

    @property
    def position(self) -> int:
        """Bytes written so far: a checkpoint keeps it for `replay_from`."""
        return self._size

    def ending_at(self, position: int) -> str:
        """Return the sha256 of what stands before byte `position`; another one: the journal was cut or changed."""
        return _sha256(_before(self._fd, position))

    def replay_from(self, position: int) -> None:
        """Continue from a checkpoint made at `position`: what is measured again is not recorded twice.

        Each (step, name) that stands after `position` is left out once when it comes again.
        """
        for line in read_journal(self.path, position):
            if line.record and line.record.get("kind") == "metrics":
                self._again.update((line.record["step"], name) for name in line.record["values"])

    def start(self, **fields: Any) -> None:
        """Record that this process begins or continues the run."""
        self._write("start", **fields)

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Record numbers measured at `step` (environment steps); NaN and infinity are allowed.

        Raises ValueError if a name is not one that MLflow accepts.
        """
        kept = {}
        for name, value in values.items():
            self._check(name)
            if self._again[step, name] > 0:
                self._again[step, name] -= 1
            else:
                kept[name] = float(value)
        if kept:
            self._write("metrics", step=int(step), values=kept)

    def params(self, values: Mapping[str, object]) -> None:
        """Record parameters, by dotted name; a parameter cannot change later. Raises ValueError on a bad name."""
        self._texts("params", values)

    def tags(self, values: Mapping[str, object]) -> None:
        """Record labels of the run; the last value counts. Raises ValueError on a bad name."""
        self._texts("tags", values)

    def artifact(self, path: Path | str, folder: str = "") -> None:
        """Keep a file or folder of the run directory in MLflow, under `folder`. ValueError if it lies outside."""
        self._write("artifact", path=self._inside(path), folder=folder)

    def model(self, path: Path | str, name: str) -> None:
        """Keep the ONNX policy at `path` as MLflow model `name`. Raises ValueError if it lies outside the directory."""
        if not name or set(name) & set("/:.%\"'"):
            raise ValueError(f"model name {name!r} breaks MLflow's rule (not empty, none of / : . % \" '); rename it")
        self._write("model", path=self._inside(path), name=name)

    def event(self, name: str, **fields: Any) -> None:
        """Record anything worth remembering that is no number; it stays in the journal."""
        self._write("event", name=name, **fields)

    def end(self, status: str, error: str | None = None) -> None:
        """Record that the run ends with `status` (one of ENDS); on disk on return. error: traceback of a failure."""
        if status not in ENDS:
            raise ValueError(f"status must be one of {', '.join(ENDS)}, got {str(status)!r}; choose one")
        self._write("end", status=status, error=error)
        self.sync()

    def sync(self) -> None:
        """Wait until all lines are on the disk: survives a power cut, not only a kill."""
        os.fsync(self._fd)

    def close(self) -> None:
        """Close the file; idempotent."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _check(self, name: str) -> None:
        if name not in self._names:
            check_name(name)
            self._names.add(name)

    def _texts(self, kind: str, values: Mapping[str, object]) -> None:
        for name in values:
            self._check(name)
        self._write(kind, values={name: as_text(value) for name, value in values.items()})

    def _inside(self, path: Path | str) -> str:
        directory = self.path.parent.resolve()
        full = (directory / path).resolve()
        if not full.is_relative_to(directory):
            raise ValueError(f"{path} must lie inside the run directory {directory}; copy it there first")
        return full.relative_to(directory).as_posix()

    def _write(self, kind: str, **fields: Any) -> None:
        record = {"ts": time.time_ns() // 1_000_000, "kind": kind, **fields}
        line = json.dumps(record, separators=(",", ":")).encode() + b"\n"
        try:
            written = os.write(self._fd, line)
            while written < len(line):  # a disk that is nearly full takes a part; the next write says why
                written += os.write(self._fd, line[written:])
        except OSError as error:
            os.ftruncate(self._fd, self._size)  # no half line stays
            problem = (
                f"{self.path}: {error.strerror}; the journal is whole up to here: free space, run the command again"
            )
            raise OSError(error.errno, problem) from error
        self._size += len(line)


def _complete_size(fd: int) -> int:
    """Count the bytes up to and including the last newline."""
    end = os.fstat(fd).st_size
    while end > 0:
        begin = max(0, end - _TAIL)
        found = os.pread(fd, end - begin, begin).rfind(b"\n")
        if found >= 0:
            return begin + found + 1
        end = begin
    return 0
