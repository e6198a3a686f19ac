"""The native format: what is written is read back, and conventions mean what docs/tracks.md says."""

import hashlib
import json

import numpy as np
import pytest
from PIL import Image

from racing.config import choices, load_group
from racing.sim.track import resample_closed
from racing.tracks.catalog import load_track, load_tracks, shipped
from racing.tracks.formats.native import parse_entry, read_native, write_native
from racing.tracks.generator import generate
from racing.tracks.geometry import nearest
from racing.tracks.shipped import SHIPPED, draw_shipped, shipped_track
from racing.tracks.validation import findings


def distances(points, line, pixel):
    (fine,) = resample_closed(line, pixel / 10)
    return nearest(fine, points)[1]


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_circuits_are_what_was_drawn(name, kart, f1tenth):
    recipe, track, drawn = SHIPPED[name], load_track(name), shipped_track(name)
    assert distances(track.points, drawn.points, recipe.metres_per_pixel).max() < 0.5 * recipe.metres_per_pixel
    assert track.left + track.right == pytest.approx(recipe.width, rel=0.06)
    assert np.abs(track.gates - drawn.gates).max() < 1e-3
    assert np.linalg.norm(track.start_position - drawn.start_position) < 1e-3
    assert track.clearance.at(track.start_position) > 0.4 * recipe.width
    assert (track.clearance.at(track.gates.mean(axis=1)) > 0.4 * recipe.width).all()
    assert findings(track, f1tenth if recipe.width < 4 else kart) == []


def test_every_shipped_circuit_has_its_picture_and_its_config():
    assert set(shipped()) == set(SHIPPED)
    assert set(SHIPPED) <= set(choices("track"))
    assert all(path.stat().st_size < 400_000 for folder in shipped().values() for path in folder.iterdir())
    assert [t.name for t in load_group("track", "mini")] == ["mini"]


@pytest.mark.slow
def test_drawing_the_shipped_circuits_again_changes_nothing(tmp_path):
    draw_shipped(tmp_path)
    for name, folder in shipped().items():
        ours, drawn = folder / f"{name}.png", tmp_path / name / f"{name}.png"
        assert np.array_equal(np.asarray(Image.open(ours)), np.asarray(Image.open(drawn)))
        assert (folder / "checkpoints.json").read_bytes() == (tmp_path / name / "checkpoints.json").read_bytes()


@pytest.mark.parametrize(("style", "length", "width"), [("kart", 420, 7), ("tight", 120, 2), ("figure_eight", 700, 11)])
def test_round_trip(tmp_path, style, length, width):
    drawn = generate(4, style, length, width, name="mine")
    once = read_native(write_native(drawn, tmp_path / "once"))
    twice = read_native(write_native(once, tmp_path / "twice"))
    pixel = once.source["metres_per_pixel"]
    assert np.abs(twice.gates - drawn.gates).max() < 1e-3 * pixel
    assert distances(once.points, drawn.points, pixel).max() < 0.5 * pixel
    assert distances(twice.points, once.points, pixel).max() < 0.5 * pixel
    assert twice.left.mean() == pytest.approx(width / 2, abs=0.5 * pixel)
    assert np.cos(twice.start_angle - drawn.start_angle) == pytest.approx(1)


def test_pixels_to_metres_by_hand():
    entry = {
        "checkpoints": [[[10, 20], [10, 40]]] * 4,
        "start_position": [10, 30],
        "start_angle": 90,
        "metres_per_pixel": 0.5,
        "origin": [100, 200],
    }
    read = parse_entry(entry, "here", height=101)
    assert read.gates[0].tolist() == [[10, 20], [10, 40]]
    assert read.angle == pytest.approx(np.pi / 2)
    plot = parse_entry({**entry, "axes": "plot", "angle": "cw"}, "here", height=101)
    assert plot.gates[0].tolist() == [[10, 80], [10, 60]]  # row = 100 - y
    assert plot.start.tolist() == [10, 70]
    assert plot.angle == pytest.approx(-np.pi / 2)


def test_axes_and_angle_keys_say_the_same_in_other_words(tmp_path):
    picture = write_native(generate(4, "kart", 420, 7, name="mine"), tmp_path)
    expected = read_native(picture)
    height = Image.open(picture).height
    path = tmp_path / "checkpoints.json"
    data = json.loads(path.read_text())
    entry = data["mine.png"]
    turned = [[[x, height - 1 - y] for x, y in gate] for gate in entry["checkpoints"]]
    x, y = entry["start_position"]
    entry |= {"checkpoints": turned, "start_position": [x, height - 1 - y], "start_angle": -entry["start_angle"]}
    path.write_text(json.dumps({"mine.png": entry | {"axes": "plot", "angle": "cw"}}))
    track = read_native(picture)
    assert np.allclose(track.points, expected.points)
    assert np.allclose(track.gates, expected.gates)
    assert np.cos(track.start_angle - expected.start_angle) == pytest.approx(1)


def test_world_and_picture_agree(tmp_path):
    """The middle of the start line, looked up in the picture, is a chequer; the infield is grass."""
    drawn = generate(4, "kart", 420, 7, name="mine")
    track = read_native(write_native(drawn, tmp_path))
    picture = np.asarray(Image.open(track.source["picture"]).convert("RGB")).astype(int)
    pixel, (x0, y0) = track.source["metres_per_pixel"], track.source["pixel_origin"]

    def colour(x, y):
        return picture[len(picture) - 1 - round((y - y0) / pixel), round((x - x0) / pixel)]

    ahead = np.array([np.cos(track.start_angle), np.sin(track.start_angle)])
    red, green, blue = colour(*(track.start_position + 4 * ahead))
    assert max(red, green, blue) - min(red, green, blue) < 12  # asphalt is gray
    left = track.start_position + np.array([-ahead[1], ahead[0]]) * 5.5
    red, green, blue = colour(*left)
    assert green > red + 30 > blue  # grass


def test_what_a_run_records_names_the_files_and_their_hash():
    track = load_track("oval", scale=0.5, reverse=True)
    picture = shipped()["oval"] / "oval.png"
    assert track.source["files"]["oval.png"] == hashlib.sha256(picture.read_bytes()).hexdigest()
    assert (track.source["scale"], track.source["reverse"]) == (0.5, True)


def test_several_tracks_at_once():
    tracks = load_tracks(["oval", "mini"], scale=2.0)
    assert [t.name for t in tracks] == ["oval", "mini"]
    assert tracks[0].length == pytest.approx(1120, rel=2e-3)


def test_configs_of_tracks_build_what_they_say():
    (one,) = load_group("track", "file", "track.file=oval", "track.scale=0.5")
    assert one.length == pytest.approx(280, rel=2e-3)
    several = load_group(
        "track", "generated", "track.count=2", "track.style=oval", "track.length=600", "track.width=12"
    )
    assert [t.name for t in several] == ["oval-0", "oval-1"]
