"""Tracks on the command line: any file name, how a track is read, and how many are drawn."""

import types

import numpy as np
import pytest

from racing.cli import main
from racing.commands.options import with_quoted_paths
from racing.commands.tracks.main import as_flags
from racing.config import compose, compose_run, for_hydra
from racing.files import is_file_name
from racing.tracks.catalog import generated_tracks

pytestmark = pytest.mark.slow

NAMES = [
    "a b.csv",
    "a,b.csv",
    "[x].csv",
    "a[1] (2) {3}.csv",
    "Nürburgring ß.csv",
    "k=1.csv",
    "a#b%20.csv",
    "it's.csv",
    'say "x".csv',
    r"back\slash'.csv",
    "${oc.env:HOME}.csv",
    "1.csv",
    "true",
    "sub, folder/a b.csv",
]


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A working folder with tables of these names."""
    monkeypatch.chdir(tmp_path)
    angle = np.linspace(0, 2 * np.pi, 120, endpoint=False)
    table = np.column_stack([60 * np.cos(angle), 40 * np.sin(angle), np.full((120, 2), 4.0)])
    for name in (*NAMES, "plain.csv"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        np.savetxt(path, table, delimiter=",")
    return tmp_path


@pytest.mark.parametrize("name", NAMES)
def test_any_file_is_a_track_whatever_its_name(here, name):
    assert compose_run([f"track={name}"])["track"]["file"] == name
    assert compose_run([f"track=[plain.csv,{name}, oval]"])["track"]["file"] == ["plain.csv", name, "oval"]
    assert compose("evaluate", [with_quoted_paths(f"track={name}")], folder="verbs").track == name
    recorded = for_hydra(f"track={name}", [])  # what a job gets is composed again
    assert [part for once in recorded for part in for_hydra(once, [])] == recorded
    assert as_flags([name]) == [name]


def test_a_run_is_named_by_the_letters_that_all_systems_take(here):
    for name in ("a[1] (2) {3}.csv", "sub, folder/a b.csv", "Nürburgring ß.csv"):
        assert is_file_name(compose_run([f"track={name}"])["name"])


def test_sweeps_go_over_files_of_any_name(here, capsys):
    assert main(["train", "-m", f"track={','.join(NAMES[:6])},plain.csv", "launcher.dry_run=true"]) == 0
    out = "".join(capsys.readouterr())
    assert "7 jobs" in out
    assert all(f"track.file='{name}'" in out for name in NAMES[:6])


@pytest.mark.parametrize("value", ["oval", "oval,circuit", "[oval,circuit]", "glob(*)", "plain.csv", "a b.csv,absent"])
def test_what_is_no_strange_file_stays_as_it_is_written(here, value):
    assert with_quoted_paths(f"track={value}") == f"track={value}" or value == "a b.csv,absent"


def test_tracks_are_validated_by_any_name(here, capsys):
    assert main(["tracks", "validate", "--no-drive", *NAMES[:-2]]) == 0
    assert "12 tracks: 12 valid, 0 not" in capsys.readouterr().out


def test_grip_changes_the_reference_lap(here, capsys):
    laps = {}
    for grip in ("dry", "wet", "0.5", "1.2"):
        assert main(["tracks", "reference", "oval", f"grip={grip}"]) == 0
        laps[grip] = float(capsys.readouterr().out.split(": ")[1].split()[0])
    assert laps["wet"] == laps["0.5"] > laps["dry"] > laps["1.2"]
    for action in ("validate", "preview", "show"):
        assert main(["tracks", action, "oval", "--grip", "99"]) == 2
        assert "factor in [0.05, 2.0], got 99.0" in capsys.readouterr().err


def test_columns_are_told_on_every_command_line(here, capsys):
    np.savetxt("log.csv", np.loadtxt("plain.csv", delimiter=",")[:, [2, 1, 0]], delimiter=",", header="halb,nord,ost")
    assert main(["tracks", "validate", "log.csv", "--no-drive"]) == 2
    assert "log.csv line 1: no columns x and y among halb, nord, ost" in capsys.readouterr().err
    columns = "x=ost,y=nord,half_width=halb"
    assert main(["tracks", "show", "log.csv", f"columns={columns}"]) == 0
    assert "8.00 m" in capsys.readouterr().out
    for told in ("track.columns={x: ost, y: nord, half_width: halb}", f"track.columns='{columns}'"):
        from racing.config import build

        (track,) = build(compose("train", ["track=log.csv", told]).track)
        assert track.left.mean() == pytest.approx(4.0)
    assert main(["train", "track=log.csv", "track.columns={x: ost, y: west}", "debug=fast"]) == 2
    assert "no columns 'west' among halb, nord, ost" in capsys.readouterr().err
    assert not (here / "outputs" / "runs").exists()


def test_degrees_are_refused_in_one_line_before_anything_is_written(here, capsys):
    np.savetxt("gps.csv", np.loadtxt("plain.csv", delimiter=",")[:, :2] / 60_000 + [11.6, 48.1], delimiter=",")
    for verb in (
        ["tracks", "validate", "gps.csv", "--half-width", "4"],
        ["train", "track=gps.csv", "track.half_width=4"],
    ):
        assert main(verb) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert "are both in metres? project longitude and latitude" in line
    assert not (here / "outputs" / "runs").exists()


def test_more_circuits_than_memory_holds_are_refused_with_an_estimate(here, capsys, monkeypatch):
    monkeypatch.setattr(
        "psutil.virtual_memory", lambda: types.SimpleNamespace(available=4_000_000_000, total=4_000_000_000)
    )
    assert main(["train", "track=generated", "track.count=100000", "debug=fast"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "track.count=100,000 circuits take about" in line
    assert "GB of memory, 4 GB are free; at most" in line


def test_drawing_many_circuits_shows_progress(capsys, monkeypatch):
    clock = iter(np.arange(0.0, 100.0, 3.0))
    monkeypatch.setattr("racing.tracks.generated.time", types.SimpleNamespace(monotonic=lambda: next(clock)))
    generated_tracks(seed=0, count=5, style="oval", length=560.0, width=12.0)
    assert capsys.readouterr().err.splitlines() == [
        "drawing circuits: 2 of 5, about 9 s left",
        "drawing circuits: 4 of 5, about 3 s left",
    ]
