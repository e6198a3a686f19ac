"""Hydra's basic sweeper, which leaves no empty folders where a sweep was refused."""

from __future__ import annotations

import contextlib
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


class RacingSweeper(BasicSweeper):
    """The product of the axes' values."""

    def sweep(self, arguments: list[str]) -> Any:
        """See Hydra."""
        assert self.config is not None
        folder = Path(str(self.config.hydra.sweep.dir))
        made = [path for path in (folder, *folder.parents) if not path.exists()]
        try:
            return super().sweep(arguments)
        finally:
            with contextlib.suppress(OSError):  # more is in it than that
                if [path.name for path in folder.iterdir()] == [WRITTEN]:
                    (folder / WRITTEN).unlink()
                for path in made:
                    path.rmdir()
