"""Reference laps: shapes with a known answer, published laps, the cache.

python -m tests.tracks.test_reference_lap: all published laps, as rows of the table of docs/reference_laps.md.
"""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial import cKDTree

from racing.config import load_group
from racing.sim.speed_profile import lap_time, speed_profile
from racing.sim.track import Track, build_track, resample_closed
from racing.sim.vehicle import Vehicle
from racing.tracks.catalog import load_track
from racing.tracks.racing_line import closed_line, offset_bounds
from racing.tracks.reference_lap import ReferenceLap, cache_path, compute_reference_lap, reference_lap
from tests.conftest import REPOSITORY, shared

pytestmark = pytest.mark.slow

PUBLISHED = REPOSITORY.parent / "shared" / "tracks" / "reference_laps.csv"
VEHICLES = {"kart": "kart", "f1tenth_v8": "f1tenth"}  # name in the file: name in conf/vehicle
AGREEMENT = 0.02
# Of each source and vehicle; among them the shortest lap, the narrowest road and the widest, the least and the most
# that a line gains. The others lie between them and take half a minute more.
SAMPLE = {
    *(("aut", "1", "f1tenth_v8"), ("aut", "5", "kart"), ("esp", "1", "f1tenth_v8"), ("esp", "5", "kart")),
    *(("Oschersleben", "1", "f1tenth_v8"), ("Spielberg", "10", "kart")),
    *(("IMS", "0.1", "f1tenth_v8"), ("IMS", "1", "kart")),
    *(("Norisring", "0.1", "f1tenth_v8"), ("Norisring", "1", "kart")),
    *(("Austin", "1", "kart"), ("Monza", "0.1", "f1tenth_v8")),
}


def oval(straight: float, radius: float, half: float) -> Track:
    side = np.linspace(-straight / 2, straight / 2, 60, endpoint=False)
    bend = np.linspace(-np.pi / 2, np.pi / 2, 60, endpoint=False)
    right = np.stack([straight / 2 + radius * np.cos(bend), radius * np.sin(bend)], axis=1)
    low = np.stack([side, np.full(60, -radius)], axis=1)
    points = np.concatenate([low, right, -low, -right])
    return build_track("oval", points, np.full(240, half), np.full(240, half))


def circle(radius: float, half: float) -> Track:
    angle = np.linspace(0, 2 * np.pi, 120, endpoint=False)
    points = radius * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return build_track("circle", points, np.full(120, half), np.full(120, half))


def distance_to(line: np.ndarray, points: np.ndarray) -> float:
    """Greatest distance from `points` to the closed `line`."""
    return float(cKDTree(resample_closed(line, 0.01)[0]).query(points)[0].max())


def test_on_a_circle_the_shortest_circle_wins(f1tenth: Vehicle):
    # Grip allows v = sqrt(mu g R), so a lap takes 2 pi sqrt(R / (mu g)): least on the inside.
    lap = compute_reference_lap(circle(5.0, 1.0), f1tenth)
    inside = 5.0 - 1.0 + f1tenth.reference_width / 2
    assert lap.length_m == pytest.approx(2 * np.pi * inside, rel=0.01)
    assert lap.time_s == pytest.approx(2 * np.pi * np.sqrt(inside / f1tenth.max_lateral), rel=0.01)
    assert lap.clearance_min_m == pytest.approx(f1tenth.reference_width / 2, abs=0.02)


def test_oval_gives_a_symmetric_line_from_outside_to_inside(f1tenth: Vehicle):
    track = oval(20.0, 4.0, 1.0)
    lap = compute_reference_lap(track, f1tenth)
    for mirror in ((-1, 1), (1, -1), (-1, -1)):
        assert distance_to(lap.points, lap.points * mirror) < 0.03
    apex = np.abs(lap.points[:, 0]).max()
    assert apex == pytest.approx(10 + 4 - 1 + f1tenth.reference_width / 2, abs=0.03)
    assert np.abs(lap.points[:, 1]).max() > 4.3
    assert lap.time_s < 0.95 * lap_time(speed_profile(track.curvature, track.spacing, f1tenth), track.spacing)


def test_line_and_speeds_belong_together(wavy: Track, kart: Vehicle):
    lap = compute_reference_lap(wavy, kart)
    spacing = lap.length_m / len(lap.points)
    assert np.linalg.norm(np.roll(lap.points, -1, axis=0) - lap.points, axis=1) == pytest.approx(spacing, rel=0.01)
    assert lap_time(lap.speed, spacing) == pytest.approx(lap.time_s)
    assert (lap.speed**2 * np.abs(lap.curvature)).max() <= kart.max_lateral * (1 + 1e-9)
    assert lap.clearance_min_m > 0.95 * kart.reference_width / 2
    assert lap.time_s < lap_time(speed_profile(wavy.curvature, wavy.spacing, kart), wavy.spacing)


def test_crossing_track_is_driven_straight_on(eight: Track, kart: Vehicle):
    lap = compute_reference_lap(eight, kart)
    heading = np.unwrap(np.arctan2(*np.diff(np.vstack([lap.points, lap.points[:2]]), axis=0).T[::-1]))
    assert abs(heading[-1] - heading[0]) < 0.1  # a turn to the left and one to the right
    assert lap.length_m > 0.9 * eight.length
    assert distance_to(lap.points, eight.points) < 5.0
    assert lap.clearance_min_m > 0.95 * kart.reference_width / 2


def test_at_a_crossing_the_line_keeps_to_its_own_road(eight: Track):
    line = closed_line(eight.points, 1.0)
    low, high = offset_bounds(line, eight, 0.5)
    assert -5.1 < low.min() < low.max() < -4.0
    assert 4.0 < high.min() < high.max() < 5.1
    assert eight.clearance.at(line.points[:1] + 4.9 * line.normals[:1])[0] > 2.0  # though the other road is open


