"""A run directory is found by what it computes, has one trainer, and is never deleted."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import yaml

from racing.errors import InputError
from racing.runs.directory import RunDirectory, all_runs, find_run, open_run, require_small
from racing.runs.identity import config_hash, flatten, listing
from racing.runs.journal import read_journal

CONFIG = {"name": "demo", "seed": 0, "algo": {"gamma": 0.99, "layers": [64, 64]}, "hardware": {"device": "cpu"}}


def begin(outputs, config=CONFIG, **options):
    return open_run(outputs, "demo", config, ["seed=0"], {"commit": None, "diff": "--- a\n+++ b\n"}, **options)


def kinds(run):
    return [line.record["kind"] for line in read_journal(run.path / "journal.jsonl")]


def test_new_run_describes_itself(tmp_path):
    with begin(tmp_path) as run:
        assert run.path.parent == tmp_path / "runs"
        assert run.name == f"demo-{config_hash(CONFIG)[:8]}"
        assert yaml.safe_load((run.path / "config.yaml").read_text()) == CONFIG
        assert yaml.safe_load((run.path / "overrides.yaml").read_text()) == ["seed=0"]
        assert json.loads((run.path / "provenance.json").read_text()) == {"commit": None}
        assert (run.path / "diff.patch").read_text() == "--- a\n+++ b\n"
        assert all((run.path / folder).is_dir() for folder in ("checkpoints", "evaluations", "export"))
        params = [line.record["values"] for line in read_journal(run.journal.path) if line.record["kind"] == "params"]
    assert params == [
        {"name": "demo", "seed": "0", "algo.gamma": "0.99", "algo.layers": "[64, 64]", "hardware.device": "cpu"}
    ]


def test_identity_is_what_is_computed_not_where_it_runs(tmp_path):
    elsewhere = CONFIG | {"hardware": {"device": "gpu"}, "launcher": {"name": "slurm"}, "tracking": {"uri": "http://x"}}
    assert config_hash(elsewhere) == config_hash(CONFIG)
    assert config_hash(dict(reversed(CONFIG.items()))) == config_hash(CONFIG)
    assert config_hash(CONFIG | {"seed": 1}) != config_hash(CONFIG)


def test_a_long_list_is_cut_and_the_rest_counted():
    assert listing(["a", "b", "c"]) == "a; b; c"
    assert listing(list("abcd")) == "a; b; c; and 1 more"
    assert listing(list("abcdefgh")) == "a; b; c; and 5 more"


def test_same_command_continues_and_keeps_the_first_description(tmp_path):
    with begin(tmp_path) as run:
        run.journal.metrics(1, {"loss": 1.0})
    with begin(tmp_path, CONFIG | {"hardware": {"device": "gpu"}}) as again:
        assert again.path == run.path
        starts = [line.record for line in read_journal(again.journal.path) if line.record["kind"] == "start"]
    assert [start["continued"] for start in starts] == [False, True]
    assert run.config["hardware"] == {"device": "cpu"}
    assert kinds(run).count("params") == 1


def test_finished_run_is_recognised_and_left_alone(tmp_path):
    with begin(tmp_path) as run:
        assert not run.finished
        assert run.status == "RUNNING"
        run.finish({"finish_rate": 1.0})
    size = (run.path / "journal.jsonl").stat().st_size
    with begin(tmp_path) as again:
        assert again.finished
        assert again.status == "FINISHED"
        assert again.summary == {"finish_rate": 1.0}
    assert (run.path / "journal.jsonl").stat().st_size == size


@pytest.mark.parametrize("status", ["FAILED", "STOPPED"])
def test_failed_or_stopped_run_is_continued(tmp_path, status):
    with begin(tmp_path) as run:
        run.journal.end(status, "Traceback ...")
    assert run.status == status
    with begin(tmp_path) as again:
        assert not again.finished
        assert again.status == "RUNNING"


def test_end_without_summary_is_not_finished(tmp_path):
    with begin(tmp_path) as run:
        run.journal.end("FINISHED")
    assert not run.finished


def test_fresh_moves_aside_and_deletes_nothing(tmp_path):
    with begin(tmp_path) as run:
        run.finish({"lap_time": 1.0})
    for number in (1, 2):
        with begin(tmp_path, fresh=True) as new:
            assert not new.finished
            new.finish({"lap_time": 1.0 + number})
    assert RunDirectory(run.path.with_name(f"{run.name}.1")).summary == {"lap_time": 1.0}
    assert RunDirectory(run.path.with_name(f"{run.name}.2")).summary == {"lap_time": 2.0}
    assert run.summary == {"lap_time": 3.0}
    with begin(tmp_path / "elsewhere", fresh=True) as first:  # nothing to move aside
        assert not first.finished


TRAINER = """
import sys, time
from pathlib import Path
from racing.runs.directory import open_run
run = open_run(Path(sys.argv[1]), "demo", {config!r}, [], {{}})
print("open", flush=True)
time.sleep(60)
"""


def test_two_trainers_never_share_a_directory(tmp_path):
    code = TRAINER.format(config=CONFIG)
    first = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    try:
        assert first.stdout.readline() == "open\n"
        for options in ({}, {"fresh": True}):
            with pytest.raises(InputError, match=rf"process {first.pid} .*one trainer.*stop that process"):
                begin(tmp_path, **options)
        (path,) = (tmp_path / "runs").iterdir()
        assert RunDirectory(path).status == "RUNNING"
        first.send_signal(signal.SIGKILL)
        first.wait()
        assert RunDirectory(path).status == "KILLED"
        with begin(tmp_path) as run:  # the lock died with its process
            assert run.path == path
    finally:
        first.kill()
        first.wait()
        first.stdout.close()


def test_same_process_is_refused_too(tmp_path):
    with begin(tmp_path), pytest.raises(InputError, match=f"process {os.getpid()} "):
        begin(tmp_path)


def test_unwritable_outputs_is_the_users_error(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(InputError, match=r"file.*writable folder.*paths.outputs="):
        begin(blocked)


def test_a_folder_of_something_else_is_refused_with_three_of_its_files(tmp_path):
    with begin(tmp_path) as run:
        (run.path / "journal.jsonl").unlink()
    for name in "dcba":
        (run.path / name).touch()
    for name in ("config.yaml", "diff.patch", "overrides.yaml", "provenance.json"):
        (run.path / name).unlink()
    with pytest.raises(InputError, match=r"it has no journal\.jsonl but a, b, c; restore the journal"):
        begin(tmp_path)


def test_name_that_is_no_file_name_is_refused(tmp_path):
    with pytest.raises(InputError, match="rename"):
        open_run(tmp_path, "../x", CONFIG, [], {})


def test_runs_are_found_by_path_name_mlflow_id_and_latest(tmp_path):
    runs = []
    for seed in (0, 1):
        with begin(tmp_path, CONFIG | {"seed": seed}) as run:
            runs.append(run)
        (run.path / "mlflow.json").write_text(json.dumps({"run_id": f"id{seed}"}))
        time.sleep(0.002)  # "newest" goes by milliseconds
    for seed, run in enumerate(runs):
        for spec in (str(run.path), run.name, f"id{seed}"):
            assert find_run(spec, tmp_path).path == run.path
    assert find_run("latest", tmp_path).path == runs[1].path
    assert [run.path for run in all_runs(tmp_path)] == [runs[1].path, runs[0].path]
    with pytest.raises(InputError, match="racing runs list"):
        find_run("nonsense", tmp_path)
    with pytest.raises(InputError, match="latest"):
        find_run("latest", tmp_path / "empty")
    short = runs[0].name.rpartition("-")[0]
    with pytest.raises(
        InputError, match=f"'{short}' must be one, 2 are called so; say which: {runs[1].name}, {runs[0].name}"
    ):
        find_run(short, tmp_path)
    runs[1].path.rename(tmp_path / "moved")
    assert find_run(short, tmp_path).path == runs[0].path


def test_where_there_is_no_run_nothing_has_begun(tmp_path):
    absent = RunDirectory(tmp_path / "absent")
    assert (absent.exists, absent.started, absent.finished, absent.sent) == (False, 0, False, 0)
    before = time.time_ns() // 1_000_000
    with begin(tmp_path) as run:
        assert before <= run.started <= time.time_ns() // 1_000_000


@pytest.mark.parametrize(
    ("value", "count"), [([0] * 7, 7), ({str(key): 0 for key in range(7)}, 7), ([[0, 1], {"a": [2, 3], "b": 4}], 8)]
)
def test_values_are_counted_through_lists_and_groups(value, count):
    require_small(value, "x", most=count)
    for most in (count - 1, 1):
        with pytest.raises(ValueError, match=f"^x holds more than {most} values"):
            require_small(value, "x", most=most)


def test_a_few_references_that_make_millions_are_refused_soon(tmp_path):
    with begin(tmp_path) as run:
        pass
    lines = ["a: &a0 [0, 0, 0, 0, 0, 0, 0]"]
    lines += [f"b{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 7)}]" for n in range(1, 8)]  # 7 ** 8 values
    (run.path / "config.yaml").write_text("\n".join(lines))
    with pytest.raises(InputError, match="holds more than 1,000,000 values"):
        _ = run.config


def test_a_view_cannot_write(tmp_path):
    begin(tmp_path).close()
    with pytest.raises(RuntimeError, match="open_run"):
        _ = find_run("latest", tmp_path).journal


def test_flatten_keeps_lists_and_empty_groups():
    assert flatten({"a": {"b": 1, "c": {"d": [1, {"e": 2}]}}, "f": {}}) == {"a.b": 1, "a.c.d": [1, {"e": 2}], "f": {}}
