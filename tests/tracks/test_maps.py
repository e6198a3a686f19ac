"""Maps and pictures as other machines and programs write them; what stands on a road; why a ring is not closed."""

import json
import logging
import unicodedata

import cv2
import numpy as np
import pytest
from PIL import Image

from racing.cli import main
from racing.errors import InputError
from racing.tracks.catalog import load_track
from racing.tracks.formats.map_settings import read_settings
from racing.tracks.formats.native import write_native
from racing.tracks.generator import generate
from racing.tracks.images.lap import UnclearRoad
from tests.tracks.painting import OVAL, coloured, outline, stroke

KEYS = {"image": "map.png", "resolution": "0.1", "origin": "[-32.0, -21.0, 0.0]", "negate": "0", "free_thresh": "0.196"}
GAP = np.s_[208:222, 705:735]  # in the outer wall of `outline`, at its right


def walls(unknown=205, gap=False):
    """The oval as ROS' map_saver draws it: free 254, walls 0, the rest unknown."""
    image = np.full((440, 800), unknown, np.uint8)
    image[stroke(OVAL, 23) > 0] = 0
    image[stroke(OVAL, 20) > 0] = 254
    if gap:
        image[GAP][image[GAP] == 0] = unknown
    return image


@pytest.fixture
def write(tmp_path):
    """Write a map; returns the path of its yaml."""

    def write_map(pixels, name="map", **keys):
        cv2.imwrite(str(tmp_path / "map.png"), pixels)
        path = tmp_path / f"{name}.yaml"
        path.write_text("".join(f"{key}: {value}\n" for key, value in {**KEYS, **keys}.items() if value is not None))
        return path

    return write_map


# -- numbers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("resolution", "1e-1"),
        ("resolution", '"0.1"'),
        ("resolution", ".1"),
        ("resolution", "1E-01"),
        ("resolution", "0.1 # [m]"),
        ("origin", "[-32, -21, 1e-15]"),
        ("origin", '["-3.2e1", -2.1E+1, 0]'),
        ("origin", "\n  - -32\n  - -021\n  - 0"),  # YAML 1.1 takes 021 for an octal
        ("origin", "[-32., -21.]"),
        ("negate", "false"),
        ("negate", '"0"'),
        ("free_thresh", "196e-3"),
    ],
)
def test_numbers_are_those_of_yaml_1_2(write, key, value):
    plain = read_settings(write(walls()))
    read = read_settings(write(walls(), **{key: value}))
    assert (read.resolution, read.negate, read.free) == pytest.approx((plain.resolution, plain.negate, plain.free))
    assert read.origin == pytest.approx(plain.origin)


@pytest.mark.parametrize("value", ["0,1", "1:30", "0x1", "1_0", "on", "''", "1e", "~"])
def test_what_is_no_number_is_refused(write, value):
    with pytest.raises(InputError, match="resolution must be metres per pixel"):
        read_settings(write(walls(), resolution=value))


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_yaml_may_have_a_byte_order_mark(write, encoding):
    path = write(walls())
    path.write_bytes(path.read_text().encode(encoding))
    assert read_settings(path).resolution == 0.1


# -- pictures --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "image",
    [
        "/home/someone/ws/maps/map.png",
        "~/map.png",
        "package://maps/map.png",
        "file:///tmp/x/map.png",
        r"C:\Users\someone\map.png",
        r"..\maps\map.png",
        "maps/map.png",
        "../elsewhere/map.png",
        "map",
        "MAP.PNG",
    ],
)
def test_a_picture_named_by_another_machine_is_found_beside_the_yaml(write, caplog, image):
    with caplog.at_level(logging.WARNING):
        assert read_settings(write(walls(), image=image)).image.name == "map.png"
    (warning,) = [record.getMessage() for record in caplog.records]
    assert warning.endswith("taking map.png beside it: write image: map.png")


@pytest.mark.parametrize("image", ["map.png", "./map.png", '"map.png"'])
def test_a_picture_that_is_there_is_taken_without_a_word(write, caplog, image):
    with caplog.at_level(logging.WARNING):
        read_settings(write(walls(), image=image))
    assert not caplog.records


def test_a_link_beside_the_yaml_does_not_lead_out_of_the_folder(tmp_path):
    folder = tmp_path / "given"
    folder.mkdir()
    cv2.imwrite(str(tmp_path / "secret.png"), walls())
    (folder / "map.png").symlink_to(tmp_path / "secret.png")
    (folder / "map.yaml").write_text("image: /home/x/map.png\nresolution: 0.1\norigin: [0, 0, 0]\n")
    with pytest.raises(InputError, match="leads out of the folder"):
        read_settings(folder / "map.yaml")


def test_an_absent_picture_is_named_with_those_that_are_there(write):
    with pytest.raises(InputError, match=r"other.png does not exist; there is map.png; correct image in map.yaml"):
        read_settings(write(walls(), image="other.png"))


