"""What MLflow refuses is put aside and named, the rest arrives; what only takes time is tried again."""

import json
import os
import threading
import time
from functools import partial
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
import requests
from onnx import TensorProto, helper, numpy_helper

from racing.cli import main as cli
from racing.commands.runs.main import sync, target_uri
from racing.errors import InputError
from racing.runs.directory import find_run, open_run
from racing.runs.meta import write_meta
from racing.tracking.client import Store
from racing.tracking.errors import Refused, Unreachable, classify
from racing.tracking.mlflow_model import write_mlflow_model
from racing.tracking.mlflow_sink import Delivery, rejected
from racing.tracking.store import connect, embedded_uri


def raw(run, **record):
    """Put a line into the journal behind its checks, as a damaged or foreign writer would."""
    with run.journal.path.open("a") as file:
        file.write(json.dumps({"ts": 1_700_000_000_000} | record) + "\n")


def test_bad_lines_are_named_and_all_others_arrive(begin, copy_of, capsys):
    run = begin()
    for step in range(1100):
        run.journal.metrics(step, {"loss": float(step)})
        if step == 700:
            raw(run, kind="metrics", step=700, values={"eval/lap [s]": 1.0, "good": 2.0})
    raw(run, kind="metrics", step=1, values={"loss": "fast"})
    raw(run, kind="metrics", step=2)
    raw(run, kind="dance")
    with run.journal.path.open("a") as file:
        file.write("garbage\n")
    run.journal.params({"seed": 7})  # a parameter never changes
    run.journal.params({"late": 1})
    run.journal.artifact("evaluations/missing.csv")
    (run.path / "export/policy.onnx").write_bytes(b"no model")
    run.journal.model("export/policy.onnx", "policy")
    run.finish({"a": 1})

    assert sync(run) == 0
    assert "MLflow refused 8 entries" in capsys.readouterr().out
    copy = copy_of(run)
    assert copy.status == "FINISHED"
    assert copy.points("loss") == {(step, float(step)): 1 for step in range(1100)}
    assert copy.points("good") == {(700, 2.0): 1}
    assert copy.params["seed"] == "0"
    assert copy.params["late"] == "1"
    assert "summary.json" in copy.files()
    found = list(rejected(run))
    assert [entry["name"] for entry in found if entry["name"]] == ["eval/lap [s]", "seed"]
    text = run.journal.path.read_bytes()
    for entry in found:
        assert entry["reason"]
        assert text[entry["offset"] :].startswith(entry["line"].encode())
    assert "missing.csv does not exist" in " ".join(entry["reason"] for entry in found)

    (run.path / "journal.cursor").unlink()  # once more: nothing is named twice
    assert sync(run) == 0
    assert list(rejected(run)) == found


def test_the_journal_is_on_the_disk_before_the_cursor_says_so(begin, monkeypatch):
    """A power cut may take the cursor back, never the journal from before it: points would be missing or doubled."""
    run, done = begin(), []
    run.journal.metrics(1, {"loss": 1.0})
    fsync, replace = os.fsync, Path.replace

    def synced(fd):
        done.append(("sync", Path(f"/proc/self/fd/{fd}").readlink().name))
        fsync(fd)

    def replaced(self, target):
        done.append(("replace", Path(target).name))
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "replace", replaced)
    assert sync(run) == 0
    cursors = [n for n, (what, name) in enumerate(done) if what == "replace" and name == run.paths.cursor.name]
    assert cursors
    for number in cursors:
        journal, temporary = done[number - 2 : number]
        assert journal == ("sync", run.paths.journal.name)
        assert temporary[0] == "sync"
        assert temporary[1].startswith(f".{run.paths.cursor.stem}.")


def test_failure_is_shown_with_its_traceback(begin, copy_of):
    run = begin()
    run.journal.end("FAILED", "Traceback (most recent call last):\nZeroDivisionError: division by zero\n")
    assert sync(run) == 0
    assert copy_of(run).status == "FAILED"
    assert "ZeroDivisionError" in copy_of(run).text("error.txt")


def test_stopped_run_is_no_failure_and_continues_in_the_same_mlflow_run(begin, copy_of):
    run = begin()
    run.journal.metrics(1, {"loss": 1.0})
    run.journal.end("STOPPED")
    assert sync(run) == 0
    assert copy_of(run).status == "KILLED"
    stopped = (run.path / "journal.jsonl").read_text()
    assert copy_of(run).text("journal.jsonl") == stopped
    first = run.mlflow
    run.close()
    again = begin()
    again.journal.metrics(2, {"loss": 2.0})
    assert sync(again) == 0
    assert again.mlflow == first
    assert copy_of(again).status == "RUNNING"
    assert copy_of(again).points("loss") == {(1, 1.0): 1, (2, 2.0): 1}
    assert copy_of(again).text("journal.jsonl") == stopped  # up to the last end
    again.finish({"a": 1})
    assert sync(again) == 0
    assert copy_of(again).text("journal.jsonl") == (run.path / "journal.jsonl").read_text()


