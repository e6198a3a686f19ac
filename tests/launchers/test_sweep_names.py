"""What a sweep and its runs are called, what is swept wherever that is written, and sweeps that are refused."""

from __future__ import annotations

import errno
import os
import re
from itertools import dropwhile
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from racing.cli import main
from racing.config import as_text
from racing.naming import run_name, slug
from racing_launchers import preflight
from racing_launchers.job import JobFolder
from racing_launchers.sweep import axes_of, label_of
from racing_launchers.sweep_record import NO_BEST, best

pytestmark = pytest.mark.slow

FAST = ["debug=fast", "tracking=none"]
HOSTILE = [
    "../x",
    "/abs",
    "a/b",
    ".",
    "..",
    "''",
    "' '",
    "'a\\tb'",
    "a" * 300,
    "Nürburg",
    "'a,b'",
    "'\x00'",
    "-x",
    "[a]",
    "{a: b}",
]


def plan(capsys: pytest.CaptureFixture[str], outputs: Path, *arguments: str) -> tuple[str, list[str]]:
    """The name of a sweep, and what varies in its jobs; nothing is run."""
    capsys.readouterr()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(preflight, "check_buildable", lambda *_, **__: None)  # see test_sweep.py
        assert main(["train", *FAST, *arguments, "launcher.dry_run=true", f"paths.outputs={outputs}"]) == 0
    first, *lines = dropwhile(lambda line: " on local" not in line, capsys.readouterr().err.splitlines())
    assert not outputs.exists()
    return first.partition(":")[0], [line.split(maxsplit=1)[1].removesuffix("new").strip() for line in lines[:-1]]


