"""Tables as programs and people write them: columns by their names, units, separators, encodings, laps that go on."""

import logging

import numpy as np
import pytest

from racing.errors import InputError
from racing.tracks.catalog import load_track
from racing.tracks.formats.centreline import read_line
from racing.tracks.formats.columns import find_columns

ANGLE = np.linspace(0, 2 * np.pi, 120, endpoint=False)
RING = np.stack([60 * np.cos(ANGLE), 40 * np.sin(ANGLE)], axis=1)  # [m]
RIGHT, LEFT = 3.0, 6.0  # [m]


def rows(columns, points=RING, separator=",", form="{:.4f}"):
    """Lines of a table. columns: of each what it holds, a letter of values or a number."""
    values = {
        "x": points[:, 0],
        "y": points[:, 1],
        "r": RIGHT,
        "l": LEFT,
        "w": RIGHT + LEFT,
        "i": np.arange(len(points)),
    }
    table = np.column_stack([np.broadcast_to(values.get(c, c), len(points)).astype(float) for c in columns])
    return "\n".join(separator.join(form.format(v) for v in row) for row in table)


def read(tmp_path, text, name="own.csv", **options):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_line(path, **options)


def refusal(tmp_path, text, **options):
    with pytest.raises(InputError) as caught:
        read(tmp_path, text, **options)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 400
    return message


def same(line, right=RIGHT, left=LEFT, tolerance=1e-4):
    """Whether a line is RING with these half-widths."""
    assert np.abs(line.points - RING).max() < tolerance
    assert (line.right.mean(), line.left.mean()) == pytest.approx((right, left), abs=tolerance)


# -- names -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "columns"),
    [
        ("x_m,y_m,w_tr_right_m,w_tr_left_m", "xyrl"),
        ("x_m,y_m,w_tr_left_m,w_tr_right_m", "xylr"),
        ("y,x,left,right", "yxlr"),
        ("X,Y,Width Right (m),Width Left [m]", "xyrl"),
        ("left_width;y;x;right_width", "lyxr"),
        ("s_m;x_rl;y_rl;w_left;w_right;vx_mps", ["i", "x", "y", "l", "r", 8]),
        ("easting,northing,dist_to_left_border,dist_to_right_border", "xylr"),
        ("pos_x,pos_y,trackWidthLeft,trackWidthRight", "xylr"),
        ("field.pose.position.x,field.pose.position.y,field.pose.orientation.x,wl,wr", ["x", "y", 0.5, "l", "r"]),
        ("# x_m, y_m, w_l, w_r", "xylr"),
        ("# 5 km; by hand\n# y x w_l w_r", "yxlr"),
        ("x_ref_m;y_ref_m;width_right_m;width_left_m;x_normvec_m;y_normvec_m", ["x", "y", "r", "l", 0.6, 0.8]),
        (",x,y,r,l", "ixyrl"),
        ("Unnamed: 0,x,y,r,l", "ixyrl"),
        ("lat,lon,x_utm,y_utm,r,l", [48.1, 11.6, "x", "y", "r", "l"]),
    ],
)
def test_columns_are_taken_by_their_names(tmp_path, names, columns):
    separator = ";" if ";" in names.splitlines()[-1] else ","
    same(read(tmp_path, f"{names}\n{rows(columns, separator=separator)}\n"))


def test_names_that_say_something_else_are_none():
    names = ["t", "vx", "x_goal", "left_x", "orientation.y", "x", "y", "yaw", "w", "r", "kappa", "left_wheel_speed"]
    assert {role: pick.index for role, pick in find_columns(names, {}, "here").items()} == {"x": 5, "y": 6}


@pytest.mark.parametrize(
    ("names", "columns", "half"), [("x,y,track_width", "xyw", 4.5), ("x,y,half_width", ["x", "y", 4.5], 4.5)]
)
def test_one_width_is_halved_unless_it_is_a_half(tmp_path, names, columns, half):
    same(read(tmp_path, f"{names}\n{rows(columns)}"), half, half)


@pytest.mark.parametrize(("unit", "factor"), [("ft", 0.3048), ("cm", 0.01), ("km", 1000.0), ("mm", 0.001)])
@pytest.mark.parametrize("form", ["x_{0},y_{0},w_tr_right_{0},w_tr_left_{0}", "x [{0}],y [{0}],right ({0}),left ({0})"])
def test_units_in_names_are_converted(tmp_path, unit, factor, form):
    table = np.column_stack([RING, np.full((len(RING), 2), (RIGHT, LEFT))]) / factor
    text = "\n".join(",".join(f"{v:.9g}" for v in row) for row in table)
    same(read(tmp_path, f"{form.format(unit)}\n{text}"), tolerance=1e-3)
    names = form.format(unit).split(",")
    bare = "x,y,w_right,w_left\n" + ",".join([unit] * 4)
    same(read(tmp_path, f"{bare}\n{text}"), tolerance=1e-3)  # units in a line of their own
    mixed = ",".join([names[0], names[1], "w_right", "w_left"])
    assert "names no unit" in refusal(tmp_path, f"{mixed}\n{text}")


