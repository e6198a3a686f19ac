"""`racing tracks`: what each action prints, writes and returns."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from racing.cli import main
from racing.commands.tracks.main import as_flags
from racing.tracks.catalog import load_track, shipped
from racing.tracks.generator import generate


@pytest.fixture
def table(tmp_path, monkeypatch):
    """A working folder with a centreline table."""
    monkeypatch.chdir(tmp_path)
    points = generate(1, "kart", 420.0, 7.0).points
    np.savetxt("club.csv", np.column_stack([points, np.full((len(points), 2), 3.5)]), delimiter=",")
    return "club.csv"


def tracks(*arguments):
    return main(["tracks", *arguments])


def test_list_and_show(capsys):
    assert tracks("list") == 0
    listed = capsys.readouterr().out
    assert all(name in listed for name in ("circuit", "oval", "figure_eight", "shipped"))
    assert tracks("show", "circuit", "--scale", "0.1", "--reverse") == 0
    shown = capsys.readouterr().out
    assert "94.99 m, counter-clockwise" in shown
    assert "sha" not in shown.split("files")[0]


@pytest.mark.slow
def test_import_writes_a_track_that_is_found_by_name(table, capsys):
    assert tracks("import", table, "--name", "club") == 0
    assert "racing train track=tracks/club" in capsys.readouterr().out
    given, imported = load_track(table), load_track("club")
    pixel = imported.source["metres_per_pixel"]
    assert np.abs(imported.gates - given.gates).max() < 1e-3
    assert imported.length == pytest.approx(given.length, abs=3 * pixel)
    assert Image.open("tracks/club/overlay.png").width > 300
    assert json.loads(Path("tracks/club/checkpoints.json").read_text())["club.png"]["metres_per_pixel"] == pixel
    assert tracks("list") == 0
    assert "./tracks" in capsys.readouterr().out


def test_a_drawing_alone_is_imported(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    drawing = Image.new("RGB", (520, 360), (80, 160, 80))
    ImageDraw.Draw(drawing).ellipse((60, 60, 460, 300), outline=(90, 90, 90), width=24)
    drawing.save("club.png")
    assert tracks("import", "club.png", "--name", "club", "--metres-per-pixel", "0.5") == 0
    assert Image.open("tracks/club/overlay.png").width > 300
    # Ramanujan's circumference of the ellipse in the middle of the outline, half-axes 188 and 108 pixels
    a, b = 94.0, 54.0
    h = ((a - b) / (a + b)) ** 2
    circumference = np.pi * (a + b) * (1 + 3 * h / (10 + np.sqrt(4 - 3 * h)))
    assert load_track("club").length == pytest.approx(circumference, rel=0.01)


def test_import_does_not_replace_without_being_told(table, capsys):
    assert tracks("import", table, "--name", "club", "--out", "mine") == 0
    assert tracks("import", table, "--name", "club", "--out", "mine") == 2
    assert "exists already" in capsys.readouterr().err
    assert tracks("import", table, "--name", "club", "--out", "mine", "--scale", "0.1", "--force") == 0
    assert load_track("mine/club").length == pytest.approx(42, rel=0.01)


def test_validate_says_what_is_wrong_and_returns_2(table, capsys):
    assert tracks("validate", table) == 0
    assert "club for kart: valid" in capsys.readouterr().out
    assert tracks("validate", table, "--scale", "0.1", "--vehicle", "kart") == 2
    out = capsys.readouterr().out
    assert "error: " in out
    assert "m into the lap, at (" in out
    assert "the road is 0.70 m wide, kart 1.40 m" in out
    assert "not valid: " in out


def test_validate_drives_a_lap_and_takes_several(table, capsys):
    assert tracks("validate", table, "oval", "absent.csv") == 2
    out = capsys.readouterr().out
    assert "club for kart: valid, 0 warnings, driven in" in out
    assert "oval for kart: valid, 0 warnings, driven in" in out
    assert "error: absent.csv: track 'absent.csv' is neither" in out
    assert "3 tracks: 2 valid, 1 not" in out
    assert tracks("validate") == 2
    assert "needs a NAME or --all" in capsys.readouterr().err


def test_a_track_that_cannot_be_driven_is_named_with_the_place(table, capsys, monkeypatch):
    monkeypatch.setattr("racing.tracks.reference_driver.PACE", 3.0)  # a controller that is too fast for any bend
    assert tracks("validate", table) == 2
    out = capsys.readouterr().out
    assert "m into the lap, at (" in out
    assert "kart under the reference controller leaves the road" in out
    assert tracks("validate", table, "--no-drive") == 0


def test_keys_and_flags_mean_the_same():
    assert as_flags(["seed=3", "metres_per_pixel=0.5", "all=true", "force=false", "a.csv", "--x=1", "./a=b.csv"]) == [
        "--seed=3",
        "--metres-per-pixel=0.5",
        "--all",
        "a.csv",
        "--x=1",
        "./a=b.csv",
    ]


def test_list_with_laps_has_every_vehicle(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("racing.tracks.catalog.available", lambda: {"oval": shipped()["oval"]})
    assert tracks("list", "laps=true") == 0
    out = capsys.readouterr().out
    assert "kart [s]" in out
    assert "18.9" in out


def test_gates_that_are_wrong_are_named(table, capsys):
    assert tracks("import", table, "--name", "club") == 0
    path = Path("tracks/club/checkpoints.json")
    data = json.loads(path.read_text())
    gates = data["club.png"]["checkpoints"]
    gates[7] = gates[7][::-1]
    path.write_text(json.dumps(data))
    assert tracks("validate", "club") == 2
    assert "error: gate 7 at (" in (out := capsys.readouterr().out)
    assert "left and right are swapped" in out
    gates[3], gates[4] = gates[4], gates[3]
    path.write_text(json.dumps(data))
    assert tracks("validate", "club") == 2
    assert "club: gate 4 lies behind gate 3 on the road; order the gates as driven" in capsys.readouterr().err


@pytest.mark.slow
def test_preview_and_reference(tmp_path, capsys):
    out = tmp_path / "new" / "mini.png"
    assert tracks("preview", "mini", "--out", str(out)) == 0
    assert Image.open(out).width > 500
    assert tracks("preview", "mini", "oval", "--out", str(out)) == 0
    assert tracks("preview", "mini", "--out", "x.jpg") == 2
    assert tracks("preview") == 2
    capsys.readouterr()
    assert tracks("reference", "mini") == 0
    assert capsys.readouterr().out.startswith("mini, f1tenth: 1")


def test_the_physical_limit_is_printed_and_driven(capsys, monkeypatch):
    from racing.tracks.optimal_lap import lap

    assert tracks("reference", "oval", "--method", "optimal") == 0
    limit, driven = capsys.readouterr().out.splitlines()
    assert limit == "oval, kart: limit 19.56 s, 1.0338 x reference 18.92 s"
    assert driven.startswith("driven in the simulator: 19.57 s, 0.0")
    assert tracks("reference", "oval", "--method", "fastest") == 2
    capsys.readouterr()

    def fail(*_: object) -> None:
        raise lap.NotSolved("two meshes still disagree at 1.00 m")

    monkeypatch.setattr(lap, "known_optimal_lap", lambda *_: None)
    monkeypatch.setattr(lap, "compute_optimal_lap", fail)
    assert tracks("reference", "oval", "--method", "optimal") == 1
    assert "oval, kart: no optimal lap: two meshes still disagree at 1.00 m" in capsys.readouterr().err


def test_generate_is_the_generator(tmp_path, capsys):
    arguments = ["style=tight", "seed=9", "length=120", "--width", "2", "--out", str(tmp_path)]
    assert tracks("generate", *arguments) == 0
    drawn, read = generate(9, "tight", 120, 2), load_track(tmp_path / "tight-9")
    assert np.abs(read.gates - drawn.gates).max() < 1e-3
    assert tracks("generate", "--style", "wobbly", "--out", str(tmp_path)) == 2
    assert tracks("generate", *arguments, "--name", "../up") == 2
    assert "must be letters" in capsys.readouterr().err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["tight-9"]


@pytest.mark.parametrize(
    "arguments", [["show", "absent"], ["import", "absent.csv"], ["validate", "oval", "--vehicle", "tank"]]
)
def test_wrong_arguments_return_2_and_one_line(arguments, capsys):
    assert tracks(*arguments) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("typed", "old", "new"),
    [
        (["--keep", "longest"], "--keep", "--branch"),
        (["--close=9"], "--close", "--close-gaps"),
        (["close=9"], "--close", "--close-gaps"),
    ],
)
def test_flags_that_were_renamed_say_their_new_names(typed, old, new, capsys):
    assert tracks("import", "absent.png", *typed) == 2
    assert capsys.readouterr().err == f"racing tracks: unrecognized argument '{old}'; it is called {new} now\n"


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "racing tracks: missing action; one of list, show, "),
        (["pain"], "racing tracks: unknown action 'pain'; choose one of: list, "),
        (["shw"], "racing tracks: unknown action 'shw'; did you mean show?"),
        (["show"], "racing tracks: the following arguments are required: NAME; see racing tracks show --help"),
        (["list", "--lapse"], "racing tracks: unrecognized arguments: --lapse; see racing tracks --help"),
        (["generate", "seed=many"], "racing tracks: argument --seed: invalid int value: 'many'; see racing tracks"),
    ],
)
def test_what_the_parser_refuses_is_one_line(arguments, complaint, capsys):
    assert tracks(*arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(complaint)
