"""What a race's log says of each car, and of each entrant, against values worked out by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import stats

from racing.evaluation.intervals import difference_interval, mean_interval, wilson
from racing.evaluation.race.result import car_rows, summarise_races
from racing.sim.records import Ending
from tests.evaluation.test_race_log import touches, written


def two_races() -> list[dict[str, Any]]:
    """b passes a and wins the first race; in the second b runs into a and leaves the road."""
    passing = np.stack([np.zeros(50), np.linspace(-5, 20, 50)], axis=1)
    other = np.stack([np.linspace(0, 400, 50), np.linspace(-5, 100, 50)], axis=1)
    log = written(
        np.stack([passing, other], axis=1),
        ended=np.array([[Ending.TIME_LIMIT, Ending.LAPS_DONE], [Ending.LAPS_DONE, Ending.OFF_TRACK]]),
        time=np.array([[np.inf, 50.0], [61.0, np.inf]]),
        laps=[[[], [24.0, 26.0]], [[30.0], []]],
        driven=np.array([[500.0, 1000.0], [1000.0, -3.0]]),
        steps=np.array([[49, 49], [49, 20]]),
        near=np.array([[49, 0], [7, 5]]),
        contacts=touches((20, 1, 1, 6.0, 1.0), (20, 1, 0, 6.0, 0.0), (30, 1, 1, 0.5, 1.0), (30, 1, 0, 0.5, 0.0)),
    )
    return car_rows(log, ["a", "b"], 20.0)


def test_a_row_says_what_each_car_did():
    rows = two_races()
    assert [(row["race"], row["car"], row["entrant"]) for row in rows] == [
        (0, 0, "a"),
        (0, 1, "b"),
        (1, 0, "a"),
        (1, 1, "b"),
    ]
    assert rows[1] == {
        "race": 0,
        "car": 1,
        "entrant": "b",
        "grid": 2,
        "position": 1,
        "ended": "laps_done",
        "finished": True,
        "time_s": 50.0,
        "lap_time_s": 25.0,
        "lap_ratio": 1.25,
        "distance_m": 1000.0,
        "overtakes": 1,
        "overtaken": 0,
        "contacts": 0,
        "at_fault": 0.0,
        "incident_points": 0,
        "closing": 0.0,
        "presence": 0.0,
    }
    assert (rows[0]["finished"], rows[0]["time_s"], rows[0]["lap_time_s"], rows[0]["lap_ratio"]) == (
        True,
        None,
        None,
        None,
    )
    assert (rows[0]["overtaken"], rows[0]["position"], rows[0]["grid"], rows[0]["presence"]) == (1, 2, 1, 1.0)
    crashed = rows[3]
    assert (crashed["ended"], crashed["finished"], crashed["position"]) == ("off_track", False, 2)
    assert (crashed["contacts"], crashed["at_fault"], crashed["incident_points"]) == (2, 2.0, 5)
    assert (crashed["closing"], crashed["presence"]) == (6.0, 0.25)
    assert (rows[2]["contacts"], rows[2]["at_fault"], rows[2]["incident_points"]) == (2, 0.0, 5)


def test_the_summary_of_each_entrant_is_what_its_rows_give():
    summary = summarise_races(two_races())
    assert list(summary) == ["a", "b"]
    a, b = summary["a"], summary["b"]
    assert (a["races"], a["cars"], b["races"], b["cars"]) == (2, 2, 2, 2)
    assert (a["win_share"], b["win_share"]) == (0.5, 0.5)
    assert (a["win_share_low"], a["win_share_high"]) == wilson(1, 2)
    assert (a["finish_rate"], b["finish_rate"]) == (1.0, 0.5)
    assert (a["overtake_rate"], b["overtake_rate"]) == (0.0, 0.5)
    assert (a["clean_rate"], b["clean_rate"]) == (1.0, 0.5)
    assert (a["position"], a["position_low"], a["position_high"]) == mean_interval([2, 1])
    assert (a["overtaken"], b["overtakes"]) == (0.5, 0.5)
    assert (a["lap_ratio"], a["lap_ratio_low"], b["lap_ratio"]) == (1.5, None, 1.25)
    assert (a["contacts_per_km"], a["faults_per_km"], b["faults_per_km"]) == pytest.approx((2 / 1.5, 0, 2))
    assert a["incidents_per_km"] == pytest.approx(5 / 1.5)
    assert b["contacts_per_km"] == pytest.approx(2.0)  # who went backwards has driven nothing
    assert b["closing_p95"] == pytest.approx(5.7)
    assert a["presence"] == pytest.approx((1 + 7 / 49) / 2)


def test_time_lost_to_traffic_is_what_laps_take_longer_than_alone():
    distance = np.zeros((9, 4, 2))
    laps = [[[24.0, 26.0], [40.0]], [[26.0], []], [[27.0], [41.0]], [[], [42.0]]]
    rows = car_rows(written(distance, laps=laps), ["a", "b"])
    summary = summarise_races(rows, {"a": [24.0, 25.0, 24.5], "b": [40.0]})
    a, b = summary["a"], summary["b"]
    assert a["time_lost_s"] == pytest.approx((25 + 26 + 27) / 3 - 24.5)
    assert (a["time_lost_s_low"], a["time_lost_s_high"]) == difference_interval([25, 26, 27], [24, 25, 24.5])[1:]
    assert (b["time_lost_s"], b["time_lost_s_low"]) == (1.0, None)  # alone it has driven once
    nobody = summarise_races(rows)["a"]
    assert (nobody["time_lost_s"], nobody["time_lost_s_high"]) == (None, None)
    assert summarise_races(rows, {"a": []})["a"]["time_lost_s"] is None


def test_the_interval_of_a_difference_is_welch_s():
    """As scipy has it; half of it is t(97.5 %, v) times the root of 1/3 + 1/12, and v = (5/12)^2 / (1/18 + 1/288)."""
    first, second = [25.0, 26.0, 27.0], [24.0, 24.5, 25.0]
    difference, low, high = difference_interval(first, second)
    known = stats.ttest_ind(first, second, equal_var=False).confidence_interval(0.95)
    assert (difference, low, high) == pytest.approx((1.5, known.low, known.high))
    assert (high - low) / 2 == pytest.approx(stats.t.ppf(0.975, (5 / 12) ** 2 / (1 / 18 + 1 / 288)) * (5 / 12) ** 0.5)
    assert difference_interval([2.0, 2.0], [1.0, 1.0]) == (1.0, 1.0, 1.0)
    assert difference_interval([2.0, 2.0], [1.0]) == (1.0, None, None)
    assert difference_interval([], [1.0]) == (None, None, None)


def test_an_entrant_with_several_cars_wins_a_race_once():
    log = written(np.random.default_rng(0).uniform(0, 9, (2, 12, 3)), who=np.tile([0, 1, 1], (12, 1)))
    rows = car_rows(log, ["one", "two"])
    summary = summarise_races(rows)
    assert (summary["two"]["races"], summary["two"]["cars"]) == (12, 24)
    assert summary["one"]["win_share"] + summary["two"]["win_share"] == pytest.approx(1.0)
    everyone = summarise_races(car_rows(written(log.distance, who=np.zeros((12, 3), int)), ["all"]))["all"]
    assert everyone["win_share"] == 1.0
    assert everyone["position"] == 2.0
    assert everyone["lap_ratio"] is None
