"""How files are read whose kind, size and content may be anything: regular files only, up to a size.

A path that comes from outside may name a pipe or a device, on which `open` or `read` wait for ever, or a link to one.
Everything that goes wrong is an OSError whose `strerror` says what is the matter.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

PIECE = 1 << 16  # [bytes]
KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def open_regular(path: Path, most_bytes: int | None = None) -> BinaryIO:
    """Open a regular file of at most `most_bytes` (None: any size) for reading. Raises OSError for anything else."""
    _refuse(path.stat(), path, most_bytes)  # before it is opened: some devices do something then
    # Another file may lie there by now: a pipe must not make us wait.
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        _refuse(os.fstat(fd), path, most_bytes)
    except OSError:
        os.close(fd)
        raise
    return os.fdopen(fd, "rb")


def read_regular(path: Path, most_bytes: int) -> bytes:
    """Read a regular file of at most `most_bytes` whole. Raises OSError for anything else."""
    with open_regular(path, most_bytes) as file:
        return _content(file, path, most_bytes)


def read_own(path: Path, most_bytes: int) -> bytes:
    """Read a regular file that this user alone can read and write. Raises OSError for anything else."""
    with open_regular(path, most_bytes) as file:
        status = os.fstat(file.fileno())
        if status.st_uid != os.geteuid():
            raise OSError(errno.EPERM, f"it belongs to another user ({status.st_uid})", str(path))
        if status.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise OSError(errno.EPERM, f"others can use it ({stat.filemode(status.st_mode)})", str(path))
        return _content(file, path, most_bytes)


def _content(file: BinaryIO, path: Path, most_bytes: int) -> bytes:
    """Read to the end, which may come later than the file says: it grows, and files of the kernel say nothing."""
    # Not read(most_bytes): Python would set so much memory aside.
    piece = os.fstat(file.fileno()).st_size + PIECE
    data = file.read(piece)
    while len(data) <= most_bytes and (more := file.read(PIECE)):
        data += more
    if len(data) > most_bytes:
        raise _too_large(path, "more", most_bytes)
    return data


def _refuse(status: os.stat_result, path: Path, most_bytes: int | None) -> None:
    kind = stat.S_IFMT(status.st_mode)
    if kind != stat.S_IFREG:
        number = errno.EISDIR if kind == stat.S_IFDIR else errno.EINVAL
        raise OSError(number, f"it is {KINDS.get(kind, 'something else')}, not a file", str(path))
    if most_bytes is not None and status.st_size > most_bytes:
        raise _too_large(path, f"{status.st_size:,}", most_bytes)


def _too_large(path: Path, size: str, most_bytes: int) -> OSError:
    return OSError(errno.EFBIG, f"it has {size} bytes, at most {most_bytes:,} are read", str(path))
