"""env=lateral on every launcher: the same bits as here. tests/training/test_lateral.py stops and continues it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from racing.cli import main
from racing.runs.directory import RunDirectory
from tests.launchers.aws_spot.instances import account, host
from tests.launchers.modal.conftest import forget_client, point_at
from tests.launchers.modal_box import Box, server
from tests.support.processes import points, run_of, state_bytes

pytestmark = pytest.mark.slow

TOTAL = 2048
SMALL = ["debug=fast", "env=lateral", "env.route_count=4", "env.holdout_routes=2", "eval.episodes=2", "tracking=none"]
SMALL += [f"algo.total_timesteps={TOTAL}", "algo.n_envs=16", "algo.n_steps=64", "checkpoint.every=1024", "name=l"]
SMALL += ["eval.every_steps=0", "seed=1"]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    outputs = tmp_path_factory.mktemp("alone")
    assert main(["train", *SMALL, f"paths.outputs={outputs}"]) == 0
    return run_of(outputs, SMALL)


@contextmanager
def local(request: pytest.FixtureRequest, folder: Path) -> Iterator[list[str]]:
    yield ["launcher.poll_interval_s=0.05"]


@contextmanager
def slurm(request: pytest.FixtureRequest, folder: Path) -> Iterator[list[str]]:
    request.getfixturevalue("here")
    yield ["launcher.poll_interval_s=0.3", "launcher.cpus_per_task=1"]


@contextmanager
def modal(request: pytest.FixtureRequest, folder: Path) -> Iterator[list[str]]:
    if why := server.hindrance():
        pytest.skip(f"Modal in a box {why}")
    with Box(folder, background_commit=None) as box:
        point_at(box, request.getfixturevalue("monkeypatch"))
        yield ["launcher.poll_interval_s=0.3", "launcher.gpu=null"]
        forget_client()
        assert box.failures == []


@contextmanager
def aws_spot(request: pytest.FixtureRequest, folder: Path) -> Iterator[list[str]]:
    if why := host.hindrance():
        pytest.skip(f"instances in a box: {why}")
    patch = request.getfixturevalue("monkeypatch")
    with account.serve() as url:
        account.enter(url, folder, patch)
        account.make_stack(patch)
        with host.Host(account.client("ec2"), url, folder) as instances:
            yield ["launcher.poll_interval_s=0.3", "launcher.instance_types=[c7i.xlarge]"]
            host.wait(lambda: not instances.alive, "the instance has ended itself")


@pytest.mark.parametrize("launcher", [local, slurm, modal, aws_spot], ids=lambda launcher: launcher.__name__)
def test_the_same_bits(
    launcher: Callable[..., AbstractContextManager[list[str]]],
    alone: RunDirectory,
    request: pytest.FixtureRequest,
    tmp_path: Path,
):
    home = tmp_path / "home"
    with launcher(request, tmp_path / "t") as settings:
        assert main(["train", *SMALL, f"launcher={launcher.__name__}", *settings, f"paths.outputs={home}"]) == 0
    run = run_of(home, SMALL)
    assert run.status == "FINISHED"
    assert state_bytes(run, TOTAL) == state_bytes(alone, TOTAL)
    assert points(run) == points(alone)
    assert (run.path / "export/policy.onnx").read_bytes() == (alone.path / "export/policy.onnx").read_bytes()
    assert run.summary["total_cost"] == alone.summary["total_cost"]
