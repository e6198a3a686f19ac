"""Wrong files are refused with one line that names value, rule and remedy."""

import json

import numpy as np
import pytest
from PIL import Image

from racing.cli import main
from racing.errors import InputError
from racing.tracks.catalog import load_track, load_tracks
from racing.tracks.formats.native import write_native
from racing.tracks.formats.writers import write_ros
from racing.tracks.generator import generate


@pytest.fixture
def native(tmp_path):
    """A good track in the native format, and a way to spoil its JSON."""
    picture = write_native(generate(4, "kart", 420, 7, name="mine"), tmp_path)

    def spoil(**keys):
        path = tmp_path / "checkpoints.json"
        entry = {**json.loads(path.read_text())["mine.png"], **keys}
        path.write_text(json.dumps({"mine.png": {k: v for k, v in entry.items() if v is not None}}))
        return picture

    return spoil


def refusal(spec, **options):
    with pytest.raises(InputError) as caught:
        load_track(spec, **options)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 400
    return message


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"checkpoints": None}, "checkpoints are missing"),
        ({"checkpoints": [[[100, 100], [110, 100]]] * 3}, "3 gates, at least 4"),
        ({"checkpoints": [[1, 2], [3, 4]]}, "checkpoints must be [[[x, y], [x, y]], ...]"),
        ({"checkpoints": "many"}, "checkpoints must be"),
        ({"checkpoints": [[[100, 100], [110, float("nan")]]] * 4}, "NaN"),
        ({"checkpoints": [[[1e6, 100], [1e6, 120]]] * 4}, "outside the picture"),
        ({"checkpoints": [[[50, 50], [50, 50]]] * 4}, "px long, at least 1"),
        ({"start_position": [2, 2]}, "start_position (2, 2) px lies off the road"),
        ({"start_position": [1, 2, 3]}, "start_position must be [x, y]"),
        ({"start_angle": "north"}, "start_angle must be a number"),
        ({"metres_per_pixel": -1}, "metres_per_pixel must be > 0"),
        ({"axes": "screen"}, "axes must be one of image, plot"),
        ({"angle": "left"}, "angle must be one of ccw, cw"),
        ({"gates": []}, "unknown key ['gates']"),
    ],
    ids=lambda value: None if isinstance(value, str) else str(value)[:40],
)
def test_wrong_entries(native, keys, says):
    assert says in refusal(native(**keys))


def test_start_against_the_driving_direction(native, tmp_path):
    angle = json.loads((tmp_path / "checkpoints.json").read_text())["mine.png"]["start_angle"]
    message = refusal(native(start_angle=angle + 180))
    assert "180 deg away from the driving direction" in message
    assert '"angle": "cw"' in message


def test_one_gate_beside_the_road_is_named(native, tmp_path):
    gates = json.loads((tmp_path / "checkpoints.json").read_text())["mine.png"]["checkpoints"]
    gates[3] = (np.array(gates[3]) + 1.5 * (np.array(gates[3][0]) - np.array(gates[3][1]))).tolist()
    assert "gate 3 at pixel" in refusal(native(checkpoints=gates))


def test_gates_whose_columns_and_rows_are_swapped_are_refused(native, tmp_path):
    gates = np.array(json.loads((tmp_path / "checkpoints.json").read_text())["mine.png"]["checkpoints"])
    message = refusal(native(checkpoints=gates[..., ::-1].tolist()))
    assert "gate" in message
    assert "road" in message or "picture" in message


def test_wrong_json(native, tmp_path):
    picture = native()
    for text, says in (("{", "line 1 column 2"), ("[]", "must be an object"), ("{}", "must be an object")):
        (tmp_path / "checkpoints.json").write_text(text)
        assert says in refusal(picture)
    (tmp_path / "checkpoints.json").write_text('{"other.png": {}}')
    assert "no entry 'mine.png', it has other.png" in refusal(picture)


def test_wrong_pictures(tmp_path):
    (tmp_path / "text.png").write_text("hello")
    assert "cannot be read as a picture" in refusal(tmp_path / "text.png")
    good = tmp_path / "cut.png"
    Image.effect_noise((300, 300), 50).save(good)
    good.write_bytes(good.read_bytes()[:5000])
    assert "cannot be read as a picture" in refusal(good)
    Image.new("L", (200, 200), 255).save(tmp_path / "blank.png")
    assert "no closed ring of road" in refusal(tmp_path / "blank.png")


def test_a_huge_picture_is_refused_from_its_header(tmp_path, monkeypatch):
    Image.new("1", (9000, 9000)).save(tmp_path / "huge.png")
    monkeypatch.setattr(Image.Image, "convert", lambda *_: pytest.fail("the picture was decoded"))
    assert "9000 x 9000 pixels, at most 64,000,000" in refusal(tmp_path / "huge.png")


def ring(size=400, gap=False, second=False):
    """A plain picture of a round road."""
    y, x = np.mgrid[:size, :size]
    radius = np.hypot(x - size / 2, y - size / 2)
    road = (radius > 120) & (radius < 150)
    if gap:
        road &= ~((np.abs(y - size / 2) < 6) & (x > size / 2))
    if second:
        road |= (np.abs(x - size / 2) < 15) & (radius < 150)
    return Image.fromarray((road * 255).astype(np.uint8))


