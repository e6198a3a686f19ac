"""Readers against published centrelines: figures of merit with room for other library versions, not for mistakes."""

import logging
import shutil

import cv2
import numpy as np
import pytest

from racing.errors import InputError
from racing.sim.track import resample_closed
from racing.tracks.catalog import load_track
from racing.tracks.formats.centreline import read_table
from racing.tracks.generator import generate
from racing.tracks.geometry import nearest
from tests.conftest import shared


def distances(points, line):
    """Distance [m] from `points` to the closed spline through `line`."""
    (fine,) = resample_closed(line, np.linalg.norm(line[1] - line[0]) / 30)
    return nearest(fine, points)[1]


@pytest.mark.parametrize(
    ("folder", "name", "mean", "most", "half"),
    [
        ("f1tenth_benchmarks", "aut", 0.027, 0.12, (0.89, 0.96)),
        ("f1tenth_benchmarks", "esp", 0.027, 0.20, (0.89, 0.96)),
        ("f1tenth_racetracks", "Spielberg", 0.007, 0.25, (1.06, 1.11)),
        ("f1tenth_racetracks", "Oschersleben", 0.007, 0.05, (0.96, 1.00)),
    ],
)
def test_ros_maps_give_the_published_centreline_and_the_width_of_the_picture(folder, name, mean, most, half):
    suffix = "_map" if folder == "f1tenth_racetracks" else ""
    path = shared("tracks", folder, name, f"{name}{suffix}.yaml")
    track = load_track(path)
    given, _, _ = read_table(path.with_name(f"{name}_centerline.csv"))
    error = distances(track.points, given)
    assert error.mean() < mean
    assert error.max() < most
    assert half[0] < track.left.mean() < half[1]
    assert np.linalg.norm(track.points[0] - given[0]) < 0.1  # starts where the table starts
    ahead = given[3] - given[0]
    assert ahead @ [np.cos(track.start_angle), np.sin(track.start_angle)] > 0  # and drives its way
    edges = np.abs(track.clearance.at(np.concatenate([track.left_edge, track.right_edge])))
    assert np.median(edges) < 0.04  # the grid and the half-widths agree


def test_a_table_whose_width_is_wrong_gets_one_warning(caplog):
    with caplog.at_level(logging.WARNING):
        load_track(shared("tracks", "f1tenth_racetracks", "Oschersleben", "Oschersleben_map.yaml"))
    assert [r.getMessage() for r in caplog.records] == [
        "Oschersleben_centerline.csv gives a road width of 2.20 m, the picture 1.97 m; using the picture's"
    ]


@pytest.mark.parametrize(
    ("name", "pixel", "table", "length", "width"),
    [("norisring", 1.0, "Norisring", 2297, 15.88), ("budapest", 1.5, "Budapest", 4378, 9.98)],
)
def test_native_format_gives_the_published_centreline(name, pixel, table, length, width):
    track = load_track(shared("tracks", "png_checkpoints", f"{name}.png"), metres_per_pixel=pixel)
    given, _, _ = read_table(shared("tracks", "tum", f"{table}.csv"))
    points = track.points + given.mean(axis=0) - track.points.mean(axis=0)
    (fine,) = resample_closed(given, 0.1)
    for _ in range(50):  # the picture's origin is not given: shift onto the table
        points = points + (fine[nearest(fine, points)[0]] - points).mean(axis=0)
    error = distances(points, given)
    assert error.mean() < 0.35 * pixel
    assert error.max() < 1.5 * pixel
    assert track.length == pytest.approx(length, rel=3e-3)
    assert (track.left + track.right).mean() == pytest.approx(width, abs=1.2 * pixel)
    assert len(track.gates) == 48


@pytest.mark.slow
@pytest.mark.parametrize("name", ["example_map", "berlin", "vegas"])
def test_maps_without_a_table_are_driven_clockwise_from_a_straight(name):
    track = load_track(shared("tracks", "f1tenth_gym", name, f"{name}.yaml"))
    assert (track.curvature * track.spacing).sum() == pytest.approx(-2 * np.pi, abs=0.01)
    assert abs(track.curvature[0]) < 0.1
    assert track.source["direction"] == "assumed clockwise"


