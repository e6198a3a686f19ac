"""Evaluations where something changes while cars drive: facts, means, telemetry, the picture."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet
import pytest

from racing.config import compose_run
from racing.evaluation.evaluate import evaluate, evaluation_task
from racing.evaluation.files import write_files
from racing.evaluation.race.driving import RACE_COLUMNS, RaceLog, drive_races, line_entrant, race_columns, race_task
from racing.evaluation.race.result import car_rows, summarise_races
from racing.evaluation.result import Evaluation
from racing.evaluation.seeds import TEST_SEEDS
from racing.evaluation.stint import stint_facts, stint_means
from racing.evaluation.telemetry import COLUMNS, CONDITION_COLUMNS
from racing.sim import records
from racing.sim.track import Track
from racing.sim.vehicle import Vehicle
from racing.tracks.reference_lap import reference_lap
from tests.support.drivers import follower, group

LAPS, PACE, REFERENCE = 5, 9.0, 60.0
CHANGING = {"tyres": {"life": 60.0, "optimal_temperature": 60.0}, "fuel": {"start": 2.0}}


@pytest.fixture(scope="module")
def stint(wavy: Track, kart: Vehicle) -> Evaluation:
    env = {**group("env/mlp"), "conditions": CHANGING}
    task = evaluation_task(env, [wavy], kart, [REFERENCE], races=4, laps=LAPS, seed=TEST_SEEDS)
    return evaluate(follower(task, PACE), task, [REFERENCE])


def condition(**values: float) -> np.ndarray:
    record = np.zeros((), records.condition(np.float32))
    for name, value in values.items():
        record[name] = value
    return record


def test_degradation_is_the_slope_of_the_flying_laps():
    """36, 36.1, 36.2, 36.3 after a first lap of 40: a tenth of a second a lap; least squares by hand: 0.1."""
    facts = stint_facts(condition(wear=0.5, fuel=1.5), [40.0, 36.0, 36.1, 36.2, 36.3])
    assert facts["degradation_s"] == pytest.approx(0.1)
    assert facts["mean_lap_s"] == pytest.approx(36.15)
    assert (facts["tyre_wear"], facts["fuel_kg"], facts["pit_stops"]) == (0.5, 1.5, 0)
    # sum (k - 1)(t - 31) / sum (k - 1)^2 of laps 30, 30, 33: (30 + 3) ... = (-1 * -1 + 1 * 2) / 2
    assert stint_facts(condition(), [50.0, 30.0, 30.0, 33.0])["degradation_s"] == pytest.approx(1.5)


def test_what_too_few_laps_or_a_stop_leave_open_is_none():
    assert stint_facts(condition(), [40.0])["mean_lap_s"] is None
    assert stint_facts(condition(), [40.0, 36.0, 36.5])["degradation_s"] is None
    assert stint_facts(condition(stops=1), [40.0, 36.0, 36.5, 37.0])["degradation_s"] is None


def test_means_of_lap_times_are_those_of_who_finished():
    both = [
        {"finished": True, "mean_lap_s": 36.0, "degradation_s": 0.1, "tyre_wear": 0.8, "fuel_kg": 1.0, "damage": 0.0},
        {"finished": False, "mean_lap_s": 30.0, "degradation_s": 9.0, "tyre_wear": 0.4, "fuel_kg": 2.0, "damage": 1.0},
    ]
    means = stint_means(both)
    assert (means["mean_lap_s"], means["degradation_s"]) == (36.0, 0.1)
    assert (means["tyre_wear"], means["fuel_kg"], means["damage"]) == (pytest.approx(0.6), 1.5, 0.5)
    assert stint_means([{"finished": True}]) == {}


def test_an_evaluation_reports_the_stint_of_every_car(stint: Evaluation, wavy: Track):
    assert stint.summary["finish_rate"] == 1
    table = stint.telemetry_table(0)
    assert list(table) == ["time_s", *COLUMNS, *CONDITION_COLUMNS]
    assert table["tyre_wear"][0] == 0
    assert (np.diff(table["tyre_wear"]) >= 0).all()
    assert table["tyre_wear"][-1] == pytest.approx(stint.episodes[0]["tyre_wear"])
    assert 0.05 < stint.episodes[0]["tyre_wear"] < 0.95
    assert table["fuel"][0] == 2.0
    assert table["fuel"][-1] == pytest.approx(stint.episodes[0]["fuel_kg"]) != 2.0
    assert stint.summary["tyre_wear"] == pytest.approx(np.mean([e["tyre_wear"] for e in stint.episodes]))
    assert abs(stint.summary["degradation_s"]) < 0.5  # this driver holds his pace
    assert "tyre_wear" in stint.episodes[0]["reward_terms"]


@pytest.mark.cold
def test_its_files_have_the_channels_with_their_units_and_a_picture(
    stint: Evaluation, wavy: Track, kart: Vehicle, tmp_path: Path
):
    files = write_files(stint, tmp_path, "demo", wavy, reference_lap(wavy, kart))
    assert files[-1] == tmp_path / "stint.png"
    picture = cv2.imread(str(files[-1]))
    assert picture.shape[0] > 900
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 50
    table = pyarrow.parquet.read_table(tmp_path / "telemetry.parquet")
    assert table.schema.field("tyre_temperature").metadata == {b"unit": b"degC"}
    assert (tmp_path / "laps.csv").read_text().splitlines()[0].count("degradation_s") == 1
    header = (tmp_path / "telemetry.csv").read_text().splitlines()[0]
    assert header.endswith("tyre_wear,tyre_temperature,fuel,wetness,damage,grip")


def without_conditions(log: RaceLog) -> RaceLog:
    return dataclasses.replace(log, telemetry=log.telemetry[..., : len(RACE_COLUMNS)])


def test_what_damage_does_is_reported_of_an_entrant():
    row = {"race": 0, "entrant": "me", "position": 1, "finished": True, "overtakes": 0, "at_fault": 0, "overtaken": 0}
    row |= {"distance_m": 100.0, "lap_ratio": None, "lap_time_s": None, "contacts": 1, "incident_points": 4}
    row |= {"closing": 3.0, "presence": 1.0, "damage": 0.4, "ended": "laps_done"}
    summary = summarise_races([row, {**row, "race": 1, "damage": 1.0, "ended": "retired", "finished": False}])["me"]
    assert summary["damage"] == pytest.approx(0.7)
    assert summary["retired_rate"] == 0.5
    assert "damage" not in summarise_races([{k: v for k, v in row.items() if k != "damage"}])["me"]


def test_races_keep_them_too_and_stops_count_in_the_time_of_a_race(wavy: Track, kart: Vehicle):
    """Two laps, a stop of 30 s after the first one: the race takes 30 s longer, for everybody."""
    logs = []
    for every in (0, 1):
        conditions = {"fuel": {"start": 3.0}, "pit_stop": {"every": every, "time": 30.0}}
        env = {**compose_run(["env=race"])["env"], "conditions": conditions}
        task = race_task(env, wavy, kart, races=1, cars=2, start="grid", laps=2, reference=REFERENCE, seed=3)
        logs.append(drive_races(task, [line_entrant(0.8)], np.zeros((1, 2), int)))
    plain, stopped = logs
    assert list(race_columns(plain.telemetry))[-2:] == ["damage", "grip"]
    assert np.isfinite(plain.time).all()
    np.testing.assert_allclose(stopped.time, plain.time + 30.0, atol=0.2)
    (row, _) = car_rows(stopped, ["line"])
    assert 0 < row["fuel_kg"] < 3.0
    assert "damage" not in car_rows(without_conditions(plain), ["line"])[0]
    np.testing.assert_allclose([times[0] for times in stopped.laps[0]], [t[0] + 30.0 for t in plain.laps[0]], atol=0.2)