@pytest.mark.slow
def test_another_store_gets_the_whole_record(begin, copy_of, server):
    run = begin()
    run.journal.metrics(1, {"loss": 1.0})
    run.finish({"a": 1})
    assert sync(run) == 0
    assert sync(run, server.uri) == 0
    assert run.mlflow["uri"] == server.uri
    assert copy_of(run).points("loss") == {(1, 1.0): 1}
    assert target_uri(run, None) == server.uri  # from now on it belongs there


def test_an_older_journal_that_was_restored_is_sent_from_its_beginning(begin, copy_of):
    run = begin()
    run.journal.metrics(1, {"loss": 1.0})
    assert sync(run) == 0
    older = run.paths.journal.read_bytes()
    run.journal.metrics(2, {"loss": 2.0})
    assert sync(run) == 0
    run.close()
    run.paths.journal.write_bytes(older)
    assert run.sent > len(older)
    assert sync(run) == 0
    assert not list(rejected(run))
    assert run.sent == len(older)
    assert copy_of(run).points("loss") == {(1, 1.0): 1, (2, 2.0): 1}


def test_what_is_measured_again_because_a_machine_was_lost_with_its_last_lines_arrives_once(begin, copy_of):
    run = begin()
    run.journal.metrics(1, {"loss": 1.0})
    assert sync(run) == 0
    saved = {path: path.read_bytes() for path in (run.paths.journal, run.paths.cursor, run.paths.mlflow)}
    run.journal.metrics(2, {"loss": 2.0})
    run.journal.metrics(3, {"loss": 3.0, "speed": 9.0})
    assert sync(run) == 0
    run.close()
    for path, content in saved.items():  # as they lie on the disk from which the next machine goes on
        path.write_bytes(content)
    time.sleep(0.002)  # the same is measured at another time
    again = begin()
    for step in (2, 3, 4):
        again.journal.metrics(step, {"loss": float(step), "speed": 9.0})
    again.finish({"a": 1})
    assert sync(again) == 0
    assert copy_of(again).points("loss") == {(step, float(step)): 1 for step in (1, 2, 3, 4)}
    assert copy_of(again).points("speed") == {(step, 9.0): 1 for step in (2, 3, 4)}


def test_what_was_sent_is_counted(begin):
    run = begin()
    for step in range(3):
        run.journal.metrics(step, {"loss": 1.0, "speed": 2.0})
    run.finish({"a": 1})
    delivery = Delivery(run, embedded_uri(run.paths.outputs), "racing")
    while delivery.deliver():
        pass
    described = 4  # config, overrides, provenance, summary
    assert delivery.sent == {"metrics": 6, "params": 2, "tags": 2, "artifacts": described}


def test_points_are_sent_by_the_thousand(begin, monkeypatch):
    from mlflow import MlflowClient

    run, sent = begin(), []
    for step in range(600):
        run.journal.metrics(step, {"loss": 1.0, "speed": 2.0})
    log_batch = MlflowClient.log_batch

    def counted(client, run_id, **lists):
        sent.append({kind: len(points) for kind, points in lists.items()})
        log_batch(client, run_id, **lists)

    monkeypatch.setattr(MlflowClient, "log_batch", counted)
    assert sync(run) == 0
    assert [batch["metrics"] for batch in sent if "metrics" in batch] == [1000, 200]


def test_a_copy_that_the_store_has_lost_is_made_again(begin, copy_of):
    run = begin()
    run.journal.metrics(1, {"loss": 1.0})
    assert sync(run) == 0
    run.paths.mlflow.write_text(json.dumps(run.mlflow | {"run_id": "0" * 32}))
    assert sync(run) == 0
    assert run.mlflow["run_id"] != "0" * 32
    assert copy_of(run).points("loss") == {(1, 1.0): 1}


def test_moved_outputs_are_found_again_in_the_moved_store(begin, copy_of, tmp_path):
    run = begin()
    run.journal.metrics(1, {"loss": 1.0})
    run.finish({"a": 1})
    assert sync(run) == 0
    (tmp_path / "outputs").rename(tmp_path / "elsewhere")
    assert cli(["runs", "sync", "all", f"paths.outputs={tmp_path / 'elsewhere'}"]) == 0
    moved = find_run("latest", tmp_path / "elsewhere")
    assert moved.mlflow["uri"] == embedded_uri(tmp_path / "elsewhere")
    assert moved.mlflow["run_id"] == copy_of(moved).run_id


