"""Compiled kernels are found by what their source says, not by where it lies, and are compiled once for all processes.

Numba keeps the kernels of each checkout apart: a worktree, a container, a copy of the package would compile for half a
minute what is compiled already. And it lets the jobs of a sweep all compile the same kernels at the same time.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from numba.core import caching
from numba.core.compiler_lock import global_compiler_lock

_PACKAGE = Path(__file__).parents[2]


def cache_by_content() -> None:
    """From now on, kernels below racing/ are cached by content; where numba is built otherwise, nothing changes."""
    if hasattr(caching, "UserProvidedCacheLocator") and hasattr(caching, "CacheImpl"):
        caching.CacheImpl._locator_classes = [_locator(), *caching.CacheImpl._locator_classes]


def compile_in_turn(compile_: Callable[[Any], Any], folder: Path) -> Callable[[Any], Any]:
    """`compile_`, a dispatcher's, for one process at a time: who waited finds in the cache what the other has compiled.

    folder: of the cache; where it cannot be written, nobody waits.
    """

    def compile_alone(signature: Any) -> Any:
        with global_compiler_lock, _turn(folder):
            return compile_(signature)

    return compile_alone


_depth = 0  # of compilations that lead to others; changed under numba's lock


@contextlib.contextmanager
def _turn(folder: Path) -> Iterator[None]:
    global _depth
    fd = None
    if _depth == 0:
        with contextlib.suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            fd = os.open(folder / "compile.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            fcntl.flock(fd, fcntl.LOCK_EX)
    _depth += 1
    try:
        yield
    finally:
        _depth -= 1
        if fd is not None:
            os.close(fd)


@functools.cache
def folder_of(folder: Path) -> str:
    """The folder for the kernels of the files in a folder of this package, such as `racing.sim-1f0a9c2d7b3e`.

    Its name tells of all these files: a kernel has the constants that it takes from its neighbours compiled in.
    """
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.py")):
        digest.update(path.read_bytes())
    place = ".".join(folder.relative_to(_PACKAGE.parent).parts)
    return f"{place}-{digest.hexdigest()[:12]}"


def _locator() -> type:
    class ByContent(caching.UserProvidedCacheLocator):
        """In NUMBA_CACHE_DIR."""

        @classmethod
        def from_function(cls, py_func: object, py_file: str) -> object | None:
            """None for what is not ours: the next locator is asked."""
            ours = _PACKAGE in Path(py_file).resolve().parents
            return super().from_function(py_func, py_file) if ours else None

        @classmethod
        def get_suitable_cache_subpath(cls, py_file: str) -> str:
            return folder_of(Path(py_file).resolve().parent)

    return ByContent
