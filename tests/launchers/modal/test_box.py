"""The box keeps Modal's rules: what would hide a mistake of ours if it did not."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import modal
import pytest

from tests.conftest import REPOSITORY
from tests.launchers.modal import toys
from tests.launchers.modal_box import Box
from tests.support.fork_client import Container
from tests.support.mlflow_server import wait_until

pytestmark = pytest.mark.slow

TESTS = Path(__file__).parents[2]


def spawn(function: Callable[..., Any], *arguments: Any, read_only: bool = False, **options: Any) -> modal.FunctionCall:
    """Call a function in a container of the box; the app is left to itself."""
    app = modal.App("toys", include_source=False)
    volume = modal.Volume.from_name("toys", create_if_missing=True, version=2)
    volume = volume.with_mount_options(read_only=True) if read_only else volume
    image = modal.Image.debian_slim(python_version="3.11")
    for name in ("__init__.py", "launchers/__init__.py", "launchers/modal/__init__.py", "launchers/modal/toys.py"):
        image = image.add_local_file(TESTS / name, f"/root/tests/{name}")
    made = app.function(image=image, volumes={"/toys": volume}, single_use_containers=True, **options)(function)
    with app.run(detach=True):
        return made.spawn(*arguments)


@pytest.mark.parametrize("start", ["forked", pytest.param("fresh", marks=pytest.mark.cold)])
def test_a_call_runs_in_a_process_of_its_own(start: str, box: Box):
    """In a fork as in a fresh interpreter nothing of ours is there but what the image brings."""
    answer = spawn(toys.double, 21).get(timeout=60)
    assert answer["twice"] == 42
    assert answer["remote"] == "1"
    (container,) = box.containers.all.values()
    assert answer["pid"] == container.process.pid
    assert isinstance(container.process, Container) == (start == "forked")
    assert answer["loaded"] == ["tests", "tests.launchers", "tests.launchers.modal", "tests.launchers.modal.toys"]
    assert answer["file"].startswith(f"{tempfile.gettempdir()}/modal-code/")
    assert not {str(REPOSITORY), str(REPOSITORY / "launchers")} & set(answer["path"])


def test_retries_and_failures(box: Box):
    retries = modal.Retries(max_retries=2, initial_delay=0.0)
    assert spawn(toys.fail, 2, retries=retries).get(timeout=60) == 2
    with pytest.raises(ValueError, match="failure 3"):
        spawn(toys.fail, 9).get(timeout=60)


def test_what_is_not_committed_is_lost_with_its_container(make_box: Callable[..., Box]):
    box = make_box(background_commit=None)
    call = spawn(toys.write_without_commit, "lost")
    with pytest.raises(modal.exception.InternalFailure, match="crash in a loop"):
        call.get(timeout=100)
    assert len(box.containers.of_call(call.object_id)) == 3
    assert not (box.volumes.path("toys") / "note").exists()


def test_background_commits_and_preemption(make_box: Callable[..., Box]):
    """The same call goes on in another container, from what was committed."""
    box = make_box(background_commit=0.3)
    call = spawn(toys.count_slowly, 30, 0.05)
    number = box.volumes.path("toys") / "number"
    wait_until(lambda: number.exists() and int(number.read_text()) > 10, "it counts")
    (first,) = box.containers.of_call(call.object_id)
    box.containers.preempt(first.id, grace=0.2)
    starts = call.get(timeout=60)
    assert len(starts) == 2
    assert starts[1] >= 10
    assert len(call.object_id) == 25


def test_time_is_over_for_each_attempt(make_box: Callable[..., Box]):
    box = make_box(background_commit=0.3)
    call = spawn(toys.count_slowly, 50, 0.05, timeout=2, retries=modal.Retries(max_retries=3, initial_delay=0.0))
    starts = call.get(timeout=60)
    assert 2 <= len(starts) <= 4
    assert starts == sorted(set(starts))
    with pytest.raises(modal.exception.FunctionTimeoutError):
        spawn(toys.count_slowly, 10_000, 0.05, timeout=1).get(timeout=60)
    assert box.requests("FunctionCreate")[0].function.timeout_secs == 2


def test_gpus_are_taken_in_the_order_of_preference(make_box: Callable[..., Box]):
    box = make_box(gpus={"A100": 1, "T4": 2})
    calls = [spawn(toys.count_slowly, 20, 0.05, gpu=["L40S", "A100", "T4"]) for _ in range(3)]
    for call in calls:
        call.get(timeout=60)
    assert [box.containers.of_call(call.object_id)[0].gpu for call in calls] == ["A100:1", "T4:1", "T4:1"]


def test_cancelled(box: Box):
    call = spawn(toys.count_slowly, 10_000, 0.05)
    wait_until(lambda: any(c.item for c in box.containers.all.values()), "it runs")
    call.cancel()
    with pytest.raises(modal.exception.RemoteError):
        call.get(timeout=30)


@pytest.mark.parametrize("version", [1, 2])
def test_files_of_volumes(version: int, box: Box, tmp_path: Path):
    volume = modal.Volume.from_name("v", create_if_missing=True, version=version)
    large = bytes(range(256)) * 50_000  # more than one block
    (tmp_path / "large").write_bytes(large)
    with volume.batch_upload() as batch:
        batch.put_file(tmp_path / "large", "/a/large")
    assert [(entry.path, entry.size) for entry in volume.listdir("/a")] == [("a/large", len(large))]
    assert b"".join(volume.read_file("a/large")) == large
    with pytest.raises(FileNotFoundError):
        b"".join(volume.read_file("b"))
    with pytest.raises(modal.exception.NotFoundError):
        modal.Volume.from_name("absent").hydrate()


def test_read_only_means_it(box: Box):
    box.volumes.write("toys", {"note": b"yes"})
    assert spawn(toys.try_to_write, read_only=True).get(timeout=60) == "OSError30"


def test_dictionaries(box: Box):
    shared = modal.Dict.from_name("d", create_if_missing=True)
    assert shared.put("a", 1, skip_if_exists=True)
    assert not shared.put("a", 2, skip_if_exists=True)
    shared["b"] = [3]
    assert (shared["a"], "b" in shared, shared.len(), dict(shared.items())) == (1, True, 2, {"a": 1, "b": [3]})


def test_a_wrong_token(box: Box, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MODAL_TOKEN_SECRET", "as-other")
    began = time.monotonic()
    with pytest.raises(modal.exception.AuthError):
        modal.Volume.from_name("v", create_if_missing=True).hydrate()
    assert time.monotonic() - began < 30
    assert box.started() == []