def test_run_deleted_in_mlflow_stops_its_delivery_and_says_so(begin, copy_of, capsys):
    run = begin()
    assert sync(run) == 0
    client, _ = connect(run.mlflow["uri"], "racing", run.path.parents[1])
    client.delete_run(run.mlflow["run_id"])
    run.journal.metrics(1, {"loss": 1.0})
    assert sync(run) == 1
    assert "was deleted in MLflow; restore it" in capsys.readouterr().out
    assert not list(rejected(run))
    client.restore_run(run.mlflow["run_id"])
    assert sync(run) == 0
    assert copy_of(run).points("loss") == {(1, 1.0): 1}


@pytest.fixture
def answering():
    """answering(status): URI of a server that answers every request so."""
    servers = []

    def start(status):
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            do_POST = do_GET

            def log_message(self, *arguments):
                pass

        server = HTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    ("status", "meaning"), [(500, Unreachable), (503, Unreachable), (429, Unreachable), (401, Refused), (403, Refused)]
)
def test_a_servers_answer_decides_whether_to_try_again(answering, begin, status, meaning):
    run = begin()
    with pytest.raises(meaning):
        Delivery(run, answering(status), "racing").deliver()
    assert not run.mlflow
    assert not list(rejected(run))


@pytest.mark.parametrize(
    ("status", "says"),
    [
        (401, r"refuses us \(401\); set MLFLOW_TRACKING_USERNAME"),
        (403, r"refuses us \(403\); set MLFLOW_TRACKING_USERNAME"),
        (500, r"must answer, got: .*check tracking\.uri, or try again later"),
        (400, r"must know what was asked for, it says: .*check the names"),
    ],
)
def test_a_servers_answer_to_a_question_is_told_in_one_line(answering, tmp_path, status, says, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(InputError, match=says) as told:
        Store(answering(status), tmp_path).run("0" * 32)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("meaning", "statuses"),
    [("later", (408, 409, 429, 500, 502, 503)), ("refused", (401, 403, 404)), ("line", (400, 402, 405, 407, 410, 422))],
)
def test_what_a_status_means_for_the_line_that_was_sent(meaning, statuses):
    for status in statuses:
        error = requests.HTTPError(response=SimpleNamespace(status_code=status))
        assert classify(error) == meaning, status


def test_errors_of_file_and_object_stores_are_told_apart():
    class ClientError(Exception):
        response = {"ResponseMetadata": {"HTTPStatusCode": 403}}  # noqa: RUF012

    class SlowDown(Exception):
        response = {"ResponseMetadata": {"HTTPStatusCode": 503}}  # noqa: RUF012

    assert classify(ClientError()) == "refused"
    assert classify(SlowDown()) == "later"
    assert classify(ConnectionResetError()) == "later"
    assert classify(OSError(28, "No space left on device")) == "later"
    assert classify(FileNotFoundError("x")) == "line"
    assert classify(KeyError("step")) == "line"


@pytest.mark.parametrize("name", ["a", "z"])
@pytest.mark.usefixtures("begin")
def test_the_page_of_a_short_run_names_its_copy(name, copy_of, tmp_path):
    """It has ended before MLflow has answered: the page is completed before it is sent."""
    run = open_run(tmp_path / "outputs", name, {"name": name}, [], {"commit": None})
    path = write_meta(run, "FINISHED", {"finish_rate": 0.0})
    assert json.loads(path.read_text())["mlflow"] == {}
    run.finish({"finish_rate": 0.0})
    assert sync(run) == 0
    page = json.loads(path.read_text())
    assert page["mlflow"] == run.mlflow
    assert page["mlflow"]["run_id"] == copy_of(run).run.info.run_id
    folder = Path(copy_of(run).run.info.artifact_uri.removeprefix("file://"))
    assert json.loads((folder / path.name).read_text()) == page
    assert list(rejected(run)) == []
    run.close()


def test_a_model_is_one_file(tmp_path):
    """Whoever fetches it needs no other: MLflow would put large weights beside it."""
    weights = numpy_helper.from_array(np.ones((4, 1000), np.float32), "weights")
    value = partial(helper.make_tensor_value_info, elem_type=TensorProto.FLOAT)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["sensors", "weights"], ["action"])],
        "policy",
        [value("sensors", shape=["batch", 4])],
        [value("action", shape=["batch", 1000])],
        [weights],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, tmp_path / "policy.onnx")
    write_mlflow_model(tmp_path / "policy.onnx", tmp_path / "model", run_id="1", model_id="m-1")
    written = onnx.load(tmp_path / "model/model.onnx", load_external_data=False)
    assert written.graph.initializer[0].raw_data == weights.raw_data
