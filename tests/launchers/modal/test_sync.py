"""What comes home from a volume: whole files, never less than before, nothing of another run's."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from racing.errors import InputError
from racing.files import write_json
from racing.runs.checkpoints import Checkpoints
from racing.runs.directory import RunDirectory
from racing.tracking.mlflow_sink import Delivery
from racing.tracking.store import embedded_uri
from racing_launchers.job import JobFolder
from racing_launchers.modal.volume import Volume, volume_name
from racing_launchers.modal.worker import set_aside_ahead
from racing_launchers.remote.sync import fetch_job
from racing_launchers.sweep import Job, Sweep
from tests.launchers.modal_box import Box
from tests.support.mlflow_server import Copy

RUN, JOB = "runs/c-1", "sweeps/s/jobs/0"
START = b'{"ts":1,"kind":"journal","id":"a"}\n'


def line(number: int, **record: object) -> bytes:
    return json.dumps({"ts": number, **record}, separators=(",", ":")).encode() + b"\n"


class Home:
    """A sweep here with one job, and what its container has left on the volume."""

    def __init__(self, box: Box, outputs: Path) -> None:
        self.box, self.sweep = box, Sweep(outputs / "sweeps" / "s")
        self.sweep.write_manifest(outputs=str(outputs), workers_upload=False)
        self.run = outputs / RUN
        folder = outputs / JOB
        folder.mkdir(parents=True)
        self.job = Job(0, JobFolder(folder))
        write_json(folder / "job.json", {"number": 0})
        write_json(folder / "attempt.json", {"number": 1, "launcher": "modal", "handle": {"call": "fc-1"}})
        self.leave({f"{JOB}/attempt.json": b'{"number": 1, "call": "fc-1"}', f"{JOB}/runs.txt": f"{RUN}\n".encode()})
        self.volume = Volume("racing-runs")

    def leave(self, files: dict[str, bytes]) -> None:
        self.box.volumes.write("racing-runs", files)

    def fetch(self, *, last: bool = False) -> None:
        fetch_job(self.volume, self.sweep, self.job, last=last)


@pytest.fixture
def home(box: Box, tmp_path: Path) -> Home:
    return Home(box, tmp_path)


def test_the_journal_while_it_goes_on_and_everything_at_the_end(home: Home):
    files = {"checkpoints/01/policy.npz": b"p", "checkpoints/01/COMPLETE": b"{}", "evaluations/01/lap.png": b"l"}
    files |= {"config.yaml": b"c", "run.lock": b"x", ".tmp": b"x", "journal.cursor": b"5", "mlflow.json": b"{}"}
    home.leave({f"{RUN}/{name}": content for name, content in files.items()} | {f"{RUN}/journal.jsonl": START})
    home.fetch()
    assert sorted(path.name for path in home.run.rglob("*")) == ["config.yaml", "journal.jsonl"]
    assert home.job.folder.runs == [RUN]
    # What the journal names is there when the journal says so.
    more = line(2, kind="artifact", path="evaluations/01")
    late = line(3, kind="artifact", path="evaluations/02")  # the volume does not show it yet
    home.leave({f"{RUN}/journal.jsonl": START + more + late})
    home.fetch()
    assert (home.run / "evaluations/01/lap.png").read_bytes() == b"l"
    assert (home.run / "journal.jsonl").read_bytes() == START + more
    assert not (home.run / "checkpoints").exists()
    home.leave({f"{RUN}/evaluations/02/lap.png": b"l"})
    home.fetch()
    assert (home.run / "journal.jsonl").read_bytes() == START + more + late
    assert (home.run / "evaluations/02/lap.png").exists()
    home.fetch(last=True)
    assert (home.run / "checkpoints/01/COMPLETE").exists()
    assert not [name for name in ("run.lock", ".tmp", "journal.cursor", "mlflow.json") if (home.run / name).exists()]


def test_nothing_is_fetched_twice(home: Home, monkeypatch: pytest.MonkeyPatch):
    home.leave({f"{RUN}/journal.jsonl": START, f"{RUN}/export/policy.onnx": b"o"})
    past = 1_000_000_000
    for path in home.box.volumes.path("racing-runs").rglob("*"):
        os.utime(path, (past, past))
    home.fetch(last=True)
    before = len(home.box.requests("VolumeGetFile2"))
    home.fetch(last=True)
    assert len(home.box.requests("VolumeGetFile2")) == before + 1  # whose the job's folder is


def test_a_journal_never_becomes_shorter(home: Home):
    longer = START + line(2, kind="event") + line(3, kind="event")
    home.leave({f"{RUN}/journal.jsonl": longer})
    home.fetch()
    home.leave({f"{RUN}/journal.jsonl": START + line(2, kind="event")})
    home.fetch(last=True)
    assert (home.run / "journal.jsonl").read_bytes() == longer
    (home.run / "journal.jsonl").write_bytes(START + b'{"torn')  # repaired by whoever resumes the run
    home.leave({f"{RUN}/journal.jsonl": longer})
    home.fetch()
    assert (home.run / "journal.jsonl").read_bytes() == longer


def test_another_run_of_that_name_is_moved_aside(home: Home):
    home.run.mkdir(parents=True)
    (home.run / "journal.jsonl").write_bytes(START.replace(b'"a"', b'"b"'))
    (home.run / "note").write_text("mine")
    home.leave({f"{RUN}/journal.jsonl": START, f"{RUN}/config.yaml": b"c"})
    home.fetch()
    assert (home.run / "journal.jsonl").read_bytes() == START
    assert (home.run.with_name("c-1.1") / "note").read_text() == "mine"
    assert not (home.run / "note").exists()


def test_a_run_that_lost_its_last_lines_with_its_machine_is_the_same_run(home: Home):
    """The next machine measures them again, at another time; the journal is the volume's, MLflow has each once."""
    told = [START, line(1, kind="metrics", step=1, values={"loss": 0.5})]
    lost = [line(2, kind="tags", values={"gpu": "A10"}), line(3, kind="metrics", step=2, values={"loss": 0.25, "a": 1})]
    home.leave({f"{RUN}/journal.jsonl": b"".join([*told, *lost])})
    home.fetch()
    uri = embedded_uri(home.sweep.outputs)
    delivery = Delivery(RunDirectory(home.run), uri, "racing")
    while delivery.deliver():
        pass
    again = line(9, kind="start") + line(10, kind="tags", values={"gpu": "T4"})
    again += line(11, kind="metrics", step=2, values={"loss": 0.25}) + line(12, kind="metrics", step=2, values={"a": 1})
    home.leave({f"{RUN}/journal.jsonl": b"".join(told) + again})
    home.fetch()
    assert (home.run / "journal.jsonl").read_bytes() == b"".join(told) + again
    while delivery.deliver():  # the one that is at work
        pass
    further = line(13, kind="metrics", step=3, values={"loss": 0.125}) + line(14, kind="end", status="FINISHED")
    home.leave({f"{RUN}/journal.jsonl": b"".join(told) + again + further})
    home.fetch(last=True)
    other = Delivery(RunDirectory(home.run), uri, "racing")
    while other.deliver():
        pass
    copy = Copy(RunDirectory(home.run))
    assert copy.points("loss") == {(1, 0.5): 1, (2, 0.25): 1, (3, 0.125): 1}
    assert copy.points("a") == {(2, 1.0): 1}
    assert (copy.tags["gpu"], copy.status) == ("T4", "FINISHED")
    assert not home.run.with_name("c-1.1").exists()
    assert not RunDirectory(home.run).paths.rejected.exists()


