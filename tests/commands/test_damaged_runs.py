"""One damaged run or sweep is shown as such, with the reason; everybody sees the others."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from racing.cli import main
from racing.runs.directory import RunDirectory, find_run, open_run
from racing_launchers.sweep import Sweep

TIME = 1_700_000_000_000


def begin(outputs: Path, seed: int) -> RunDirectory:
    """A finished run."""
    config = {"name": "demo", "seed": seed, "tracking": {"enabled": False, "uri": None}}
    with open_run(outputs, "demo", config, [f"seed={seed}"], {}) as run:
        run.journal.metrics(1000, {"eval/finish_rate": 0.5})
        run.finish({"finish_rate": 1.0, "lap_time_s": 60.0, "lap_ratio": 1.1})
    return RunDirectory(run.path)


def text(name: str, content: str) -> Callable[[Path], None]:
    return lambda run: (run / name).write_text(content) and None


def folder(name: str) -> Callable[[Path], None]:
    def replace(run: Path) -> None:
        (run / name).unlink(missing_ok=True)
        (run / name).mkdir()

    return replace


def pipe(name: str) -> Callable[[Path], None]:
    def replace(run: Path) -> None:
        (run / name).unlink(missing_ok=True)
        os.mkfifo(run / name)

    return replace


def huge(name: str) -> Callable[[Path], None]:
    return lambda run: os.truncate(run / name, 1 << 40)  # sparse


DAMAGE: dict[str, tuple[Callable[[Path], None], str]] = {
    "truncated summary": (text("summary.json", '{"finish_rate": 1.0, "lap'), "summary.json is damaged"),
    "empty summary": (text("summary.json", ""), "summary.json is damaged"),
    "summary is a list": (text("summary.json", "[1, 2]"), "must hold a JSON object"),
    "summary of other types": (text("summary.json", '{"finish_rate": "all"}'), "finish_rate must be a number"),
    "summary of lists": (text("summary.json", '{"lap_time_s": [60]}'), "lap_time_s must be a number"),
    "deep summary": (text("summary.json", "[" * 200_000), "nested too deeply"),
    "huge summary": (huge("summary.json"), "at most"),
    "no text": (lambda run: (run / "summary.json").write_bytes(b"\xff\xfe\x00") and None, "summary.json is damaged"),
    "folder for a summary": (folder("summary.json"), "it is a folder, not a file"),
    "pipe for a summary": (pipe("summary.json"), "it is a pipe, not a file"),
    "mlflow is a list": (text("mlflow.json", "[]"), "mlflow.json is damaged"),
    "mlflow of numbers": (text("mlflow.json", '{"run_id": 7, "uri": null}'), "run_id must be a text"),
    "cursor of words": (text("journal.cursor", '{"offset": "all"}'), "journal.cursor is damaged"),
    "folder for a journal": (folder("journal.jsonl"), "it is a folder, not a file"),
    "no record first": (text("journal.jsonl", "hello\n"), "its first line is no record of ours"),
    "a list first": (text("journal.jsonl", "[1]\n"), "its first line is no record of ours"),
    "empty journal": (text("journal.jsonl", ""), "its first line is no record of ours"),
    "no time": (text("journal.jsonl", '{"kind":"journal","id":"a","version":1}\n'), "lacks its time"),
    "time of words": (text("journal.jsonl", '{"kind":"journal","id":"a","ts":"now"}\n'), "lacks its time"),
    "time beyond all": (text("journal.jsonl", f'{{"kind":"journal","id":"a","ts":{10**30}}}\n'), "lacks its time"),
    "huge journal": (
        lambda run: (run / "journal.jsonl").write_bytes(b"") or huge("journal.jsonl")(run),
        "a line of more than",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_run_is_listed_as_such(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    whole, broken = begin(tmp_path, 0), begin(tmp_path, 1)
    damage, reason = DAMAGE[kind]
    damage(broken.path)
    here = f"paths.outputs={tmp_path}"
    assert main(["runs", "list", here]) == 0
    out = capsys.readouterr().out
    assert re.search(rf"^{whole.name} +FINISHED +1,000 +1 ", out, re.MULTILINE)
    assert re.search(rf"^{broken.name} +DAMAGED ", out, re.MULTILINE)
    (line,) = [line for line in out.splitlines() if line.startswith(f"run {broken.name}: ")]
    assert reason in line
    assert main(["runs", "list", "format=json", here]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows[broken.name]["status"] == "DAMAGED"
    assert reason in rows[broken.name]["damage"]
    assert find_run("latest", tmp_path).path == whole.path  # though the other one is newer
    assert main(["runs", "show", "latest", here]) == 0
    capsys.readouterr()
    assert main(["runs", "show", broken.name, here]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    "line",
    [
        '{"kind":"metrics","step":Infinity,"values":{"a":1}}',
        '{"kind":"metrics","step":1,"values":[1]}',
        '{"kind":"tags","values":7}',
        '{"kind":"end","status":["FINISHED"]}',
        '{"kind":"start","ts":"x"}',
        "[" * 100_000,
        "\0" * 1000,
    ],
    ids=lambda line: line[:40],
)
def test_damaged_lines_later_on_hinder_nobody(line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    run = begin(tmp_path, 0)
    with run.paths.journal.open("a") as journal:
        journal.write(f"{line}\n")
    for command in (["list"], ["list", "format=json"], ["show", "latest"]):
        assert main(["runs", *command, f"paths.outputs={tmp_path}"]) == 0
    assert run.name in capsys.readouterr().out


def test_the_last_end_is_found_from_behind(tmp_path: Path):
    run = begin(tmp_path, 0)
    with run.paths.journal.open("a") as journal:
        journal.writelines(f'{{"kind":"event","name":"later","n":{n},"ts":1}}\n' for n in range(40_000))
    assert run.status == "FINISHED"
    with run.paths.journal.open("a") as journal:
        journal.write('{"kind":"start","ts":1}\n')
        journal.writelines(f'{{"kind":"event","name":"end","n":{n},"ts":1}}\n' for n in range(40_000))
    assert run.status == "KILLED"


def make_sweep(outputs: Path, name: str) -> Sweep:
    sweep = Sweep(outputs / "sweeps" / name)
    launcher = {"_target_": "racing_launchers.local.backend.LocalBackend", "name": "local"}
    sweep.write_manifest(axes={}, launcher=launcher, outputs=str(outputs), tracking={}, command="", recorded=False)
    return sweep


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{}x", '{"created_ms": "now"}', '{"created_ms": 1, "launcher": [], "outputs": "x", "axes": {}}'],
)
def test_a_damaged_sweep_is_listed_as_such(content: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    make_sweep(tmp_path, "whole")
    broken = make_sweep(tmp_path, "broken")
    (broken.path / "sweep.json").write_text(content)
    assert main(["jobs", "list", f"paths.outputs={tmp_path}"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "local" in lines[0]
    assert "whole" in lines[0]
    assert re.match(r"- +DAMAGED +sweep broken: sweep.json is damaged", lines[1])
    assert main(["jobs", "status", "broken", f"paths.outputs={tmp_path}"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_sweep_does_not_choose_other_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    sweep = make_sweep(tmp_path, "evil")
    target = {"_target_": "subprocess.getoutput", "cmd": f"touch {tmp_path / 'executed'}", "name": "x"}
    sweep.write_manifest(launcher=target)
    assert main(["jobs", "status", str(sweep.path), f"paths.outputs={tmp_path}"]) == 2
    assert "launcher._target_='subprocess.getoutput'" in capsys.readouterr().err
    assert not (tmp_path / "executed").exists()
