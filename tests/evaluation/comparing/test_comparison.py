"""Laps on each other: deltas, mini-sectors, tables, pictures, telemetry files."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from racing.errors import InputError
from racing.evaluation.comparing.comparison import CHANNELS, compare_laps
from racing.evaluation.comparing.lap import Lap, best_lap
from racing.evaluation.comparing.pictures import channels_picture, forces_picture, map_picture, style_of
from racing.evaluation.comparing.recorded import best_recorded
from racing.evaluation.result import Evaluation
from racing.evaluation.telemetry import write_parquet
from racing.figures import DRIVERS
from racing.sim.track import Track

Drive = Callable[..., dict[str, np.ndarray]]


@pytest.fixture(scope="module")
def laps(driven: Evaluation, wavy: Track) -> dict[str, Lap]:
    found = {f"d{i}": best_lap(driven.telemetry_table(i), wavy) for i in range(len(driven.episodes))}
    assert None not in found.values()
    return found


@pytest.mark.slow
@pytest.mark.parametrize("sectors", [2, 20, 33])
def test_the_delta_at_the_line_is_the_difference_of_lap_times(laps: dict[str, Lap], driven: Evaluation, sectors: int):
    found = compare_laps(laps, sectors)
    times = np.array([episode["lap_time_s"] for episode in driven.episodes])
    assert found.delta[:, -1] == pytest.approx(times - times[0], abs=1e-4)
    exact = np.array([lap.time_s for lap in laps.values()])
    assert found.delta[:, -1] == pytest.approx(exact - exact[0], abs=1e-9)
    assert (found.delta[:, 0] == 0).all()
    assert found.sectors.shape == (4, sectors)
    assert found.sectors.sum(axis=1) == pytest.approx(exact, abs=1e-9)


@pytest.mark.slow
def test_drivers_who_change_places_negate_the_delta(laps: dict[str, Lap]):
    pair = {name: laps[name] for name in ("d0", "d3")}
    there, back = compare_laps(pair, 20), compare_laps(dict(reversed(pair.items())), 20)
    assert np.abs(there.delta[1]).max() > 0.1
    np.testing.assert_array_equal(there.delta[1], -back.delta[1])
    np.testing.assert_array_equal(there.sectors, back.sectors[::-1])
    assert [row["fastest_in"] for row in there.summary()] == [row["fastest_in"] for row in back.summary()][::-1]


def test_constant_paces_by_hand(drive: Drive, circle: Track, tmp_path: Path):
    """314 m: at 10 m/s a tenth of the lap takes 3.14 s, at 8 m/s 3.93 s."""
    found = compare_laps({"slow, steady": best_lap(drive(8.0), circle), "fast": best_lap(drive(10.0, 3.0), circle)}, 10)
    length = circle.length
    assert found.delta[1] == pytest.approx(found.distance / 10 - found.distance / 8, abs=4e-3)
    assert found.sectors == pytest.approx(np.array([[length / 80] * 10, [length / 100] * 10]), abs=4e-3)
    slow, fast = found.summary()
    assert (slow["fastest_in"], fast["fastest_in"]) == (0, 10)
    assert fast["gap_s"] == pytest.approx(length / 10 - length / 8, abs=1e-4)
    assert (fast["top_speed"], fast["least_speed"]) == pytest.approx((10, 10))
    rows = list(csv.DictReader(found.write(tmp_path / "channels.csv").open()))
    assert len(rows) == 2 * len(found.distance)
    assert {"driver", "distance_m", "elapsed_s", "delta_s", *CHANNELS} == set(rows[0])
    assert (rows[0]["driver"], rows[-1]["driver"]) == ("slow, steady", "fast")
    assert float(rows[-1]["delta_s"]) == pytest.approx(fast["gap_s"], abs=1e-5)
    table = list(csv.DictReader(found.write_sectors(tmp_path / "sectors.csv").open()))
    assert [row["sector"] for row in table] == [str(k) for k in range(1, 11)]
    assert float(table[9]["to_m"]) == pytest.approx(length, abs=0.1)
    assert sum(float(row["fast_s"]) for row in table) == pytest.approx(fast["lap_time_s"], abs=1e-4)


@pytest.mark.slow
@pytest.mark.cold
def test_pictures_show_each_driver_in_a_colour_of_its_own(laps: dict[str, Lap], wavy: Track, tmp_path: Path):
    found = compare_laps(laps, 20)
    for draw, more in ((channels_picture, ()), (map_picture, (wavy,)), (forces_picture, ())):
        picture = cv2.imread(str(draw(found, *more, "wavy", tmp_path / f"{draw.__name__}.png", facts=["kart"])))
        assert min(picture.shape[:2]) > 700
        for k in range(len(laps)):
            colour = [int(DRIVERS[k][at : at + 2], 16) for at in (5, 3, 1)]
            assert (np.abs(picture.astype(int) - colour).max(axis=2) < 40).sum() > 150, (draw, k)


def test_styles_differ_beyond_the_colours():
    styles = [tuple(style_of(k).values()) for k in range(18)]
    assert len(set(styles)) == 18


# telemetry files


def test_the_best_lap_of_a_file_is_found(drive: Drive, circle: Track, tmp_path: Path):
    path = tmp_path / "telemetry.parquet"
    write_parquet([drive(8.0), drive(11.0, 5.0), drive(9.0)], path)
    lap, count = best_recorded(path, circle)
    assert count == 3
    assert lap.time_s == pytest.approx(circle.length / 11, abs=1e-4)
    write_parquet([{name: values[:20] for name, values in drive(8.0).items()}], path)
    assert best_recorded(path, circle) == (None, 1)


def test_what_is_no_telemetry_is_refused_in_a_line(drive: Drive, circle: Track, tmp_path: Path):
    path = tmp_path / "drive.parquet"
    table = drive(8.0)
    path.write_bytes(b"PAR1 but not really PAR1")
    with pytest.raises(InputError, match=r"drive.parquet must be telemetry of a drive, .*; evaluate the run again"):
        best_recorded(path, circle)
    write_parquet([{name: values for name, values in table.items() if name not in ("lap", "steer")}], path)
    with pytest.raises(InputError, match="it has no steer, lap; evaluate"):
        best_recorded(path, circle)
    write_parquet([table | {"x": np.full(len(table["x"]), np.nan)}], path)
    with pytest.raises(InputError, match="rows of numbers"):
        best_recorded(path, circle)
    with pytest.raises(InputError, match="No such file"):
        best_recorded(tmp_path / "absent.parquet", circle)
    with pytest.raises(InputError, match="a folder"):
        best_recorded(tmp_path, circle)
