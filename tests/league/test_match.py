"""Matches of drivers of known pace: who wins, what is kept, what does not matter."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from racing.evaluation.race.driving import policy_entrant
from racing.evaluation.race.result import summarise_races
from racing.evaluation.race.suites import Place
from racing.league import match as module
from racing.league.match import (
    Contender,
    Match,
    Terms,
    drive_match,
    keep_match,
    kept_match,
    match_file,
    match_key,
    ways_of,
)
from racing.league.ratings import LEVEL, rate
from tests.evaluation.test_race_log import written

pytestmark = pytest.mark.slow
GAMES = 6


@pytest.fixture(scope="module")
def terms(met: tuple[list[Contender], Place]) -> Terms:
    return Terms(place=met[1], games=GAMES, laps=1, seed=3, start="grid")


@pytest.fixture(scope="module")
def driven(met: tuple[list[Contender], Place], terms: Terms) -> Match:
    """Slow against fast."""
    return drive_match(met[0][0], met[0][1], terms)


def test_the_faster_wins_whichever_seat_it_has(driven: Match):
    assert driven.points().tolist() == [0] * GAMES
    assert driven.meeting(4, 2).points.tolist() == [0] * (GAMES // 2)
    assert [row["position"] for row in driven.rows] == [2, 1] * GAMES
    assert [row["race"] for row in driven.rows] == [game for game in range(GAMES) for _ in range(2)]


def test_the_games_of_a_pair_have_the_same_start_with_exchanged_seats(driven: Match):
    seats = np.array([(row["car"], row["grid"]) for row in driven.rows]).reshape(GAMES // 2, 2, 2, 2)
    first, second = seats[:, 0], seats[:, 1]
    np.testing.assert_array_equal(first, second[:, ::-1])  # what a has in the one, b has in the other
    assert len(set(first[:, 0, 0])) == 1
    assert set(first[:, 0, 1]) == {1, 2}  # and who starts in front goes round


def test_exchanging_the_contenders_exchanges_the_result(
    met: tuple[list[Contender], Place], terms: Terms, driven: Match
):
    turned = drive_match(met[0][1], met[0][0], terms)
    assert turned == driven.swapped() != driven
    assert turned.swapped() == driven
    assert turned.points().tolist() == [1] * GAMES
    assert turned.key == driven.key


def test_driven_in_the_other_order_it_is_the_same(met: tuple[list[Contender], Place], terms: Terms, driven: Match):
    """Not only because contenders have an order: exchanging their names exchanges who drives which car."""
    slow, fast = met[0][:2]
    a, b = (replace(one, identity=other.identity) for one, other in ((slow, fast), (fast, slow)))
    again = drive_match(a, b, terms)
    exchanged = [{**row, "race": row["race"] ^ 1} for row in again.rows]
    assert sorted(exchanged, key=lambda row: row["race"]) == driven.rows


def test_another_seed_gives_other_starts(met: tuple[list[Contender], Place], terms: Terms):
    rolling = replace(terms, games=2, start="rolling")
    first, again, other = (drive_match(*met[0][:2], replace(rolling, seed=seed)) for seed in (0, 0, 1))
    assert first.rows == again.rows
    assert [row["distance_m"] for row in first.rows] != [row["distance_m"] for row in other.rows]


def test_threads_do_not_matter(
    met: tuple[list[Contender], Place], terms: Terms, driven: Match, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("racing.sim.world.MIN_CARS_PER_THREAD", 1)
    assert drive_match(*met[0][:2], replace(terms, threads=2)) == driven


def test_a_policy_against_itself_is_even_and_its_pairs_are_one_game(
    met: tuple[list[Contender], Place], terms: Terms, driven: Match
):
    fast = met[0][1]
    even = drive_match(fast, fast, terms)
    assert even.meeting(0, 1).points.tolist() == [1] * (GAMES // 2)
    assert 2 * even.distinct == driven.distinct <= GAMES
    (first, second) = rate([even.meeting(0, 1)], 2)
    assert first.low <= second.value <= first.high
    assert first.value == pytest.approx(LEVEL)


def test_games_are_distinct_by_what_was_driven_not_by_whom():
    distance = np.zeros((5, 3, 2))
    distance[:, 1] += 1
    first, exchanged = (replace(written(distance), who=np.array([who] * 3)) for who in ([0, 1], [1, 0]))
    assert ways_of([first, exchanged]) == [0, 0, 1, 1, 0, 0]
    distance[3, 2, 1] = np.nan  # out earlier
    match = Match(a="a", b="b", terms={}, rows=[{"time_s": 1.0}] * 12, ways=ways_of([first, written(distance)]))
    assert match.ways == [0, 0, 1, 1, 0, 2]
    assert match.distinct == 3
    assert match.meeting(0, 1).groups().tolist() == [0, 2, 1]


def test_order_of_strength_is_recovered(met: tuple[list[Contender], Place], terms: Terms, driven: Match):
    """The fast one also beats a line follower, which beats the slow one."""
    slow, fast, line = met[0]
    results = [(0, 1, driven), (0, 2, drive_match(slow, line, terms)), (1, 2, drive_match(fast, line, terms))]
    found = rate([one.meeting(a, b) for a, b, one in results], 3, anchor=2)
    assert found[0].high < found[2].value == LEVEL < found[1].low


def still(name: str, *action: float) -> Contender:
    """Everybody gets the same action."""
    return Contender(
        name=name, identity=name, entrant=policy_entrant(name, lambda seen: np.tile(np.array(action), (len(seen), 1)))
    )


def test_a_game_that_nobody_finishes_is_drawn(terms: Terms):
    match = drive_match(still("into the grass", 1.0, 1.0), still("on the brake", 0.0, -1.0), terms)
    assert not any(row["finished"] for row in match.rows)
    assert match.points().tolist() == [0.5] * GAMES
    assert match.meeting(0, 1).points.tolist() == [1] * (GAMES // 2)


# what is kept


def test_a_match_is_read_as_it_was_kept_from_either_side(driven: Match, tmp_path: Path):
    path = keep_match(tmp_path / "matches", driven)
    assert path == match_file(tmp_path / "matches", driven.key)
    assert kept_match(path.parent, driven.a, driven.b, driven.terms) == driven
    assert kept_match(path.parent, driven.b, driven.a, driven.terms) == driven.swapped()
    summary = summarise_races([{**row, "entrant": k % 2} for k, row in enumerate(driven.rows)])
    assert (summary[0]["win_share"], summary[1]["finish_rate"]) == (0, 1)


def damaged(path: Path, how: str) -> None:
    content = json.loads(path.read_text())
    if how == "cut":
        path.write_text(path.read_text()[:-100])
    elif how == "list":
        path.write_text("[]")
    else:
        if how == "rows":
            content["rows"]["time_s"].pop()
        elif how == "fewer games":
            content["rows"] = {name: values[:4] for name, values in content["rows"].items()}
        elif how == "schema":
            content["schema"] += 1
        elif how == "other terms":
            content["terms"]["seed"] += 1
        elif how == "ways":
            content["ways"].pop()
        elif how == "text":
            content["rows"]["time_s"] = ["soon"] * len(content["rows"]["time_s"])
        path.write_text(json.dumps(content))


@pytest.mark.parametrize("how", ["cut", "list", "rows", "fewer games", "schema", "other terms", "text", "ways"])
def test_a_damaged_file_is_no_match(driven: Match, tmp_path: Path, how: str):
    damaged(keep_match(tmp_path, driven), how)
    assert kept_match(tmp_path, driven.a, driven.b, driven.terms) is None


@pytest.mark.parametrize(
    ("change", "matters"),
    [
        ({"games": 8}, True),
        ({"laps": 2}, True),
        ({"seed": 4}, True),
        ({"start": "rolling"}, True),
        ({"threads": 2}, False),
    ],
)
def test_the_key_is_of_what_results_depend_on(terms: Terms, change: dict[str, Any], matters: bool):
    keys = {match_key("a", "b", one.record()) for one in (terms, replace(terms, **change))}
    assert len(keys) == 1 + matters


@pytest.mark.parametrize(
    ("change", "matters"),
    [
        ({"race": {"restitution": 0.5}}, True),
        ({"race": {"restitution": 0.1}}, False),  # the default
        ({"race": {"near": 0.1}}, False),  # of trainings
        ({"rays": 9}, True),
        ({"reward": {"progress": 7}}, False),
        ({"cars": 5, "mix": {"self": 1}}, False),
    ],
)
def test_the_key_is_of_the_environment_as_far_as_a_match_has_it(terms: Terms, change: dict[str, Any], matters: bool):
    other = replace(terms, place=replace(terms.place, env={**terms.place.env, **change}))
    assert (match_key("a", "b", terms.record()) != match_key("a", "b", other.record())) == matters


def test_the_key_is_of_the_policies_the_car_the_road_and_the_version(terms: Terms, monkeypatch: pytest.MonkeyPatch):
    record = terms.record()
    assert match_key("a", "b", record) == match_key("b", "a", record) != match_key("a", "c", record)
    car = replace(terms.place.vehicle, mass=terms.place.vehicle.mass + 1)
    road = replace(terms.place.track, left=terms.place.track.left + 0.1)
    for place in (replace(terms.place, vehicle=car), replace(terms.place, track=road)):
        assert match_key("a", "b", replace(terms, place=place).record()) != match_key("a", "b", record)
    monkeypatch.setattr(module, "__version__", "9")
    assert terms.record() != record


def test_the_watch_is_told_of_every_step_and_may_end_it(met: tuple[list[Contender], Place], terms: Terms):
    class Enough(Exception):
        pass

    told: list[int] = []

    def watch(cars: int) -> None:
        told.append(cars)
        if len(told) == 5:
            raise Enough

    with pytest.raises(Enough):
        drive_match(*met[0][:2], terms, watch)
    assert told == [GAMES] * 5  # a game of each pair, two cars each