def test_roads_that_are_no_ring(tmp_path):
    ring().save(tmp_path / "good.png")
    assert load_track(tmp_path / "good.png").length == pytest.approx(2 * np.pi * 135 * 10 / 30, rel=0.02)
    ring(gap=True).save(tmp_path / "gap.png")
    assert "no closed ring of road" in refusal(tmp_path / "gap.png")
    ring(second=True).save(tmp_path / "second.png")
    assert "encloses 2 large areas" in refusal(tmp_path / "second.png")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("1,2,3,4\n" * 3, "at least 8 different points, got 1"),
        ("0,0,1,1\n1,nan,1,1\n", "line 2 holds NaN"),
        ("0,0,1,1\n1,inf,1,1\n", "line 2 holds NaN or infinity"),
        ("0,0,1,1\n1,1,1\n", "line 2 has 3 columns, the first row has 4"),
        ("0,0,1\n1,1,1\n", "3 columns; give 2"),
        ("x,y,r,l\n0,0,1,1\nend,of,data,here\n", "line 3 column 1 (x): 'end' is no number"),
        ("# nothing\n", "holds no numbers"),
        ("\n".join(f"{k},{k % 2},1,1" for k in range(40)), "the line is not closed"),
        ("\n".join(f"{np.cos(k)},{np.sin(k)},-1,1" for k in np.arange(0, 6.28, 0.1)), "must be > 0 m, got -1"),
        ("\n".join(f"{np.cos(k)},{np.sin(k)}" for k in np.arange(0, 6.28, 0.1)), "give half_width in metres"),
    ],
)
def test_wrong_tables(tmp_path, text, says):
    (tmp_path / "line.csv").write_text(text)
    assert says in refusal(tmp_path / "line.csv")


def test_a_table_that_is_no_text(tmp_path):
    (tmp_path / "line.csv").write_bytes(bytes(range(128, 256)))
    assert "cannot be read as text" in refusal(tmp_path / "line.csv")


def test_a_road_that_touches_itself_is_refused_and_the_place_named(tmp_path):
    """A horseshoe whose arms are 8 m apart between centrelines: 6 m of road fit, 10 m do not."""
    angle = np.radians(np.arange(-82, 263, 2.0))
    outer = np.stack([40 * np.cos(angle), 40 * np.sin(angle)], axis=1)
    (x0, y0), (x1, _) = outer[0], outer[-1]
    neck = np.linspace(y0, -100, 40)[1:-1]
    arms = [np.stack([np.full(38, 4.0 * np.sign(x)), neck], axis=1) for x in (x0, x1)]
    base = np.array(
        [
            [-4, -100],
            [-30, -110],
            [-60, -60],
            [-60, 0],
            [-60, 60],
            [0, 80],
            [60, 60],
            [60, 0],
            [60, -60],
            [30, -110],
            [4, -100],
        ]
    )
    line = np.concatenate([outer, arms[1], base, arms[0][::-1]])
    np.savetxt(tmp_path / "line.csv", line, delimiter=",")
    assert load_track(tmp_path / "line.csv", half_width=2.5).length > 500
    message = refusal(tmp_path / "line.csv", half_width=5.0)
    assert "the road touches itself" in message
    assert "m into the lap, at (" in message


def test_a_flat_crossing_is_refused_and_a_steep_one_is_not(tmp_path):
    t = np.linspace(0, 2 * np.pi, 400, endpoint=False)
    for height, good in ((70, True), (12, False)):
        np.savetxt(tmp_path / "eight.csv", np.stack([120 * np.sin(t), height * np.sin(2 * t)], axis=1), delimiter=",")
        if good:
            assert load_track(tmp_path / "eight.csv", half_width=4.0).name == "eight"
        else:
            assert "at least 30 is a crossing" in refusal(tmp_path / "eight.csv", half_width=1.0)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"image": None}, "key image is missing"),
        ({"resolution": None}, "key resolution is missing"),
        ({"resolution": 0}, "resolution must be > 0"),
        ({"resolution": "fine"}, "resolution must be metres per pixel"),
        ({"origin": "[1]"}, "origin must be [x, y, yaw]"),
        ({"origin": "[1, a, 0]"}, "origin must be three numbers"),
        ({"free_thresh": 0.9}, "0 < free_thresh <= occupied_thresh"),
        ({"mode": "quaternary"}, "mode must be one of trinary"),
        ({"image": "absent.png"}, "absent.png does not exist"),
        ({"image": "[unclosed"}, "is not valid YAML"),
        ({"image": "!!python/object/apply:os.getcwd []"}, "is not valid YAML"),
    ],
)
def test_wrong_maps(tmp_path, change, says):
    ring().save(tmp_path / "map.png")
    keys = {"image": "map.png", "resolution": 0.05, "origin": "[0, 0, 0]", "negate": 0} | change
    (tmp_path / "map.yaml").write_text("\n".join(f"{k}: {v}" for k, v in keys.items() if v is not None))
    assert says in refusal(tmp_path / "map.yaml")


