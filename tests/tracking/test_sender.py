"""What the journal says is in MLflow, once, whatever dies on the way. Real stores, real processes, real signals."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from racing.cli import main as cli
from racing.commands.runs.main import sync
from racing.errors import InputError
from racing.runs.directory import RunDirectory
from racing.runs.lock import FileLock
from racing.tracking import sender as module
from racing.tracking.errors import Refused, Unreachable
from racing.tracking.sender import NICE, Sender, serve
from tests.support.mlflow_server import PATIENCE, TRACKING, wait_until

pytestmark = pytest.mark.slow


def small_policy(path, inputs=(("sensors", [4]),)):
    """An ONNX file that adds up 2 * each input."""
    names = [name for name, _ in inputs]
    values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["batch", *shape]) for n, shape in inputs]
    out = helper.make_tensor_value_info("action", TensorProto.FLOAT, ["batch", 4])
    nodes = [helper.make_node("Sum", names + names, ["action"])]
    model = helper.make_model(
        helper.make_graph(nodes, "policy", values, [out]), opset_imports=[helper.make_opsetid("", 17)]
    )
    model.ir_version = 9
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, path)
    return path


def write_everything(run):
    for step in range(40):
        run.journal.metrics(step, {"train/loss": 1 / (step + 1), "eval/lap time": float(step)})
    run.journal.metrics(40, {"odd": float("nan")})
    run.journal.metrics(41, {"odd": float("inf")})
    run.journal.params({"long.list": "x" * 7000})
    run.journal.tags({"racing.vehicle": "kart", "racing.tyres": "saturated"})
    (run.path / "evaluations/000040").mkdir(parents=True)
    (run.path / "evaluations/000040/laps.csv").write_text("lap,time\n")
    run.journal.artifact("evaluations/000040", "evaluations/000040")
    run.journal.model(small_policy(run.path / "export/policy.onnx"), "policy")
    run.journal.event("remark", text="stays here")
    run.finish({"finish_rate": 1.0})


def check_everything(copy, run):
    import mlflow

    assert copy.status == "FINISHED"
    assert copy.run.info.run_name == run.name
    assert copy.points("train/loss") == {(step, 1 / (step + 1)): 1 for step in range(40)}
    assert copy.points("eval/lap time") == {(step, float(step)): 1 for step in range(40)}
    assert len(copy.points("odd")) == 2
    assert copy.params["seed"] == "0"
    assert copy.params["name"] == "demo"
    assert len(copy.params["long.list"]) <= 6000
    assert copy.text("params/long.list.txt") == "x" * 7000
    assert {"racing.vehicle": "kart", "racing.tyres": "saturated"}.items() <= copy.tags.items()
    assert {"config.yaml", "overrides.yaml", "provenance.json", "summary.json"} <= copy.files()
    assert copy.text("journal.jsonl") == (run.path / "journal.jsonl").read_text()
    assert copy.files("evaluations/000040") == {"evaluations/000040/laps.csv"}
    (model,) = copy.models()
    assert (model.name, model.status) == ("policy", "READY")
    mlflow.set_tracking_uri(run.mlflow["uri"])
    loaded = mlflow.pyfunc.load_model(f"models:/{model.model_id}")
    batch = np.arange(12, dtype=np.float32).reshape(3, 4)
    assert np.array_equal(loaded.predict(batch)["action"], 2 * batch)
    assert loaded.metadata.signature.inputs.inputs[0].shape == (-1, 4)
    times = {
        r["ts"]
        for r in map(json.loads, (run.path / "journal.jsonl").read_text().splitlines())
        if r["kind"] == "metrics"
    }
    assert {point.timestamp for point in copy.client.get_metric_history(copy.run_id, "train/loss")} <= times


@pytest.mark.parametrize("where", ["embedded", "server"])
def test_everything_arrives_and_again_changes_nothing(where, request, begin, copy_of, start_sender, tmp_path, capsys):
    uri = request.getfixturevalue("server").uri if where == "server" else None
    run = begin()
    sender = start_sender(run, uri)
    write_everything(run)
    assert sender.close(PATIENCE)
    assert (run.path / "sender.log").read_text() == ""
    check_everything(copy_of(run), run)
    assert not (run.path / "journal.rejected.jsonl").exists()
    if where == "embedded":
        assert {path.name for path in (tmp_path / "outputs").iterdir()} == {
            "mlartifacts",
            "mlflow.db",
            "mlflow.lock",
            "runs",
        }

    first = run.mlflow["run_id"]
    run.close()
    for lost in (["journal.cursor"], ["journal.cursor", "mlflow.json"]):
        for name in lost:
            (run.path / name).unlink()
        assert sync(run, uri) == 0
        said = capsys.readouterr().out
        assert " artifacts" in said
        assert " models" not in said  # the same bytes are not sent again
        assert run.mlflow["run_id"] == first
        check_everything(copy_of(run), run)


def test_policy_with_two_inputs_predicts_from_a_dict(begin, copy_of):
    import mlflow

    run = begin()
    run.journal.model(small_policy(run.path / "export/two.onnx", (("image", [4]), ("telemetry", [4]))), "two")
    run.finish({"a": 1})
    assert sync(run) == 0
    mlflow.set_tracking_uri(run.mlflow["uri"])
    loaded = mlflow.pyfunc.load_model(f"models:/{copy_of(run).models()[0].model_id}")
    ones = np.ones((2, 4), np.float32)
    assert np.array_equal(loaded.predict({"image": ones, "telemetry": 2 * ones})["action"], 6 * ones)


def test_server_killed_and_restarted_while_training_goes_on(own_server, begin, copy_of, start_sender):
    run = begin()
    sender = start_sender(run, own_server.uri)
    for step in range(100):
        run.journal.metrics(step, {"loss": float(step)})
    wait_until(lambda: (run.path / "journal.cursor").exists(), "the first lines arrived")
    own_server.kill()
    for step in range(100, 400):
        run.journal.metrics(step, {"loss": float(step)})
    wait_until(lambda: "again in" in (run.path / "sender.log").read_text(), "the sender noticed")
    own_server.start()
    for step in range(400, 450):
        run.journal.metrics(step, {"loss": float(step)})
    run.finish({"a": 1})
    assert sender.close(PATIENCE)
    copy = copy_of(run)
    assert copy.status == "FINISHED"
    assert copy.points("loss") == {(step, float(step)): 1 for step in range(450)}


def test_absent_server_does_not_fail_the_run_and_sync_completes_it(server, begin, copy_of, start_sender, capsys):
    run = begin()
    sender = start_sender(run, "http://127.0.0.1:9")
    run.journal.metrics(1, {"loss": 1.0})
    run.finish({"a": 1})
    assert not sender.close(4)
    assert run.finished
    assert sync(run, "http://127.0.0.1:9") == 1
    assert "run the command again" in capsys.readouterr().out
    assert sync(run, server.uri) == 0
    assert "is complete" in capsys.readouterr().out
    assert copy_of(run).points("loss") == {(1, 1.0): 1}
    assert copy_of(run).status == "FINISHED"


def test_a_store_that_does_not_answer_is_asked_ever_more_rarely(monkeypatch):
    waits, attempts = [], iter(range(7))

    def deliver():
        if next(attempts, None) is None:
            raise Refused("enough")
        raise Unreachable("nobody there")

    monkeypatch.setattr(module, "_parent_exited", lambda parent, wait: waits.append(wait))
    assert not serve(SimpleNamespace(deliver=deliver), os.getpid())
    assert waits == [0, 1, 2, 4, 8, 16, 30, 30]


@pytest.mark.parametrize(
    ("owner", "code", "died"),
    [("", 1, True), ("process 78 on host", 1, True), ("process 77 on host", 1, False), ("", 0, False), ("", -9, False)],
)
def test_a_sender_that_never_began_is_told_from_one_that_gave_up(owner, code, died, tmp_path):
    run = RunDirectory(tmp_path)
    run.paths.sender_lock.write_text(owner)
    run.paths.sender_log.write_text("ImportError: no such thing\n")
    told = Sender(run, {"mlflow": SimpleNamespace(pid=77, returncode=code)}).died
    assert (told is not None) == died
    assert told is None or "ended at once, exit code 1: ImportError: no such thing; see " in told


def trainer(outputs, seed, steps, end):
    command = [sys.executable, "-m", "tests.tracking.trainer", str(outputs), str(seed), str(steps), end]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def only_run(outputs):
    (path,) = (outputs / "runs").iterdir()
    return RunDirectory(path)


def test_trainer_killed_its_sender_ships_the_rest_and_says_so(tmp_path, begin, copy_of, start_sender):
    process = trainer(tmp_path / "outputs", 0, 200, "hang")
    pid = int(process.stdout.readline())
    process.send_signal(signal.SIGKILL)
    process.communicate()
    run = only_run(tmp_path / "outputs")
    wait_until(lambda: not Path(f"/proc/{pid}").exists(), "the orphaned sender ended")
    copy = copy_of(run)
    assert copy.status == "KILLED"
    assert copy.points("loss") == {(step, float(step)): 1 for step in range(200)}

    again = begin(0)  # the same command continues the run, here and in MLflow
    assert again.path == run.path
    sender = start_sender(again)
    wait_until(lambda: copy_of(run).status == "RUNNING", "MLflow shows the run running again")
    again.journal.metrics(200, {"loss": 200.0})
    again.finish({"a": 1})
    assert sender.close(PATIENCE)
    assert copy_of(run).run_id == copy.run_id
    assert copy_of(run).status == "FINISHED"
    assert sum(copy_of(run).points("loss").values()) == 201


def test_senders_of_killed_trainers_do_not_pile_up(tmp_path, copy_of):
    senders = []
    for _ in range(3):
        process = trainer(tmp_path / "outputs", 0, 10, "hang")
        senders.append(int(process.stdout.readline()))
        if len(senders) == 1:  # as if it were busy for long: nobody gets its lock
            run = only_run(tmp_path / "outputs")
            wait_until((run.path / "sender.lock").exists, "the first has the lock")
            os.kill(senders[0], signal.SIGSTOP)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    wait_until(lambda: not Path(f"/proc/{senders[1]}").exists(), "the second has gone: the third will do its work")
    assert Path(f"/proc/{senders[2]}").exists()
    os.kill(senders[0], signal.SIGCONT)
    wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in senders), "all is done")
    assert copy_of(run).status == "KILLED"
    assert sum(copy_of(run).points("loss").values()) == 30


def test_trainer_and_sender_killed_between_append_and_send(tmp_path, copy_of):
    process = trainer(tmp_path / "outputs", 0, 200, "hang")
    os.kill(int(process.stdout.readline()), signal.SIGKILL)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    run = only_run(tmp_path / "outputs")
    assert cli(["runs", "sync", "latest", f"paths.outputs={tmp_path / 'outputs'}"]) == 0
    assert copy_of(run).status == "KILLED"
    assert copy_of(run).points("loss") == {(step, float(step)): 1 for step in range(200)}
    assert copy_of(run).text("journal.jsonl") == (run.path / "journal.jsonl").read_text()


def test_many_processes_at_once_on_a_store_that_does_not_exist_yet(tmp_path, copy_of):
    processes = [trainer(tmp_path / "outputs", seed, 50, "finish") for seed in range(8)]
    for process in processes:
        process.communicate()
    assert [process.returncode for process in processes] == [0] * 8
    runs = [RunDirectory(path) for path in (tmp_path / "outputs/runs").iterdir()]
    assert len({run.mlflow["run_id"] for run in runs}) == 8
    assert {run.mlflow["experiment_id"] for run in runs} == {runs[0].mlflow["experiment_id"]}
    for run in runs:
        assert sum(copy_of(run).points("loss").values()) == 50


def test_sender_leaves_the_processor_to_the_trainer(begin, start_sender):
    run = begin()
    sender = start_sender(run)
    group = Path(f"/proc/{sender.processes['mlflow'].pid}/autogroup")
    nice = min(19, os.getpriority(os.PRIO_PROCESS, 0) + NICE)
    wait_until(lambda: os.getpriority(os.PRIO_PROCESS, sender.processes["mlflow"].pid) == nice, "it is nice")
    if group.exists() and group.read_text():  # the kernel shares the processor out by session first
        wait_until(lambda: group.read_text().endswith(f"nice {NICE}\n"), "its session is nice, too")
    run.finish({"a": 1})
    assert sender.close(PATIENCE)


def test_untracked_run_has_a_journal_and_no_sender(begin):
    run = begin()
    sender = Sender.start(run, TRACKING | {"enabled": False})
    run.finish({"a": 1})
    assert sender.close(0)
    assert not (run.path / "sender.log").exists()


@pytest.mark.parametrize(
    ("uri", "message"),
    [("htp://x", "'htp://x' must begin with http://"), ("http://me:secret@host/", "MLFLOW_TRACKING_PASSWORD")],
)
def test_wrong_uri_is_the_users_error(begin, uri, message):
    with pytest.raises(InputError, match=message) as error:
        Sender.start(begin(), TRACKING | {"uri": uri})
    assert "secret" not in str(error.value)


def test_two_senders_never_work_on_one_journal(begin, capsys):
    run = begin()
    lock = FileLock(run.path / "sender.lock")
    assert lock.acquire()
    assert sync(run) == 1
    assert f"is being sent by process {os.getpid()}" in capsys.readouterr().out
    lock.release()
