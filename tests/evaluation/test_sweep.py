"""How a policy degrades: evaluations with cars that differ, value by value, their table and their picture."""

from __future__ import annotations

import csv
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
from rich.console import Console

from racing.evaluation.evaluate import evaluate, evaluation_task
from racing.evaluation.files import write_sweeps
from racing.evaluation.result import Evaluation
from racing.evaluation.sweeps.picture import axis_label
from racing.evaluation.sweeps.sweep import VALUES, Sweep, sweep
from racing.sim.track import Track
from racing.sim.variation.config import LIMITS, make_variation
from racing.sim.vehicle import Vehicle
from tests.support.drivers import follower, group

REFERENCE, PACE = 60.0, 17.0  # [s], [m/s]


def driven(track: Track, vehicle: Vehicle, randomize=None, env=None) -> Evaluation:
    changes = env or group("env/mlp")
    task = evaluation_task(changes, [track], vehicle, [REFERENCE], races=8, laps=1, seed=0, randomize=randomize)
    return evaluate(follower(task, PACE), task, [REFERENCE], telemetry=False)


def test_what_training_randomizes_is_none_of_an_evaluation_s_unless_it_is_asked_for(wavy: Track, kart: Vehicle):
    trained = group("env/mlp", randomize={"friction": 0.5, "mass": [0.5, 2.0]})
    plain, same = driven(wavy, kart), driven(wavy, kart, env=trained)
    assert plain.episodes == same.episodes
    assert "randomize" not in same.summary
    asked = driven(wavy, kart, {"friction": [0.4, 0.8]}, env=trained)
    assert asked.summary["randomize"] == {"friction": [0.4, 0.8]}
    values = [episode["randomize_friction"] for episode in asked.episodes]
    assert len(set(values)) == 8
    assert 0.4 <= min(values) <= max(values) <= 0.8
    assert "randomize_mass" not in asked.episodes[0]
    again = driven(wavy, kart, {"friction": [0.4, 0.8]})
    assert again.episodes == asked.episodes


def test_what_was_drawn_is_a_column_of_the_laps(wavy: Track, kart: Vehicle, tmp_path: Path):
    result = driven(wavy, kart, {"power": [0.8, 1.0], "command_delay": 0.1})
    result.write_laps(tmp_path / "laps.csv")
    rows = list(csv.DictReader((tmp_path / "laps.csv").open()))
    assert [float(row["randomize_power"]) for row in rows] == [e["randomize_power"] for e in result.episodes]
    assert {row["randomize_command_delay"] for row in rows} == {"0.10000000149011612"}


def test_a_sweep_drives_the_same_starts_at_every_value(wavy: Track, kart: Vehicle):
    """17 m/s through the bends takes 1.28 g: friction 1.5 holds, 0.6 of it does not."""
    slick = sweep("friction", [0.6, 1.0, 2.0], partial(driven, wavy, kart))
    alone = [driven(wavy, kart, {"friction": value}).summary for value in (0.6, 1.0, 2.0)]
    assert list(slick.summaries) == alone
    plain = driven(wavy, kart).summary
    assert slick.summaries[1] == plain | {"randomize": {"friction": [1.0, 1.0]}}
    rates = [row["finish_rate"] for row in slick.rows()]
    assert rates[0] == 0.0
    assert rates[2] == 1.0
    assert slick.rows()[0]["lap_ratio"] is None
    table = Console(width=120, no_color=True)
    with table.capture() as printed:
        table.print(slick.table("a title"))
    (row,) = [line for line in printed.get().splitlines() if line.startswith("│      0.6")]
    assert row.split("│")[2:5] == ["       0.000 ", " 0.000 .. 0.324 ", "         - "]  # Wilson's, 0 of 8


def test_usual_values_are_in_range_and_the_vehicle_s_own_is_among_them():
    assert list(VALUES) == list(LIMITS)
    for name, values in VALUES.items():
        assert LIMITS[name][2] in values
        assert list(values) == sorted(set(values))
        for value in values:
            make_variation({name: value})


def some(parameter: str, values, rates, ratios) -> Sweep:
    def summary(rate: float, ratio: float | None) -> dict:
        keys = ("limit_ratio", "lap_time_s", "off_track_rate", "off_track_m", "max_lateral_g", "mean_speed")
        return dict.fromkeys((*keys, "steering_change", "reward"), 1.0) | {
            "episodes": 20,
            "finish_rate": rate,
            "finish_rate_low": max(0.0, rate - 0.1),
            "finish_rate_high": min(1.0, rate + 0.1),
            "lap_ratio": ratio,
            "lap_ratio_low": None if ratio is None else ratio - 0.01,
            "lap_ratio_high": None if ratio is None else ratio + 0.01,
        }

    return Sweep(parameter=parameter, values=values, summaries=[*map(summary, rates, ratios)])


@pytest.mark.cold
def test_tables_and_pictures_are_written_for_each_parameter(tmp_path: Path):
    first = some("friction", [0.5, 1.0], [0.0, 1.0], [None, 1.1])
    second = some("noise", [0.1, 0.2, 0.3], [0.0, 0.0, 0.0], [None] * 3)
    files = write_sweeps([first, second], tmp_path, ["a policy"])
    names = ["sweep_friction.csv", "sweep_friction.png", "sweep_noise.csv", "sweep_noise.png"]
    assert [path.name for path in files] == names
    rows = list(csv.DictReader(files[0].open()))
    assert [(row["parameter"], row["value"], row["finish_rate"], row["lap_ratio"]) for row in rows] == [
        ("friction", "0.5", "0.0", ""),
        ("friction", "1.0", "1.0", "1.1"),
    ]
    with_laps, without = (cv2.imread(str(path)).astype(int) for path in (files[1], files[3]))
    assert min(with_laps.shape[:2]) > 700
    lower = [picture[picture.shape[0] * 55 // 100 : picture.shape[0] * 9 // 10] for picture in (with_laps, without)]
    coloured = [int((np.ptp(half, axis=2) > 60).sum()) for half in lower]
    assert coloured[0] > 100  # the one point that has laps
    assert coloured[1] == 0  # "no lap was finished"


def test_axes_have_units():
    assert axis_label("friction") == "friction, factor on the vehicle's"
    assert axis_label("command_delay") == "command delay [s]"
    assert axis_label("noise") == "noise"