# -- obstacles -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("side", "size"), [(20, "2 x 2 m"), (5, "0.5 x 0.5 m"), (3, "0.3 x 0.3 m")])
def test_what_stands_on_the_road_of_a_map_is_said(write, caplog, side, size):
    image = walls()
    image[370 - side // 2 : 370 - side // 2 + side, 400 - side // 2 : 400 - side // 2 + side] = 0
    with caplog.at_level(logging.WARNING):
        load_track(write(image))
    (warning,) = [record.getMessage() for record in caplog.records]
    assert "what stands on the road is left out of the track" in warning
    assert size in warning
    x, y = (float(v) for v in warning.split("at (")[1].split(")")[0].split(","))
    assert (x, y) == pytest.approx((-32 + 40.05, -21 + (440 - 370.5) * 0.1), abs=0.15)


def test_specks_on_a_road_are_not_said(write, caplog):
    image, rng = walls(), np.random.default_rng(0)
    image[(rng.random(image.shape) < 0.002) & (stroke(OVAL, 17) > 0)] = 0
    with caplog.at_level(logging.WARNING):
        load_track(write(image))
    assert not caplog.records


def test_what_stands_on_the_road_of_a_picture_is_said_and_what_is_painted_is_not(tmp_path, caplog):
    picture = coloured(stroke(OVAL, 20))
    picture[365:367, 300:330, :3] = 250  # a line along the road
    Image.fromarray(picture[..., :3]).save(tmp_path / "club.png")
    with caplog.at_level(logging.WARNING):
        load_track(tmp_path / "club.png", metres_per_pixel=0.25)
    assert not caplog.records
    picture[362:378, 392:408, :3] = (200, 30, 30)
    Image.fromarray(picture[..., :3]).save(tmp_path / "club.png")
    with caplog.at_level(logging.WARNING):
        load_track(tmp_path / "club.png", metres_per_pixel=0.25)
    assert "club: what stands on the road is left out" in caplog.text


def test_validate_counts_the_warnings_of_the_reader(write, capsys):
    image = walls()
    image[360:380, 390:410] = 0
    assert main(["tracks", "validate", str(write(image)), "--no-drive"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("warning: map.yaml: what stands on the road")
    assert "valid, 1 warnings" in out


# -- rings that are open ---------------------------------------------------------------------------------------------


def near(error, x=718.0, y=215.0):
    """Whether the first mark of a refusal is at the gap."""
    return np.hypot(error.marks[0].x - x, error.marks[0].y - y) < 15


@pytest.mark.parametrize("unknown", [216, 230, 190])
def test_another_gray_for_unknown_is_told_with_the_threshold_that_closes(write, unknown):
    path = write(walls(unknown, gap=True), free_thresh="0.3")
    with pytest.raises(UnclearRoad, match=rf"gray {unknown} \(\d+% of the picture\) counts as free") as caught:
        load_track(path)
    assert near(caught.value)
    threshold = str(caught.value).partition("free_thresh: ")[2].split()[0]
    assert f"free_thresh: {threshold}" in caught.value.marks[0].text
    assert load_track(write(walls(unknown, gap=True), free_thresh=threshold)).length == pytest.approx(145, rel=0.03)


def test_a_gray_road_is_told_with_the_threshold_that_takes_it(write):
    image = np.where(stroke(OVAL, 20) > 0, 180, 0).astype(np.uint8)
    with pytest.raises(UnclearRoad, match=r"gray 180 \(\d+% of the picture\) does not count as free") as caught:
        load_track(write(image))
    threshold = str(caught.value).partition("free_thresh: ")[2].split()[0]
    assert load_track(write(image, free_thresh=threshold)).length == pytest.approx(145, rel=0.03)


def test_a_dark_road_is_told_with_negate(write):
    image = np.where(stroke(OVAL, 20) > 0, 0, 255).astype(np.uint8)
    with pytest.raises(UnclearRoad, match="turn negate round"):
        load_track(write(image))
    assert load_track(write(image, negate="1")).length == pytest.approx(145, rel=0.03)


def test_a_gap_in_a_wall_is_marked_and_closed_by_the_option_that_is_named(write, tmp_path, capsys):
    image = outline()
    image[GAP] = 255
    path = write(image, name="hall")
    with pytest.raises(UnclearRoad, match=r"at pixel \(7\d\d, 21\d\); draw it closed, or bridge it with") as caught:
        load_track(path)
    assert near(caught.value)
    size = str(caught.value).partition("--close-gaps ")[2].split()[0]
    out = str(tmp_path / "out")
    assert main(["tracks", "import", str(path), "--out", out]) == 2
    assert "marked in" in capsys.readouterr().err
    marked = np.asarray(Image.open(tmp_path / "out" / "hall-refused.png").convert("RGB")).astype(int)
    assert ((marked[..., 0] > 200) & (marked[..., 1] < 60)).sum() > 50  # a red ring
    assert main(["tracks", "import", str(path), "--close-gaps", size, "--out", out]) == 0
    assert load_track(tmp_path / "out" / "hall").length == pytest.approx(145, rel=0.03)


# -- checkpoints.json ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("picture", "entry", "file", "encoding"),
    [
        ("mine.png", "mine.png", "checkpoints.json", "utf-8-sig"),
        ("mine.png", "mine.png", "checkpoints.json", "utf-16"),
        ("Mine.PNG", "mine.png", "checkpoints.json", "utf-8"),
        ("mine.png", "MINE.png", "checkpoints.json", "utf-8"),
        ("mine.png", "mine", "checkpoints.json", "utf-8"),
        ("mine.png", "mine.png", "Checkpoints.JSON", "utf-8"),
        ("größe.png", unicodedata.normalize("NFD", "größe.png"), "checkpoints.json", "utf-8"),
    ],
)
def test_entries_are_found_by_every_name_of_their_picture(tmp_path, picture, entry, file, encoding):
    drawn = write_native(generate(4, "kart", 420, 7, name="mine"), tmp_path, metres_per_pixel=0.5)
    expected = load_track(drawn)
    data = json.loads((tmp_path / "checkpoints.json").read_text())["mine.png"]
    drawn.rename(tmp_path / picture)
    (tmp_path / "checkpoints.json").unlink()
    (tmp_path / file).write_bytes(json.dumps({entry: data}, ensure_ascii=False).encode(encoding))
    for spec in (tmp_path / picture, tmp_path, tmp_path / file):
        assert np.array_equal(load_track(spec).gates, expected.gates)