def test_road_narrower_than_the_reference_width(f1tenth: Vehicle):
    track = oval(20.0, 4.0, 0.15)
    lap = compute_reference_lap(track, f1tenth)
    assert 0.1 < lap.clearance_min_m < 0.15
    assert lap.time_s == pytest.approx(
        lap_time(speed_profile(track.curvature, track.spacing, f1tenth), track.spacing), rel=0.05
    )


def test_wider_reference_is_slower_and_the_tyre_model_does_not_matter(f1tenth: Vehicle, f1tenth_linear: Vehicle):
    track = oval(20.0, 4.0, 1.0)
    lap = compute_reference_lap(track, f1tenth)
    assert compute_reference_lap(track, replace(f1tenth, reference_width=1.2)).time_s > lap.time_s
    assert compute_reference_lap(track, f1tenth_linear).time_s == lap.time_s
    assert cache_path(track, f1tenth_linear) == cache_path(track, f1tenth)


@pytest.fixture
def counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """An empty cache; the list grows with every lap that is computed."""
    computed: list[str] = []

    def compute(track: Track, car: Vehicle) -> ReferenceLap:
        computed.append(car.name)
        return compute_reference_lap(track, car)

    monkeypatch.setenv("RACING_CACHE", str(tmp_path))
    monkeypatch.setattr("racing.tracks.reference_lap.compute_reference_lap", compute)
    return computed


def test_lap_is_kept_in_memory_and_on_disk(counted: list[str], tmp_path: Path, f1tenth: Vehicle, kart: Vehicle):
    track = oval(20.0, 4.0, 1.0)
    lap = reference_lap(track, f1tenth)
    assert reference_lap(track, f1tenth) is lap
    again = reference_lap(oval(20.0, 4.0, 1.0), f1tenth)  # another object, the same track
    assert counted == ["f1tenth"]
    assert again is not lap
    assert again.time_s == lap.time_s
    assert np.array_equal(again.points, lap.points)
    reference_lap(oval(20.0, 4.0, 1.01), f1tenth)
    reference_lap(track, replace(f1tenth, friction=0.9))
    assert len(counted) == 3
    assert not list(tmp_path.rglob("*.tmp*"))


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut off", b"not an archive"])
def test_damaged_file_is_computed_anew(counted: list[str], f1tenth: Vehicle, content: bytes):
    lap = reference_lap(oval(20.0, 4.0, 1.0), f1tenth)
    path = cache_path(oval(20.0, 4.0, 1.0), f1tenth)
    path.write_bytes(content)
    assert reference_lap(oval(20.0, 4.0, 1.0), f1tenth).time_s == lap.time_s
    assert len(counted) == 2
    assert reference_lap(oval(20.0, 4.0, 1.0), f1tenth).time_s == lap.time_s
    assert len(counted) == 2  # the file is whole again


def test_cut_file_is_computed_anew(counted: list[str], f1tenth: Vehicle):
    lap = reference_lap(oval(20.0, 4.0, 1.0), f1tenth)
    path = cache_path(oval(20.0, 4.0, 1.0), f1tenth)
    whole = path.read_bytes()
    for part in (0.3, 0.6, 0.95):
        path.write_bytes(whole[: int(part * len(whole))])
        assert reference_lap(oval(20.0, 4.0, 1.0), f1tenth).time_s == lap.time_s
    assert len(counted) == 4


def test_cache_that_cannot_be_written_is_no_error(
    counted: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, f1tenth: Vehicle
):
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv("RACING_CACHE", str(blocked))
    assert reference_lap(oval(20.0, 4.0, 1.0), f1tenth).time_s > 0


def published_rows() -> list[dict[str, str]]:
    if not PUBLISHED.exists():
        return []
    with PUBLISHED.open() as file:
        return [row for row in csv.DictReader(file) if row["vehicle"] in VEHICLES]


def key(row: dict[str, str]) -> tuple[str, str, str]:
    return row["track"], row["scale"], row["vehicle"]


def cases() -> list[object]:
    """Those of SAMPLE."""
    return [pytest.param(row, id="-".join(key(row))) for row in published_rows() if key(row) in SAMPLE]


def track_file(row: dict[str, str]) -> Path:
    if row["source"] == "tum":
        return shared("tracks", "tum", f"{row['track']}.csv")
    return next(iter(shared("tracks", row["source"], row["track"]).glob("*.yaml")))


@pytest.mark.parametrize("row", cases())
def test_agrees_with_published_reference_laps(row: dict[str, str]):
    car = load_group("vehicle", VEHICLES[row["vehicle"]])
    lap = compute_reference_lap(load_track(track_file(row), scale=float(row["scale"])), car)
    best = float(row["T_best_s"])
    print(
        f"| {row['source']} | {row['track']} | {row['scale']} | {car.name} | {best:.2f} | {lap.time_s:.2f} "
        f"| {lap.time_s / best:.4f} | {lap.clearance_min_m:.3f} | {float(row['clearance_min_m']):.3f} |"
    )
    assert lap.time_s == pytest.approx(best, rel=AGREEMENT)
    assert lap.clearance_min_m > 0.92 * car.reference_width / 2


def test_published_reference_laps_are_at_hand():
    shared("tracks", "reference_laps.csv")
    assert len(published_rows()) == 20
    assert {key(row) for row in published_rows()} >= SAMPLE


if __name__ == "__main__":
    for published in published_rows():
        test_agrees_with_published_reference_laps(published)