def refusal(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    capsys.readouterr()
    assert main(["train", *FAST, *arguments]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    (line,) = said.err.splitlines()
    return line


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("key", ["name", "tuning.study"])
def test_a_name_that_is_no_folder_is_refused(
    key: str, name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    search = ["tuning=random"] if key == "tuning.study" else []
    ways = [[], ["-m", "seed=1,2"], ["hydra.mode=RUN"]]
    for more in ways if name in HOSTILE[:2] else ways[:1]:  # one place checks it for all
        line = refusal(capsys, *search, f"{key}={name}", *more, "paths.outputs=outputs")
        assert re.search(rf"{key}\b", line), line
        assert not list(tmp_path.iterdir())


def test_phases_and_searches_take_their_names_from_the_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = f"paths.outputs={tmp_path / 'outputs'}"
    assert "name 'a/b' must be" in refusal(capsys, "tuning=random", "name=a/b", where)
    assert "'x-../y' must be" in refusal(capsys, "name=x", "phases={../y: ['seed=1']}", where)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("typed", "name"),
    [("1", "1"), ("true", "true"), ("True", "True"), ("2024_01", "2024_01"), ("1e3", "1e3"), ("0", "0")],
)
def test_numbers_and_truth_values_are_words(
    typed: str, name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert main(["train", f"name={typed}", "--cfg", "job"]) == 0
    assert yaml.safe_load(capsys.readouterr().out)["name"] == name
    assert plan(capsys, tmp_path / "o", "-m", f"name={typed},b")[1] == [as_text(f"name={typed}"), "name=b"]
    assert as_text(f"tuning.study={typed}") == f"tuning.study='{typed}'"


def test_a_name_from_a_file_or_made_up() -> None:
    assert [run_name({"name": value}, {}) for value in (1, True, 2.5, "x")] == ["1", "true", "2.5", "x"]
    cfg = SimpleNamespace(get=lambda key: None, track=SimpleNamespace(file="/maps/Nürburg ring (2).yaml"))
    assert run_name(cfg, {"track": "file", "env": "mlp", "algo": "ppo"}) == "mlp-N_rburg_ring_2-ppo"
    assert slug("../-x") == "x"


def test_what_is_swept_names_the_sweep_wherever_it_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own, outputs = tmp_path / "conf" / "experiment", tmp_path / "outputs"
    own.mkdir(parents=True)
    names = set()
    for seeds in ("11,12", "12"):
        name, jobs = plan(capsys, outputs, "-m", "hydra.sweeper.params={seed: '" + seeds + "'}")
        assert len(jobs) == len(seeds.split(","))
        names.add(name)
        (own / "e.yaml").write_text(f"# @package _global_\nhydra: {{sweeper: {{params: {{seed: '{seeds}'}}}}}}\n")
        name, jobs = plan(capsys, outputs, "-m", "-cd", str(tmp_path / "conf"), "experiment=e")
        assert len(jobs) == len(seeds.split(","))
        names.add(name)
    assert len(names) == 4
    assert plan(capsys, outputs, "-m", "seed=11,12")[0] in names  # the same, typed
    # another primary file is another sweep; more workers of a search are the same
    (tmp_path / "conf" / "other.yaml").write_text("defaults: [train, _self_]\nseed: 5\n")
    here = ["-cd", str(tmp_path / "conf"), "-m", "seed=1,2"]
    assert plan(capsys, outputs, *here)[0] != plan(capsys, outputs, "-cn", "other", *here)[0]
    search = [plan(capsys, outputs, "tuning=random", f"tuning.workers={n}")[0] for n in (1, 2)]
    assert search[0] == search[1]


def test_axes_of_a_file_are_read_as_those_of_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    params = 'hydra.sweeper.params={debug: "fast,null", track: "glob([o*,mi*])"}'
    assert plan(capsys, tmp_path / "o", "-m", params)[1] == [
        "track=mini",
        "track=oval",
    ]  # debug is typed, too: that stands above
    both = plan(capsys, tmp_path / "o", "-m", 'hydra.sweeper.params={experiment: "null,vision_gray4"}')[1]
    assert both == ["experiment=[]", "experiment=vision_gray4"]


def test_what_only_some_jobs_have_varies() -> None:
    jobs = [["track=oval", "seed=1"], ["track=file", "track.file=a.yaml", "seed=1"]]
    assert axes_of(jobs) == {"track": ["oval", "file"], "track.file": ["a.yaml"]}
    assert label_of(jobs[1], axes_of(jobs)) == "track=file track.file=a.yaml"


def test_a_million_jobs_are_refused_with_an_estimate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = f"paths.outputs={tmp_path / 'outputs'}"
    for axes in (["seed=range(0,1000000)"], ["seed=range(0,1000)", "algo.gamma=range(0,1,0.001)"]):
        line = refusal(capsys, "-m", *axes, where)
        assert "the sweep has 1,000,000 jobs, at most 10,000 may be" in line
        assert "would take about 28 h: sweep over less" in line
    assert not (tmp_path / "outputs").exists()


def test_a_folder_that_cannot_be_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root may write everywhere: what an ordinary user sees is what mkdir says."""
    make = os.mkdir

    def mkdir(path: str, mode: int = 0o777) -> None:
        if "outputs" in str(path):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        make(path, mode)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "mkdir", mkdir)
    assert "Permission denied; set paths.outputs=FOLDER" in refusal(capsys, "-m", "seed=1,2")
    assert "outputs: Permission denied; set hydra.run.dir=FOLDER" in refusal(capsys, "hydra.run.dir=outputs")
    assert not list(tmp_path.iterdir())


def test_nobody_has_finished_then_none_is_best() -> None:
    rows = [{"finish_rate": rate, "lap_ratio": ratio} for rate, ratio in ((0.0, None), (None, None), (0.0, None))]
    assert best(rows) is None
    assert best([*rows, {"finish_rate": 0.1, "lap_ratio": None}]) == {"finish_rate": 0.1, "lap_ratio": None}
    assert NO_BEST.startswith("none")


def test_runs_that_lead_out_of_the_outputs_are_none(tmp_path: Path) -> None:
    (tmp_path / "runs.txt").write_text("../../x\n/etc/passwd\nruns/a-1\n\nruns/../../x\n")
    assert JobFolder(tmp_path).runs == ["runs/a-1"]


@pytest.mark.parametrize(
    "name", ["../x", "/abs", ".", "''", "' '", "a" * 300, "ü", "'a\x00b'", "1", "true", "[a]", "'a\nb'"]
)
@pytest.mark.parametrize(
    "command",
    [
        "jobs status sweep={}",
        "jobs cancel {}",
        "runs sync run={}",
        "runs prune run={}",
        "train debug=fast init_from={}",
        "train debug=fast track={}",
        "train -cd {} debug=fast",
        "train -cn {} debug=fast",
    ],
)
def test_a_name_of_nothing_is_one_line(
    command: str, name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    typed = [word.replace("{}", name) for word in command.split(" ")]
    if command.startswith("train -c"):  # no grammar of Hydra's, a text as it is
        typed = [word.strip("'") for word in typed]
        if (name, typed[1]) in ((".", "-cd"), ("' '", "-cd"), ("''", "-cn"), ("''", "-cd")):
            return
    assert main(typed) == 2
    said = capsys.readouterr().err.splitlines()
    assert len([line for line in said if not line.startswith("Error executing job")]) == 1, said
    assert not list(tmp_path.iterdir())
