"""Pictures without gates: what is read, how exactly, and what is refused with the place and the option."""

import cv2
import numpy as np
import pytest
from PIL import Image

from racing.cli import main
from racing.errors import InputError
from racing.tracks.catalog import load_track
from racing.tracks.images.lap import UnclearRoad
from racing.tracks.images.painted import painted_track
from tests.conftest import shared
from tests.tracks.painting import EIGHT, OVAL, PIT_LANE, coloured, distances, four, outline, rendering, stroke

pytestmark = pytest.mark.slow


def read(picture, scale=1.0, **options):
    return painted_track("mine", picture, scale, {}, **options)


def in_pixels(track, rows=440):
    """The centreline back in the picture's pixels, for a scale of 1."""
    return np.stack([track.points[:, 0], rows - 1 - track.points[:, 1]], axis=1)


@pytest.mark.parametrize("noise", [6, 15])
@pytest.mark.parametrize(
    ("style", "length", "width", "scale"),
    [
        ("flowing", 950, 11.5, 0.6),
        ("tight", 720, 9.0, 0.45),
        ("kart", 420, 7.0, 0.45),
        ("fast", 1900, 14.0, 0.6),
        ("figure_eight", 700, 11.0, 0.45),
        ("street", 900, 10.0, 0.5),
    ],
)
def test_colour_renderings_are_read_within_a_quarter_of_a_metre(style, length, width, scale, noise):
    drawn, frame, picture = rendering(3, style, length, width, scale, noise)
    track = read(picture, scale)
    error = distances(track.points + np.array(frame.origin), drawn.points)
    assert error.mean() < 0.25
    assert error.max() < 0.8
    assert track.length == pytest.approx(length, rel=0.01)
    assert (track.left + track.right).mean() == pytest.approx(width, abs=2 * scale)
    assert track.source["confidence"] > 0.8


@pytest.mark.parametrize("name", ["aut", "esp"])
def test_a_map_without_its_yaml_is_read_as_well(name):
    path = shared("tracks", "f1tenth_benchmarks", name, f"{name}.png")
    with_yaml = load_track(path.with_suffix(".yaml"))
    alone = load_track(path, metres_per_pixel=0.05)
    assert alone.length == pytest.approx(with_yaml.length, rel=1e-3)
    assert alone.left.mean() == pytest.approx(with_yaml.left.mean(), abs=0.025)


def test_a_road_that_crosses_itself_goes_straight_on():
    track = read(coloured(stroke(EIGHT, 9)))
    error = distances(in_pixels(track), EIGHT)
    assert error.mean() < 0.2
    assert error.max() < 0.6
    assert track.source["crossings"] == 1
    assert abs((track.curvature * track.spacing).sum()) < 0.1  # once left around, once right around
    assert np.abs(track.left - 9.5).max() < 1.5  # also where the other road crosses


@pytest.mark.parametrize("half", [6, 8])
def test_a_narrower_pit_lane_is_left_out(half):
    track = read(coloured(stroke(PIT_LANE, half, stroke(OVAL, 10), closed=False)))
    assert distances(in_pixels(track), OVAL).max() < 1.0
    assert track.source["dropped_branches"] == 1
    assert track.clearance.at(np.array([400.0, 440 - 1 - 310])) < 0  # the pit lane is no road


def test_a_pit_lane_as_wide_as_the_road_is_asked_about():
    picture = coloured(stroke(PIT_LANE, 10, stroke(OVAL, 10), closed=False))
    with pytest.raises(UnclearRoad, match=r"2 large areas.*about equally wide.*--branch longest") as caught:
        read(picture)
    marks = [(round(mark.x, -1), round(mark.y, -1)) for mark in caught.value.marks]
    assert (400, 310) in marks
    assert (400, 370) in marks
    kept = read(picture, branch="400,370")
    assert distances(in_pixels(kept), OVAL).max() < 1.5
    longest, shortest = read(picture, branch="longest"), read(picture, branch="shortest")
    assert longest.length > kept.length > 2 * shortest.length
    refused = {"sideways": "branch must be longest", "1,2": "is not on the road", "nan,2": "branch must be"}
    for wrong, says in refused.items():
        with pytest.raises(InputError, match=says):
            read(picture, branch=wrong)


