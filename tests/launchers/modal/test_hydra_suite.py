"""Hydra's own tests for launchers, with containers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hydra.test_utils.launcher_common_tests import BatchedSweeperTestSuite, IntegrationTestSuite, LauncherTestSuite
from hydra.version import VersionBase, __compat_version__

from tests.launchers.modal.conftest import forget_client, point_at
from tests.launchers.modal_box import Box

pytestmark = pytest.mark.slow

MODAL = ["hydra.launcher.choice=modal", "hydra.launcher.overrides={gpu:[],cpu:1,poll_interval_s:0.2,commit_every:60}"]


@pytest.fixture(scope="module", autouse=True)
def modal(able: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """One Modal for all of them."""
    with pytest.MonkeyPatch.context() as patch, Box(tmp_path_factory.mktemp("box"), background_commit=None) as box:
        point_at(box, patch)
        yield
        forget_client()
        assert box.failures == []


@pytest.fixture(autouse=True)
def no_base() -> None:
    """Whatever ran before in this process has said which Hydra's defaults it wants; these tests want the oldest."""
    VersionBase.instance().setbase(__compat_version__)


@pytest.mark.parametrize("launcher_name, overrides", [("racing", MODAL)])
class TestModal(LauncherTestSuite):
    pass


@pytest.mark.parametrize(
    "launcher_name, overrides", [("racing", [*MODAL, "hydra/sweeper=basic", "hydra.sweeper.max_batch_size=2"])]
)
class TestModalBatches(BatchedSweeperTestSuite):
    pass


@pytest.mark.usefixtures("scripts_are_forked")
@pytest.mark.parametrize(
    "task_launcher_cfg, extra_flags",
    [({"defaults": [{"override hydra/launcher": "racing"}]}, ["-m", *MODAL])],
)
class TestModalIntegration(IntegrationTestSuite):
    """But for those that want a job to see the folders of the machine that waits for it: a container has its own."""

    test_custom_sweeper_run_workdir = None
    test_to_absolute_path_multirun = None
