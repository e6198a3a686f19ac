"""What Hydra finds: it takes launchers only from the namespace package `hydra_plugins`, and imports it at every start.

So nothing is imported here that takes time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

ConfigStore.instance().store(
    group="hydra/launcher",
    name="racing",
    node={"_target_": "hydra_plugins.racing_launcher.RacingLauncher", "choice": None, "overrides": None},
    provider="racing",
)


class RacingLauncher(Launcher):
    """Hands the jobs of a sweep to racing_launchers.launch."""

    def __init__(self, choice: str | None, overrides: Mapping[str, Any] | None) -> None:
        """For another program than racing train, which has both in its configuration's key `launcher`.

        choice: a file of conf/launcher.
        overrides: of its keys, such as `{n_jobs: 2}`.
        """
        self.choice, self.overrides = choice, dict(overrides or {})

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """See Hydra."""
        self.context, self.function, self.config = hydra_context, task_function, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """See Hydra."""
        from racing_launchers.backend import launcher_config
        from racing_launchers.hydra_jobs import launch_hydra_jobs

        overrides = [f"{key}={'null' if value is None else value}" for key, value in self.overrides.items()]
        launcher = None if self.choice is None else launcher_config(self.choice, overrides)
        return launch_hydra_jobs(
            self.context, self.function, self.config, launcher, job_overrides, first=initial_job_idx
        )
