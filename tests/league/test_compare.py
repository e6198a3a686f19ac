"""`racing compare match=true`: what it drives, prints, writes, and refuses."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mlflow import MlflowClient

from racing.cli import main
from racing.commands.compare import main as verb
from racing.commands.compare import matches
from racing.errors import InputError
from racing.evaluation.race.driving import policy_entrant
from racing.evaluation.race.suites import Place
from racing.league import estimate
from racing.league.match import Contender, Terms, drive_match
from racing.runs.directory import RunDirectory
from racing.tracking.store import embedded_uri

GAMES = 4
QUICK = ("match=true", f"games={GAMES}", "laps=1", "start=grid")


@pytest.fixture
def compare(
    racers: list[RunDirectory], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """compare(*more, run=names): exit code, what was printed, and to stderr; matches are kept for the test."""

    def call(*more: str, run: str | None = None) -> tuple[int, str, str]:
        capsys.readouterr()
        named = run or ",".join(str(run.path) for run in racers)
        usual = [f"run=[{named}]", "anchor=line@0.5", *QUICK, f"paths.outputs={tmp_path}", f"out={tmp_path / 'out'}"]
        code = main(["compare", *usual, *more])
        said = capsys.readouterr()
        return code, said.out, said.err

    return call


@pytest.fixture
def driven(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Names of those whose matches are driven, but for the estimate."""
    noted: list[tuple[str, str]] = []
    drive = matches.drive

    def noting(a: Contender, b: Contender, terms: Terms, watch: Any) -> Any:
        if not isinstance(watch, estimate.Trial):
            noted.append((a.name, b.name))
        return drive(a, b, terms, watch)

    monkeypatch.setattr(matches, "drive", noting)
    return noted


def results(tmp_path: Path) -> dict[str, Any]:
    return json.loads((tmp_path / "out" / "results.json").read_text())


@pytest.mark.slow
def test_three_are_rated_and_written_down(compare: Any, racers: list[RunDirectory], tmp_path: Path):
    slow, fast = (run.name for run in racers)
    code, out, _ = compare("log=true")
    assert code == 0
    assert "0 of 3 matches were driven before; 3 to drive, of 4 games each: about" in out
    assert "driven in" in out
    ranked = [fast, "line@0.5", slow]
    at = [out.index(name, out.index("ratings, best first")) for name in ranked]
    assert at == sorted(at)
    found = results(tmp_path)
    assert found["schema_version"] == 1
    assert [row["name"] for row in found["entries"]] == ranked
    assert [row["rating"] for row in found["entries"]][1] == 1000
    (slow_fast,) = (row for row in found["matches"] if row["a"] == slow and row["b"] == fast)
    assert (slow_fast["wins"], slow_fast["losses"], slow_fast["games"]) == (0, GAMES, GAMES)
    assert found["terms"]["track"]["name"] == "oval"
    assert found["spent"]["matches_driven"] == 3
    table = list(csv.reader((tmp_path / "out" / "matrix.csv").open()))
    assert table[0] == ["win share of the row", *ranked]
    assert table[1][:2] == [fast, ""]
    assert float(table[1][2]) >= 0.75  # it may touch the line follower
    assert table[1][3] == "1.0"
    assert [row[0] for row in table[1:]] == ranked
    for name in ("results.json", "matrix.csv", "matrix.png"):
        assert str(tmp_path / "out" / name) in out
    client = MlflowClient(embedded_uri(tmp_path))
    (logged,) = client.search_runs([client.get_experiment_by_name("racing").experiment_id])
    assert logged.data.tags["racing.compared"] == ", ".join(ranked)
    assert logged.data.metrics[f"rating/{fast}"] == found["entries"][0]["rating"]
    there = {entry.path for entry in client.list_artifacts(logged.info.run_id)}
    assert there == {"results.json", "matrix.csv", "matrix.png"}


@pytest.mark.slow
def test_no_match_is_driven_twice(compare: Any, driven: list[Any], racers: list[RunDirectory], tmp_path: Path):
    slow, fast = racers
    compare()
    first = results(tmp_path)
    assert len(driven) == 3
    driven.clear()
    _, out, _ = compare()
    assert "3 of 3 matches were driven before\n" in out
    assert driven == []
    again = results(tmp_path)
    assert again.pop("spent") == {"matches_driven": 0}
    assert again == {name: value for name, value in first.items() if name != "spent"}
    compare(run=f"{fast.path},{slow.path}")  # the other way round
    assert driven == []
    assert [row["name"] for row in results(tmp_path)["entries"]] == [row["name"] for row in first["entries"]]
    compare(run=f"{slow.path},{fast.path},line@0.40")  # a newcomer meets the others
    assert driven == [(slow.name, "line@0.4"), (fast.name, "line@0.4"), ("line@0.4", "line@0.5")]
    driven.clear()
    compare("seed=1", "anchor=null")
    assert driven == [(slow.name, fast.name)]
    driven.clear()
    assert compare("seed=2", "anchor=null", run=f"{slow.path},{fast.path},{slow.path}")[0] == 0
    assert len(driven) == 2  # the slow one against itself, and against the fast one
    assert [row["wins"] for row in results(tmp_path)["matches"]] == [0, 2, 4]


