"""TensorBoard and W&B hold what the journal says, once, whatever dies on the way; read with their own formats."""

import math
import os
import signal
import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path

import pytest

from racing.cli import main
from racing.errors import InputError
from racing.runs.directory import RunDirectory
from racing.runs.journal import read_journal
from racing.runs.lock import FileLock
from racing.tracking.errors import Refused
from racing.tracking.sender import Sender
from racing.tracking.sinks import configured as sinks
from racing.tracking.sinks import wandb_sink
from racing.tracking.sinks.configured import SINKS, check_sinks, sync_sinks
from tests.support.mlflow_server import PATIENCE, wait_until

pytestmark = pytest.mark.slow

OFF = {"enabled": False, "uri": None, "experiment": "karts"}
BOTH = OFF | {"tensorboard": True, "wandb": True}


@pytest.fixture(autouse=True)
def no_account(monkeypatch, tmp_path):
    """W&B offline, as where nobody is logged in; its own settings stay away from the home directory."""
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path / "wandb-config"))


def write(run, steps):
    for step in steps:
        run.journal.metrics(step, {"train/loss": 1 / (step + 1), "eval/lap time": float(step)})


def event_files(run):
    return sorted((run.path / "tensorboard").glob("*"))


def curve(run, name):
    """Points (step, value) of a metric as TensorBoard reads them."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    reader = EventAccumulator(str(run.path / "tensorboard"), size_guidance={"scalars": 0}, purge_orphaned_data=False)
    reader.Reload()
    return [(point.step, point.value) for point in reader.Scalars(name)]


def offline_records(run):
    """Records of the run's only offline file: blocks of 32 KiB, pieces of records with length, type and checksum."""
    from wandb.proto.wandb_internal_pb2 import Record

    (path,) = (run.path / "wandb").glob("offline-run-*/*.wandb")
    data, at, piece = path.read_bytes(), 7, b""
    assert data.startswith(b":W&B")
    while at + 7 <= len(data):
        if 32768 - at % 32768 < 7:
            at += 32768 - at % 32768
            continue
        checksum, length, kind = struct.unpack_from("<IHB", data, at)
        body = data[at + 7 : at + 7 + length]
        assert zlib.crc32(body, zlib.crc32(bytes([kind]))) == checksum
        piece = body if kind in (1, 2) else piece + body
        if kind in (1, 4):
            yield Record.FromString(piece)
        at += 7 + length


def history(run):
    """Rows that W&B will show: name -> value, with its own _step and _timestamp."""
    rows = []
    for record in offline_records(run):
        if record.WhichOneof("record_type") == "history":
            rows.append({(i.key or i.nested_key[0]): float(i.value_json.replace('"', "")) for i in record.history.item})
    return rows


def the(run, kind):
    return [getattr(r, kind) for r in offline_records(run) if r.WhichOneof("record_type") == kind]


def test_both_hold_the_run_without_mlflow_and_without_network(begin):
    run = begin(tracking=BOTH, algo={"gamma": 0.5})
    sender = Sender.start(run, BOTH)
    run.journal.tags({"racing.vehicle": "kart", "racing.long": "x" * 80})
    run.journal.params({"late": 3})
    write(run, range(300))
    run.journal.metrics(300, {"odd": math.nan, "train/loss": math.inf})
    run.finish({"finish_rate": 0.75})
    assert sender.close(PATIENCE)
    assert (run.path / "sender.log").read_text() == ""
    assert not (run.path / "mlflow.json").exists()

    assert curve(run, "eval/lap time") == [(step, float(step)) for step in range(300)]
    assert curve(run, "train/loss")[9] == (9, pytest.approx(0.1))
    assert math.isnan(curve(run, "odd")[0][1])

    rows = history(run)
    assert [row["_step"] for row in rows] == list(range(301))
    assert [(row["global_step"], row["eval/lap time"]) for row in rows[:300]] == [(s, s) for s in range(300)]
    written = [line.record["ts"] for line in read_journal(run.paths.journal) if line.record["kind"] == "metrics"]
    assert [row["_timestamp"] for row in rows] == pytest.approx([ts / 1000 for ts in written])
    (described,) = the(run, "run")[:1]
    assert (described.project, described.display_name) == ("karts", run.name)
    assert described.run_id == run.journal.id
    assert "racing.vehicle=kart" in the(run, "run")[-1].tags
    config = {i.key or "/".join(i.nested_key): i.value_json for r in the(run, "config") for i in r.update}
    assert config["tags.racing.long"] == '"' + "x" * 80 + '"'
    assert config["late"] == '"3"'
    assert {i.key: i.value_json for i in described.config.update}["algo"] == '{"gamma":0.5}'
    assert "global_step" in {metric.step_metric for metric in the(run, "metric")}
    assert "finish_rate" in {i.key for r in the(run, "summary") for i in r.update}
    assert the(run, "exit")[0].exit_code == 0


