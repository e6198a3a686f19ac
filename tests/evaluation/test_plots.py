"""Pictures show the road, the line and its speed; zones and reference are found where they are."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from racing.evaluation.evaluate import evaluate, evaluation_task
from racing.evaluation.plots import braking_zones, channels_picture, lap_picture, speed_unit
from racing.sim.track import Track
from racing.sim.vehicle import Vehicle
from racing.tracks.reference_lap import reference_lap, stations
from tests.support.drivers import follower, group

pytestmark = pytest.mark.cold


def lap_of(track: Track, vehicle: Vehicle, *, crash: bool = False) -> dict[str, np.ndarray]:
    task = evaluation_task(group("env/mlp"), [track], vehicle, [60.0], races=2, laps=2, seed=0)
    policy = (lambda observation: np.tile([0.0, 0.5], (2, 1))) if crash else follower(task, 8.0)
    evaluation = evaluate(policy, task)
    return evaluation.lap_table(evaluation.best_episode())


def colours(path: Path) -> tuple[tuple[int, int], float]:
    """Width and height [pixel], share of pixels that are neither white nor grey."""
    picture = cv2.imread(str(path)).astype(int)
    return (picture.shape[1], picture.shape[0]), float((np.ptp(picture, axis=2) > 60).mean())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["wavy", "eight"])
def test_a_lap_is_drawn_in_colour(name: str, kart: Vehicle, tmp_path: Path, request: pytest.FixtureRequest):
    track = request.getfixturevalue(name)
    lap, reference = lap_of(track, kart), reference_lap(track, kart)
    for draw in (lap_picture, channels_picture):
        path = draw(track, lap, name, tmp_path / f"{draw.__name__}.png", facts=["lap 1 s"], reference=reference)
        size, coloured = colours(path)
        assert min(size) > 700
        assert 1 / 3 < size[0] / size[1] < 3
        assert coloured > 0.004
    assert sorted(p.name for p in tmp_path.iterdir()) == ["channels_picture.png", "lap_picture.png"]


@pytest.mark.slow
def test_the_line_is_where_the_car_was(wavy: Track, kart: Vehicle, tmp_path: Path):
    """Without a line there is much less colour: what is measured above is the line."""
    lap = lap_of(wavy, kart)
    still = {name: column[:2] for name, column in lap.items()}
    _, line = colours(lap_picture(wavy, lap, "lap", tmp_path / "a.png"))
    _, point = colours(lap_picture(wavy, still, "lap", tmp_path / "b.png"))
    assert line - point > 0.003


@pytest.mark.slow
def test_a_drive_that_ended_early_is_drawn_too(wavy: Track, kart: Vehicle, tmp_path: Path):
    lap = lap_of(wavy, kart, crash=True)
    assert lap["distance"][-1] < 0.9 * wavy.length
    for draw in (lap_picture, channels_picture):
        assert colours(draw(wavy, lap, "off the road", tmp_path / "x.png"))[1] > 0.001


@pytest.mark.slow
def test_small_and_large_tracks_fill_the_page(f1tenth: Vehicle, wavy: Track, tmp_path: Path):
    from racing.tracks.images.assemble import scaled_track

    lap = lap_of(wavy, f1tenth)
    sizes = []
    for scale in (0.1, 5.0):
        moved = {name: column * (scale if name in "xys" or name == "distance" else 1) for name, column in lap.items()}
        sizes.append(colours(lap_picture(scaled_track(wavy, scale), moved, "scaled", tmp_path / "s.png"))[0])
    np.testing.assert_allclose(sizes[0], sizes[1], rtol=0.03)


def test_pyplot_stays_away(wavy: Track, kart: Vehicle, tmp_path: Path):
    import subprocess
    import sys

    code = "import racing.evaluation.plots, sys; assert 'matplotlib' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)


def test_braking_zones_by_hand():
    times = np.arange(12) * 0.2
    # rows 3..5 brake, one decision of pause (0.2 s), row 7 brakes: one zone from row 2, where it was decided, to 7
    throttle = np.array([0, 1, 1, -0.5, -0.5, -0.5, 0, -0.5, 1, 1, 1, 1.0])
    assert braking_zones(throttle, times) == [(2, 7)]
    assert braking_zones(np.where(np.arange(12) == 6, -1.0, 1.0), times) == []  # 0.2 s are a blink
    assert braking_zones(np.full(12, -0.05), times) == []  # lifting off is not braking
    assert braking_zones(np.full(12, -1.0), times) == [(0, 11)]


def test_the_reference_stays_on_its_branch_where_the_track_crosses_itself(eight: Track, kart: Vehicle):
    reference = reference_lap(eight, kart)
    places, offsets = stations(eight, reference.points)
    steps = np.diff(np.unwrap(places, period=eight.length))
    assert (steps >= 0).all()
    assert steps.max() < 6 * eight.spacing
    assert steps.sum() == pytest.approx(eight.length, rel=0.02)
    assert np.abs(offsets).max() < 5.0  # [m] half of the road


def test_units_suit_the_car():
    assert speed_unit(np.array([3.0, 8.0])) == (1.0, "m/s")
    assert speed_unit(np.array([3.0, 28.0])) == (3.6, "km/h")