@pytest.mark.slow
def test_whoever_is_interrupted_goes_on_where_it_was(
    compare: Any, driven: list[Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    keep = matches.keep_match

    def cut(folder: Path, match: Any) -> None:
        if len(driven) == 2:
            raise KeyboardInterrupt
        keep(folder, match)

    with monkeypatch.context() as patch:
        patch.setattr(matches, "keep_match", cut)
        assert compare()[0] == 130
    rest = driven[1:]
    driven.clear()
    assert compare()[0] == 0
    assert driven[:1] == rest
    assert len(driven) == 2
    assert len(list((tmp_path / "matches").iterdir())) == 3


@pytest.mark.slow
def test_a_policy_whose_actions_are_no_numbers_is_refused(
    met: tuple[list[Contender], Place], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    nan = policy_entrant("nan", lambda seen: np.full((len(seen), 2), np.nan))
    broken = Contender(name="broken", identity="broken", entrant=nan)
    with pytest.raises(InputError, match=r"run: .* against broken: .* its training diverged; leave it out"):
        matches.play([met[0][0], broken], Terms(place=met[1], games=2, laps=1), tmp_path)
    assert not any(tmp_path.iterdir())


# the estimate


def test_a_trial_ends_after_its_time_and_does_not_count_what_came_before(monkeypatch: pytest.MonkeyPatch):
    now = iter([100.0, 100.4, 100.8, 101.2])
    monkeypatch.setattr("time.perf_counter", lambda: next(now))
    trial = estimate.Trial()
    for _ in range(3):
        trial(5)
    with pytest.raises(estimate.Enough):
        trial(5)
    assert (trial.steps, trial.decisions, trial.seconds) == (4, 20, pytest.approx(1.2))


@pytest.mark.slow
def test_the_estimate_is_of_as_many_steps_as_are_driven(
    met: tuple[list[Contender], Place], monkeypatch: pytest.MonkeyPatch
):
    """By number of steps: seconds would be of this machine."""
    terms = Terms(place=met[1], games=GAMES, laps=2, start="grid")
    told: list[int] = []
    drive_match(met[0][1], met[0][2], terms, told.append)
    assert 0.5 < estimate.steps_of_match(terms) / len(told) < 2
    monkeypatch.setattr(estimate, "TRIED", 0.0)
    now = iter(0.5 * np.arange(2))
    monkeypatch.setattr(estimate, "steps_of_match", lambda terms: 1000)
    monkeypatch.setattr(estimate.time, "perf_counter", lambda: float(next(now)))
    whole, rate = estimate.estimate_match(met[0][1], met[0][2], terms)
    assert whole == 0.5 / 2 * 1000
    assert rate == 2 * GAMES / 0.5


# what is refused


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "run must name two or more, got none; e.g. run="),
        (["run=[line@0.9]", "match=true"], "run must name two or more, or a run of several agents, got line@0.9; add"),
        (["run=a"], r"run must be a list of runs, files or line@PACE, got 'a'; e.g. run=\[first,second\]"),
        (["run=[a,3]"], r"run must be a list of runs, files or line@PACE, got \['a', 3\]"),
        (["run=[a,line@1]"], "line@1 only races; write match=true, or compare with optimal"),
        ([f"run=[{','.join('a' * 13)}]"], "run must name at most 12 drivers, got 13; compare fewer"),
        (["run=[a,optimal]", "match=true"], "optimal races nobody; leave match=true away"),
        (["run=[a,b]", "sectors=1"], r"sectors must be a whole number in \[2, 200\], got 1"),
        (["run=[a,b]", "episodes=0"], r"episodes must be a whole number in \[1, 1000\], got 0"),
        (["run=[a,b]", "log=yes"], "log must be true or false, got 'yes'"),
        (["run=[a,b]", "match=1"], "match must be true or false, got 1"),
        (["run=[a,b]", "match=true", "games=7"], "games must be even, .* got 7; take 6 or 8"),
        (["run=[a,b]", "match=true", "games=0"], r"games must be a whole number in \[2, 10000\], got 0"),
        (["run=[a,b]", "match=true", "laps=0"], "laps must be a whole number"),
        (["run=[a,b]", "match=true", "seed=-1"], "seed must be a whole number"),
        (["run=[a,b]", "match=true", "start=pit"], "start must be one of rolling, grid, got 'pit'"),
        (["run=[a,b]", "match=true", "track=[oval,circuit]"], "track must be a name or a path, or null"),
        (["run=[a,b]", "match=true", "anchor=c"], "anchor must be one of run, line@PACE or null, got 'c'"),
        (
            ["run=[a,b]", "match=true", "games=10000", "laps=1000"],
            "games=10000 of laps=1000 laps (would take|is too large)",
        ),
        (["run=[a,b]", "match=true", "gams=4"], "unknown key 'gams'"),
    ],
)
def test_what_is_no_comparison_is_refused(arguments: list[str], says: str):
    with pytest.raises(InputError, match=says):
        verb.parse(arguments)


def test_one_line_says_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    capsys.readouterr()
    assert main(["compare", "run=[absent,line@0.9]", "match=true", f"paths.outputs={tmp_path}"]) == 2
    said = capsys.readouterr()
    assert said.err.count("\n") == 1
    assert said.err.startswith("racing compare: run 'absent' must be a run directory")
    assert not list(tmp_path.iterdir())


def test_help_shows_examples_and_keys(capsys: pytest.CaptureFixture[str]):
    capsys.readouterr()
    assert main(["compare", "--help"]) == 0
    said = capsys.readouterr().out
    assert "racing compare run=[first,second] match=true" in said
    assert "anchor: line@0.85" in said
