"""A real server behind a proxy that fails, hangs and cuts uploads short: what was written arrives, once."""

import json
import signal

import pytest

from racing.commands.runs.main import sync
from racing.tracking.mlflow_sink import rejected
from racing.tracking.sender import Sender
from tests.support.mlflow_server import PATIENCE, TRACKING, wait_until
from tests.support.proxy import Proxy

pytestmark = pytest.mark.slow


@pytest.fixture
def proxy(server):
    made = Proxy(server.port)
    yield made
    made.close()


def write(run, steps):
    for step in steps:
        run.journal.metrics(step, {"loss": float(step)})


def once(steps):
    return {(step, float(step)): 1 for step in steps}


def delivered(run):
    return (run.path / "journal.cursor").exists()


def said(run, text):
    return text in (run.path / "sender.log").read_text()


def test_500_then_silence_then_health(proxy, begin, copy_of, start_sender, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    run = begin()
    sender = start_sender(run, proxy.uri)
    write(run, range(100))
    wait_until(lambda: delivered(run), "the first lines arrived")
    proxy.mode = "500"
    write(run, range(100, 200))
    with run.journal.path.open("a") as file:  # behind the journal's own check
        file.write(
            json.dumps({"ts": 1, "kind": "metrics", "step": 1, "values": {"bad [name]": 1.0, "good": 2.0}}) + "\n"
        )
    wait_until(lambda: said(run, "500"), "the sender met the error")
    proxy.mode = "hang"
    write(run, range(200, 300))
    wait_until(lambda: said(run, "timed out"), "the sender gave up waiting")
    proxy.mode = "pass"
    run.finish({"a": 1})
    assert sender.close(PATIENCE)
    copy = copy_of(run)
    assert copy.status == "FINISHED"
    assert copy.points("loss") == once(range(300))
    assert copy.points("good") == {(1, 2.0): 1}
    assert [entry["name"] for entry in rejected(run)] == ["bad [name]"]


def test_hanging_server_delays_the_end_of_a_run_no_longer_than_asked(proxy, begin, copy_of, start_sender):
    run = begin()
    sender = start_sender(run, proxy.uri)
    write(run, range(10))
    wait_until(lambda: delivered(run), "the first lines arrived")
    proxy.mode = "hang"
    write(run, range(10, 20))
    run.finish({"a": 1})
    assert not sender.close(0.5)
    assert sender.processes["mlflow"].returncode == -signal.SIGKILL
    proxy.mode = "pass"
    assert sync(run, proxy.uri) == 0
    assert copy_of(run).points("loss") == once(range(20))
    assert copy_of(run).status == "FINISHED"


def test_sender_killed_in_the_middle_of_an_upload(proxy, begin, copy_of, start_sender):
    run = begin()
    (run.path / "export/big.bin").write_bytes(bytes(range(256)) * (8 << 12))  # 8 MiB
    sender = start_sender(run, proxy.uri)
    wait_until(lambda: delivered(run), "the run is known")
    proxy.budget = 1 << 20
    write(run, range(5))
    run.journal.artifact("export/big.bin", "export")
    wait_until(lambda: proxy.mode == "hang", "a part of the file is on its way")
    sender.processes["mlflow"].kill()
    proxy.mode = "pass"
    run.finish({"a": 1})
    assert not sender.close(PATIENCE)
    assert sync(run, proxy.uri) == 0
    copy = copy_of(run)
    assert copy.files("export") == {"export/big.bin"}
    with open(copy.client.download_artifacts(copy.run_id, "export/big.bin"), "rb") as file:  # noqa: PTH123
        assert file.read() == (run.path / "export/big.bin").read_bytes()
    assert copy.points("loss") == once(range(5))


def test_server_killed_in_the_middle_and_not_back_before_the_end(own_server, begin, copy_of):
    run = begin()
    sender = Sender.start(run, TRACKING | {"uri": own_server.uri})
    write(run, range(100))
    wait_until(lambda: delivered(run), "the first lines arrived")
    own_server.kill()
    write(run, range(100, 400))
    run.finish({"a": 1})
    assert not sender.close(3)
    assert sender.incomplete == ["mlflow"]
    assert run.finished
    own_server.start()
    assert sync(run) == 0
    assert copy_of(run).points("loss") == once(range(400))
    assert copy_of(run).status == "FINISHED"