def test_tensorboard_goes_on_where_its_file_is_torn_or_wrong(begin):
    run = begin(tracking=OFF | {"tensorboard": True})
    write(run, range(50))
    assert sync_sinks(run) == {"tensorboard": ""}
    (file,) = event_files(run)
    whole = file.read_bytes()
    for damage in (whole[:-11], whole[:200] + b"x" + whole[201:], whole + b"torn", b""):
        file.write_bytes(damage)
        assert sync_sinks(run) == {"tensorboard": ""}
        assert file.read_bytes() == whole
    inode = file.stat().st_ino  # a TensorBoard that looks at it goes on reading
    write(run, range(50, 60))
    run.finish({"a": 1})
    assert sync_sinks(run) == {"tensorboard": ""}
    assert file.read_bytes().startswith(whole)
    assert (file.stat().st_ino, event_files(run)) == (inode, [file])
    assert curve(run, "eval/lap time") == [(step, float(step)) for step in range(60)]


@pytest.mark.parametrize("sink", SINKS.values(), ids=SINKS)
def test_a_sink_knows_whether_the_run_has_ended(sink, begin):
    """Its sender goes on until then."""
    run = begin(tracking=BOTH)
    following = sink(run)
    assert following.deliver()
    assert not following.ended
    assert not following.deliver()  # nothing has come since
    write(run, range(3))
    run.journal.end("STOPPED")
    assert following.deliver()
    assert following.ended
    run.close()
    again = begin(tracking=BOTH)
    assert following.deliver()
    assert not following.ended
    write(again, range(3, 6))
    again.finish({"a": 1})
    assert following.deliver()
    assert following.ended
    following.close()
    if sink.name == "tensorboard":
        assert curve(run, "eval/lap time") == [(step, float(step)) for step in range(6)]


def test_tensorboard_has_the_times_of_the_journal_in_seconds(begin):
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

    run = begin(tracking=OFF | {"tensorboard": True})
    write(run, range(2))
    assert sync_sinks(run) == {"tensorboard": ""}
    lines = [line.record for line in read_journal(run.paths.journal)]
    expected = [line["ts"] / 1000 for line in lines if line["kind"] in ("journal", "params", "metrics")]
    expected = [time for time, kind in zip(expected, "jpmm", strict=True) for _ in range(2 if kind == "m" else 1)]
    seen = [event.wall_time for event in EventFileLoader(str(event_files(run)[0])).Load()]
    assert sorted(set(seen)) == pytest.approx(sorted(set(expected)))


def test_tables_of_parameters_follow_one_another(begin):
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

    run = begin(tracking=OFF | {"tensorboard": True})
    for value in (3, 4):
        run.journal.params({f"late.{value}": value})
    assert sync_sinks(run) == {"tensorboard": ""}
    events = EventFileLoader(str(event_files(run)[0])).Load()
    assert [event.step for event in events if any(value.tag == "params" for value in event.summary.value)] == [0, 1, 2]


