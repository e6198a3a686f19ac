"""What is counted in races, against series written by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from racing.evaluation.race.driving import (
    CONTACT,
    RACE_COLUMNS,
    RaceLog,
    incident_points,
    order_of,
    overtakes,
)
from racing.sim.records import Ending

DT, LENGTH, TOP = 0.1, 2.0, 35.0  # of the logs by hand: a second is ten steps
NAN = np.nan


def written(distance: Any, **changes: Any) -> RaceLog:
    """A log of races whose cars were at distance (T, R, C) [m]; the rest is as if nothing happened."""
    distance = np.asarray(distance, np.float32)
    shape = distance.shape[1:]
    calm = {
        "who": np.tile(np.arange(shape[1]), (shape[0], 1)),
        "place": np.argsort(np.argsort(-distance[0], axis=1), axis=1),
        "distance": distance,
        "telemetry": np.repeat(distance[..., None], len(RACE_COLUMNS), axis=-1),
        "ended": np.full(shape, int(Ending.TIME_LIMIT)),
        "time": np.full(shape, np.inf),
        "laps": [[[] for _ in range(shape[1])] for _ in range(shape[0])],
        "driven": np.zeros(shape),
        "steps": np.full(shape, len(distance) - 1),
        "near": np.zeros(shape, int),
        "contacts": np.array([], CONTACT),
        "drawn": {},
        "step_dt": DT,
        "length": LENGTH,
        "top_speed": TOP,
    }
    return RaceLog(**{**calm, **changes})


def leads(*parts: tuple[float, int]) -> RaceLog:
    """A race of two: by how much [m] the second is ahead of the first, (lead, steps) each."""
    lead = np.repeat([part[0] for part in parts], [part[1] for part in parts])
    return written(np.stack([np.zeros(len(lead)), lead], axis=1)[:, None])


# overtakes


@pytest.mark.parametrize(
    ("parts", "made", "lost"),
    [
        ([(-5, 3), (3, 10)], [0, 1], [1, 0]),
        ([(-5, 3), (3, 9), (-1, 5)], [0, 0], [0, 0]),  # not for a second
        ([(-5, 3), (3, 9), (1.9, 1), (3, 9)], [0, 0], [0, 0]),  # not for a second at a time
        ([(-5, 3), (1.9, 50)], [0, 0], [0, 0]),  # not by a length
        ([(-5, 3), (2, 10)], [0, 1], [1, 0]),  # by just that
        ([(-5, 3), (3, 30), (-3, 30)], [1, 1], [1, 1]),  # taken back
        ([(-5, 3), (3, 30), (-3, 9), (3, 30)], [0, 1], [1, 0]),  # not taken back for a second: passed once
        ([(-5, 3), (3, 30), (-3, 10), (3, 30)], [1, 2], [2, 1]),
        ([(-5, 3), (3, 5), (-3, 5)] * 4, [0, 0], [0, 0]),  # side by side
        ([(5, 30)], [0, 0], [0, 0]),  # it started there
        ([(-5, 3), (3, 5), (NAN, 50)], [0, 0], [0, 0]),  # one is out
        ([(-5, 3), (3, 10), (NAN, 50)], [0, 1], [1, 0]),
    ],
)
def test_who_overtakes_is_a_length_ahead_for_a_second_and_was_behind(parts, made: list[int], lost: list[int]):
    assert [found.tolist() for found in overtakes(leads(*parts))] == [[made], [lost]]


def test_each_pair_of_each_race_counts():
    """In one race the last passes both others, in the other one nobody anybody."""
    lead = np.linspace(-10, 20, 60)
    first = np.stack([0 * lead, 0 * lead - 5, lead], axis=1)
    log = written(np.stack([first, np.tile([0.0, -5.0, -10.0], (60, 1))], axis=1))
    made, lost = overtakes(log)
    assert made.tolist() == [[0, 0, 2], [0, 0, 0]]
    assert lost.tolist() == [[1, 1, 0], [0, 0, 0]]


# who was where


def test_those_who_came_home_are_first_by_time_the_others_by_how_far_they_came():
    distance = np.array([[[0, -2, -4, -6, -8]], [[100, 300, 90, 250, 310]], [[NAN, NAN, 200, NAN, 305]]])
    log = written(distance, time=np.array([[41.5, np.inf, 40.0, np.inf, np.inf]]))
    assert order_of(log).tolist() == [[2, 4, 1, 5, 3]]


def touches(*contacts: tuple[Any, ...]) -> Any:
    """(step, race, car, closing, blame) each."""
    return np.array(
        [(step, race, car, 1 - car, 0.0, 0.0, closing, blame) for step, race, car, closing, blame in contacts], CONTACT
    )


def test_incident_points_go_by_how_fast_they_closed_in():
    closing = [0.0, 0.99, 1.0, 5.2, 5.3, 30]
    log = written(np.zeros((2, 1, 2)), contacts=touches(*((0, 0, 0, speed, 1.0) for speed in closing)))
    assert incident_points(log).tolist() == [1, 1, 2, 2, 4, 4]
    assert incident_points(written(np.zeros((2, 1, 2)))).tolist() == []
