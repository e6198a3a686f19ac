"""The generator: what every circuit that it makes keeps."""

import hashlib

import numpy as np
import pytest

from racing.errors import InputError
from racing.tracks import generated
from racing.tracks.catalog import generated_tracks, load_track
from racing.tracks.generator import CLEAR, STRICT, STYLES, drawing, generate
from racing.tracks.geometry import closest_approach, crossings, curvature
from racing.tracks.measure import difficulty
from racing.tracks.reference_driver import drive_round
from racing.tracks.validation import findings

SIZES = {
    "oval": (560.0, 12.0),
    "flowing": (950.0, 11.5),
    "tight": (120.0, 2.0),
    "hairpin": (120.0, 2.0),
    "switchback": (120.0, 2.0),
    "fast": (1900.0, 14.0),
    "figure_eight": (700.0, 11.0),
    "kart": (420.0, 7.0),
    "street": (900.0, 10.0),
}
KNOWN = {
    "oval": "d4c2a2426387",
    "flowing": "846ce2b668a4",
    "tight": "f84fa7832932",
    "hairpin": "508e75ce4a9d",
    "switchback": "2fbb55ef9796",
    "fast": "a9c2d1ae1373",
    "figure_eight": "13386650124d",
    "kart": "1f0ecdb274a0",
    "street": "34d1f330fcab",
}


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("style", STYLES)
def test_a_circuit_is_a_road_that_can_be_raced(style, seed):
    length, width = SIZES[style]
    track = generate(seed, style, length, width)

    assert track.length == pytest.approx(length, rel=2e-3)
    assert np.allclose(track.left, width / 2)
    assert np.allclose(track.right, width / 2)
    gaps = np.linalg.norm(np.roll(track.points, -1, axis=0) - track.points, axis=1)
    # Closed: the step from the last point to the first is like all others; in the tightest bend a chord is 1 % short.
    assert gaps.max() < 1.02 * gaps.min()
    radius = 1 / np.abs(track.curvature).max()
    if style in ("hairpin", "switchback"):
        low, high = (0.35, 0.7) if style == "hairpin" else (0.2, 0.45)
        assert low * width < radius < high * width
        assert not any(finding.fatal for finding in findings(track))
    else:
        assert radius > 0.6 * width  # the inner edge stays a curve
        assert findings(track) == []
    crossed = crossings(track.points)
    if style == "figure_eight":
        assert len(crossed) == 1
        assert crossed[0].angle > np.radians(49)
    else:
        assert crossed == []
        assert closest_approach(track.points, 3.2 * width) > 0.98 * CLEAR * width


def test_all_but_ovals_turn_both_ways():
    for style in ("flowing", "tight", "fast", "kart"):
        track = generate(5, style, *SIZES[style])
        turned = track.curvature * track.spacing
        assert turned[turned > 0].sum() > np.radians(50)
        assert turned[turned < 0].sum() < -np.radians(50)


@pytest.mark.parametrize("style", ["flowing", "fast", "kart"])
def test_a_circuit_is_found_within_few_tries_and_relaxed_ones_are_roads_too(style):
    tries, relaxed = [], []
    for seed in range(40):
        points, attempt = drawing(seed, style, SIZES[style][0] / SIZES[style][1])
        tries.append(attempt)
        if attempt >= STRICT:
            relaxed.append(points)
    assert max(tries) < 2 * STRICT  # hundreds, before corners were relaxed
    assert len(relaxed) >= 2
    for points in relaxed:
        assert np.abs(curvature(points)).max() <= 1 / (0.9 * STYLES[style].radius[0])
        assert crossings(points) == []
        assert closest_approach(points, 3.0) > 0.98 * CLEAR


def test_a_figure_of_eight_starts_away_from_its_crossing():
    for seed in range(10):
        track = generate(seed, "figure_eight", *SIZES["figure_eight"])
        (crossed,) = crossings(track.points)
        assert np.linalg.norm(track.points[0] - np.array(crossed.place)) > 1.5 * SIZES["figure_eight"][1]


def test_equal_arguments_give_equal_bytes_and_other_seeds_other_circuits():
    first, again, other = (generate(seed, "tight", 120.0, 2.0) for seed in (7, 7, 8))
    assert first.points.tobytes() == again.points.tobytes()
    assert first.clearance.values.tobytes() == again.clearance.values.tobytes()
    assert len(first.points) != len(other.points) or not np.allclose(first.points, other.points)


def test_circuits_are_the_same_on_every_machine():
    """Coordinates to the millimetre: processors differ in the last bit of a sine."""
    digests = {}
    for style, size in SIZES.items():
        points = np.round(generate(11, style, *size).points * 1000).astype(np.int64)
        digests[style] = hashlib.sha256(points.tobytes()).hexdigest()[:12]
    assert digests == KNOWN


