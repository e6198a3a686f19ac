"""Where a study lies that several workers share: an append-only file, or entries of a modal.Dict."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from optuna.storages import JournalStorage
from optuna.storages.journal import BaseJournalBackend, JournalFileBackend, JournalFileOpenLock

from racing.errors import InputError, require

MODAL = "modal-dict://"


class StudyFile(JournalFileBackend):
    """Optuna's journal file, with a lock that network file systems know, which repairs a torn last line."""

    def __init__(self, path: Path) -> None:
        """path: the file; begun if it is missing."""
        self._path, self._own_lock = path, JournalFileOpenLock(str(path))
        super().__init__(str(path), lock_obj=self._own_lock)

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """See Optuna. What a power cut or a full disk left of a line is removed: its operation has not happened."""
        text = "".join(json.dumps(log, separators=(",", ":")) + "\n" for log in logs).encode()
        self._own_lock.acquire()
        try:
            with self._path.open("r+b") as file:
                size = file.seek(0, os.SEEK_END)
                if size and not _ends_line(file):
                    file.seek(0)
                    size = file.read().rfind(b"\n") + 1
                    file.truncate(size)
                file.seek(size)
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
        finally:
            with contextlib.suppress(RuntimeError):  # another took the lock: this process was asleep for 30 s
                self._own_lock.release()


def _ends_line(file: Any) -> bool:
    file.seek(-1, os.SEEK_END)
    return bool(file.read(1) == b"\n")


class StudyDict(BaseJournalBackend):
    """A journal in a modal.Dict: each append is the entry of the next free number.

    An entry is never written a second time, and a number is taken only if all before it are: so all workers read the
    same order without a lock. Modal removes entries that nobody has read or written for seven days.
    """

    def __init__(self, entries: Any) -> None:
        """entries: a modal.Dict, or what has its `get` and `put`."""
        self._entries = entries
        self._logs: list[dict[str, Any]] = []  # read so far
        self._next = 0  # number of the first entry that was not read

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:
        """See Optuna."""
        while (entry := self._entries.get(self._next)) is not None:
            self._logs += json.loads(entry)
            self._next += 1
        return iter(self._logs[log_number_from:])

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """See Optuna."""
        number, text = self._next, json.dumps(logs)
        while not self._entries.put(number, text, skip_if_exists=True):
            number += 1


def open_storage(spec: str) -> JournalStorage:
    """Optuna's storage in a file, which is begun if missing, or in the modal.Dict of `modal-dict://NAME`.

    Raises InputError for other addresses, and for files that cannot be written or are none of a study.
    """
    if spec.startswith(MODAL):
        _require_scheme(spec)
        import modal

        name = spec.removeprefix(MODAL)
        return JournalStorage(StudyDict(modal.Dict.from_name(name, create_if_missing=True)))
    if "://" in spec:
        _require_scheme(spec)
    path = Path(spec).resolve()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return JournalStorage(StudyFile(path))
    except OSError as error:
        problem = f"{error.filename or path}: {error.strerror}"
        raise InputError(f"{problem}; tuning.storage must be a writable file: set tuning.storage=FILE") from error
    except (ValueError, KeyError, TypeError, AssertionError) as error:
        raise InputError(
            f"{path} must be the file of a study, it is damaged: {error}; set tuning.storage=FILE"
        ) from error


def find_storage(spec: str) -> JournalStorage | None:
    """The storage that is there; None for one that is to be begun. Nothing is written. Raises InputError."""
    if spec.startswith(MODAL) or "://" in spec:
        _require_scheme(spec)
        return None
    try:
        path = Path(spec).resolve()
        known = path.is_file() and os.access(path, os.R_OK | os.W_OK)
        place = next(folder for folder in (path, *path.parents) if folder.exists())
        fits = place != path and place.is_dir() and os.access(place, os.W_OK | os.X_OK)
    except (OSError, ValueError):  # no name that a file can have
        place, known, fits = Path(spec[:80]), False, False
    if known:
        return open_storage(spec)
    require(fits, f"tuning.storage={spec[:200]!r} must be a writable file, {place} is none: set tuning.storage=FILE")
    return None


def _require_scheme(spec: str) -> None:
    """Raise InputError unless an address names a modal.Dict, and the package is here that speaks to it."""
    name = spec.removeprefix(MODAL)
    require(spec.startswith(MODAL), f"tuning.storage={spec} must be a file or {MODAL}NAME; write one of them")
    require(name != "", f"tuning.storage={spec} must name a modal.Dict; write {MODAL}NAME")
    there = importlib.util.find_spec("modal") is not None
    require(there, f"tuning.storage={spec} needs the package modal, which is not installed; pip install modal")
