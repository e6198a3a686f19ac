"""A lock that ends with the process that took it, whatever way it ends."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
from pathlib import Path


class FileLock:
    """Exclusive lock on a file, which names its owner."""

    def __init__(self, path: Path) -> None:
        """Make the lock at `path`; it is not taken yet, nothing is created."""
        self.path = path
        self._fd: int | None = None

    def acquire(self, *, wait: bool = False) -> bool:
        """Take the lock, waiting for it if asked to; False if another has it. Raises OSError."""
        fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            # flock, not lockf: closing another descriptor of the same file must not free it.
            fcntl.flock(fd, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            os.close(fd)
            return False
        with contextlib.suppress(OSError):  # a full disk: the lock holds without the name
            os.ftruncate(fd, 0)
            os.pwrite(fd, f"process {os.getpid()} on {socket.gethostname()}\n".encode(), 0)
        self._fd = fd
        return True

    def release(self) -> None:
        """Give the lock back; idempotent."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    @property
    def owner(self) -> str:
        """`process <pid> on <host>` of the last owner."""
        try:
            return self.path.read_text(errors="replace").strip() or "another process"
        except OSError:
            return "another process"

    @property
    def ours(self) -> bool:
        """Whether this object has taken the lock."""
        return self._fd is not None

    @property
    def held(self) -> bool:
        """Whether anybody has the lock now."""
        if self.ours:
            return True
        try:
            fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(fd)
        return False
