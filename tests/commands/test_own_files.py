"""A user's own files of conf/: each mistake is one line that names the file, what is wrong, and what to write."""

from __future__ import annotations

from pathlib import Path

import pytest

from racing.cli import main
from racing.commands import own_files
from racing.config import choices

LINE = "# @package _global_\n"
MISTAKES = {  # files -> what is wrong, what to write; the first one is chosen
    "after": (
        LINE + "defaults: [override /debug: fast]",
        "cannot choose debug, which is composed after",
        "debug=fast on",
    ),
    "second": (
        LINE + "defaults: [/experiment: generalist]",
        "cannot choose the experiment that",
        "write `- generalist`",
    ),
    "itself": (
        LINE + "defaults: [itself]",
        "lead back to it (experiment/itself > experiment/itself)",
        "take one of them",
    ),
    "round": (LINE + "defaults: [trip]", "(experiment/round > experiment/trip > experiment/round)", "take one of them"),
    "bare": ("algo: {gamma: 0.9}", "changes nothing as it is", "begin it with the line `# @package _global_`"),
    "misspelt": ("# @package _globel_\nalgo: {gamma: 0.9}", "changes nothing as it is", "begin it with the line"),
    "open": (LINE + "algo: {gamma: 0.9\nseed: 3", "expected ',' or '}', but got ':' in line 3", "correct the YAML"),
    "tab": (LINE + "algo:\n\tgamma: 0.9", "that cannot start any token in line 3", "correct the YAML"),
    "twice": (LINE + "algo: {gamma: 1, gamma: 1}", "found duplicate key gamma in line 2", "correct the YAML"),
    "list": (LINE + "- algo", "must be keys and values", "write KEY: VALUE"),
    "group": (
        LINE + "defaults: [override /algoo: ppo]",
        "`override /algoo: ppo` in defaults names no",
        "did you mean algo?",
    ),
    "choice": (LINE + "defaults: [override /algo: pppo]", "unknown choice algo=pppo", "did you mean ppo?"),
    "absent": (LINE + "defaults: [generalst]", "name 'experiment/generalst', which is not", "did you mean generalist?"),
    "no_override": (LINE + "defaults: [/algo: sac]", "would be a second choice of algo", "`- override /algo: sac`"),
    "no_slash": (LINE + "defaults: [override algo: sac]", "names a group below experiment", "`- override /algo: sac`"),
    "equals": (LINE + "defaults: [algo=sac]", "'algo=sac' is no entry of defaults", "`- override /algo: sac`"),
    "mapping": (LINE + "defaults: {override /algo: sac}", "defaults must be a list", "`- override /GROUP: CHOICE`"),
    "word": (LINE + "defaults: sac", "defaults must be a list", "`- override /GROUP: CHOICE`"),
    "pair": (
        LINE + "defaults: [{a: b, c: d}]",
        "must be one GROUP: CHOICE, got {'a': 'b', 'c': 'd'}",
        "write entries as",
    ),
    "path": (LINE + "defaults: [override /track: a/b.yaml]", "must be a name in a file", "track: {file: a/b.yaml}"),
    "chosen": (LINE + "algo: sac", "algo: sac must be keys and values", "`- override /algo: sac` in defaults"),
    "stray": (LINE + "sede: 3", "unknown key 'sede'", "did you mean seed?"),
    "key": (LINE + "eval: {episods: 3}", "unknown key 'eval.episods'", "did you mean eval.episodes?"),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "mine" / "experiment").mkdir(parents=True)
    for name, (text, *_) in MISTAKES.items():
        (tmp_path / "mine" / "experiment" / f"{name}.yaml").write_text(text + "\n")
    (tmp_path / "mine" / "experiment" / "trip.yaml").write_text(LINE + "defaults: [round]\n")
    return tmp_path / "mine"


@pytest.mark.slow
@pytest.mark.parametrize("name", MISTAKES)
@pytest.mark.parametrize("several", [False, True])
def test_a_mistake_is_one_line(
    name: str, several: bool, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, wrong, remedy = MISTAKES[name]
    chosen = ["-m", f"experiment=generalist,{name}"] if several else [f"experiment={name}", "--cfg", "job"]
    assert main(["train", "-cd", str(folder), *chosen, f"paths.outputs={tmp_path / 'outputs'}"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"racing train: {folder / 'experiment' / name}.yaml: ")
    assert wrong in line
    assert remedy in line[line.index(wrong) :]
    assert not (tmp_path / "outputs").exists()


def test_a_file_that_is_no_text(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "experiment" / "picture.yaml").write_bytes(b"\xff\xfe\x00a")
    assert main(["train", "-cd", str(folder), "experiment=picture"]) == 2
    assert "picture.yaml: cannot be read" in capsys.readouterr().err


def test_a_choice_of_another_group_and_a_primary_file(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "track").mkdir()
    (folder / "track" / "home.yaml").write_text("defaults: [ovall, _self_]\n")
    (folder / "first.yaml").write_text("defaults: [train, /algo: sac, _self_]\n")
    assert main(["train", "-cd", str(folder), "track=home"]) == 2
    assert (
        "home.yaml: its defaults name 'track/ovall', which is not there; did you mean oval?" in capsys.readouterr().err
    )
    assert main(["train", "-cd", str(folder), "-cn", "first"]) == 2
    assert "first.yaml: `/algo: sac` would be a second choice of algo" in capsys.readouterr().err


def test_what_is_right_passes(folder: Path) -> None:
    for group in ("experiment", "debug", "tuning", "track", "launcher", "algo"):
        for name in choices(group):
            own_files.check([f"{group}={name}"])
    text = "rate: 1e-3\ndefaults: [generalist, override /algo: sac, override /tuning: tpe, _self_]\n"
    text += "algo: {learning_rate: '${rate}'}\nhydra: {sweeper: {params: {seed: '1,2'}}}\n"
    (folder / "experiment" / "good.yaml").write_text(LINE + text)
    (folder / "whole.yaml").write_text("defaults: [algo: sac, track: oval, _self_]\n")
    given = [f"hydra.searchpath=['file://{folder}']"]
    own_files.check([*given, "experiment=good,generalist", "track=glob(*)", "debug=null"])
    own_files.check([*given, "hydra.job.config_name=whole"])