@pytest.mark.parametrize(
    ("mode", "logged_in", "used"),
    [(None, False, "offline"), (None, True, "online"), ("offline", True, "offline"), ("disabled", False, "disabled")],
)
def test_wandb_is_online_where_somebody_is_logged_in_and_nothing_else_is_asked_for(
    mode, logged_in, used, begin, monkeypatch
):
    import wandb

    seen = []

    def init(**options):
        seen.append(options["settings"].mode)
        raise wandb.errors.UsageError("that is enough")

    monkeypatch.setattr(wandb, "init", init)
    monkeypatch.setattr(wandb_sink, "_logged_in", lambda: logged_in)
    monkeypatch.delenv("WANDB_MODE")
    if mode:
        monkeypatch.setenv("WANDB_MODE", mode)
    with pytest.raises(Refused, match="that is enough"):
        SINKS["wandb"](begin(tracking=BOTH)).deliver()
    assert seen == [used]


def touched(path):
    """When a file was changed last; W&B takes its first ones away again."""
    try:
        return path.stat().st_ctime_ns
    except FileNotFoundError:
        return 0


def wandb_files(run):
    """W&B's files, also while it takes folders away again, where pathlib's glob fails."""
    found = os.walk(run.path / "wandb")
    return [Path(folder, name) for folder, _, names in found for name in names if name.endswith(".wandb")]


def kill_in_the_middle(run, steps):
    """Write `steps` and kill the senders when each of them has begun."""
    before = time.time_ns()
    sender = Sender.start(run, BOTH)
    write(run, steps)
    wait_until(lambda: any(touched(p) > before for p in wandb_files(run)), "W&B's file is there")
    wait_until(lambda: event_files(run) and len(curve(run, "train/loss")) > steps[0], "TensorBoard has a part")
    for process in sender.processes.values():
        process.send_signal(signal.SIGKILL)
    assert not sender.close(PATIENCE)
    assert sender.incomplete == ["tensorboard", "wandb"]


def test_killed_senders_miss_and_double_nothing(begin):
    run = begin(tracking=BOTH)
    for part in range(3):
        kill_in_the_middle(run, range(100 * part, 100 * part + 100))
    run.finish({"a": 1})
    assert sync_sinks(run) == {"tensorboard": "", "wandb": ""}
    assert curve(run, "eval/lap time") == [(step, float(step)) for step in range(300)]
    assert [(row["_step"], row["eval/lap time"]) for row in history(run)] == [(s, s) for s in range(300)]

    before = {path: path.stat().st_mtime_ns for path in run.path.rglob("*.wandb")}
    assert sync_sinks(run) == {"tensorboard": "", "wandb": ""}  # once more: nothing is begun again
    assert {path: path.stat().st_mtime_ns for path in run.path.rglob("*.wandb")} == before


def test_stopped_and_continued_run_stays_one_run(begin):
    run = begin(tracking=BOTH)
    sender = Sender.start(run, BOTH)
    write(run, range(10))
    run.journal.end("STOPPED")
    assert sender.close(PATIENCE)
    assert the(run, "exit")[0].exit_code == 1
    assert len(the(run, "preempting")) == 1
    first = run.journal.id
    run.close()
    again = begin(tracking=BOTH)
    sender = Sender.start(again, BOTH)
    write(again, range(10, 20))
    again.finish({"a": 1})
    assert sender.close(PATIENCE)
    assert [row["eval/lap time"] for row in history(again)] == list(range(20))
    assert the(again, "run")[0].run_id == first
    assert curve(again, "eval/lap time") == [(step, float(step)) for step in range(20)]


def test_a_sink_that_fails_holds_no_other_back(begin, copy_of):
    run = begin(tracking=BOTH)
    (run.path / "wandb").write_text("in the way of W&B's folder")
    tracking = BOTH | {"enabled": True, "uri": "http://127.0.0.1:9"}
    sender = Sender.start(run, tracking)
    write(run, range(10))
    run.finish({"a": 1})
    wait_until(lambda: sender.processes["tensorboard"].poll() == 0, "TensorBoard has all")
    log = run.path / "sender.log"
    wait_until(lambda: any("wandb:" in x and "again in" in x for x in log.read_text().splitlines()), "W&B failed")
    assert not sender.close(0)
    assert sender.incomplete == ["mlflow", "wandb"]
    assert len(curve(run, "eval/lap time")) == 10
    (run.path / "wandb").unlink()
    assert sync_sinks(run) == {"tensorboard": "", "wandb": ""}
    assert len(history(run)) == 10


