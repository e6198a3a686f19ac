"""What all tests share: vehicles from conf/, a small circuit, the folder with borrowed data."""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

# Before torch and BLAS are loaded: several test processes share the cores, and threads that wait for each other at
# every small operation would spend half the time of a run. Tests about threads set their number themselves.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # where there are two, none spins until the other has its turn
# Nothing of ours is tested with Trio, whose plugin collects garbage and asks for referrers as Hypothesis is imported.
os.environ.setdefault("HYPOTHESIS_NO_PLUGINS", "1")

import numpy as np
import pytest

from racing.config import load_group
from racing.sim.track import Track, build_track
from racing.sim.vehicle import Vehicle
from tests.support import fork_client
from tests.support.made_once import blank_pictures, code_once, composed_once, store_template, tracks_once

pytest_plugins = ["tests.support.mlflow_server"]
REPOSITORY = Path(__file__).resolve().parents[1]


# [s] that the longest files take, five at a time on two cores, roughly: it decides which start first, and where.
LONGEST = {
    "viewer": 240,
    "launchers/slurm/test_slurm.py": 150,
    "training/test_resume.py": 95,
    "commands/test_bench.py": 85,
    "launchers/modal/test_backend.py": 80,
    "launchers/test_sweep.py": 75,
    "campaigns/test_deployment.py": 70,
    "training/test_train.py": 60,
    "campaigns/test_validation.py": 60,
    "training/test_continue.py": 60,
    "tracks/test_reference_lap.py": 60,
    "training/test_lateral.py": 55,
    "launchers/modal/test_hydra_suite.py": 55,
    "launchers/modal/test_training.py": 55,
    "commands/test_reproduce.py": 55,
    "test_docs.py": 55,
    "launchers/aws_spot/test_training.py": 50,
    "test_current_folder.py": 50,
    "commands/test_evaluate.py": 50,
    "tracking/test_notebooks.py": 50,
    "envs/test_other_programs.py": 50,
    "launchers/modal/test_service.py": 45,
    "tracking/test_sender.py": 45,
    "algos/test_state.py": 45,
    "launchers/aws_spot/test_backend.py": 45,
    "launchers/aws_spot/test_inputs.py": 45,
    "launchers/slurm/test_hydra_suite.py": 42,
    "tracks/optimal_lap/test_optimal_lap.py": 40,
    "test_hostile_arguments.py": 40,
    "tuning/test_worker.py": 40,
    "commands/test_train.py": 40,
    "launchers/aws_spot/test_fleet.py": 38,
    "tracks/test_painted.py": 36,
    "commands/test_bad_input.py": 36,
    "tracking/test_sinks.py": 35,
    "launchers/aws_spot/test_supervised.py": 35,
    "training/test_curriculum.py": 33,
    "launchers/test_local.py": 33,
    "launchers/test_lateral.py": 33,
    "league/test_compare.py": 30,
    "launchers/test_sweep_names.py": 28,
    "tracking/test_model_registry.py": 28,
    "launchers/test_hydra_suite.py": 28,
    "policies/test_init_from.py": 28,
    "launchers/modal/test_box.py": 28,
    "training/test_agents.py": 25,
    "launchers/aws_spot/test_checks.py": 24,
    "tuning/test_parts.py": 22,
    "tuning/test_workers.py": 22,
    "evaluation/test_plots.py": 22,
    "tracking/test_sick_servers.py": 22,
    "training/test_train_vision.py": 20,
    "launchers/test_ui.py": 18,
    "commands/test_runs.py": 18,
    "launchers/aws_spot/test_hydra_suite.py": 15,
}


def pytest_configure(config: pytest.Config) -> None:
    """Programs are forked from a warm process, as are the processes of pytest-xdist; stores are copies of one.

    Pictures are blank, the same choices composed once, circuits read once, git asked once.
    """
    gc.disable()  # until all is collected, see pytest_collection_finish
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it, and all they start
    address = os.environ.get("PYTEST_XDIST_TESTRUNUID") or f"racing-tests-{os.getpid()}"
    config.option.testrunuid = address  # those that pytest-xdist starts are told it in that variable
    fork_client.install(address, start=True)
    if getattr(config.option, "numprocesses", None) and config.args_source is config.ArgsSource.TESTPATHS:
        # Of all tests some need it: it warms up while there is a core to spare.
        threading.Thread(target=fork_client.warm_server, args=("others",), daemon=True).start()
    store_template.install()
    blank_pictures.install()
    code_once.install()
    composed_once.install()
    tracks_once.install()


