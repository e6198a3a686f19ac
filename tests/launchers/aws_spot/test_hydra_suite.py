"""Hydra's own tests for launchers, on instances: of them those in which something travels there and back.

That is the function, also one of a script, the configuration, resolvers, results. The rest (names, groups, batches) is
done before and after that, alike for all launchers, and has its tests one folder up: an instance takes seconds.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hydra.test_utils.launcher_common_tests import IntegrationTestSuite, LauncherTestSuite

from tests.launchers.aws_spot.instances import account
from tests.launchers.aws_spot.instances.host import Host, hindrance, wait

pytestmark = pytest.mark.slow

KEYS = "instance_types:[c7i.xlarge],poll_interval_s:0.3,upload_every:60"
AWS = ["hydra.launcher.choice=aws_spot", f"hydra.launcher.overrides={{{KEYS}}}"]


@pytest.fixture(scope="module", autouse=True)
def aws(moto: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """One account and host for all of them."""
    why = hindrance()
    if why:
        pytest.skip(f"instances in a box: {why}")
    with pytest.MonkeyPatch.context() as patch:
        account.enter(moto, tmp_path_factory.mktemp("account"), patch)
        account.make_stack(patch)
        with Host(account.client("ec2"), moto, tmp_path_factory.mktemp("host")) as host:
            yield
            wait(lambda: not host.alive, "the last has ended itself")
        assert {machine.ending for machine in host.machines.values()} <= {"off"}


@pytest.mark.usefixtures("hydra_restore_singletons")
@pytest.mark.parametrize("launcher_name, overrides", [("racing", AWS)])
class TestAws:
    get_task_function = LauncherTestSuite.get_task_function
    test_sweep_2_jobs = LauncherTestSuite.test_sweep_2_jobs
    test_sweep_with_custom_resolver = LauncherTestSuite.test_sweep_with_custom_resolver


@pytest.mark.usefixtures("hydra_restore_singletons", "scripts_are_forked")
@pytest.mark.parametrize(
    "task_launcher_cfg, extra_flags",
    [({"defaults": [{"override hydra/launcher": "racing"}]}, ["-m", *AWS])],
)
class TestAwsIntegration:
    get_test_scratch_dir = IntegrationTestSuite.get_test_scratch_dir
    generate_custom_cmd = IntegrationTestSuite.generate_custom_cmd
    test_get_orig_dir_multirun = IntegrationTestSuite.test_get_orig_dir_multirun
