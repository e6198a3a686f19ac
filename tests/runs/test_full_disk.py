"""On a disk that is really full nothing that was written is spoilt, the error says so, and later all goes on."""

import contextlib
import errno
import shutil
import subprocess

import pytest

from racing.files import read_json, write_atomic
from racing.runs.directory import open_run
from racing.tracking.sender import Sender
from racing.tracking.store import connect
from tests.support.mlflow_server import PATIENCE, TRACKING, wait_until


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 1 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(folder)]
    if not shutil.which("mount") or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("cannot mount a tmpfs here: needs root")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(path):
    """Take all the space that is left."""
    with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))
    assert shutil.disk_usage(path).free == 0


def write_until_full(run, step):
    """Record until an error comes; the error, and the first step that was not recorded."""
    while True:
        try:
            run.journal.metrics(step, {"loss": float(step)})
        except OSError as error:
            return error, step
        step += 1


@pytest.mark.slow
def test_journal_senders_and_sinks_survive_a_full_disk(small_disk, server, copy_of):
    run = open_run(small_disk / "outputs", "demo", {"name": "demo"}, [], {"commit": None})
    sender = Sender.start(run, TRACKING | {"uri": server.uri, "tensorboard": True})
    for step in range(100):
        run.journal.metrics(step, {"loss": float(step)})
    wait_until(lambda: read_json(run.path / "journal.cursor").get("offset") == run.journal.position, "all arrived")
    fill(small_disk / "rest")
    error, full_at = write_until_full(run, 100)
    assert error.errno == errno.ENOSPC
    assert "the journal is whole up to here: free space, run the command again" in str(error)
    text = run.journal.path.read_bytes()
    assert text.endswith(b"}\n")
    wait_until(lambda: sum(copy_of(run).points("loss").values()) == full_at, "all of it arrived")
    # There is no space to note that: the sender sends it again.
    (small_disk / "rest").unlink()
    for step in range(full_at, full_at + 50):
        run.journal.metrics(step, {"loss": float(step)})
    run.finish({"a": 1})
    assert run.journal.path.read_bytes().startswith(text)
    assert sender.close(PATIENCE), (run.path / "sender.log").read_text()
    assert copy_of(run).status == "FINISHED"
    assert copy_of(run).points("loss") == {(step, float(step)): 1 for step in range(full_at + 50)}
    assert not list(run.path.glob(".*.tmp*"))
    run.close()


def test_delivery_begins_again_when_there_is_space_and_makes_no_second_run(small_disk, server, copy_of):
    run = open_run(small_disk / "outputs", "demo", {"name": "demo", "seed": 1}, [], {"commit": None})
    for step in range(100):
        run.journal.metrics(step, {"loss": float(step)})
    client, experiment = connect(server.uri, "racing", small_disk.parent)
    fill(small_disk / "rest")
    sender = Sender.start(run, TRACKING | {"uri": server.uri})

    def copies():
        return client.search_runs([experiment], f"tags.`racing.journal` = '{run.journal.id}'")

    wait_until(copies, "MLflow has a run")
    assert not run.mlflow  # there was no space to note which
    assert sender.processes["mlflow"].poll() is None
    (small_disk / "rest").unlink()
    run.finish({"a": 1})
    assert sender.close(PATIENCE), (run.path / "sender.log").read_text()
    assert len(copies()) == 1
    assert copy_of(run).points("loss") == {(step, float(step)): 1 for step in range(100)}
    run.close()


def test_replacing_a_file_keeps_the_old_one_and_leaves_nothing_behind(small_disk):
    path = small_disk / "summary.json"
    write_atomic(path, "old\n")
    fill(small_disk / "rest")
    with pytest.raises(OSError, match="No space left"):
        write_atomic(path, "new" * 10_000)
    assert path.read_text() == "old\n"
    assert sorted(entry.name for entry in small_disk.iterdir()) == ["rest", "summary.json"]
