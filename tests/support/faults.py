"""A command that kills itself (SIGKILL) in the middle of a write: python -m tests.support.faults KIND COUNT VERB ...

KIND of KINDS: journal (half of a line is written), checkpoint (half of a file is), rename (a checkpoint is complete but
does not have its name yet). COUNT: which one it is, from 1.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def half_a_line(count: int) -> None:
    from racing.runs import journal

    real, left = os.write, [count]

    class Writes:
        def __getattr__(self, name: str) -> Any:
            return getattr(os, name)

        def write(self, fd: int, data: bytes) -> int:
            left[0] -= 1
            if left[0] == 0:
                real(fd, data[: len(data) // 2])
                die()
            return real(fd, data)

    journal.os = Writes()  # type: ignore[assignment]


def half_a_file(count: int) -> None:
    from racing.runs import checkpoints

    real, left = checkpoints._write, [count]

    def write(path: Path, data: bytes) -> str:
        left[0] -= 1
        if left[0] == 0:
            path.write_bytes(data[: len(data) // 2])
            die()
        return real(path, data)

    checkpoints._write = write


def before_the_rename(count: int) -> None:
    from racing import files

    real, left = files.sync_tree, [count]

    def sync(path: Path) -> None:
        real(path)
        left[0] -= path.name.endswith(".tmp")  # a folder; the temporary names of files have a suffix
        if left[0] == 0:
            die()

    files.sync_tree = sync


KINDS = {"journal": half_a_line, "checkpoint": half_a_file, "rename": before_the_rename}

if __name__ == "__main__":
    from racing.cli import main

    KINDS[sys.argv[1]](int(sys.argv[2]))
    sys.exit(main(sys.argv[3:]))
