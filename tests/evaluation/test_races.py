"""Races for evaluation: drivers of known pace, and all that is noted of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from omegaconf import OmegaConf

from racing.config import compose
from racing.evaluation.evaluate import Diverged
from racing.evaluation.race.driving import (
    BRAKING,
    RACE_COLUMNS,
    Entrant,
    RaceLog,
    Task,
    drive_races,
    line_entrant,
    order_of,
    overtakes,
    policy_entrant,
    race_task,
)
from racing.evaluation.race.plots import X, Y
from racing.evaluation.race.result import car_rows
from racing.sim.kernels.rng import Draw, uniform
from racing.sim.records import Ending
from racing.sim.track import Track
from racing.sim.vehicle import Vehicle
from racing.tracks.catalog import load_track
from racing.tracks.optimal_lap.driver import best_driver
from racing.tracks.optimal_lap.lap import limits


@pytest.fixture(scope="module")
def oval() -> Track:
    return load_track("oval")


@pytest.fixture(scope="module")
def task_of(oval: Track, kart: Vehicle) -> Callable[..., Task]:
    """task_of(**race_task's arguments): two races of two from the grid, two laps of the oval, observing one ahead."""
    env: Any = OmegaConf.to_container(compose("train", ["env=race", "env.line=centre"]).env)
    env["observed"] = {"ahead": 1, "behind": 0}

    def make(race: dict[str, Any] | None = None, **options: Any) -> Task:
        (limit,) = limits([oval], kart)
        settings = {"races": 2, "cars": 2, "start": "grid", "laps": 2, "reference": limit, "seed": 1, **options}
        return race_task({**env, "race": {**env["race"], **(race or {})}}, oval, kart, **settings)

    return make


def blind(pace: float) -> Entrant:
    """A follower of the line that does not look where others are."""

    def make(task: Task, cars: np.ndarray) -> Any:
        driver = best_driver(task.tracks, task.vehicle, 2, pace, say=print)
        return lambda mine, _: driver.actions(task.cars[cars])[np.isin(cars, mine)]

    return Entrant(name=f"blind {pace:g}", make=make)


def constant(*values: float, noted: list[Any] | None = None) -> Entrant:
    """Everybody gets the same action."""

    def predict(seen: np.ndarray) -> np.ndarray:
        if noted is not None:
            noted.append(seen)
        return np.tile(np.array(values), (len(seen), 1))

    return policy_entrant("constant", predict)


EACH_FIRST = np.array([[0, 1], [0, 1]])  # places of the grid go round


@pytest.fixture(scope="module")
def passing(task_of) -> RaceLog:
    """The fast one drives through the slow one, who has been in front once."""
    return drive_races(task_of({"contact": False}, laps=3), [blind(0.9), blind(0.7)], EACH_FIRST)


def test_the_faster_one_wins_and_overtakes_once_where_it_started_behind(passing: RaceLog, oval: Track, kart: Vehicle):
    fast = passing.who == 0
    assert passing.place.tolist() == [[0, 1], [1, 0]]
    assert (order_of(passing)[fast] == 1).all()
    made, lost = overtakes(passing)
    assert made[fast].tolist() == passing.place[fast].tolist()
    assert (lost == made[:, ::-1]).all()
    assert not made[~fast].any()
    assert (passing.ended[fast] == Ending.LAPS_DONE).all()
    (limit,) = limits([oval], kart)
    for race, car in np.argwhere(fast):
        flying = passing.laps[race][car]
        assert len(flying) == 2  # the first of three is from standing
        np.testing.assert_allclose(flying, limit / 0.9, rtol=0.03)
        assert 1.1 < (passing.time[race, car] - sum(flying)) / (limit / 0.9) < 1.5
        assert passing.driven[race, car] == pytest.approx(3 * oval.length, rel=0.02)


def test_the_log_is_of_each_step_until_a_car_is_out(passing: RaceLog):
    there = ~np.isnan(passing.distance)
    assert (there.sum(axis=0) == passing.steps + 1).all()  # with the start
    for r, c in np.ndindex(2, 2):
        assert there[: passing.steps[r, c] + 1, r, c].all()
        assert (np.diff(passing.distance[: passing.steps[r, c] + 1, r, c]) > -0.1).all()
    np.testing.assert_array_equal(np.isnan(passing.telemetry), np.repeat(~there[..., None], len(RACE_COLUMNS), axis=-1))
    home = np.isfinite(passing.time)
    assert (passing.time[home] <= passing.steps[home] * passing.step_dt).all()
    assert (passing.time[home] > (passing.steps[home] - 1) * passing.step_dt - 1e-3).all()
    assert (passing.distance[0] < 0).all()  # behind the line
    assert not len(passing.contacts)
    assert ((passing.near > 0) & (passing.near < passing.steps)).all()


def test_telemetry_says_how_much_of_another_s_slipstream_a_car_had(task_of):
    """The faster one comes past: it had some behind the other one, who has some from then on."""
    task = task_of({"contact": False, "slipstream": 0.3}, laps=2, start="rolling")
    log = drive_races(task, [blind(0.95), blind(0.7)], EACH_FIRST)
    draft = log.telemetry[..., list(RACE_COLUMNS).index("draft")]
    lead = log.distance[:, :, 0] - log.distance[:, :, 1]
    seen = np.nan_to_num(draft)
    assert (seen[..., 0][lead > 3] == 0).all()
    assert (seen[..., 1][lead < -3] == 0).all()
    assert seen.max() > 0.2
    assert (seen[0] == 0).all()
    assert not np.nanmax(drive_races(task_of(laps=1), [blind(0.9), blind(0.7)], EACH_FIRST).telemetry[..., -1])


def test_who_brakes_behind_a_slower_one_stays_there(task_of):
    task = task_of(races=4, laps=1)
    log = drive_races(task, [line_entrant(0.8), line_entrant(0.6)], np.array([[0, 1]] * 4))
    fast, behind = log.who == 0, log.place == 1
    assert ((log.ended == Ending.LAPS_DONE) | (log.ended == Ending.TIME_LIMIT)).all()
    held = fast & behind
    assert (order_of(log)[held] == 2).all()
    assert (log.near[held] > 0.9 * log.steps[held]).all()
    assert (order_of(log)[fast & ~behind] == 1).all()
    assert not overtakes(log)[0].any()
    assert not len(log.contacts)


def test_the_same_task_gives_the_same_races_again(task_of):
    task = task_of(laps=1, start="rolling")
    first, second = (drive_races(task, [blind(0.8), constant(0.0, 0.2)], EACH_FIRST) for _ in range(2))
    for name in ("distance", "telemetry", "ended", "time", "contacts", "driven"):
        assert getattr(first, name).tobytes() == getattr(second, name).tobytes(), name


def test_a_contact_is_written_down_for_both_and_the_blame_for_one(task_of):
    log = drive_races(task_of(races=1, laps=1), [blind(0.9), blind(0.4)], np.array([[1, 0]]))
    assert log.place.tolist() == [[0, 1]]  # the slow one is in front
    first = log.contacts[log.contacts["step"] == log.contacts["step"].min()]
    assert first["car"].tolist() == [0, 1]
    assert first["closing"][0] == first["closing"][1] > 1
    assert first["blame"].sum() == pytest.approx(1)
    assert first["blame"][log.who[0, first["car"]] == 0] == 1  # who came from behind
    for car in (0, 1):  # each contact once: a car that touches another one in two steps on end touches it once
        assert (np.diff(log.contacts["step"][log.contacts["car"] == car]) > 1).all()
    assert first["other"].tolist() == [1, 0]
    for one in first:
        assert (one["x"], one["y"]) == tuple(log.telemetry[one["step"], 0, one["car"], [X, Y]])


def test_who_hits_two_at_once_has_two_contacts(task_of, monkeypatch: pytest.MonkeyPatch):
    """Beside it another one touches it slower, and was not at fault; a contact that lasts is none."""
    task = task_of(cars=3, races=1, laps=1)
    real, step = task.step_batch, iter(range(1000))

    def touched(actions: np.ndarray) -> Any:
        result, there = real(actions), task.world.final_traffic[0]
        for name in ("contact_with", "closing", "blame"):
            there[name] = 0
        n = next(step)
        if n in (5, 6):
            there["contact_with"], there["closing"], there["blame"] = [6, 1, 1], [8.0, 8.0, 2.0], [1.0, 0.0, 1.0]
        if n == 9:
            there["contact_with"], there["closing"], there["blame"] = [2, 1, 0], [3.0, 3.0, 0.0], [0.5, 0.5, 0.0]
        return result

    monkeypatch.setattr(task, "step_batch", touched)
    log = drive_races(task, [constant(0.0, 0.1)], np.zeros((1, 3), int))
    found = [tuple(one[name] for name in ("step", "car", "other", "closing", "blame")) for one in log.contacts]
    assert found == [
        (6, 0, 1, 8.0, 1.0),
        (6, 0, 2, 2.0, 0.0),  # the third one says that it was its own fault
        (6, 1, 0, 8.0, 0.0),
        (6, 2, 0, 2.0, 1.0),
        (10, 0, 1, 3.0, 0.5),
        (10, 1, 0, 3.0, 0.5),
    ]


def test_all_contacts_of_a_crowd_are_written_down(task_of):
    task = task_of(cars=8, races=4, laps=1, start="rolling", spacing=1.0)
    counted = np.zeros((4, 8), int)
    real = task.step_batch

    def counting(actions: np.ndarray) -> Any:
        result = real(actions)
        counted[:] = np.maximum(counted, task.world.final_traffic["contacts"])
        return result

    task.step_batch = counting  # type: ignore[method-assign]
    log = drive_races(task, [blind(0.9), blind(0.5)], np.tile([0, 1], (4, 4)))
    mine = [[((log.contacts["race"] == r) & (log.contacts["car"] == c)).sum() for c in range(8)] for r in range(4)]
    assert mine == counted.tolist()
    moments = log.contacts[["step", "race", "car"]]
    assert len(np.unique(moments)) < len(moments)  # somebody hit two at once


def test_cars_differ_as_the_evaluation_says_not_as_training_did(oval: Track, kart: Vehicle, task_of):
    task = task_of(randomize={"mass": [0.8, 1.2], "drag": 2.0})
    log = drive_races(task, [constant(0.0, 0.1)], np.zeros((2, 2), int))
    assert set(log.drawn) == {"mass", "drag"}
    assert log.drawn["mass"].shape == (2, 2)
    assert len(np.unique(log.drawn["mass"])) == 4
    assert (log.drawn["drag"] == 2).all()
    row = car_rows(log, ["a"])[1]
    assert (row["randomize_mass"], row["randomize_drag"]) == (log.drawn["mass"][0, 1], 2.0)
    env = {"line": "centre", "randomize": {"mass": [0.5, 2.0]}}
    size = {"races": 1, "cars": 2, "start": "grid", "laps": 1, "reference": 20.0, "seed": 0}
    assert race_task(env, oval, kart, **size).world.variation.names == []


def test_everyone_drives_its_own_cars_while_they_race(task_of):
    given: list[tuple[int, list[int]]] = []

    def noting(number: int, action: Sequence[float]) -> Entrant:
        def make(task: Task, cars: np.ndarray) -> Any:
            assert cars.tolist() == mine[number]

            def drive(racing: np.ndarray, observation: np.ndarray) -> np.ndarray:
                assert len(observation) == task.num_cars
                given.append((number, racing.tolist()))
                return np.tile(action, (len(racing), 1))

            return drive

        return Entrant(name=str(number), make=make)

    task = task_of(cars=3, races=2, laps=1)
    mine = {0: [0, 5], 1: [1, 2, 3, 4]}
    log = drive_races(task, [noting(0, [0.0, -1.0]), noting(1, [1.0, 1.0])], np.array([[0, 1, 1], [1, 1, 0]]))
    assert given[0] == (0, [0, 5])
    assert given[1] == (1, [1, 2, 3, 4])
    assert log.who.tolist() == [[0, 1, 1], [1, 1, 0]]
    last = {car: max(k for k, (_, cars) in enumerate(given) if car in cars) for car in range(6)}
    assert max(last[1], last[2], last[3], last[4]) < last[0]  # they are off the road long before the others stalled
    assert (log.ended[log.who == 0] == Ending.STALLED).all()
    steps = np.array([sum(car in cars for _, cars in given) for car in range(6)])
    assert (steps == log.steps.ravel()).all()


def test_a_policy_sees_its_own_rows_and_as_many_values_as_it_reads(task_of):
    noted: list[np.ndarray] = []
    task = task_of(laps=1)
    short: list[np.ndarray] = []
    reader = policy_entrant("short", lambda seen: short.append(seen) or np.zeros((len(seen), 2)), task.size_alone)
    drive_races(task, [constant(0.0, 0.0, noted=noted), reader], EACH_FIRST)
    task.world.restart_all()
    start = task.reset()[0]
    np.testing.assert_array_equal(noted[0], start[[0, 2]])
    np.testing.assert_array_equal(short[0], start[[1, 3], : task.size_alone])
    assert noted[0].shape == (2, task.size)
    assert task.size == task.size_alone + 7


@pytest.mark.parametrize("seed", [1, 2])
def test_it_may_brake_by_surprise_at_a_time_that_is_drawn_for_each_race(task_of, seed: int):
    task = task_of(races=6, laps=1, seed=seed)
    first = 2 * np.arange(6) + np.arange(6) % 2  # they start in front, the others stay where they are
    drive = line_entrant(0.8, brakes=(2.0, 3.0)).make(task, first)
    assert line_entrant(0.8).name == "line 0.8"
    task.world.restart_all()
    task.reset()
    throttle = []
    asked = np.zeros((12, 2))
    for _ in range(50):
        asked[first] = drive(first, None)
        throttle.append(asked[first, 1])
        task.step_batch(asked)
    brakes = np.array(throttle) == -1
    drawn = [2.0 + float(uniform(int(task.world.rules["seed"]), race, 0, Draw.BRAKING)) for race in range(6)]
    begin = np.ceil(np.array(drawn) / task.world.step_dt - 1e-3)
    assert (brakes.argmax(axis=0) == begin).all()
    assert (brakes.sum(axis=0) == round(BRAKING / task.world.step_dt)).all()
    assert len(set(begin)) > 2
    assert drive(first[1:2], None).shape == (1, 2)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_an_entrant_whose_actions_are_no_numbers_is_refused(task_of, value: float):
    with pytest.raises(Diverged, match="an entrant's actions are not numbers"):
        drive_races(task_of(), [constant(0.0, 0.5), constant(0.0, value)], EACH_FIRST)


def test_what_is_beyond_the_pedals_is_clipped(task_of):
    task = task_of(laps=1)
    asked: list[np.ndarray] = []
    real = task.step_batch
    task.step_batch = lambda actions: asked.append(actions) or real(actions)  # type: ignore[method-assign]
    drive_races(task, [constant(0.0, 7.0), constant(-9.0, 0.1)], EACH_FIRST)
    assert asked[0].tolist() == pytest.approx(np.array([[0, 1], [-1, 0.1], [0, 1], [-1, 0.1]]))


def test_the_race_is_as_the_environment_says_but_for_how_it_begins_and_ends(task_of):
    task = task_of({"near": 0.3, "grace": 0.5}, start="rolling", cars=3, laps=4)
    rules = task.world.race
    assert (rules.near, rules.grace, rules.start.name, rules.wreck.name) == (0.3, 0.5, "ROLLING", "REMOVE")
    assert task.world.episodes.laps == 4
    assert task.world.cars_per_race == 3
    assert task.world.episodes.time_limit > 4 * 20
