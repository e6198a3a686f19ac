"""Hydra's own tests for launchers, on the cluster."""

import pytest
from hydra.test_utils.launcher_common_tests import BatchedSweeperTestSuite, IntegrationTestSuite, LauncherTestSuite

SLURM = ["hydra.launcher.choice=slurm", "hydra.launcher.overrides={cpus_per_task:1,poll_interval_s:0.3}"]

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("here", "scripts_are_forked")]


@pytest.mark.parametrize("launcher_name, overrides", [("racing", SLURM)])
class TestSlurm(LauncherTestSuite):
    pass


@pytest.mark.parametrize(
    "launcher_name, overrides", [("racing", [*SLURM, "hydra/sweeper=basic", "hydra.sweeper.max_batch_size=2"])]
)
class TestSlurmBatches(BatchedSweeperTestSuite):
    pass


@pytest.mark.parametrize(
    "task_launcher_cfg, extra_flags",
    [({"defaults": [{"override hydra/launcher": "racing"}]}, ["-m", *SLURM])],
)
class TestSlurmIntegration(IntegrationTestSuite):
    pass