@pytest.mark.parametrize(
    ("names", "says"),
    [
        ("a,b,c,d", "own.csv line 1: no columns x and y among a, b, c, d; name them: --columns"),
        ("lat,lon,alt,speed", "lat and lon are degrees; project longitude and latitude to metres"),
        ("x_deg,y_deg,r,l", "'x_deg' is an angle"),
        ("x_px,y_px,r,l", "'x_px' is in 'px', which is no length"),
        ("x [furlong],y [furlong],r,l", "'x [furlong]' is in 'furlong'"),
        ("x,x,y,l", "several columns may be x and y"),
        ("x_center,y_center,x_rl,y_rl", "several columns may be x and y"),
        ("x,y,w_right,v", "is a half-width, none is found on the left"),
        ("x,y,v,kappa", "none with widths: x, y, v, kappa; give half_width in metres"),
        ("x,y,w_l,w_left", "may both be left"),
    ],
)
def test_names_that_do_not_do_are_refused(tmp_path, names, says):
    assert says in refusal(tmp_path, f"{names}\n{rows('xyrl')}")


def test_columns_say_what_a_table_does_not(tmp_path):
    text = f"rechts,ost,nord,links\n{rows('rxyl')}"
    by_name = read(tmp_path, text, columns="x=ost,y=nord,right=rechts,left=links")
    same(by_name)
    same(read(tmp_path, text, columns={"x": 2, "y": "3", "right": 1, "left": 4}))
    same(read(tmp_path, rows("lyx"), columns="x=3,y=2,width=1"), LEFT / 2, LEFT / 2)
    for wrong, says in {
        "x=ost": "must name both x and y",
        "x=east,y=nord": "no columns 'east' among rechts, ost, nord, links",
        "x": "columns must be x=NAME,y=NAME, got 'x'",
        "x=ost,y=nord,z=links": "columns may name x, y, right",
        "x=ost,y=nord,right=rechts": "both right and left",
        "x=ost,y=9": "no columns '9'",
    }.items():
        assert says in refusal(tmp_path, text, columns=wrong)


# -- tables without names --------------------------------------------------------------------------------------------


def test_seven_columns_are_a_raceline_only_if_the_first_one_rises(tmp_path):
    same(read(tmp_path, rows(["i", "x", "y", 0.1, 0.2, 8, 0]), half_width=3.0), 3.0, 3.0)
    poses = rows(["x", "y", 0, 0, 0, 0.5, 0.8])
    assert "7 columns without names, and the first one is no arc length" in refusal(tmp_path, poses, half_width=3.0)
    same(read(tmp_path, poses, half_width=3.0, columns="x=1,y=2"), 3.0, 3.0)
    same(read(tmp_path, f"x,y,z,qx,qy,qz,qw\n{poses}", half_width=3.0), 3.0, 3.0)


# -- separators, signs, encodings ------------------------------------------------------------------------------------

NAMES = ["x_m", "y_m", "w_tr_right_m", "w_tr_left_m"]


def comma(text):
    return text.replace(".", ",")


@pytest.mark.parametrize(
    "text",
    [
        "\t".join(NAMES) + "\n" + rows("xyrl", separator="\t"),
        " ".join(NAMES) + "\n" + rows("xyrl", separator="   "),
        "x [m]  y [m]  right [m]  left [m]\n" + rows("xyrl", separator=" \t "),
        rows("xyrl", separator=" ", form="{:.18e}"),  # numpy.savetxt
        "# " + " ".join(NAMES) + "\n" + rows("xyrl", separator=" ", form="{:.18e}"),
        ";".join(NAMES) + "\n" + comma(rows("xyrl", separator=";")),
        comma(rows("xyrl", separator=";")),
        comma(rows("xyrl", separator="\t")),
        comma(rows("xyrl", separator=" ")),
        comma(rows("xyrl", separator=";", form="{:.6e}")),
        "sep=;\n" + ";".join(NAMES) + "\n" + rows("xyrl", separator=";") + "\n;;;\n",
        ",".join(f'"{n}"' for n in NAMES) + "\n" + rows("xyrl", form='"{:.4f}"'),
        '"x, in metres [m]","y","r","l"\n'.replace("x, in metres [m]", "x")
        + rows("xyrl", separator=", ", form='"{:.4f}"'),
        "% made by MATLAB\n" + rows("xyrl"),
        "%time,field.pose.position.x,field.pose.position.y,wr,wl,frame\n"
        + rows("ixyrl").replace("\n", ",map\n")
        + ",map",
        rows("xyrl").replace("\n", ",\r\n"),
        rows("xyrl").replace("\n", "\r"),
    ],
)
def test_every_separator_and_sign_gives_the_same_line(tmp_path, text):
    same(read(tmp_path, text), tolerance=1e-3)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_every_encoding_gives_the_same_line(tmp_path, encoding):
    same(read(tmp_path, (",".join(NAMES) + "\r\n" + rows("xyrl")).encode(encoding)))


