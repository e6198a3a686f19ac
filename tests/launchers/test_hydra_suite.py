"""Hydra's own tests for launchers, with each of ours."""

import pytest
from hydra.test_utils.launcher_common_tests import BatchedSweeperTestSuite, IntegrationTestSuite, LauncherTestSuite

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("scripts_are_forked")]

LOCAL = ["hydra.launcher.choice=local", "hydra.launcher.overrides={n_jobs:2,poll_interval_s:0.05,timeout_min:null}"]


@pytest.mark.parametrize("launcher_name, overrides", [("racing", LOCAL)])
class TestLocal(LauncherTestSuite):
    pass


@pytest.mark.parametrize(
    "launcher_name, overrides", [("racing", [*LOCAL, "hydra/sweeper=basic", "hydra.sweeper.max_batch_size=2"])]
)
class TestLocalBatches(BatchedSweeperTestSuite):
    pass


@pytest.mark.parametrize(
    "task_launcher_cfg, extra_flags",
    [({"defaults": [{"override hydra/launcher": "racing"}]}, ["-m", *LOCAL])],
)
class TestLocalIntegration(IntegrationTestSuite):
    pass
