"""Trainings that wait in the middle until they are told to go on, however fast they are: for whoever takes them away.

Programs read where they wait from their environment, and hand it on: those that are forked (fork_server.py), and those
in containers and instances, whose sitecustomize runs this file.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import sys
import time
from collections.abc import Iterator, Mapping
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

VARIABLE = "RACING_TESTS_HELD"  # lines of STEP:FILE
MODULE = "racing.training.checkpoint_callback"  # which looks for signals at every step
IN_SITE = f"import runpy; runpy.run_path({__file__!r})['install']()\n"  # line of a sitecustomize.py


@contextlib.contextmanager
def held(places: Mapping[int, Path]) -> Iterator[None]:
    """Trainings of programs that are started meanwhile wait at a step until its file is there, or for a signal."""
    os.environ[VARIABLE] = "\n".join(f"{step}:{file}" for step, file in places.items())
    try:
        yield
    finally:
        del os.environ[VARIABLE]


def install() -> None:
    """In such a program: wait where its environment says, if it says so."""
    if VARIABLE not in os.environ:
        return
    if MODULE in sys.modules:
        hold(sys.modules[MODULE])
    else:
        sys.meta_path.insert(0, Finder())


class Finder(MetaPathFinder):
    """Lets the module hold when it is imported."""

    def find_spec(self, name: str, path: Any, target: Any = None) -> ModuleSpec | None:
        """See MetaPathFinder."""
        if name != MODULE:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        assert spec is not None and spec.loader is not None
        execute = spec.loader.exec_module

        def execute_and_hold(module: Any) -> None:
            execute(module)
            hold(module)

        spec.loader.exec_module = execute_and_hold  # type: ignore[method-assign]
        return spec


def hold(module: Any) -> None:
    """Let its callback wait."""
    places = [line.split(":", 1) for line in os.environ[VARIABLE].splitlines()]
    real = module.CheckpointCallback._on_step

    def on_step(callback: Any) -> bool:
        for step, file in places:
            while callback.model.num_timesteps >= int(step) and not Path(file).exists() and not callback._stop.reason:
                time.sleep(0.02)
        return bool(real(callback))

    module.CheckpointCallback._on_step = on_step