def test_comments_may_hold_any_letter(tmp_path):
    same(read(tmp_path, "# Strecke Nürburgring, 1\n".encode("latin-1") + rows("xyrl").encode()))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("1|2|3|4\n" + rows("xyrl"), "line 1: '1|2|3|4' is no row of numbers, and no line of names; separators are"),
        (",".join(NAMES) + "\n60.0,,3,6\n" + rows("xyrl"), "line 2 column 2 (y_m): is empty"),
        (",".join(NAMES) + "\n" + rows("xyrl") + "\n60,1", "line 122 has 2 columns, the names in line 1 are 4"),
        ("60,05,0,07\n60,65,1,11\n", "decimal commas between commas"),
        ("60,5;1.5;3;6\n" * 9, "with decimal points and others with decimal commas"),
        ("1.234,5;1;3;6\n" * 9, "is no row of numbers"),
        ("1,2,3\n" * 9, "3 columns; give 2 (x, y), 4"),
        ('"60,0,3,6\n' + "x" * 200_000, "line 2"),
    ],
)
def test_what_is_refused_names_the_first_wrong_line(tmp_path, text, says):
    assert says in refusal(tmp_path, text)


@pytest.mark.parametrize("name", ["own.txt", "OWN.CSV", "own.tsv", "a b, [c] (d) #5 100% ü'=.csv"])
def test_any_file_name_will_do(tmp_path, name):
    (tmp_path / name).write_text(rows("xyrl"))
    assert load_track(tmp_path / name).length == pytest.approx(317, rel=0.01)
    if name != "own.tsv":
        (tmp_path / "notes.md").write_text("not a track")
    assert load_track(tmp_path).length == pytest.approx(317, rel=0.01)


def test_notes_beside_a_table_are_none(tmp_path):
    (tmp_path / "own.csv").write_text(rows("xyrl"))
    (tmp_path / "README.txt").write_text("not a track")
    assert load_track(tmp_path).name == "own"


# -- laps ------------------------------------------------------------------------------------------------------------


def recorded(turns, step=1.3, beside=0.0, seed=None):
    """A line driven for `turns` laps of the ellipse, drifting outwards by `beside` [m] per lap."""
    lap = np.arange(0, turns * 2 * np.pi, step / 50)
    out = 1 + beside * lap / (2 * np.pi) / 50
    noise = 0 if seed is None else np.random.default_rng(seed).normal(0, 0.05, (len(lap), 2))
    return np.stack([60 * out * np.cos(lap), 40 * out * np.sin(lap)], axis=1) + noise


@pytest.mark.parametrize(
    ("turns", "options"),
    [(1.1, {}), (1.01, {}), (2.0, {}), (3.6, {}), (1.2, {"beside": 1.0}), (2.5, {"beside": -1.5}), (1.3, {"seed": 1})],
    ids=str,
)
def test_a_lap_that_goes_on_is_cut_where_it_meets_its_beginning(tmp_path, caplog, turns, options):
    text = "x,y\n" + rows("xy", recorded(turns, **options))
    with caplog.at_level(logging.WARNING):
        line = read(tmp_path, text, half_width=4.0)
    (warning,) = [record.getMessage() for record in caplog.records]
    assert warning == f"own.csv: {line.again} points at the end drive the beginning of the lap again; cut off"
    track = load_track(tmp_path / "own.csv", half_width=4.0)
    assert track.length == pytest.approx(317, rel=0.03)
    assert np.abs(track.curvature).max() < 0.15  # no kink at the seam, whose inner edge would be a point from 1/4 on
    assert track.source["points_cut_off"] == line.again


def test_a_car_that_stands_leaves_one_point(tmp_path, caplog):
    noise = np.random.default_rng(3).normal(0, 0.02, (60, 2))
    start, middle = recorded(1.05)[:1] + noise, RING[60] + noise
    line = np.concatenate([start, recorded(1.05)[1:61], middle[:0], recorded(1.05)[61:]])
    with caplog.at_level(logging.WARNING):
        read(tmp_path, "x,y\n" + rows("xy", line), half_width=4.0)
    assert "points of a car that stands; left out" in caplog.text
    track = load_track(tmp_path / "own.csv", half_width=4.0)
    assert track.length == pytest.approx(317, rel=0.02)
    assert np.abs(track.curvature).max() < 0.1


@pytest.mark.parametrize("begin", [0, 75, 150, 260])
def test_a_figure_of_eight_is_one_lap_wherever_it_begins(tmp_path, begin):
    t = np.linspace(0, 2 * np.pi, 300, endpoint=False)
    eight = np.roll(np.stack([120 * np.sin(t), 70 * np.sin(2 * t)], axis=1), begin, axis=0)
    line = read(tmp_path, "x,y\n" + rows("xy", eight), half_width=4.0)
    assert (len(line.points), line.again) == (300, 0)


def test_lengths_in_other_units_are_said_in_one_line(tmp_path):
    degrees = [11.6, 48.1] + RING / 60_000
    says = "m long and the road 8 m wide; are both in metres? project longitude and latitude"
    assert says in refusal(tmp_path, rows("xy", degrees, form="{:.7f}"), half_width=4.0)
    assert "are both in metres? correct the units" in refusal(tmp_path, rows("xy", RING / 100), half_width=4.0)