def test_another_attempts_files_are_not_taken(home: Home):
    home.leave({f"{JOB}/attempt.json": b'{"number": 1, "call": "fc-other"}', f"{JOB}/result.json": b'{"attempt": 1}'})
    home.fetch(last=True)
    assert home.job.folder.runs == []
    assert home.job.ended is None


def test_a_checkpoint_ahead_of_its_journal_is_set_aside(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    run = tmp_path / RUN
    checkpoints = Checkpoints(run)
    (run / "checkpoints").mkdir(parents=True)
    for step, position in ((100, 10), (200, 99)):
        checkpoints.save(step, {"policy": {}}, {"journal": position, "config": {}, "journal_end": ""}, None)
    (run / "journal.jsonl").write_bytes(b"x" * 50)
    set_aside_ahead(tmp_path, [RUN, "runs/none"])
    assert [checkpoint.step for checkpoint in Checkpoints(run).all()] == [100]
    assert "is ahead of the journal" in capsys.readouterr().out


@pytest.mark.parametrize("address", ["modal:/v", "s3://v", "modal://", "modal://a/b", "v", "modal://a b"])
def test_addresses(address: str):
    assert volume_name("modal://racing-runs") == "racing-runs"
    with pytest.raises(InputError, match="must be modal://VOLUME"):
        volume_name(address)
