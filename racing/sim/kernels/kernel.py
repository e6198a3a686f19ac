"""One kernel source, two precisions.

The simulator runs in float32. Its kernels name their scalar type only as `real`, so that the same source files can be
compiled a second time for float64, which is how the physics is proved against published vectors (tests/sim).

Numba's cache notices changes only in the file of the outermost function, not in the files of the functions that it
calls. The cache therefore lives in a folder named by a hash of all sources of the simulator, and in it in folders named
by what lies beside a kernel (cache.py): stale machine code cannot be found. Kernels outside the simulator take
constants from it and from their own folder only.
"""

from __future__ import annotations

import hashlib
import importlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from racing.files import cache_root

_SOURCES = Path(__file__).parents[1]


def cache_directory() -> Path:
    """Folder for compiled kernels of exactly these sources."""
    digest = hashlib.sha256()
    for path in sorted(_SOURCES.rglob("*.py")):
        digest.update(path.read_bytes())
    return cache_root() / f"numba-{digest.hexdigest()[:12]}"


if "NUMBA_CACHE_DIR" not in os.environ:
    os.environ["NUMBA_CACHE_DIR"] = str(cache_directory())

from numba import njit  # noqa: E402  (numba reads NUMBA_CACHE_DIR when it is imported)

from racing.sim.kernels.cache import cache_by_content, compile_in_turn  # noqa: E402

cache_by_content()

real: Any = np.float32  # the type of every number in a kernel


def kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile `function` with numba: no GIL, no fast-math (bits must not depend on the batch), cached in float32."""
    return _compiled(function)


def inlined(function: Callable[..., Any]) -> Callable[..., Any]:
    """A kernel whose code is put into its callers, for the innermost loops."""
    return _compiled(function, forceinline=True)


def _compiled(function: Callable[..., Any], **options: bool) -> Callable[..., Any]:
    cached = real is np.float32
    dispatcher = njit(nogil=True, cache=cached, fastmath=False, error_model="numpy", **options)(function)
    if cached:
        dispatcher.compile = compile_in_turn(dispatcher.compile, Path(os.environ["NUMBA_CACHE_DIR"]))
    return dispatcher  # type: ignore[no-any-return]


KERNEL_MODULES = (
    "kernels.trig",
    "kernels.rng",
    "dynamics",
    "kernels.bilinear",
    "rays",
    "grip",
    "localisation",
    "race.contact",
    "conditions.kernels",
    "variation.kernels",
    "block",
    "step",
)


def in_float64(module: str) -> ModuleType:
    """A second copy of kernel module `racing.sim.<module>`, compiled for float64. Used by tests, not by training."""
    global real
    if not _float64:
        package = importlib.import_module("racing.sim")
        originals = {name: importlib.import_module(f"racing.sim.{name}") for name in KERNEL_MODULES}
        real = np.float64
        try:
            for name in KERNEL_MODULES:
                del sys.modules[f"racing.sim.{name}"]
            for name in KERNEL_MODULES:
                _float64[name] = importlib.import_module(f"racing.sim.{name}")
        finally:
            real = np.float32
            for name, original in originals.items():
                sys.modules[f"racing.sim.{name}"] = original
                setattr(package, name, original)
    return _float64[module]


_float64: dict[str, ModuleType] = {}
