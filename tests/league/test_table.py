"""What is said of matches whose games are written by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import pytest

from racing.evaluation.race.driving import policy_entrant
from racing.league import picture
from racing.league.match import Contender, Match
from racing.league.ratings import Field, Meeting, rate, win_share
from racing.league.table import match_rows, race_ratings, share_matrix, standings

CALM: dict[str, Any] = {  # a row of a car that won without meeting anybody
    **{"car": 0, "grid": 1, "position": 1, "ended": "laps_done", "finished": True, "time_s": 40.0},
    **{"lap_time_s": 20.0, "lap_ratio": 1.0, "distance_m": 500.0, "overtakes": 0, "overtaken": 0, "contacts": 0},
    **{"at_fault": 0.0, "incident_points": 0, "closing": 0.0, "presence": 0.0},
}


def contender(name: str) -> Contender:
    return Contender(name=name, identity=f"sha of {name}", entrant=policy_entrant(name, np.asarray))


def match(a: str, b: str, times: list[tuple[float | None, float | None]], **of_b: Any) -> Match:
    """times: of a and b in each game, None where it did not come home. of_b: of the row of b in each game."""
    rows = []
    for game, (first, second) in enumerate(times):
        ahead = second is None or (first is not None and first < second)
        rows += [
            CALM | {"race": game, "time_s": first, "position": 1 if ahead else 2},
            CALM | {"race": game, "time_s": second, "position": 2 if ahead else 1} | of_b,
        ]
    return Match(a=f"sha of {a}", b=f"sha of {b}", terms={"games": len(times)}, rows=rows, ways=range(len(times)))


THREE = [contender(name) for name in ("slow", "fast", "middle")]


@pytest.fixture
def matches() -> dict[tuple[int, int], Match]:
    return {
        (0, 1): match("slow", "fast", [(42, 40)] * 3 + [(40, 42)], contacts=1, at_fault=0.5),
        (0, 2): match("slow", "middle", [(42, 40), (None, None), (None, 40), (40, None)]),
        (1, 2): match("fast", "middle", [(40, 40), (40, 42), (40, 42), (40, 42)]),
    }


def test_standings_are_sorted_by_rating_and_counted_from_each_side(matches: dict[tuple[int, int], Match]):
    rows = standings(THREE, matches, anchor=2)
    assert [row["name"] for row in rows] == ["fast", "middle", "slow"]
    counts = {row["name"]: (row["games"], row["wins"], row["draws"], row["losses"]) for row in rows}
    assert counts == {"fast": (8, 6, 1, 1), "middle": (8, 2, 2, 4), "slow": (8, 2, 1, 5)}
    assert [row["win_share"] for row in rows] == [6.5 / 8, 3 / 8, 2.5 / 8]
    assert [row["rating"] for row in rows if row["name"] == "middle"] == [1000]
    assert rows[0]["rating_low"] < rows[0]["rating"] < rows[0]["rating_high"]
    assert rows[0]["identity"] == "sha of fast"


def test_contacts_are_per_km_of_whoever_had_them(matches: dict[tuple[int, int], Match]):
    found = {row["name"]: row for row in standings(THREE, matches)}
    assert found["fast"]["contacts_per_km"] == 4 / (8 * 0.5)
    assert found["fast"]["faults_per_km"] == 2 / (8 * 0.5)
    assert found["slow"]["contacts_per_km"] == found["middle"]["contacts_per_km"] == 0
    (first, *_) = match_rows(THREE, matches)
    assert (first["contacts_per_km"], first["contacts_per_km_b"]) == (0, 4 / (4 * 0.5))


def test_matches_are_told_from_the_first_one_s_side(matches: dict[tuple[int, int], Match]):
    rows = match_rows(THREE, matches)
    assert [(row["a"], row["b"], row["wins"], row["draws"], row["losses"]) for row in rows] == [
        ("slow", "fast", 1, 0, 3),
        ("slow", "middle", 1, 1, 2),
        ("fast", "middle", 3, 1, 0),
    ]
    assert (rows[0]["position"], rows[0]["position_b"]) == (1.75, 1.25)
    assert [row["distinct"] for row in rows] == [4, 4, 4]
    assert len({row["key"] for row in rows}) == 3


def test_the_matrix_is_mirrored(matches: dict[tuple[int, int], Match]):
    shares = share_matrix(THREE, matches)
    assert len(shares) == 6
    for (a, b), (share, low, high) in shares.items():
        assert shares[b, a] == pytest.approx((1 - share, 1 - high, 1 - low), abs=1e-12)
    assert shares["fast", "middle"] == win_share([Meeting(a=1, b=2, points=np.array([1.5, 2.0]))])


@pytest.mark.cold
def test_the_picture_has_the_colours_of_the_shares(matches: dict[tuple[int, int], Match], tmp_path: Path):
    rows = standings(THREE, matches)
    path = picture.matrix_picture(rows, share_matrix(THREE, matches), tmp_path / "matrix.png", facts=["oval"])
    image = matplotlib.image.imread(path)[..., :3]
    assert image.shape[0] > 400
    red, green = (np.array(colour) for colour in ((0.65, 0.0, 0.15), (0.0, 0.41, 0.22)))
    for colour in (red, green):  # the ends of the bar
        assert (np.abs(image - colour).max(axis=-1) < 0.02).sum() > 50


def test_races_of_several_are_rated_by_the_first_car_of_each():
    home = [
        {"a": [9.0, 12.0], "b": [10.0, None], "c": [11.0, None]},
        {"a": [None, None], "b": [10.0, 10.5], "c": [9.5]},
    ]
    rows = [
        {"race": 7 + race, "entrant": name, "time_s": time}
        for race, cars in enumerate(home)
        for name, times in cars.items()
        for time in times
    ]
    found = race_ratings(rows, ["c", "a", "b"])
    times = np.array([[11.0, 9.0, 10.0], [9.5, np.inf, 10.0]])
    expected = rate([Field(entries=(0, 1, 2), times=times)], 3)
    assert [found[name]["rating"] for name in ("c", "a", "b")] == [one.value for one in expected]
    assert [found["a"]["rating_low"], found["a"]["rating_high"]] == [expected[1].low, expected[1].high]
