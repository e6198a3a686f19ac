"""A past run is found and read: from its directory, from MLflow alone, from the registry."""

import math
import socket
import subprocess
import sys

import pytest

from racing.commands.runs.main import sync
from racing.errors import InputError
from racing.tracking.run_record import find_record, local_run
from racing.tracking.store import connect

pytestmark = pytest.mark.slow

POINTS = {"loss": [(1, math.inf), (2, -math.inf), (3, 0.1)], "odd": [(1, math.nan)], "many": []}
POINTS["many"] = [(step, step / 7) for step in range(1200)]  # more than one of MLflow's pages holds at its smallest


def write(run, finish=True):
    run.journal.metrics(3, {"time/fps": 1234.5})
    for name, points in POINTS.items():
        for step, value in points:
            run.journal.metrics(step, {name: value})
    run.journal.tags({"racing.vehicle": "kart"})
    (run.path / "export/policy.txt").write_text("the policy")
    (run.path / "checkpoints/000000003").mkdir()
    (run.path / "checkpoints/000000003/policy.npz").write_text("weights")
    run.journal.artifact("export")
    run.journal.artifact("checkpoints")
    if finish:
        run.finish({"finish_rate": 0.97})
    return run


def same_points(series, expected=POINTS):
    """Whether two series are equal, NaN being equal to itself."""
    return repr(sorted(series.items())) == repr(sorted((name, list(points)) for name, points in expected.items()))


def test_a_directory_is_read_without_mlflow(begin, tmp_path, monkeypatch):
    run = write(begin(3))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    for spec in (str(run.path), run.name, "latest"):
        record = find_record(spec, tmp_path / "outputs")
        assert record.directory.path == run.path
        assert same_points(record.series())
    assert (record.name, record.run_id, record.status) == (run.name, None, "FINISHED")
    assert (record.config["seed"], record.overrides, record.patch) == (3, ["seed=3"], "")
    assert record.provenance == {"commit": None}
    assert record.summary == {"finish_rate": 0.97}
    assert record.tags["racing.vehicle"] == "kart"


def test_from_mlflow_alone_it_is_the_same_record(begin, tmp_path, server):
    """Once from the journal's points as MLflow keeps them, once from the journal that a finished run leaves there."""
    run = write(begin(3), finish=False)
    assert sync(run, server.uri) == 0
    away = tmp_path / "away"
    running = find_record(run.mlflow["run_id"], away, server.uri)
    assert running.status == "RUNNING"
    assert same_points(running.series())
    run.finish({"finish_rate": 0.97})
    assert sync(run) == 0
    here = find_record(run.name, tmp_path / "outputs")
    there = find_record(run.mlflow["run_id"], away, server.uri)
    assert there.directory is None
    for name in ("name", "run_id", "uri", "config", "overrides", "provenance", "patch", "summary", "status"):
        assert getattr(there, name) == getattr(here, name)
    assert here.tags.items() <= there.tags.items()
    assert same_points(there.series())
    for spec in ("latest", run.name):
        assert find_record(spec, away, server.uri).run_id in (there.run_id,)
    assert not away.exists()  # reading leaves nothing behind


def test_of_a_run_that_has_ended_the_journal_in_mlflow_counts(begin, tmp_path):
    """It has also what MLflow refused; of one that goes on, MLflow has the newer points."""
    run = write(begin(), finish=False)
    run.journal.end("STOPPED")
    assert sync(run) == 0
    copy = tmp_path / "outputs/mlartifacts" / run.mlflow["run_id"] / "artifacts/journal.jsonl"
    with copy.open("a") as file:
        file.write('{"ts":1,"kind":"metrics","step":4,"values":{"refused [s]":1.0}}\n')
    away, run_id, uri = tmp_path / "away", run.mlflow["run_id"], run.mlflow["uri"]
    assert find_record(run_id, away, uri).series()["refused [s]"] == [(4, 1.0)]
    run.close()
    again = begin()
    again.journal.metrics(1300, {"many": 7.0})
    assert sync(again) == 0
    series = find_record(run_id, away, uri).series()
    assert "refused [s]" not in series
    assert series["many"][-1] == (1300, 7.0)


def test_a_name_means_the_run_of_that_name(begin, tmp_path):
    runs = [write(begin(seed)) for seed in (1, 2, 3)]
    for run in runs:
        assert sync(run) == 0
    away, uri = tmp_path / "away", runs[0].mlflow["uri"]
    for run in runs:
        assert find_record(run.name, away, uri).run_id == run.mlflow["run_id"]
    assert find_record("latest", away, uri).run_id == runs[2].mlflow["run_id"]
    assert "must be a run directory, its name" in wrong("demo-0", away, uri)


@pytest.mark.parametrize("left_journal", [True, False])
def test_a_run_is_fetched_once_and_is_a_run_directory_then(begin, tmp_path, server, left_journal, monkeypatch):
    run = write(begin(int(left_journal)), finish=False)
    run.finish({"finish_rate": 0.97})
    assert sync(run, server.uri) == 0
    if not left_journal:
        next((server.folder / "artifacts").glob(f"*/{run.mlflow['run_id']}/artifacts/journal.jsonl")).unlink()
    away, run_id = tmp_path / "away", run.mlflow["run_id"]
    fetched = local_run(run_id, away, server.uri)
    assert fetched.path == away / "fetched" / run_id / run.name
    assert (fetched.path / "export/policy.txt").read_text() == "the policy"
    assert list((fetched.path / "checkpoints").glob("*")) == []
    assert [path.name for path in fetched.path.parent.iterdir()] == [run.name]  # nothing temporary is left
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    assert local_run(run_id, away).path == fetched.path  # again, and the server is not asked
    record = find_record(run_id, away)
    assert (record.status, record.config, record.uri) == ("FINISHED", run.config, server.uri)
    assert record.tags["racing.vehicle"] == "kart"
    assert same_points(record.series())


