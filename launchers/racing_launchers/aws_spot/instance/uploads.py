"""From an instance's disk to the bucket: what a job has written, at one instant, while it goes on writing.

A training makes, renames and prunes files all along. So an instant is first kept by hard links, which takes
milliseconds; what grows, journals and logs, is read last, and only as far as it then was.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

from racing.errors import require
from racing.files import temporary_path
from racing.runs.checkpoints import Checkpoints
from racing.runs.directory import RUNS
from racing.runs.paths import IN_RUN
from racing_launchers.aws_spot.account.objects import LARGEST
from racing_launchers.aws_spot.place import Entry, Writer
from racing_launchers.remote.sync import hidden

GROWING = (IN_RUN.journal.name, "log.txt")
TRIES = 5  # to catch an instant at which no checkpoint is being removed
PIECE = 1 << 20  # [bytes]


class Uploads:
    """Brings a folder to a job's place again and again: what is new of it."""

    def __init__(self, writer: Writer, folder: Path, restored: Mapping[str, Entry]) -> None:
        """folder: the job's outputs. restored: the files that were brought there from the bucket just now."""
        self.writer, self.folder = writer, folder
        self._sent: dict[str, tuple[tuple[int, ...], Entry]] = {}  # path -> what it was on the disk, its entry
        for path, entry in restored.items():
            with contextlib.suppress(FileNotFoundError):
                status = (folder / path).stat()
                grows = Path(path).name in GROWING
                if status.st_size == entry.size:
                    self._sent[path] = (status.st_ino, status.st_size, 0 if grows else status.st_mtime_ns), entry

    def commit(self) -> None:
        """Upload what is new, and say so. Raises Fenced if the job is another's, InputError from S3."""
        files: dict[str, Entry] = {}
        with instant(self.folder) as (kept, sizes):
            for path in sorted(_files(kept), key=lambda path: (path.name in GROWING, path)):
                name = path.relative_to(kept).as_posix()
                status = path.stat()
                size = sizes.get(path, status.st_size)
                identity = (status.st_ino, size, status.st_mtime_ns if path not in sizes else 0)
                known = self._sent.get(name)
                if known is None or known[0] != identity:
                    known = identity, self._upload(name, path, size, int(status.st_mtime))
                    self._sent[name] = known
                files[name] = known[1]
        self._sent = {name: known for name, known in self._sent.items() if name in files}
        self.writer.commit(files)

    def _upload(self, name: str, path: Path, size: int, changed: int) -> Entry:
        require(size <= LARGEST, f"{name} has {size:,} bytes, S3 takes {LARGEST:,} at once; save smaller pieces")
        with path.open("rb") as file:
            if path.name in GROWING:
                content = file.read(size)
                return self.writer.upload(name, content, size, changed, hashlib.sha256(content).hexdigest())
            digest = _sha256(file)
            file.seek(0)
            return self.writer.upload(name, file, size, changed, digest)


@contextlib.contextmanager
def instant(folder: Path) -> Iterator[tuple[Path, dict[Path, int]]]:
    """Keep what is in a folder now, in one beside it: links, removed at the end. Every checkpoint there is whole.

    Also gives the sizes [bytes] that files had then which may have grown since.
    """
    kept = temporary_path(folder)
    try:
        for attempt in range(TRIES):
            shutil.rmtree(kept, ignore_errors=True)
            sizes = _link(folder, kept)
            broken = [path for run in (kept / RUNS).glob("*") for path in _broken(run)]
            if not broken:
                break
            if attempt == TRIES - 1:
                for path in broken:
                    shutil.rmtree(path)
        yield kept, sizes
    finally:
        shutil.rmtree(kept, ignore_errors=True)


def _link(folder: Path, kept: Path) -> dict[Path, int]:
    """Checkpoints before the rows of the replay buffer, and both before the journal, which tells of them.

    Returns the sizes [bytes] of what grows.
    """
    kept.mkdir()
    sizes: dict[Path, int] = {}
    late = (IN_RUN.replay.name, *GROWING)
    found = [entry for entry in os.scandir(folder) if not hidden(entry.name)]
    for entry in sorted(found, key=lambda entry: (not entry.is_dir(), entry.name in late, entry.name)):
        place, copy = Path(entry.path), kept / entry.name
        with contextlib.suppress(FileNotFoundError):  # it has just been removed
            if entry.is_dir(follow_symlinks=False):
                sizes |= _link(place, copy)
            elif entry.is_file(follow_symlinks=False):
                copy.hardlink_to(place)
                if entry.name in GROWING:
                    sizes[copy] = copy.stat().st_size
    return sizes


def _broken(run: Path) -> list[Path]:
    """Checkpoints of which a part went away while they were linked."""
    found = []
    checkpoints = Checkpoints(run)
    whole = {checkpoint.path: checkpoint for checkpoint in checkpoints.all()}
    for path in checkpoints.paths.checkpoints.glob("[0-9]*"):
        notes = whole[path].notes if path in whole else None
        named = [path / name for name in notes["files"]] if notes else []
        rows = (notes or {}).get("replay") or {"chunks": []}
        named += [checkpoints.paths.replay / chunk["file"] for chunk in rows["chunks"]]
        if notes is None or not all(part.exists() for part in named):
            found.append(path)
    return found


def _files(folder: Path) -> Iterator[Path]:
    for place, _, names in os.walk(folder):
        yield from (Path(place, name) for name in names)


def _sha256(file: BinaryIO) -> str:
    digest = hashlib.sha256()
    while piece := file.read(PIECE):
        digest.update(piece)
    return digest.hexdigest()