def test_a_circuit_comes_back_from_disk_bit_for_bit(tmp_path, monkeypatch):
    monkeypatch.setenv("RACING_CACHE", str(tmp_path))
    made = generated.drawn_circuit(5, "kart", 420.0, 7.0)
    assert made.points.tobytes() == generate(5, "kart", 420.0, 7.0).points.tobytes()
    (file,) = (tmp_path / "circuits").iterdir()
    monkeypatch.setattr(generated, "drawing", lambda *_: pytest.fail("drawn again"))
    again = generated.drawn_circuit(5, "kart", 420.0, 7.0)
    assert again.points.tobytes() == made.points.tobytes()
    assert again.clearance.values.tobytes() == made.clearance.values.tobytes()
    assert (again.name, again.source) == (made.name, made.source)
    monkeypatch.undo()
    monkeypatch.setenv("RACING_CACHE", str(tmp_path))
    file.write_bytes(file.read_bytes()[:100])
    assert generated.drawn_circuit(5, "kart", 420.0, 7.0).points.tobytes() == made.points.tobytes()
    monkeypatch.setenv("RACING_CACHE", "/proc/nowhere")
    assert generated.drawn_circuit(5, "kart", 420.0, 7.0).points.tobytes() == made.points.tobytes()


def test_the_reference_controller_goes_round_and_says_where_it_does_not(kart, f1tenth, monkeypatch):
    tracks = [generate(seed, style, *size) for style, size in SIZES.items() for seed in (21, 22) if size[1] > 4]
    drives = drive_round(tracks, kart)
    assert all(drive.completed for drive in drives)
    assert all(
        track.length / 30 < drive.lap_time_s < track.length / 4 for track, drive in zip(tracks, drives, strict=True)
    )
    small = generate(1, "tight", 120.0, 2.0)
    assert drive_round([small], f1tenth)[0].completed
    brisk = load_track("speedway", scale=0.714)  # whose last bends the usual pace is too fast for
    assert drive_round([brisk, tracks[0]], kart)[0].completed
    monkeypatch.setattr("racing.tracks.reference_driver.PACE", 3.0)  # too fast for any bend
    (stuck,) = drive_round(tracks[2:3], kart)
    assert not stuck.completed
    assert stuck.ending == "off_track"
    before = np.arange(stuck.at - 12, stuck.at + 1)
    assert np.abs(tracks[2].curvature.take(before, mode="wrap")).max() > 0.02  # in a bend or just after


def test_difficulty_follows_the_style_and_not_the_scale():
    mean = {s: np.mean([difficulty(generate(k, s, *SIZES[s])) for k in range(4)]) for s in SIZES}
    assert mean["fast"] < mean["oval"] < mean["flowing"] < mean["street"] < mean["hairpin"] <= 10
    assert difficulty(generate(3, "kart", 420.0, 7.0)) == pytest.approx(
        difficulty(generate(3, "kart", 120.0, 2.0)), abs=0.2
    )


def test_the_start_line_is_on_a_straight():
    for seed in range(4):
        track = generate(seed, "flowing", 950.0, 11.5)
        near = np.concatenate([track.curvature[-6:], track.curvature[:6]])
        assert np.abs(near).max() < 0.2 / 11.5


def test_many_for_a_generalist_are_all_different():
    tracks = generated_tracks(seed=3, count=5, style="tight", length=800.0, width=20.0, scale=0.1)
    assert [t.name for t in tracks] == [f"tight-{k}" for k in range(3, 8)]
    assert all(t.length == pytest.approx(80.0, rel=2e-3) and np.allclose(t.left, 1.0) for t in tracks)
    shapes = {tuple(np.round(np.sort(np.abs(t.curvature))[-5:], 3)) for t in tracks}
    assert len(shapes) == 5


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((0, "wobbly", 950, 11.5), "style must be one of oval, flowing"),
        ((-1, "oval", 950, 11.5), "seed must be >= 0"),
        ((0, "oval", 50, 11.5), "24 to 1500 road widths"),
        ((0, "oval", 950, 0), "width must be in"),
        ((0, "oval", 950, float("nan")), "width must be in"),
    ],
)
def test_impossible_requests_are_refused(arguments, says):
    with pytest.raises(InputError, match=says):
        generate(*arguments)


def test_count_must_be_positive():
    with pytest.raises(InputError, match=r"track\.count must be .*got 0"):
        generated_tracks(seed=0, count=0, style="oval", length=560, width=12)
