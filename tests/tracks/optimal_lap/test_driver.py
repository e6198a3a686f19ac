"""The driver of the optimal lap: from any start, at any pace, on several tracks, and without the solver."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from racing.envs.sensors import SensorsTask, evaluation_episodes
from racing.errors import InputError
from racing.evaluation.evaluate import evaluate
from racing.sim.vehicle import Vehicle
from racing.tracks import lap_files
from racing.tracks.catalog import load_track
from racing.tracks.generator import generate
from racing.tracks.optimal_lap import driver as driver_module
from racing.tracks.optimal_lap import paces
from racing.tracks.optimal_lap.calm_line import wider_of
from racing.tracks.optimal_lap.driver import BY_REFERENCE, LapDriver, OptimalDriver, best_driver
from racing.tracks.optimal_lap.lap import limits, optimal_lap
from racing.tracks.optimal_lap.simulation import OFFSET, SIZE, SPEED, Simulation, located, place
from racing.tracks.optimal_lap.smooth_line import line_through
from racing.tracks.optimal_lap.steering import steered
from racing.tracks.racing_line import steps_of
from racing.tracks.reference_lap import reference_lap

pytestmark = pytest.mark.slow


def driven(tracks, vehicle: Vehicle, pace: float, starts: int = 50):
    """The summary of an evaluation, and what was said on the way."""
    said: list[str] = []
    task = SensorsTask(tracks=tracks, vehicle=vehicle, races=starts, seed=3, episodes=evaluation_episodes(2, 3000.0))
    driver = best_driver(tracks, vehicle, 2, pace, said.append)
    references = [reference_lap(track, vehicle).time_s for track in tracks]
    found = evaluate(lambda _: driver.actions(task.world.cars.reshape(-1)), task, references, limits(tracks, vehicle))
    return found, said


def test_it_drives_at_the_limit_from_any_start(kart: Vehicle):
    found, said = driven([load_track("circuit")], kart, 1.0)
    summary = found.summary
    assert summary["finish_rate"] == 1.0
    assert summary["limit_ratio_best"] < 1.005
    assert summary["limit_ratio"] < 1.02  # some settle for half a lap first
    assert said == []


def test_where_only_a_sliding_car_turns_as_tightly_as_the_lap_slower_ones_drive_wider(f1tenth: Vehicle):
    track = load_track("mini")
    lap = optimal_lap(track, f1tenth)
    simulation = Simulation(track, f1tenth, 2, line_through(lap.points))
    most = np.tan(f1tenth.max_steer) / f1tenth.wheelbase
    s = np.arange(len(lap.points)) * simulation.line.length / len(lap.points)
    wider = wider_of(simulation, lap)
    assert np.abs(simulation.line.frame(s)[2]).max() > 1.2 * most  # what the lap bends
    assert np.abs(steps_of(simulation.line.beside(s, wider))[1]).max() < 0.92 * most
    assert 0.01 < np.abs(wider).max() < 0.1
    assert (np.abs(wider) < 0.005).mean() > 0.9  # elsewhere it stays on the line
    own = track.clearance.at(simulation.line.spline(s))
    clearance = track.clearance.at(simulation.line.beside(s, wider))
    assert (clearance > np.minimum(own, f1tenth.reference_width / 2) - 0.01).all()
    summary = driven([track], f1tenth, 1.0)[0].summary
    assert summary["finish_rate"] == 1.0
    assert summary["limit_ratio_best"] < 1.005
    assert summary["limit_ratio"] < 1.02


def test_a_line_that_can_be_steered_is_left_alone(kart: Vehicle):
    track = load_track("technical")
    lap = optimal_lap(track, kart)
    assert not wider_of(Simulation(track, kart, 2, line_through(lap.points)), lap).any()


def test_a_pace_that_cannot_be_driven_is_none(f1tenth: Vehicle):
    track = load_track("mini")
    driver = LapDriver(track, f1tenth, reference_lap(track, f1tenth), 2, BY_REFERENCE)  # its line: of a point mass
    assert not driver.attacks
    task = SensorsTask([track], f1tenth, races=20, seed=3, episodes=evaluation_episodes(9, 3000.0))
    task.reset()
    cars, drivers = task.world.cars.reshape(-1), OptimalDriver([driver])
    for _ in range(1200):
        np.testing.assert_array_equal(drivers.advice(cars, 0.15), actions := drivers.actions(cars))
        task.step_batch(actions)
    laps = cars["best_lap"][cars["laps"] > 0]
    assert len(laps) >= 18  # it keeps on the road
    assert (laps < 1.3 * driver.lap.time_s).all()  # at a pace that can be driven


def test_it_catches_up_on_a_straight_where_the_top_speed_is_reached(f1tenth: Vehicle):
    """There a plan asks for no acceleration, though a car that is slower has some left."""
    track = generate(3, "fast", 150.0, 1.7)
    lap = reference_lap(track, f1tenth)
    driver = LapDriver(track, f1tenth, lap, 2, 0.9)
    fast = np.flatnonzero(driver.calm[:, SPEED] > 0.995 * 0.9 * f1tenth.max_speed)
    assert len(fast) > 50
    row = fast[len(fast) // 4 :][:1]  # on a straight
    states = driver.calm[row, :SIZE].copy()
    states[:, SPEED] *= 0.6
    line = line_through(lap.points)
    cars = Simulation(track, f1tenth, 2, line).world(1).cars.reshape(-1)
    s = row * line.length / len(driver.calm)
    place(cars, line, s, states, f1tenth)
    cars["nearest"] = np.argmin(np.linalg.norm(track.points - line.spline(s), axis=1))
    assert driver.commands(cars)[0, 1] > 1.0  # [m/s^2]


def test_at_a_lower_pace_it_is_that_much_slower_on_every_track(kart: Vehicle):
    tracks = [load_track(name) for name in ("oval", "figure_eight")]
    summary = driven(tracks, kart, 0.8)[0].summary
    assert summary["finish_rate"] == 1.0
    for track in tracks:
        lap = optimal_lap(track, kart)
        assert summary["per_track"][track.name]["lap_time_s"] == pytest.approx(lap.time_s / 0.8, rel=0.01)


def test_without_an_optimal_lap_it_drives_the_reference_lap_and_says_so(kart: Vehicle, monkeypatch):
    def absent(*_: object) -> None:
        raise ModuleNotFoundError("No module named 'casadi'", name="casadi")

    monkeypatch.setattr(driver_module, "optimal_lap", absent)
    found, said = driven([load_track("oval")], kart, 1.0)
    assert found.summary["finish_rate"] >= 0.95
    assert found.summary["lap_ratio"] == pytest.approx(1 / BY_REFERENCE, rel=0.02)
    (line,) = said
    assert line.startswith("oval: no optimal lap, the package casadi must be there, it is not installed; pip install")
    assert line.endswith("drives its reference lap at up to 0.95 of its speed")


def test_what_was_planned_is_kept_and_only_planning_is_told_of(
    kart: Vehicle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(lap_files, "cache_directory", lambda: tmp_path / "kernels")
    monkeypatch.setattr(driver_module, "OFTEN", 1)
    track, other = load_track("oval"), generate(3, "oval", 300.0, 10.0)
    told: list[str] = []
    first = best_driver([track, other], kart, 2, 0.8, told.append, solve=False)
    assert told == ["planning how to drive, 1 of 2 circuits done; plans are kept"]
    planned: list[str] = []
    compute = paces.compute_pace_plans
    monkeypatch.setattr(paces, "compute_pace_plans", lambda s, *rest: planned.append(s.track.name) or compute(s, *rest))
    told.clear()
    again = best_driver([track, other], kart, 2, 0.8, told.append, solve=False)
    assert (planned, told) == ([], [])
    cars = SensorsTask([track, other], kart, races=4).cars
    assert (again.actions(cars) == first.actions(cars)).all()
    best_driver([other], kart, 2, 0.7, told.append, solve=False)  # another pace: another plan
    assert planned == [other.name]


def test_who_starts_again_settles_again(kart: Vehicle):
    track = load_track("oval")
    task = SensorsTask(tracks=[track], vehicle=kart, races=4, seed=1, episodes=evaluation_episodes(1, 300.0))
    driver = LapDriver(track, kart, optimal_lap(track, kart), 2)
    task.reset()
    cars = task.world.cars.reshape(-1)
    driver.commands(cars)
    driver._attacking[:] = True
    cars["steps"] = 0
    driver.commands(cars)
    assert not driver._attacking.any()


@pytest.mark.parametrize("pace", [0.2, 1.1, float("nan")])
def test_a_pace_that_no_plan_has_is_refused(kart: Vehicle, pace: float):
    track = load_track("oval")
    with pytest.raises(InputError, match=r"pace must be a number in \[?0\.3"):
        LapDriver(track, kart, optimal_lap(track, kart), 2, pace)


def test_it_steers_the_same_whatever_other_cars_do(kart: Vehicle):
    track = load_track("oval")
    task = SensorsTask(tracks=[track], vehicle=kart, races=8, seed=2, episodes=evaluation_episodes(1, 300.0))
    task.reset()
    cars = task.world.cars.reshape(-1)
    lap = optimal_lap(track, kart)
    together = LapDriver(track, kart, lap, 2).commands(cars)
    alone = LapDriver(track, kart, lap, 2).commands(cars[3:4])
    np.testing.assert_allclose(alone[0], together[3], rtol=1e-12)


def test_its_advice_is_what_it_does_where_a_car_is_on_its_plan_and_needs_no_memory(kart: Vehicle):
    track = load_track("circuit")
    task = SensorsTask([track], kart, races=20, seed=3, episodes=evaluation_episodes(9, 3000.0))
    driver = LapDriver(track, kart, optimal_lap(track, kart), 2)
    both, stranger = OptimalDriver([driver]), OptimalDriver([LapDriver(track, kart, optimal_lap(track, kart), 2)])
    cars = task.world.cars.reshape(-1)
    task.reset()
    np.testing.assert_array_equal(both.advice(cars, 0.15), both.actions(cars))  # all of them are slow at first
    for _ in range(400):
        task.step_batch(both.actions(cars))
    actions, attacking = both.actions(cars), driver._attacking.copy()
    assert attacking.sum() > 10
    advice = stranger.advice(cars, 0.15)
    np.testing.assert_array_equal(advice, both.advice(cars, 0.15))
    same = (advice == actions).all(axis=1)
    assert same[attacking].sum() > 0.5 * attacking.sum()  # its line is the calm one's but for the bends
    assert (driver._attacking == attacking).all()


def test_who_is_close_to_the_calm_plan_is_told_the_whole_pace(kart: Vehicle):
    """Within `reach` widths of it, and a fifth of that slower; on the road beside it, or slower, the calm one."""
    track = load_track("circuit")
    driver = LapDriver(track, kart, optimal_lap(track, kart), 2)
    drivers, task = OptimalDriver([driver]), SensorsTask([track], kart, races=40)
    task.reset()
    cars, line = task.world.cars.reshape(-1), driver._simulation.line
    rows = np.linspace(0, len(driver.calm), 40, endpoint=False).astype(int)

    def told(off: float, pace: float, reach: float) -> np.ndarray:
        states = driver.calm[rows, :SIZE].copy()
        states[:, OFFSET] += off * kart.reference_width
        states[:, SPEED] *= pace
        place(cars, line, rows * line.length / len(driver.calm), states, kart)
        here = np.stack([cars["x"], cars["y"]], axis=1)
        cars["nearest"] = np.linalg.norm(track.points[None] - here[:, None], axis=2).argmin(axis=1)
        return drivers.advice(cars, reach)

    def alike(one: np.ndarray, other: np.ndarray) -> int:
        return int((one == other).all(axis=1).sum())

    for off, pace, close in ((0.05, 1.0, 0.1), (-0.25, 1.0, 0.35), (0.0, 0.97, 0.2), (0.0, 0.9, 0.6)):
        near, far = told(off, pace, close), told(off, pace, 0.01)
        assert alike(near, told(off, pace, 1.0)) >= 36  # in the tightest bends a place has two distances
        assert alike(near, far) < 30
    assert alike(told(0.25, 1.0, 0.15), told(0.25, 1.0, 0.01)) >= 36
    assert alike(told(0.0, 0.9, 0.45), told(0.0, 0.9, 0.01)) >= 36


def test_of_several_tracks_each_car_is_told_what_its_own_driver_says(kart: Vehicle):
    tracks = [load_track(name) for name in ("oval", "circuit", "figure_eight")]
    task = SensorsTask(tracks, kart, races=12, seed=3, episodes=evaluation_episodes(9, 3000.0))
    task.reset()
    cars = task.world.cars.reshape(-1)
    drivers = [LapDriver(track, kart, optimal_lap(track, kart), 2) for track in tracks]
    for _ in range(100):
        advice = OptimalDriver(drivers).advice(cars, 0.15)
        for number, driver in enumerate(drivers):
            mine = cars[cars["track"] == number].copy()
            mine["track"] = 0
            np.testing.assert_array_equal(advice[cars["track"] == number], OptimalDriver([driver]).advice(mine, 0.15))
        task.step_batch(advice)


def test_the_nearest_point_of_the_line_is_found_as_before_compiling(kart: Vehicle):
    track = load_track("circuit")
    driver = LapDriver(track, kart, optimal_lap(track, kart), 2)
    task = SensorsTask([track], kart, races=50, seed=3, episodes=evaluation_episodes(9, 3000.0))
    task.reset()
    cars = task.world.cars.reshape(-1)
    s = steered(driver.tables, np.zeros(len(cars), int), cars)[3]
    found, _ = located(cars, line_through(driver.lap.points), driver.tables.near[cars["nearest"]], kart)
    np.testing.assert_allclose(s, found, atol=1e-5)
