"""Compiled kernels are found by what their source says, not by where it lies.

Numba keeps the kernels of each checkout apart. A worktree, a container, a copy of the package would compile for half a
minute what is compiled already.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from numba.core import caching

_PACKAGE = Path(__file__).parents[2]


def cache_by_content() -> None:
    """From now on, kernels below racing/ are cached by content; where numba is built otherwise, nothing changes."""
    if hasattr(caching, "UserProvidedCacheLocator") and hasattr(caching, "CacheImpl"):
        caching.CacheImpl._locator_classes = [_locator(), *caching.CacheImpl._locator_classes]


def folder_of(source: Path) -> str:
    """The folder for the kernels of a file of this package, such as `racing.sim-1f0a9c2d7b3e`."""
    place = ".".join(source.parent.relative_to(_PACKAGE.parent).parts)
    return f"{place}-{hashlib.sha256(source.read_bytes()).hexdigest()[:12]}"


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
            return folder_of(Path(py_file).resolve())

    return ByContent