def test_embedded_store_has_runs_whose_directory_is_gone(begin, tmp_path):
    run = write(begin())
    assert sync(run) == 0
    run_id = run.mlflow["run_id"]
    run.close()
    run.path.rename(tmp_path / "moved")
    assert find_record(run_id, tmp_path / "outputs").directory is None
    assert same_points(find_record(run_id, tmp_path / "outputs").series())


def test_an_unfinished_run_is_fetched_again_and_keeps_what_was_added(begin, tmp_path):
    run = write(begin(), finish=False)
    assert sync(run) == 0
    run_id = run.mlflow["run_id"]
    away, uri = tmp_path / "away", run.mlflow["uri"]
    fetched = local_run(run_id, away, uri)
    (fetched.path / "note.txt").write_text("mine")
    assert not fetched.finished
    run.finish({"finish_rate": 0.5})
    assert sync(run) == 0
    assert local_run(run_id, away, uri).finished
    assert (fetched.path / "note.txt").read_text() == "mine"


def wrong(spec, outputs, uri=None, call=find_record):
    with pytest.raises(InputError) as caught:
        call(spec, outputs, uri)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_is_no_run_is_refused_in_one_line(begin, tmp_path, server):
    outputs = tmp_path / "outputs"
    run = write(begin())
    assert sync(run, server.uri) == 0
    run_id = run.mlflow["run_id"]
    assert "must be a run directory, its name" in wrong("nonsense", outputs)
    assert "none here or in http" in wrong("nonsense", outputs, server.uri)
    assert "it is not there" in wrong("0" * 32, outputs, server.uri)
    assert "no journal.jsonl" in wrong(str(tmp_path), outputs)
    assert "must be a run" in wrong("x" * 5000, outputs)
    assert "must begin with http" in wrong("0" * 32, outputs, "ftp://somewhere")
    assert "no such file; set tracking.uri" in wrong("0" * 32, tmp_path / "empty")
    assert "it is not there" in wrong("models:/nobody@champion", outputs, server.uri)
    assert "must be models:/NAME@ALIAS" in wrong("models:/nobody", outputs, server.uri)
    client, _ = connect(server.uri, "racing", outputs)
    foreign = client.create_run(client.create_experiment("other program")).info.run_id
    assert "another program made it" in wrong(foreign, outputs, server.uri)
    assert foreign not in [found.info.run_id for found in client.search_runs(["0"])]
    client.delete_run(run_id)
    assert "was deleted in http" in wrong(run_id, tmp_path / "away", server.uri)


def test_a_server_that_is_not_there_is_said_at_once(tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    assert "must answer, got: [Errno 111] Connection refused" in wrong("0" * 32, tmp_path, f"http://127.0.0.1:{port}")


@pytest.mark.parametrize(
    ("name", "text"), [("config.yaml", "a: [1"), ("overrides.yaml", "a: 1"), ("summary.json", "{")]
)
def test_damaged_documents_are_named(begin, tmp_path, name, text):
    run = write(begin())
    (run.path / name).write_text(text)
    assert f"{name} is damaged" in wrong(run.name, tmp_path / "outputs")


def test_a_removed_document_is_named_here_and_in_mlflow(begin, tmp_path):
    run = write(begin())
    assert sync(run) == 0
    copy = tmp_path / "outputs/mlartifacts" / run.mlflow["run_id"] / "artifacts/config.yaml"
    copy.unlink()
    (run.path / "config.yaml").unlink()
    assert "must have config.yaml" in wrong(run.name, tmp_path / "outputs")
    assert "must have config.yaml" in wrong(run.mlflow["run_id"], tmp_path / "away", run.mlflow["uri"])


def test_damaged_journal_lines_cost_only_themselves(begin, tmp_path):
    run = write(begin())
    with (run.path / "journal.jsonl").open("a") as file:
        file.write(
            'garbage\n{"kind":"metrics","step":1}\n{"kind":"metrics","step":2,"values":{"loss":"x"}}\n{"kind":"met'
        )
    assert same_points(find_record(run.name, tmp_path / "outputs").series())


def test_a_failed_fetch_leaves_what_was_there(begin, tmp_path):
    run = write(begin(), finish=False)
    assert sync(run) == 0
    run_id, uri, away = run.mlflow["run_id"], run.mlflow["uri"], tmp_path / "away"
    fetched = local_run(run_id, away, uri)
    before = {path: path.read_bytes() for path in fetched.path.rglob("*") if path.is_file()}
    artifacts = tmp_path / "outputs/mlartifacts" / run_id / "artifacts"
    (artifacts / "config.yaml").write_text("changed: 1")
    (artifacts / "export/policy.txt").unlink()
    (artifacts / "export/policy.txt").symlink_to("nowhere")  # listed, but cannot be read
    assert "export/policy.txt" in wrong(run_id, away, uri, local_run)
    assert {path: path.read_bytes() for path in fetched.path.rglob("*") if path.is_file()} == before
    assert [path.name for path in fetched.path.parent.iterdir()] == [run.name]


def test_a_run_is_here_before_mlflow_is_imported(begin, tmp_path):
    run = write(begin())
    code = (
        "import sys\nfrom pathlib import Path\nfrom racing.tracking.run_record import find_record\n"
        f"find_record({run.name!r}, Path({str(tmp_path / 'outputs')!r})).series()\n"
        "print(sorted({'mlflow', 'torch', 'numba'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
