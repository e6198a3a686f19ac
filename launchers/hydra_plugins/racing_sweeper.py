"""Hydra's basic sweeper for racing train: axes in any place, jobs within reason, no folder left of a refused sweep."""

from __future__ import annotations

import contextlib
import itertools
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_store import ConfigStore

ConfigStore.instance().store(
    group="hydra/sweeper",
    name="racing",
    node={"_target_": "hydra_plugins.racing_sweeper.RacingSweeper", "max_batch_size": None, "params": None},
    provider="racing",
)
WRITTEN = "multirun.yaml"  # by Hydra before the first job is composed
MAX_JOBS = 10_000
COUNTED = 1_000_000  # values of an axis, at most
PER_JOB = 0.1  # [s] that it takes to compose and check one


class RacingSweeper(BasicSweeper):
    """The product of the axes' values."""

    def sweep(self, arguments: list[str]) -> Any:
        """See Hydra."""
        from racing.errors import InputError

        assert self.config is not None
        folder = Path(str(self.config.hydra.sweep.dir))
        made = [path for path in (folder, *folder.parents) if not path.exists()]
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if not os.access(folder, os.W_OK | os.X_OK):
                raise PermissionError(13, "Permission denied", str(folder))
        except OSError as error:
            place = f"{error.filename or folder}: {error.strerror}"
            raise InputError(f"{place}; set paths.outputs=FOLDER to a writable one") from error
        try:
            return super().sweep(arguments)
        finally:
            with contextlib.suppress(OSError):  # more is in it than that
                if [path.name for path in folder.iterdir()] == [WRITTEN]:
                    (folder / WRITTEN).unlink()
                for path in made:
                    path.rmdir()

    def _parse_config(self) -> list[str]:
        """Axes that a file or `hydra.sweeper.params` names, read as those of the command line are."""
        return [part for axis in super()._parse_config() for part in self._for_hydra(axis)]

    def split_arguments(  # type: ignore[override]  # it needs the search path
        self, overrides: Sequence[Any], max_batch_size: int | None
    ) -> list[list[list[str]]]:
        """See Hydra. A track by its path, between others by their names, is one of its own in each job."""
        require_reasonable(overrides)
        batches = super().split_arguments(list(overrides), max_batch_size)
        tracks = {override for batch in batches for job in batch for override in job if override.startswith("track=")}
        written = {override: self._for_hydra(override) for override in tracks}
        return [[[part for one in job for part in written.get(one, [one])] for job in batch] for batch in batches]

    def validate_batch_is_legal(self, batch: Sequence[Sequence[str]]) -> None:
        """See Hydra. Our launcher composes each job itself before any begins: once is enough."""
        if type(self.launcher).__name__ != "RacingLauncher":
            super().validate_batch_is_legal(batch)

    def _for_hydra(self, override: str) -> list[str]:
        from racing.config import config_directories, for_hydra

        assert self.config is not None
        if "launcher" not in self.config:  # another program, whose groups are its own
            return [override]
        return for_hydra(override, config_directories(list(self.config.hydra.overrides.hydra)))


def require_reasonable(overrides: Sequence[Any]) -> None:
    """Raise InputError if the axes of a sweep make more jobs than MAX_JOBS."""
    from racing.errors import require

    axes = {
        override.get_key_element(): sum(1 for _ in itertools.islice(override.sweep_string_iterator(), COUNTED))
        for override in overrides
        if override.is_sweep_override() and override.is_discrete_sweep()
    }
    jobs = math.prod(axes.values())
    estimate = f"composing them would take about {jobs * PER_JOB / 3600:,.0f} h"
    remedy = "sweep over less, or search with tuning=random"
    require(jobs <= MAX_JOBS, f"the sweep has {jobs:,} jobs, at most {MAX_JOBS:,} may be; {estimate}: {remedy}")
