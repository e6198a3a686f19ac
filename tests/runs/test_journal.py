"""The journal loses nothing that was written, and refuses what MLflow would refuse."""

import json
import math
import resource
import subprocess
import sys

import pytest

from racing.errors import InputError
from racing.runs import journal as module
from racing.runs.journal import Journal, metric_points, read_cursor, read_journal, write_cursor


def records(path):
    return [line.record for line in read_journal(path)]


@pytest.fixture
def journal(tmp_path):
    with_file = Journal(tmp_path / "journal.jsonl")
    yield with_file
    with_file.close()


def test_lines_come_back_in_order_with_time_and_kind(journal):
    journal.metrics(3, {"train/loss": 0.5, "eval/lap time": 61.25})
    journal.params({"algo.gamma": 0.99, "env.grayscale": True, "track": "circuit", "init_from": None})
    journal.tags({"racing.vehicle": "kart"})
    journal.event("milestone", step=3)
    journal.end("FINISHED")
    got = records(journal.path)
    assert [line["kind"] for line in got] == ["journal", "metrics", "params", "tags", "event", "end"]
    assert got[1]["values"] == {"train/loss": 0.5, "eval/lap time": 61.25}
    assert got[2]["values"] == {"algo.gamma": "0.99", "env.grayscale": "true", "track": "circuit", "init_from": "null"}
    assert all(line["ts"] > 1_700_000_000_000 for line in got)
    assert [line["ts"] for line in got] == sorted(line["ts"] for line in got)


def test_nan_and_infinity_survive(journal):
    journal.metrics(0, {"a": math.nan, "b": -math.inf})
    values = records(journal.path)[-1]["values"]
    assert math.isnan(values["a"])
    assert values["b"] == -math.inf


@pytest.mark.parametrize("name", ["eval/lap [s]", "", "a//b", "/a", "a/", "../a", "x" * 251, "über", "a\nb"])
def test_names_that_mlflow_refuses_are_refused_where_they_are_made(journal, name):
    size = journal.position
    with pytest.raises(ValueError, match="rename"):
        journal.metrics(0, {name: 1.0})
    assert journal.position == size == journal.path.stat().st_size


def test_torn_last_line_is_not_read_and_is_cut_when_reopened(journal):
    journal.metrics(1, {"a": 1.0})
    journal.close()
    whole = journal.path.read_bytes()
    journal.path.write_bytes(whole + b'{"ts":1,"kind":"metrics","step":2,"val')
    assert len(records(journal.path)) == 2
    again = Journal(journal.path)
    assert again.id == journal.id
    again.metrics(2, {"a": 2.0})
    again.close()
    assert journal.path.read_bytes().startswith(whole)
    assert [line.get("step") for line in records(journal.path)] == [None, 1, 2]


def test_torn_tail_longer_than_a_block_is_cut(journal):
    journal.close()
    whole = journal.path.read_bytes()
    journal.path.write_bytes(whole + b"x" * 200_000)
    Journal(journal.path).close()
    assert journal.path.read_bytes() == whole


def test_unreadable_line_in_the_middle_does_not_hide_the_next(journal):
    journal.close()
    journal.path.write_bytes(journal.path.read_bytes() + b'garbage\n[1]\n{"kind":"event"}\n')
    assert [line.record and line.record["kind"] for line in read_journal(journal.path)] == [
        "journal",
        None,
        None,
        "event",
    ]


def test_only_lines_of_metrics_have_points_and_damaged_ones_have_none(journal):
    journal.event("milestone", step=3)
    journal.params({"a": 1})
    journal.metrics(3, {"loss": 0.5, "speed": 7})
    journal.close()
    journal.path.write_bytes(journal.path.read_bytes() + b'garbage\n{"step":1}\n{"kind":"metrics","step":1}\n')
    points = [metric_points(line) for line in read_journal(journal.path)]
    assert points == [[], [], [], [(3, "loss", 0.5), (3, "speed", 7.0)], [], [], []]


@pytest.mark.parametrize("torn", [b"", b"{", b'{"ts":1,"kind":"jou', b"x" * 70_000])
def test_of_a_torn_first_line_nothing_is_kept(torn, tmp_path):
    path = tmp_path / "journal.jsonl"
    path.write_bytes(torn)
    Journal(path).close()
    assert [record["kind"] for record in records(path)] == ["journal"]