@pytest.mark.parametrize("name", ["Norisring", "Spielberg"])
def test_published_tables_load_at_both_scales(name):
    path = shared("tracks", "tum", f"{name}.csv")
    full, small = load_track(path), load_track(path, scale=0.1)
    given, right, left = read_table(path)
    assert distances(full.points, given).mean() < 0.1
    assert full.left.mean() == pytest.approx(left.mean(), rel=0.02)
    assert full.right.mean() == pytest.approx(right.mean(), rel=0.02)
    assert small.length == pytest.approx(full.length / 10)
    assert small.clearance.at(small.points).min() == pytest.approx(full.clearance.at(full.points).min() / 10, rel=1e-3)


# -- maps made here --------------------------------------------------------------------------------------------------

RESOLUTION = 0.05


def write_map(folder, track, *, outline=False, picture=None, **keys):
    """A ROS map of `track`: filled, or as thin walls; returns the yaml's path."""
    low = track.points.min(axis=0) - 3
    high, wide = (np.ptp(track.points, axis=0)[::-1] + 6) / RESOLUTION
    image = np.full((int(high), int(wide)), 255 if outline else 0, np.uint8)

    def pixels(points):
        columns, rows = ((points - low) / RESOLUTION - 0.5).T
        return np.round(np.stack([columns, len(image) - 1 - rows], axis=1) * 16).astype(np.int32)

    edges = [pixels(track.left_edge), pixels(track.right_edge)]
    if outline:
        cv2.polylines(image, edges, True, 0, 2, cv2.LINE_AA, 4)
    else:
        quads = np.stack([edges[0], np.roll(edges[0], -1, 0), np.roll(edges[1], -1, 0), edges[1]], axis=1)
        for quad in quads:
            cv2.fillConvexPoly(image, cv2.convexHull(quad), 255, cv2.LINE_8, 4)
    name = keys.pop("image", "map.png")
    cv2.imwrite(str(folder / name), image if picture is None else picture(image))
    values = {"image": name, "resolution": RESOLUTION, "origin": [float(low[0]), float(low[1]), 0.0]} | keys
    values = {"negate": 0, "occupied_thresh": 0.65, "free_thresh": 0.196} | values
    path = folder / "map.yaml"
    path.write_text("\n".join(f"{key}: {value}" for key, value in values.items()))
    return path


def rgba(image):
    return cv2.merge([image, image, image, np.full_like(image, 255)])


def with_unknown_surroundings(image):
    return np.where(image == 0, 205, image).astype(np.uint8)


@pytest.mark.parametrize(
    "keys",
    [
        {},
        {"outline": True},
        {"picture": rgba},
        {"image": "map.pgm"},
        {"picture": lambda image: 255 - image, "negate": 1},
        {"picture": with_unknown_surroundings},
        {"picture": with_unknown_surroundings, "free_thresh": 0.25},
        {"picture": lambda image: np.where(image == 0, 100, 0).astype(np.uint8), "mode": "raw"},
    ],
    ids=["filled", "outline", "rgba", "pgm", "negate", "unknown", "unknown-would-be-free", "raw"],
)
def test_every_style_of_map_gives_the_same_road(tmp_path, keys):
    drawn = generate(3, "tight", 100.0, 2.0)
    track = load_track(write_map(tmp_path, drawn, **keys))
    assert distances(track.points, drawn.points).mean() < 0.3 * RESOLUTION
    wall = 1.5 if keys.get("outline") else 0.0  # [px] of the drawn wall lie on the road
    assert track.left.mean() == pytest.approx(1.0 - wall * RESOLUTION, abs=RESOLUTION)


def test_a_turned_map_is_turned_back(tmp_path):
    drawn = generate(3, "tight", 100.0, 2.0)
    straight = load_track(write_map(tmp_path, drawn))
    turned = load_track(write_map(tmp_path, drawn, origin=[5.0, -2.0, 0.5]))
    corner = drawn.points.min(axis=0) - 3
    c, s = np.cos(0.5), np.sin(0.5)
    expected = (straight.points - corner) @ np.array([[c, s], [-s, c]]) + [5.0, -2.0]
    assert np.abs(turned.points - expected).max() < 1e-6
    assert turned.clearance.at(turned.points).min() > 0.9
    assert np.abs(turned.clearance.at(turned.left_edge)).max() < 2 * RESOLUTION


# -- tables made here ------------------------------------------------------------------------------------------------


