"""Optimal laps: those that ship, a solved one, the cache, what is refused; each limit is driven by the simulator."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from racing.commands.tracks.inspect import vehicle_for
from racing.sim.track import Track, build_track
from racing.sim.vehicle import Vehicle
from racing.tracks.catalog import load_track, shipped
from racing.tracks.optimal_lap import lap as laps
from racing.tracks.optimal_lap import solve
from racing.tracks.optimal_lap.driver import driven_lap
from racing.tracks.optimal_lap.lap import OptimalLap, cache_path, known_optimal_lap, limits, optimal_lap
from racing.tracks.reference_lap import reference_lap
from tests.conftest import REPOSITORY

pytestmark = pytest.mark.slow

DRIVEN = 0.005  # of the limit, by which the simulator's car is slower
LIMITS = {  # [s], as another program found them
    "circuit": 34.66,
    "figure_eight": 26.10,
    "oval": 19.56,
    "technical": 36.24,
}


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of this machine is known but the compiled kernels."""
    monkeypatch.setattr(laps, "lap_path", lambda *of: tmp_path / real_path(*of).name)


real_path = laps.lap_path


@pytest.fixture(scope="module")
def ring() -> Track:
    """300 m, two bends of 20 m radius, 8 m wide."""
    side, bend = np.linspace(-43, 43, 40, endpoint=False), np.linspace(-np.pi / 2, np.pi / 2, 40, endpoint=False)
    right = np.stack([43 + 20 * np.cos(bend), 20 * np.sin(bend)], axis=1)
    points = np.concatenate([np.stack([side, np.full(40, -20.0)], axis=1), right])
    points = np.concatenate([points, -points])
    return build_track("ring", points, np.full(160, 4.0), np.full(160, 4.0))


@pytest.fixture(scope="module")
def solved(ring: Track, kart: Vehicle) -> OptimalLap:
    return laps.compute_optimal_lap(ring, kart)


@pytest.mark.parametrize("name", sorted(shipped()))
def test_the_laps_of_the_shipped_circuits_ship_and_are_driven(name: str):
    track = load_track(name)
    vehicle = vehicle_for(None, track)
    lap = known_optimal_lap(track, vehicle)
    assert lap is not None, "renew it: python docs/make_optimal_laps.py"
    if name in LIMITS:
        assert lap.limit_s == pytest.approx(LIMITS[name], rel=5e-4)
    driven = driven_lap(track, vehicle, lap)
    assert driven is not None
    assert lap.limit_s < driven < (1 + DRIVEN) * lap.limit_s


def test_a_lap_is_solved_for_and_can_be_driven(ring: Track, kart: Vehicle, solved: OptimalLap):
    assert solved.limit_s < solved.time_s < 1.01 * solved.limit_s
    driven = driven_lap(ring, kart, solved)
    assert solved.limit_s < driven < (1 + DRIVEN) * solved.limit_s
    assert solved.limit_s == pytest.approx(reference_lap(ring, kart).time_s, rel=0.05)
    clearance = ring.clearance.at(solved.points)
    assert clearance.min() > kart.width / 2
    assert clearance.min() < kart.width / 2 + 0.15 * kart.width  # it uses the road
    assert solved.speed.max() <= kart.max_speed
    assert np.abs(solved.steer).max() <= kart.max_steer
    assert np.hypot(*np.diff(solved.points, axis=0).T).std() < 0.01 * solved.length_m / len(solved.points)


def test_the_same_program_gives_the_same_lap(ring: Track, kart: Vehicle, solved: OptimalLap):
    again = laps.compute_optimal_lap(ring, kart)
    assert again.limit_s == solved.limit_s
    np.testing.assert_array_equal(again.points, solved.points)


def test_less_grip_costs_time_and_is_driven(ring: Track, kart: Vehicle, solved: OptimalLap):
    from racing.tracks.grip_map import with_grip

    wet = with_grip(ring, "wet")
    lap = optimal_lap(wet, kart)
    assert 1.1 < lap.limit_s / solved.limit_s < 1.5  # 1 / sqrt(0.5) = 1.41 where only grip counts
    assert driven_lap(wet, kart, lap) < (1 + DRIVEN) * lap.limit_s


def test_linear_tyres_have_a_limit_too(f1tenth_linear: Vehicle):
    track = load_track("mini")
    lap = optimal_lap(track, f1tenth_linear)
    assert lap.limit_s < 0.95 * reference_lap(track, f1tenth_linear).time_s  # they never saturate
    assert driven_lap(track, f1tenth_linear, lap) < (1 + DRIVEN) * lap.limit_s


def test_it_is_kept_and_found_again(ring: Track, kart: Vehicle, solved: OptimalLap, monkeypatch):
    assert known_optimal_lap(ring, kart) is None
    assert limits([ring, load_track("circuit")], kart) == [None, pytest.approx(34.66, rel=1e-3)]
    monkeypatch.setattr(laps, "compute_optimal_lap", lambda *_: solved)
    assert optimal_lap(ring, kart) is solved
    path = cache_path(ring, kart)
    assert path.is_file()
    laps._known.clear()
    found = known_optimal_lap(ring, kart)
    assert found.limit_s == solved.limit_s
    np.testing.assert_array_equal(found.points, solved.points)
    laps._known.clear()
    path.write_bytes(b"damaged")
    assert known_optimal_lap(ring, kart) is None


def test_every_parameter_of_the_vehicle_counts_but_its_name(ring: Track, kart: Vehicle):
    from dataclasses import fields, replace

    paths = {cache_path(ring, kart)}
    for field in fields(kart):
        value = getattr(kart, field.name)
        other = value if isinstance(value, str) else value * 0.999 + 1e-6
        changed = {"name": "other"} if field.name == "name" else {field.name: other}
        if field.name == "model":
            changed = {"model": "linear"}
        paths.add(cache_path(ring, replace(kart, **changed)))
    assert len(paths) == len(fields(kart))


def test_what_is_not_solved_is_no_lap(ring: Track, kart: Vehicle, monkeypatch):
    monkeypatch.setitem(solve.OPTIONS, "max_iter", 3)
    with pytest.raises(laps.NotSolved, match="IPOPT ended with Maximum_Iterations_Exceeded after 3 iterations"):
        optimal_lap(ring, kart)
    assert not cache_path(ring, kart).exists()


def test_meshes_that_disagree_are_no_lap(ring: Track, kart: Vehicle, monkeypatch):
    monkeypatch.setattr(solve, "AGREE", 0.0)
    monkeypatch.setattr(solve, "FINER", 1)
    with pytest.raises(laps.NotSolved, match=r"two meshes still disagree at .* m"):
        optimal_lap(ring, kart)


def test_without_the_solver_known_limits_are_known():
    """CasADi is an extra; nothing but solving needs it."""
    code = """
import sys
sys.modules["casadi"] = None
from racing.config import load_group
from racing.tracks.catalog import load_track
from racing.tracks.optimal_lap.lap import limits
print(limits([load_track("circuit")], load_group("vehicle", "kart")))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("[34.66")