def test_a_line_longer_than_any_of_ours_is_no_torn_one(journal, monkeypatch):
    journal.metrics(1, {"a": 1.0})
    monkeypatch.setattr(module, "MOST_LINE", journal.position)
    assert len(records(journal.path)) == 2
    with journal.path.open("ab") as file:
        file.write(b"x" * (journal.position - 1))
    assert len(records(journal.path)) == 2  # torn, for all that one can know
    with journal.path.open("ab") as file:
        file.write(b"x")
    with pytest.raises(ValueError, match=f"has a line of more than {journal.position} bytes"):
        records(journal.path)


def test_a_cursor_is_a_number_of_bytes(tmp_path):
    path = tmp_path / "journal.cursor"
    assert read_cursor(path) == 0
    for offset in (0, 1, 1 << 40):
        write_cursor(path, offset)
        assert read_cursor(path) == offset
    for wrong in ("-1", "1.5", '"5"', "null"):
        path.write_text(f'{{"offset": {wrong}}}')
        with pytest.raises(ValueError, match="must say how many bytes"):
            read_cursor(path)


def test_full_disk_leaves_whole_lines_and_says_what_to_do(tmp_path):
    # RLIMIT_FSIZE makes the kernel take a part of the line and then refuse, as a full disk does.
    path = tmp_path / "journal.jsonl"
    code = f"""
import resource
from pathlib import Path
from racing.errors import InputError
from racing.runs.journal import Journal
journal = Journal(Path({str(path)!r}))
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
try:
    for step in range(1000):
        journal.metrics(step, {{"loss": 0.5}})
except OSError as error:
    print(step, error.strerror)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
journal.metrics(step, {{"loss": 0.5}})
"""
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[1] == resource.RLIM_INFINITY
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    step, message = done.stdout.split(maxsplit=1)
    assert "journal is whole" in message
    assert "free space" in message
    steps = [json.loads(line).get("step") for line in path.read_bytes().splitlines()]
    assert steps == [None, *range(int(step) + 1)]


def test_what_is_measured_again_after_a_checkpoint_is_not_recorded_twice(journal):
    journal.metrics(100, {"loss": 1.0, "speed": 7.0})
    saved = journal.position  # a checkpoint is made here, between two lines of one step
    journal.metrics(100, {"eval/lap_time": 60.0})
    journal.metrics(200, {"loss": 0.5})
    journal.close()

    again = Journal(journal.path)
    again.replay_from(saved)
    again.metrics(100, {"eval/lap_time": 60.0})
    again.metrics(200, {"loss": 0.5, "new": 1.0})
    again.metrics(200, {"loss": 0.25})  # a second, real point at this step
    again.metrics(300, {"loss": 0.1})
    again.close()
    points = [
        (r["step"], n, v) for r in records(journal.path) if r["kind"] == "metrics" for n, v in r["values"].items()
    ]
    assert points == [
        (100, "loss", 1.0),
        (100, "speed", 7.0),
        (100, "eval/lap_time", 60.0),
        (200, "loss", 0.5),
        (200, "new", 1.0),
        (200, "loss", 0.25),
        (300, "loss", 0.1),
    ]


def test_artifact_paths_are_relative_and_stay_inside(journal, tmp_path):
    journal.artifact(tmp_path / "evaluations" / "lap.png", "evaluations")
    journal.artifact("summary.json")
    assert [r["path"] for r in records(journal.path)[1:]] == ["evaluations/lap.png", "summary.json"]
    with pytest.raises(ValueError, match="inside the run directory"):
        journal.artifact("/etc/passwd")


@pytest.mark.parametrize("text", ['{"kind":"metrics"}\n', '{"kind":"end"}\n', '{"id":"a"}\n', "garbage\n", "\n"])
def test_a_file_that_is_no_journal_is_refused_untouched(text, tmp_path):
    path = tmp_path / "journal.jsonl"
    path.write_text(text)
    with pytest.raises(InputError, match="must begin with a journal line; it is damaged"):
        Journal(path)
    assert path.read_text() == text


def test_unknown_status_is_refused(journal):
    with pytest.raises(ValueError, match="FINISHED"):
        journal.end("DONE")