def table(separator=",", header="", columns=4, closed=False, far=0.0, trailing=""):
    track = generate(1, "kart", 420.0, 7.0)
    points = track.points[::4] + far
    rows = {
        2: [(x, y) for x, y in points],
        4: [(x, y, 3.0, 4.0) for x, y in points],
        7: [(i, x, y, 0.1, 0.0, 8.0, 0.0) for i, (x, y) in enumerate(points)],
    }[columns]
    rows = [*rows, rows[0]] if closed else rows
    return header + "\n".join(separator.join(f"{v:.6f}" for v in row) + trailing for row in rows) + "\n"


@pytest.mark.parametrize(
    "form",
    [
        {},
        {"separator": ";"},
        {"separator": ", "},
        {"separator": "; "},
        {"header": "# x_m, y_m, w_tr_right_m, w_tr_left_m\n"},
        {"header": "x,y,right,left\n"},
        {"header": "# one\n# two\n\nx;y;r;l\n", "separator": ";"},
        {"closed": True},
        {"trailing": ","},
        {"columns": 2},
        {"columns": 7, "separator": ";"},
        {"far": 650_000.0},
    ],
    ids=str,
)
def test_every_form_of_table_gives_the_same_road(tmp_path, form):
    path = tmp_path / "mine.csv"
    path.write_text(table(**form))
    track = load_track(path, half_width=None if form.get("columns", 4) == 4 else 3.5)
    drawn = generate(1, "kart", 420.0, 7.0)
    shift = np.array(track.source.get("shift_m", [0.0, 0.0]))
    assert ("shift_m" in track.source) == (form.get("far", 0) > 0)
    assert distances(track.points + shift - form.get("far", 0.0), drawn.points).max() < 0.1
    assert track.length == pytest.approx(420, rel=5e-3)
    expected = (4.0, 3.0) if form.get("columns", 4) == 4 else (3.5, 3.5)
    assert (track.left.mean(), track.right.mean()) == pytest.approx(expected)


def test_reverse_keeps_the_road_and_the_start_line(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text(table())
    one, other = load_track(path), load_track(path, reverse=True)
    assert np.allclose(one.points[0], other.points[0])
    assert np.allclose(one.points[1:], other.points[:0:-1])
    assert np.allclose(one.left_edge[5], other.right_edge[-5], atol=1e-6)
    assert np.allclose(one.gates[-1], other.gates[-1][::-1])
    assert np.allclose(one.gates[0], other.gates[-2][::-1])
    assert np.cos(one.start_angle - other.start_angle) == pytest.approx(-1)


def test_noise_is_smoothed_and_bends_are_kept(tmp_path):
    drawn = generate(3, "tight", 120.0, 2.0)
    noisy = drawn.points + np.random.default_rng(0).normal(0, 0.03, drawn.points.shape)
    path = tmp_path / "noisy.csv"
    np.savetxt(path, np.column_stack([noisy, np.ones((len(noisy), 2))]), delimiter=",")
    track = load_track(path)
    assert np.abs(track.curvature).max() < 1.3 * np.abs(drawn.curvature).max()
    assert distances(track.points, drawn.points).max() < 0.1


# -- the native format, made here ------------------------------------------------------------------------------------


def test_a_native_folder_may_be_named_by_any_of_its_files(tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(load_track("oval").source["picture"].rsplit("/", 1)[0], folder)
    by_folder, by_json, by_picture = (load_track(folder / part) for part in ("", "checkpoints.json", "oval.png"))
    assert np.array_equal(by_folder.points, by_picture.points)
    assert np.array_equal(by_json.points, by_picture.points)


def test_a_plain_picture_needs_no_gates(tmp_path):
    write_map(tmp_path, generate(2, "kart", 60.0, 1.0))
    (tmp_path / "map.yaml").unlink()
    track = load_track(tmp_path / "map.png")  # no scale given: the road is taken as 10 m wide
    assert (track.left + track.right).mean() == pytest.approx(10, rel=0.02)
    assert track.length == pytest.approx(600, rel=0.06)  # the drawing of this test makes the road a pixel in 20 wider
    assert (track.curvature * track.spacing).sum() == pytest.approx(-2 * np.pi, abs=0.01)
    assert len(track.gates) >= 8


def test_an_unknown_name_lists_the_known_ones_nearest_first():
    with pytest.raises(InputError, match=r"known tracks: circuit, figure_eight, .*or give a path"):
        load_track("circiut")
    with pytest.raises(InputError, match=r"known tracks: speedway, circuit"):
        load_track("speedwy")
