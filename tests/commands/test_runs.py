"""racing runs, racing ui, racing doctor."""

import json
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest

from racing.cli import main
from racing.commands import doctor, ui
from racing.commands.runs.main import sync
from racing.config import choices, compose, plain
from racing.errors import InputError
from tests.support.mlflow_server import PATIENCE

pytestmark = pytest.mark.slow


def test_list_shows_every_run_newest_first(begin, tmp_path, capsys):
    done = begin(0)
    done.journal.metrics(2000, {"train/loss": 0.5})
    done.finish({"finish_rate": 0.97, "lap_time_s": 61.5, "lap_ratio": 1.25})
    time.sleep(0.002)
    going = begin(1)
    going.journal.metrics(500, {"eval/finish_rate": 0.25})
    assert main(["runs", "list", f"paths.outputs={tmp_path / 'outputs'}"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "lap [s]" in lines[0]
    assert lines[1].split()[:4] == [going.name, "RUNNING", "500", "0.25"]
    assert lines[2].split()[:6] == [done.name, "FINISHED", "2,000", "0.97", "61.5", "1.25"]


@pytest.mark.parametrize(("width", "typed", "run_id"), [(150, True, True), (115, True, False), (55, False, False)])
def test_in_a_narrow_terminal_list_leaves_columns_away_and_cuts_no_name(
    width, typed, run_id, begin, tmp_path, capsys, monkeypatch
):
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    run = begin(0)
    run.finish({"finish_rate": 0.97, "lap_time_s": 61.5})
    (run.path / "mlflow.json").write_text(json.dumps({"uri": "u", "experiment_id": "1", "run_id": "a" * 32}))
    assert main(["runs", "list", f"paths.outputs={tmp_path / 'outputs'}"]) == 0
    head, line = capsys.readouterr().out.splitlines()
    assert line.startswith(f"{run.name}  FINISHED  0 ")
    assert len(line) <= width
    assert ("seed=0" in line, "typed" in head) == (typed, typed)
    assert ("a" * 32 in line) == run_id


def test_list_of_nothing_says_how_to_begin(tmp_path, capsys):
    assert main(["runs", "list", f"paths.outputs={tmp_path}"]) == 0
    assert f"racing train debug=fast paths.outputs={tmp_path}\n" in capsys.readouterr().out


def test_show_prints_results_settings_and_what_is_delivered(begin, tmp_path, capsys):
    run = begin(3)
    run.journal.metrics(10, {"train/loss": 0.5})
    assert main(["runs", "show", run.name, f"paths.outputs={tmp_path / 'outputs'}"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"train/loss +0.5\n", out)
    assert "0% of the journal" in out
    place = f"paths.outputs={tmp_path / 'outputs'}"
    assert out.splitlines()[-1] == f"everything: racing runs show {run.name} format=full {place}"
    main(["runs", "show", run.name, "format=full", f"paths.outputs={tmp_path / 'outputs'}"])
    assert re.search(r"seed +3\n", capsys.readouterr().out)
    (run.path / "journal.cursor").write_text(json.dumps({"offset": run.journal.position}))
    main(["runs", "show", run.name, f"paths.outputs={tmp_path / 'outputs'}"])
    assert "100% of the journal" in capsys.readouterr().out


def test_show_has_results_on_one_screen(begin, tmp_path, capsys):
    run = begin(0)
    rates = {"finish_rate": 0.97, "finish_rate_low": 0.92, "finish_rate_high": 0.99}
    run.finish(rates | {"steps": 3203072, "vehicle": "kart", "lap_time_s": None, "onnx": "/a/b", "tracks": {"oval": 1}})
    assert main(["runs", "show", run.name, f"paths.outputs={tmp_path / 'outputs'}"]) == 0
    said = capsys.readouterr().out.partition("results\n")[2].splitlines()
    assert [line.split(maxsplit=1) for line in said[:-1]] == [
        ["finish_rate", "0.97 (0.92 .. 0.99)"],
        ["steps", "3,203,072"],
        ["vehicle", "kart"],
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "missing action; one of list, show, "),
        (["lst"], "did you mean list?"),
        (["show", "nonsense"], "run 'nonsense' must be"),
        (["show", "latest", "--all"], "unrecognized argument '--all'"),
        (["list", "keep_last=2"], "unknown key 'keep_last'; racing runs list takes "),
        (["list", "format=xml"], "format must be table or json, got 'xml'"),
        (["list", "format=full"], "format must be table or json, got 'full'"),
        (["show", "format=xml"], "format must be table or full or json, got 'xml'"),
        (["list", "tracking.uri=7"], "tracking.uri must be a text, got 7"),
        (["show", "run="], "run must be a text, got ''"),
        (["show", "12345"], "run '12345' must be"),
        (["sync", "12345e67"], "run '12345e67' must be"),
        (["prune"], "needs run=..."),
        (["prune", "latest", "keep_last=0"], "keep_last must be a whole number >= 1, got 0"),
        (["prune", "latest", "dry=maybe"], "dry must be true or false, got 'maybe'"),
        (["promote", "latest"], "needs name=..."),
        (["fetch", "0" * 32], "no such file"),
    ],
)
def test_wrong_use_is_two(arguments, message, tmp_path, capsys):
    assert main(["runs", *arguments[:1], *arguments[1:], *([f"paths.outputs={tmp_path}"] if arguments else [])]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_listing_needs_neither_torch_nor_mlflow(begin, tmp_path):
    begin(0)
    code = f"""
import sys
from racing.cli import main
assert main(["runs", "list", "paths.outputs={tmp_path / "outputs"}"]) == 0
assert main(["runs", "show", "latest", "paths.outputs={tmp_path / "outputs"}"]) == 0
sys.exit(any(heavy in sys.modules for heavy in ("torch", "mlflow", "numba", "scipy")))
"""
    assert subprocess.run([sys.executable, "-c", code], stdout=subprocess.DEVNULL).returncode == 0


def test_page_shows_the_embedded_runs_and_ends_with_ctrl_c(begin, tmp_path):
    run = begin(0)
    run.finish({"a": 1})
    assert sync(run) == 0
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "racing", "ui", f"port={port}", f"paths.outputs={tmp_path / 'outputs'}"]
    with (tmp_path / "ui.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        found = {}
        deadline = time.monotonic() + PATIENCE
        while not found and time.monotonic() < deadline:
            assert process.poll() is None, (tmp_path / "ui.log").read_text()
            try:
                url = f"http://127.0.0.1:{port}/api/2.0/mlflow/runs/get?run_id={run.mlflow['run_id']}"
                with urllib.request.urlopen(url, timeout=5) as answer:
                    found = json.load(answer)
            except urllib.error.URLError:
                time.sleep(0.2)
        assert found["run"]["info"]["run_name"] == run.name
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=PATIENCE) as answer:
            assert b"<title>MLflow</title>" in answer.read()
        assert f"http://localhost:{port}" in (tmp_path / "ui.log").read_text()
        process.send_signal(signal.SIGINT)
        process.wait(PATIENCE)
    finally:
        process.kill()
        process.wait()


def test_page_refuses_a_taken_port_and_wrong_arguments(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=rf"port {port} is taken.*port={port + 1}"):
            ui.main([f"port={port}", f"paths.outputs={tmp_path}"])
    for wrong in ("port=x", "port=0", "port=70000", "prt=5000", "5000", f"paths.outputs={tmp_path}/none"):
        with pytest.raises(InputError, match=re.escape(wrong.split("=")[0])):
            ui.parse([f"paths.outputs={tmp_path}", wrong])


def test_doctor_is_content_here_and_says_what_is_optional(tmp_path, capsys):
    assert main(["doctor", f"paths.outputs={tmp_path}"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"^ok +mlflow +\d", out, re.MULTILINE)
    assert re.search(r"^ok +outputs +", out, re.MULTILINE)
    assert "MISSING" not in out
    for launcher in choices("launcher"):
        assert f"launcher={launcher}" in out


def test_doctor_names_a_missing_package_with_its_remedy(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(doctor, "direct_dependencies", lambda: ["numpy", "no-such-package"])
    assert main(["doctor", f"paths.outputs={tmp_path}"]) == 1
    assert re.search(
        r"^MISSING +no-such-package +missing +pip install no-such-package$", capsys.readouterr().out, re.MULTILINE
    )


def test_doctor_finds_unusable_outputs_and_a_broken_store(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    finding = doctor.writable("outputs", blocked, "set paths.outputs=FOLDER")
    assert not finding.ok
    assert "file" in finding.found
    (tmp_path / "mlflow.db").write_bytes(b"this is no database, only text" * 100)
    assert not doctor.store(tmp_path / "mlflow.db").ok
    assert doctor.store(tmp_path / "none.db").ok


def test_tracking_none_differs_in_nothing_but_that_it_is_off():
    choices = [plain(compose("train", [f"tracking={name}"]))["tracking"] for name in ("mlflow", "none")]
    assert choices == [{**choices[0], "enabled": True}, {**choices[0], "enabled": False}]
