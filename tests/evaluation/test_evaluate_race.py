"""`racing evaluate env=race`: suites, entrants, files, and what it refuses."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import av
import pytest

from racing.cli import main
from racing.commands.evaluate import parse
from racing.errors import InputError
from racing.evaluation import video
from racing.runs.directory import RunDirectory
from racing.sim.vehicle import Vehicle
from tests.support.drivers import linear_driver, make_run

pytestmark = pytest.mark.slow
SHOWN = 4.0  # [s] of a race, in its video


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("outputs")


@pytest.fixture(scope="module")
def runs(outputs: Path, kart: Vehicle) -> list[RunDirectory]:
    """A slow one and a fast one."""
    found = [make_run(outputs, linear_driver(kart, pace), seed=int(pace)) for pace in (10.0, 16.0)]
    for run in found:
        assert main(["export", f"run={run.path}"]) == 0
    return found


def raced(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict:
    capsys.readouterr()
    laps = [] if any(argument.startswith("laps=") for argument in arguments) else ["laps=1"]
    assert main(["evaluate", "env=race", "format=json", *laps, *arguments]) == 0
    return json.loads(capsys.readouterr().out)


def names_of(runs: list[RunDirectory]) -> str:
    return f"run=[{','.join(str(run.path) for run in runs)}]"


@pytest.fixture(scope="module")
def grid(runs: list[RunDirectory], tmp_path_factory: pytest.TempPathFactory) -> tuple[dict, Path]:
    """Slow against fast from a grid, four races, with video."""
    folder = tmp_path_factory.mktemp("raced")
    arguments = [names_of(runs), "suites=[grid]", "episodes=4", "video=true", f"out={folder}"]
    with pytest.MonkeyPatch.context() as patch:
        said: list[str] = []
        patch.setattr(video, "LONGEST", SHOWN)
        patch.setattr("builtins.print", lambda *words, **_: said.append(" ".join(map(str, words))))
        assert main(["evaluate", "env=race", "format=json", "laps=1", *arguments]) == 0
    return json.loads(said[-1]), folder


def test_the_faster_wins_from_every_place(grid: tuple[dict, Path], runs: list[RunDirectory]):
    slow, fast = (grid[0]["suites"]["grid"][run.name] for run in runs)
    assert (fast["win_share"], slow["win_share"]) == (1, 0)
    assert (fast["position"], slow["position"]) == (1, 2)
    assert fast["win_share_low"] < 1
    assert fast["rating"] - slow["rating"] == pytest.approx(400 * math.log10(4.5 / 0.5))  # 4 races, the prior
    assert slow["rating"] < 1000 < fast["rating"] < fast["rating_high"]
    assert fast["overtake_rate"] == 0.5  # in the races in which it started behind
    assert slow["overtaken"] == 0.5
    assert fast["races"] == slow["cars"] == 4


def test_a_suite_leaves_a_table_telemetry_pictures_and_a_video(grid: tuple[dict, Path], runs: list[RunDirectory]):
    folder = grid[1]
    names = {"grid.csv", "grid.parquet", "grid_positions.png", "grid_contacts.png", "grid_replay.html", "grid.mp4"}
    assert {Path(path).name for path in grid[0]["files"]} == names == {path.name for path in folder.iterdir()}
    rows = list(csv.DictReader((folder / "grid.csv").open()))
    assert [(row["race"], row["car"]) for row in rows] == [(str(r), str(c)) for r in range(4) for c in range(2)]
    assert sorted((row["entrant"], row["grid"]) for row in rows[:4]) == sorted(
        (run.name, place) for run in runs for place in "12"
    )
    with av.open(str(folder / "grid.mp4")) as film:
        stream = film.streams.video[0]
        assert (stream.width, stream.height) == (1280, 720)
        seconds = float(stream.duration * stream.time_base)
    assert seconds == pytest.approx(SHOWN + video.HOLD, abs=0.1)


def test_follow_starts_behind_a_line_follower_and_defend_ahead(
    runs: list[RunDirectory], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    said = raced(capsys, f"run={runs[1].path}", "suites=[follow,defend,braking]", "episodes=2", f"out={tmp_path}")
    assert set(said["suites"]) == {"follow", "defend", "braking"}
    grids = {}
    for suite in said["suites"]:
        assert list(said["suites"][suite]) == [runs[1].name]
        grids[suite] = {(row["entrant"], row["grid"]) for row in csv.DictReader((tmp_path / f"{suite}.csv").open())}
    assert grids["follow"] == grids["braking"] == {(runs[1].name, "2"), ("line 0.85", "1")}
    assert grids["defend"] == {(runs[1].name, "1"), (runs[1].name, "2")}  # against itself


def test_time_lost_is_against_the_own_laps_alone_and_cars_may_differ(
    runs: list[RunDirectory], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    options = [f"run={runs[0].path}", "episodes=3", "laps=2", "telemetry=false", "randomize.mass=[0.9,1.1]"]
    said = raced(capsys, *options, "suites=[defend,alone]", f"out={tmp_path}")["suites"]
    assert list(said) == ["defend", "alone"]
    defend, alone = (said[suite][runs[0].name] for suite in ("defend", "alone"))
    rows = [row for row in csv.DictReader((tmp_path / "defend.csv").open()) if row["entrant"] == runs[0].name]
    laps = [float(row["lap_time_s"]) for row in rows if row["lap_time_s"]]
    assert defend["time_lost_s"] == pytest.approx(sum(laps) / len(laps) - alone["lap_time_s"], abs=1e-6)
    assert defend["time_lost_s_low"] < defend["time_lost_s"] < defend["time_lost_s_high"]
    assert len({row["randomize_mass"] for row in rows}) == 6  # it defends against itself
    assert all(0.9 <= float(row["randomize_mass"]) <= 1.1 for row in rows)
    said = raced(capsys, *options, "suites=[defend]", f"out={tmp_path}")["suites"]
    assert said["defend"][runs[0].name]["time_lost_s"] is None  # nobody drove alone


def test_the_same_policy_twice_is_two_entrants(
    runs: list[RunDirectory], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    twice = names_of([runs[0], runs[0]])
    said = raced(capsys, twice, "suites=[grid,alone]", "episodes=4", "telemetry=false", f"out={tmp_path}")
    first, second = said["suites"]["grid"].values()
    assert list(said["suites"]["grid"]) == [runs[0].name, f"{runs[0].name} #2"] == list(said["suites"]["alone"])
    assert first["win_share"] == second["win_share"] == 0.5  # each starts in front as often
    assert said["suites"]["alone"][runs[0].name]["finish_rate"] == 1
    assert [Path(path).name for path in said["files"]] == ["grid.csv"]


def test_the_table_has_a_column_for_each_entrant(
    runs: list[RunDirectory], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    capsys.readouterr()
    arguments = [names_of(runs), "suites=[grid]", "episodes=2", "laps=1", "telemetry=false", f"out={tmp_path}"]
    assert main(["evaluate", "env=race", *arguments]) == 0
    said = capsys.readouterr().out
    for word in ("grid: 2 races", "win_share", "presence", *(run.name for run in runs), str(tmp_path / "grid.csv")):
        assert word in said


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["env=vision"], "env must be null or race, got 'vision'"),
        (["env=race", "suites=[sprint]"], r"suites must be one or several of alone, follow, .*, got \['sprint'\]"),
        (["env=race", "cars=17"], r"cars must be a whole number in \[2, 16\], got 17"),
        (["env=race", "cars=2", "run=[a,b,c]"], "cars=2 must seat all 3 runs"),
        (["env=race", "driver=optimal"], "driver=optimal must be left away with env=race"),
        (["env=race", "format=csv"], "format must be table or json with env=race, got csv"),
        (["env=race", "sweep=friction"], "sweep=friction must be left away with env=race"),
    ],
)
def test_what_is_no_race_is_refused(arguments: list[str], says: str):
    with pytest.raises(InputError, match=says):
        parse(arguments)


def test_a_race_needs_one_track(runs: list[RunDirectory], capsys: pytest.CaptureFixture[str]):
    capsys.readouterr()
    assert main(["evaluate", "env=race", f"run={runs[0].path}", "track=[oval,circuit]"]) == 2
    assert "track must be one to race on, got 2; name one by track=" in capsys.readouterr().err