@pytest.fixture(autouse=True)
def nothing_is_logged() -> Iterator[None]:
    """Applications of Hydra, and others, let the root logger write to streams that end with the test they ran in."""

    def forget() -> None:
        root = logging.getLogger()
        for handler in root.handlers[:]:
            if type(handler) is logging.StreamHandler:  # pytest's own are of other classes
                root.removeHandler(handler)
        root.setLevel(logging.WARNING)

    forget()
    yield
    forget()


@pytest.fixture(autouse=True)
def warm_or_cold(request: pytest.FixtureRequest) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        if request.node.get_closest_marker("cold"):
            stack.enter_context(fork_client.real_processes())
            stack.enter_context(store_template.real_stores())
            stack.enter_context(blank_pictures.real_pictures())
        yield


def kept_together(item: pytest.Item) -> str:
    """A name of the tests that one process runs: their file's; of pages in three dimensions, their folder's.

    A browser that draws those by the CPU needs a core: several at a time keep each other waiting until they give up.
    """
    path = item.path.relative_to(REPOSITORY / "tests")
    return "viewer" if path.parts[0] == "viewer" else path.as_posix()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Slow tests first, a part of them for each process: whoever steals work at the end finds short tests.

    pytest-xdist cuts the list into as many pieces as there are processes (--dist worksteal).
    """
    processes = getattr(config, "workerinput", {}).get("workercount", 1)
    fast = [item for item in items if item.get_closest_marker("slow") is None]
    shares: list[list[pytest.Item]] = [[] for _ in range(processes)]
    seconds = [0.0] * processes
    slow = groupby((item for item in items if item.get_closest_marker("slow")), key=kept_together)
    modules = [(name, list(module)) for name, module in slow]
    for name, module in sorted(modules, key=lambda found: -LONGEST.get(found[0], 0)):
        # Not taken apart: its tests share what takes long to make.
        least = seconds.index(min(seconds))
        shares[least].extend(module)
        seconds[least] += LONGEST.get(name, len(module))
    ordered = []
    for number, share in enumerate(shares):
        end = len(items) * (number + 1) // processes
        ordered += share + [fast.pop(0) for _ in range(min(len(fast), max(0, end - len(ordered) - len(share))))]
    items[:] = ordered + fast


def pytest_collection_finish() -> None:
    """Garbage is looked for less often, and not among the two million objects that are there now: they stay."""
    gc.freeze()
    gc.set_threshold(20_000, 10, 10)
    gc.enable()


@pytest.fixture(autouse=True)
def no_tracking_address() -> Iterator[None]:
    """MLflow notes, in itself and the environment, which store it was used with; no test may inherit that."""
    before = os.environ.get("MLFLOW_TRACKING_URI")
    yield
    if "mlflow" in sys.modules:
        sys.modules["mlflow"].set_tracking_uri(None)
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    if before is not None:
        os.environ["MLFLOW_TRACKING_URI"] = before


@pytest.fixture(scope="session", autouse=True)
def temporary_files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What libraries leave in the folder for temporary files goes with everything else that tests leave."""
    with pytest.MonkeyPatch.context() as patch:
        folder = str(tmp_path_factory.mktemp("tmp", numbered=False))
        patch.setenv("TMPDIR", folder)
        patch.setattr(tempfile, "tempdir", folder)
        yield


@pytest.fixture(scope="session")
def kart() -> Vehicle:
    return load_group("vehicle", "kart")


@pytest.fixture(scope="session")
def f1tenth() -> Vehicle:
    return load_group("vehicle", "f1tenth")


@pytest.fixture(scope="session")
def f1tenth_linear() -> Vehicle:
    return load_group("vehicle", "f1tenth_linear")


@pytest.fixture(scope="session")
def wavy() -> Track:
    """960 m with bends both ways, 12 m wide; its tightest radius is 14 m."""
    t = np.linspace(0, 2 * np.pi, 200, endpoint=False)
    radius = 130 * (1 + 0.25 * np.cos(3 * t) + 0.1 * np.sin(5 * t))
    half = np.full(len(t), 6.0)
    return build_track("wavy", np.stack([radius * np.cos(t), radius * np.sin(t)], axis=1), half, half)


@pytest.fixture(scope="session")
def eight() -> Track:
    """A lemniscate: the track crosses itself at the origin."""
    t = np.linspace(0, 2 * np.pi, 300, endpoint=False)
    points = np.stack([120 * np.sin(t), 70 * np.sin(2 * t)], axis=1)
    half = np.full(len(t), 5.0)
    return build_track("eight", points, half, half)


def shared(*parts: str) -> Path:
    """A file of the data folder beside the checkout; skips the test where it is absent."""
    path = REPOSITORY.parent.joinpath("shared", *parts)
    if not path.exists():
        pytest.skip(f"{Path(*parts)} is not here: needs the shared data folder beside the checkout")
    return path
