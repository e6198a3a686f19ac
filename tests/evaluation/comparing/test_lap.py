"""Laps in telemetry: timed as the simulator times them, from the start line, and only where they are complete."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from racing.evaluation.comparing.lap import best_lap, lap_of, laps_of
from racing.evaluation.result import Evaluation
from racing.sim.track import Track

Drive = Callable[..., dict[str, np.ndarray]]


@pytest.mark.slow
def test_laps_have_the_simulators_times(driven: Evaluation, wavy: Track):
    seams = set()
    for i, episode in enumerate(driven.episodes):
        laps = laps_of(driven.telemetry_table(i), wavy)
        assert [lap.time_s for lap in laps] == pytest.approx(episode["lap_times_s"], abs=5e-5)
        best = best_lap(driven.telemetry_table(i), wavy)
        assert (best.number, best.time_s) == (2, pytest.approx(episode["lap_time_s"], abs=5e-5))
        seams.add(round(best.seam))
    assert len(seams) > 2  # they began at different gates


@pytest.mark.slow
def test_a_lap_goes_from_the_start_line_to_the_start_line(driven: Evaluation, wavy: Track):
    for i in range(len(driven.episodes)):
        lap = best_lap(driven.telemetry_table(i), wavy)
        assert lap.s[[0, -1]] == pytest.approx([0, wavy.length])
        assert (np.diff(lap.s) > 0).all()
        clock = lap.columns["time_s"]
        assert clock[[0, -1]] == pytest.approx([0, lap.time_s])
        assert (np.diff(clock) > 0).all()
        ways = np.hypot(np.diff(lap.columns["x"]), np.diff(lap.columns["y"]))
        assert ways.max() < 1.3 * driven.step_dt * lap.columns["v"].max()  # nowhere does it jump
        assert np.abs(np.diff(lap.columns["yaw"])).max() < 0.5
        # What is elapsed follows from the speed, but for the way beside the centreline.
        by_speed = np.cumsum(np.diff(lap.s) / ((lap.columns["v"][1:] + lap.columns["v"][:-1]) / 2))
        assert by_speed == pytest.approx(clock[1:], abs=0.01 * lap.time_s)


@pytest.mark.parametrize("pace", [7.0, 19.9])
def test_at_a_constant_pace_time_is_place_by_pace(drive: Drive, circle: Track, pace: float):
    first, second = laps_of(drive(pace), circle)
    whole = circle.length / pace
    for lap in (first, second):
        assert lap.time_s == pytest.approx(whole, abs=2e-5)
        assert lap.seam == pytest.approx(circle.length / 4, abs=0.02)
        places = np.linspace(0, circle.length, 57)
        assert lap.elapsed(places) == pytest.approx(places / pace, abs=2e-3)
        assert lap.elapsed(places)[[0, -1]] == pytest.approx([0, lap.time_s], abs=1e-9)
        assert lap.at("lateral", places) == pytest.approx(np.ones(57))
        start = np.array([lap.at(name, np.zeros(1))[0] for name in ("x", "y", "yaw")])
        assert start[:2] == pytest.approx([49, 0], abs=0.05)
        assert np.cos(start[2] - np.pi / 2) == pytest.approx(1, abs=1e-3)
    assert [first.number, second.number] == [1, 2]


def test_a_lap_that_is_not_all_there_is_none(drive: Drive, circle: Track):
    table = drive(10.0)
    last = int(np.flatnonzero(table["lap"] == 2)[-1])

    def cut(first: int, end: int) -> list[int]:
        return [lap.number for lap in laps_of({name: v[first:end] for name, v in table.items()}, circle)]

    assert cut(0, last + 2) == [1, 2]
    assert cut(0, last + 1) == [1]  # the row in which it ended is missing
    begin = int(np.flatnonzero(table["lap"] == 1)[0])
    assert cut(begin, last + 2) == [2]  # the row before the first gate is missing
    assert cut(begin - 1, last + 2) == [1, 2]
    assert cut(0, 3) == []
    assert best_lap({name: v[:3] for name, v in table.items()}, circle) is None


def test_only_without_another_one_does_the_first_lap_count(drive: Drive, circle: Track):
    table = drive(10.0)
    table["time_s"] = table["time_s"] ** 1.2  # slower and slower
    first, second = laps_of(table, circle)
    assert first.time_s < second.time_s
    assert best_lap(table, circle).number == 2
    rows = int(np.flatnonzero(table["lap"] == 2)[5])
    assert best_lap({name: values[:rows] for name, values in table.items()}, circle).number == 1


def test_a_drive_on_another_track_has_no_lap(drive: Drive, circle: Track, wavy: Track):
    assert laps_of(drive(10.0), wavy) == []
    beside = drive(10.0, lateral=30.0)  # [m] off the road
    assert lap_of(beside, 1, circle) is None