def test_wrong_specs(tmp_path):
    assert "neither a known track nor a file" in refusal(tmp_path / "absent.png")
    assert "holds no track" in refusal(tmp_path)
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).write_text("1,2\n")
    assert "holds 2 tracks: a.csv, b.csv" in refusal(tmp_path)
    (tmp_path / "notes.doc").write_text("x")
    assert "must be one of .png" in refusal(tmp_path / "notes.doc")
    assert "scale must be in (0, 10000), got 0" in refusal("oval", scale=0)
    assert "metres_per_pixel must be in" in refusal("oval", metres_per_pixel=-2.0)


def test_a_map_whose_road_forks_names_no_option_that_maps_have_not(tmp_path):
    ring(second=True).save(tmp_path / "map.png")
    (tmp_path / "map.yaml").write_text("image: map.png\nresolution: 0.05\norigin: [0, 0, 0]\n")
    message = refusal(tmp_path / "map.yaml")
    assert "erase the branch from the map" in message
    assert "--branch" not in message


@pytest.fixture
def line(tmp_path):
    """A table without widths, a picture without gates, a ROS map."""
    t = np.linspace(0, 2 * np.pi, 120, endpoint=False)
    rows = "".join(f"{60 * np.cos(a):.3f},{30 * np.sin(a):.3f}\n" for a in t)
    (tmp_path / "line.csv").write_text(f"x,y\n{rows}")
    folder = tmp_path / "map"
    write_ros(generate(4, "kart", 420, 7, name="mine"), folder, 0.25)
    (tmp_path / "picture").mkdir()
    Image.open(write_native(generate(4, "kart", 420, 7, name="drawn"), tmp_path / "drawn")).save(
        tmp_path / "picture" / "drawn.png"
    )
    return tmp_path


@pytest.mark.parametrize(
    ("spec", "options", "says"),
    [
        ("oval", {"columns": "nonsense"}, "columns=nonsense is for a table, oval.png is a picture with gates; leave"),
        ("oval", {"half_width": 3.0}, "half_width=3.0 is for a table, oval.png is a picture with gates"),
        ("oval", {"branch": "longest"}, "branch=longest is for a picture without gates, oval.png is"),
        ("oval", {"close_gaps": 3}, "close_gaps=3 is for a picture without gates or a ROS map"),
        (
            "line.csv",
            {"half_width": 3.0, "metres_per_pixel": 0.1},
            "metres_per_pixel=0.1 is for a picture with gates or",
        ),
        ("line.csv", {"half_width": 3.0, "branch": "longest"}, "branch=longest is for"),
        ("line.csv", {"half_width": 3.0, "close_gaps": 3}, "line.csv is a table"),
        ("map", {"metres_per_pixel": 0.1}, "is a ROS map; leave it away"),
        ("map", {"columns": "x=1,y=2"}, "columns=x=1,y=2 is for a table"),
        ("map", {"branch": "longest"}, "branch=longest is for"),
        ("picture/drawn.png", {"columns": "x=1,y=2"}, "drawn.png is a picture without gates"),
        ("picture/drawn.png", {"half_width": 4}, "half_width=4 is for a table"),
    ],
)
def test_an_option_that_the_format_does_not_take_is_refused(line, spec, options, says):
    assert says in refusal(spec if spec == "oval" else line / spec, **options)


def test_an_option_that_the_format_takes_is_taken(line):
    load_track(line / "line.csv", half_width=3.0, columns="x=1,y=2")
    load_track(line / "picture" / "drawn.png", metres_per_pixel=0.3, close_gaps=1)
    load_track(line / "drawn" / "drawn.png", metres_per_pixel=0.3)
    load_track(line / "map", close_gaps=1)


def test_of_several_tracks_one_must_take_an_option(line, monkeypatch, capsys):
    names = ["oval", str(line / "line.csv")]
    assert [track.name for track in load_tracks(names, half_width=3.0)] == ["oval", "line"]
    with pytest.raises(InputError, match="half_width=3.0 is for a table"):
        load_tracks(["oval", "mini"], half_width=3.0)
    monkeypatch.chdir(line)
    assert main(["tracks", "validate", *names, "absent", "--no-drive", "--half-width", "3"]) == 2
    said = capsys.readouterr()
    assert "is for a table" not in said.out + said.err
    assert main(["tracks", "validate", "oval", "mini", "--no-drive", "--half-width", "3"]) == 2
    said = capsys.readouterr()
    assert "half_width=3.0 is for a table" in said.out + said.err


def test_a_width_that_is_not_needed_is_said(line, caplog):
    (line / "wide.csv").write_text((line / "line.csv").read_text().replace("\n", ",2\n").replace("y,2", "y,half_width"))
    assert load_track(line / "wide.csv", half_width=3.0).left.mean() == pytest.approx(2, abs=0.01)
    assert "wide.csv: half_width=3.0 is not used, the table has widths of its own" in caplog.text