def test_a_gap_is_refused_with_its_place_and_bridged_when_told():
    mask = stroke(OVAL, 10)
    mask[205:235, 600:] = 0
    says = r"at pixel \((69|70)\d, 2[12]\d\).*bridge it with --close-gaps (\d+)"
    with pytest.raises(UnclearRoad, match=says) as caught:
        read(coloured(mask))
    (mark,) = caught.value.marks
    assert np.hypot(mark.x - 700, mark.y - 220) < 12
    size = int(str(caught.value).partition("--close-gaps ")[2].split()[0])
    assert distances(in_pixels(read(coloured(mask), close_gaps=size)), OVAL).mean() < 1.0


def test_an_outline_with_a_gap_is_refused_with_its_place_and_bridged_when_told():
    whole, broken = outline(), outline()
    broken[208:230, 705:] = 255
    expected = read(four(whole)).length
    with pytest.raises(UnclearRoad, match=r"bridge it with --close-gaps (\d+)") as caught:
        read(four(broken))
    (mark,) = caught.value.marks
    assert np.hypot(mark.x - 718, mark.y - 219) < 20
    size = int(str(caught.value).partition("--close-gaps ")[2].split()[0])
    assert read(four(broken), close_gaps=size).length == pytest.approx(expected, rel=0.01)


def test_a_road_with_open_ends_is_refused_and_both_ends_are_marked():
    mask = stroke(OVAL, 10)
    mask[100:330, 520:] = 0
    with pytest.raises(UnclearRoad, match="the road ends at pixel") as caught:
        read(coloured(mask))
    ends = sorted((mark.y, mark.x) for mark in caught.value.marks)
    assert len(ends) == 2
    assert ends[0][0] < 110 < 320 < ends[1][0]


def test_a_line_painted_across_the_road_is_bridged_unasked():
    mask = stroke(OVAL, 10)
    mask[218:222, 600:] = 0
    track = read(coloured(mask))
    assert track.source["bridged_px"] == 5
    assert distances(in_pixels(track), OVAL).mean() < 0.5


def test_specks_and_salt_do_not_matter():
    picture = four((stroke(OVAL, 10) * 255).astype(np.uint8))
    rng = np.random.default_rng(1)
    salt = rng.random(picture.shape[:2]) < 0.01
    picture[salt, :3] = 255 - picture[salt, :3]
    cv2.circle(picture, (400, 220), 12, (255, 255, 255, 255), -1)  # an island in the infield
    assert distances(in_pixels(read(picture)), OVAL).mean() < 0.3


def test_large_pictures_are_read_from_a_smaller_one_without_losing_exactness():
    mask = cv2.resize(stroke(OVAL, 10), None, fx=3, fy=3, interpolation=cv2.INTER_NEAREST)
    track = read(coloured(mask))
    error = distances(in_pixels(track, rows=1320), OVAL * 3 + 1)
    assert error.mean() < 0.6  # of pixels three times as small


def test_import_marks_a_refused_picture_and_takes_options(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    picture = coloured(stroke(PIT_LANE, 10, stroke(OVAL, 10), closed=False))
    Image.fromarray(picture[..., :3]).save("club.png")
    assert main(["tracks", "import", "club.png", "metres_per_pixel=0.5"]) == 2
    assert "marked in tracks/club-refused.png" in capsys.readouterr().err
    assert np.asarray(Image.open("tracks/club-refused.png").convert("RGB")).shape[1] > 500
    options = ["metres_per_pixel=0.5", "branch=400,370", "start=690,200", "reverse=true"]
    assert main(["tracks", "import", "club.png", *options]) == 0
    told = capsys.readouterr().out
    assert "encloses 2 large areas; confidence" in told
    track = load_track("tracks/club")
    pixel = track.source["metres_per_pixel"]
    assert track.length == pytest.approx(726.5, rel=0.01)
    place = np.array([690, 439 - 200]) * 0.5
    assert np.linalg.norm(track.points[0] - place) < 8 + pixel
    assert (track.curvature * track.spacing).sum() > 6  # reversed: counter-clockwise
    assert main(["tracks", "import", "club.png", "start=10,10", "branch=longest", "name=far"]) == 2
    assert "from the centreline" in capsys.readouterr().err