def test_lines_of_a_foreign_hand_do_not_stop_the_others(begin):
    run = begin(tracking=BOTH)
    with run.journal.path.open("a") as file:
        file.write('garbage\n{"ts":1,"kind":"metrics","step":1,"values":{"a":"fast"}}\n{"ts":1,"kind":"metrics"}\n')
    write(run, range(5))
    run.finish({"a": 1})
    assert sync_sinks(run) == {"tensorboard": "", "wandb": ""}
    assert len(curve(run, "eval/lap time")) == len(history(run)) == 5


def test_runs_sync_brings_them_up_to_date_with_mlflow(begin, copy_of, capsys):
    run = begin(tracking=BOTH)
    write(run, range(10))
    run.finish({"a": 1})
    assert main(["runs", "sync", run.name, f"paths.outputs={run.path.parents[1]}"]) == 0
    said = capsys.readouterr().out
    assert f"{run.name}: tensorboard is complete\n{run.name}: wandb is complete\n" in said
    assert len(curve(run, "eval/lap time")) == len(history(run)) == len(copy_of(run).points("eval/lap time")) == 10
    lock = FileLock(run.path / "tensorboard.lock")
    assert lock.acquire()
    assert main(["runs", "sync", run.name, f"paths.outputs={run.path.parents[1]}"]) == 1
    assert "tensorboard is incomplete: being written by process" in capsys.readouterr().out
    lock.release()


def test_run_without_sinks_gets_none(begin):
    run = begin(tracking=OFF)
    assert Sender.start(run, OFF).processes == {}
    assert sync_sinks(run) == {}
    assert not (run.path / "tensorboard").exists()


@pytest.mark.parametrize(
    ("tracking", "message"),
    [
        ({"tensorboard": "yes"}, "tracking.tensorboard must be true or false, got 'yes'"),
        ({"wandb": 1}, "tracking.wandb must be true or false, got 1"),
    ],
)
def test_wrong_switches_are_refused(tracking, message):
    with pytest.raises(InputError, match=message):
        check_sinks(OFF | tracking)


def test_training_refuses_them_before_anything_is_written(tmp_path, capsys):
    assert main(["train", "tracking.tensorboard=2", f"paths.outputs={tmp_path / 'out'}"]) == 2
    assert capsys.readouterr().err == "racing train: tracking.tensorboard must be true or false, got 2; choose one\n"
    assert not (tmp_path / "out").exists()


def test_wrong_mode_of_wandb_is_refused(monkeypatch):
    check_sinks(BOTH)
    monkeypatch.setenv("WANDB_MODE", "sometimes")
    with pytest.raises(InputError, match="WANDB_MODE='sometimes' must be one of online, offline"):
        check_sinks(BOTH)
    check_sinks(OFF)


def test_missing_package_is_said_before_anything_is_trained(monkeypatch):
    monkeypatch.setattr(sinks, "version", lambda package: None)
    for name in ("tensorboard", "wandb"):
        with pytest.raises(InputError, match=rf"tracking\.{name}=true .* pip install 'racing\[{name}\]'"):
            check_sinks(OFF | {name: True})
    check_sinks(OFF)


def test_the_senders_of_other_sinks_do_without_mlflow(begin):
    run = begin(tracking=BOTH)
    code = "import sys, racing.tracking.sender as s; s.main(sys.argv[1:]); "
    code += "print([m for m in sys.modules if m == 'mlflow'])"
    alone = "import sys, racing.tracking.sender; print({'mlflow', 'tensorboard', 'wandb'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", alone], capture_output=True, text=True)
    assert done.stdout == "set()\n", done.stderr  # two of them need not even be installed
    run.finish({"a": 1})
    pipes = {"capture_output": True, "text": True, "stdin": subprocess.DEVNULL}
    for name in ("tensorboard", "wandb"):
        command = [sys.executable, "-c", code, str(run.path), "--parent", "1", "--sink", name]
        # In a session of its own, as ever: a sender steps back with all of its session, which would be that of pytest.
        done = subprocess.run(command, **pipes, start_new_session=True)
        assert done.stdout == "[]\n", done.stderr
    assert RunDirectory(Path(run.path)).finished
