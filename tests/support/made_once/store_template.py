"""New MLflow stores as copies of one that was made before: the migrations that make its tables take a second."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from racing.tracking import store

make_tables = store._make_tables
_template: bytes | None = None


def copy_tables(file: Path) -> None:
    """What racing.tracking.store makes a new database with; the first one of a process and its forks is really made."""
    global _template
    if _template is None:
        make_tables(file)
        _template = file.read_bytes()
    else:
        part = file.with_name(f".{file.name}.new")
        part.write_bytes(_template)
        part.rename(file)


def install() -> None:
    """From now on, copy."""
    store._make_tables = copy_tables


@contextlib.contextmanager
def real_stores() -> Iterator[None]:
    """Make every store as a user's is made."""
    installed, store._make_tables = store._make_tables, make_tables
    try:
        yield
    finally:
        store._make_tables = installed
