"""Tracks written for other programs come back within half a pixel."""

import numpy as np
import pytest
import yaml
from PIL import Image

from racing.cli import main
from racing.sim.track import build_track
from racing.tracks.catalog import load_track
from racing.tracks.formats.writers import FORMATS
from racing.tracks.generator import generate
from tests.tracks.painting import distances

CIRCUITS = [("kart", 420.0, 7.0), ("street", 120.0, 1.6), ("figure_eight", 700.0, 11.0)]


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize(("style", "length", "width"), CIRCUITS, ids=[c[0] for c in CIRCUITS])
def test_round_trip(tmp_path, form, style, length, width):
    drawn = generate(4, style, length, width, name="mine")
    pixel = width / 30
    paths = FORMATS[form](drawn, tmp_path, pixel)
    once = load_track(paths[0])
    again = load_track(FORMATS[form](once, tmp_path / "again", pixel)[0])
    for read, from_ in ((once, drawn), (again, once)):
        assert distances(read.points, from_.points).max() < 0.5 * pixel
        assert read.length == pytest.approx(from_.length, rel=2e-3)
        assert np.abs((read.left + read.right).mean() - (from_.left + from_.right).mean()) < 0.5 * pixel
        assert np.linalg.norm(read.points[0] - from_.points[0]) < pixel  # the same start line, driven the same way
        assert np.cos(read.heading[0] - from_.heading[0]) > 0.99


def test_over_a_crossing_the_table_says_where_the_lap_runs_unless_it_is_another_lap(tmp_path):
    drawn = generate(4, "figure_eight", 700.0, 11.0, name="mine")
    settings, _, table = FORMATS["ros"](drawn, tmp_path, 11 / 30)
    assert distances(load_track(settings).points, drawn.points).max() < 0.02
    table.unlink()
    by_picture = load_track(settings)
    assert 0.2 < distances(by_picture.points, drawn.points).max() < 1.0  # all that a picture tells
    rows = np.column_stack([drawn.points + np.array([0.0, 3.0]), drawn.right, drawn.left])
    np.savetxt(table, rows, delimiter=",")  # a line beside the middle: only its order is used
    assert distances(load_track(settings).points, by_picture.points).max() < 0.05


def test_a_ros_map_is_what_f1tenth_gym_expects(tmp_path):
    track = generate(3, "tight", 120.0, 2.0, name="mine")
    settings, picture, table = FORMATS["ros"](track, tmp_path, None)
    keys = yaml.safe_load(settings.read_text())
    assert keys["image"] == "mine.png"
    assert keys["negate"] == 0
    gray = np.asarray(Image.open(picture))
    assert gray.dtype == np.uint8
    assert set(np.unique(gray)) == {0, 255}
    # As the gym reads it: rows flipped, free above 128, the origin at the lower left corner.
    free = np.flipud(gray) > 128
    column, row = ((track.points - np.array(keys["origin"][:2])) / keys["resolution"]).astype(int).T
    assert free[row, column].all()
    beside = track.points + track.normals * (track.left + 2.5 * keys["resolution"])[:, None]
    column, row = ((beside - np.array(keys["origin"][:2])) / keys["resolution"]).astype(int).T
    assert not free[row, column].any()
    assert np.loadtxt(table, delimiter=",").shape == (len(track.points), 4)


def test_the_two_sides_of_the_road_stay_apart(tmp_path):
    drawn = generate(4, "kart", 420.0, 7.0)
    wider_right = build_track("mine", drawn.points, drawn.left, drawn.right + 1.5)
    read = load_track(FORMATS["csv"](wider_right, tmp_path, None)[0])
    assert read.left.mean() == pytest.approx(3.5, abs=0.01)
    assert read.right.mean() == pytest.approx(5.0, abs=0.01)


def test_the_verb_writes_every_format_and_refuses_others(tmp_path, capsys):
    for form in FORMATS:
        assert main(["tracks", "export", "mini", f"format={form}", f"out={tmp_path / form}", "name=small"]) == 0
    assert sorted(p.name for p in (tmp_path / "ros").iterdir()) == ["small.png", "small.yaml", "small_centerline.csv"]
    assert main(["tracks", "export", "mini", "format=xml", f"out={tmp_path}"]) == 2
    assert "--format must be one of native, ros, csv, got 'xml'; choose one" in capsys.readouterr().err
    assert main(["tracks", "export", "oval", "--format", "house", "--out", str(tmp_path)]) == 2
    assert "got 'house'; it is called native now" in capsys.readouterr().err


def test_an_export_replaces_nothing_that_is_something_else(tmp_path, capsys):
    def export(*arguments):
        return main(["tracks", "export", *arguments, f"out={tmp_path}"])

    assert export("mini", "format=native") == 0
    first = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert export("mini", "format=native") == 0  # the same again
    capsys.readouterr()
    assert export("mini", "format=ros") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"mini.png in {tmp_path} would be replaced by something else; choose another --out or --name" in line
    assert export("oval", "format=native") == 2  # it would take checkpoints.json away from mini.png
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == first
    assert export("mini", "format=csv") == 0
    assert export("mini", "format=ros", "--force") == 0
    assert (tmp_path / "mini.png").read_bytes() != first["mini.png"]


def test_the_size_of_a_pixel_of_a_table_is_that_of_what_is_written(tmp_path, capsys):
    assert main(["tracks", "export", "mini", "format=csv", f"out={tmp_path}"]) == 0
    table, pixels = str(tmp_path / "mini.csv"), ["--metres-per-pixel", "0.05"]
    assert main(["tracks", "export", table, "format=ros", f"out={tmp_path / 'ros'}", *pixels]) == 0
    assert "resolution: 0.05" in (tmp_path / "ros" / "mini.yaml").read_text()
    capsys.readouterr()
    assert main(["tracks", "export", table, "format=csv", f"out={tmp_path / 'csv'}", *pixels]) == 2
    assert "mini.csv is a table; leave it away" in capsys.readouterr().err
