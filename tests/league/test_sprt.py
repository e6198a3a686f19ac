"""When a sequential test of two policies stops: on rows of games computed by hand, and between known drivers."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from racing.cli import main
from racing.evaluation.race.suites import Place
from racing.league import sprt
from racing.league.match import Contender, Match, Terms, drive_match
from racing.league.sprt import (
    BOUNDS,
    SCORES,
    Told,
    Verdict,
    drive_until_told,
    expected_score,
    joined,
    most_likely,
    tell,
)
from racing.runs.directory import RunDirectory

HIGH = expected_score(20)


def pairs(*points: float, times: int = 1) -> np.ndarray:
    return np.array(points * times, float)


def test_what_is_expected_and_where_it_stops():
    assert expected_score(0) == 0.5
    assert expected_score(400) == pytest.approx(10 / 11)
    assert pytest.approx(0.52875, abs=1e-5) == HIGH
    assert pytest.approx((-math.log(19), math.log(19))) == BOUNDS


def test_pairs_that_one_of_both_wins_whole_are_walds_test_of_a_coin():
    """All mass is on 0 and 1, so a win tells ln(HIGH / 0.5) = 0.05591, a loss ln((1 - HIGH) / 0.5) = -0.05922.

    ln 19 = 2.9444 is 52.7 wins in a row: the 53rd stops it; or 49.7 losses: the 50th.
    """
    win, loss = math.log(HIGH / 0.5), math.log((1 - HIGH) / 0.5)
    assert (win, loss) == pytest.approx((0.05591, -0.05922), abs=1e-5)
    assert tell(pairs(2, times=52)).verdict == Verdict.UNDECIDED
    assert tell(pairs(2, times=53)).verdict == Verdict.STRONGER
    assert tell(pairs(0, times=49)).verdict == Verdict.UNDECIDED
    assert tell(pairs(0, times=50)).verdict == Verdict.NOT_STRONGER
    for wins, losses in ((30, 10), (10, 30), (200, 150)):
        found = tell(pairs(*[2] * wins, *[0] * losses))
        assert found.ratio == pytest.approx(wins * win + losses * loss, abs=2e-3)
        assert found.pairs == wins + losses


def test_pairs_that_are_always_split_say_that_nobody_is_stronger():
    """The hypothesis of equals explains them wholly; the other one needs some pairs to be won.

    Of scores 1/2 (n of them) and 1: p(1) = 2 HIGH - 1 = 0.0575, so n pairs tell n ln(1 - 0.0575) = -0.0592 n.
    """
    assert tell(pairs(1, times=49)).verdict == Verdict.UNDECIDED
    found = tell(pairs(1, times=50))
    assert found.verdict == Verdict.NOT_STRONGER
    assert found.ratio == pytest.approx(50 * math.log(2 - 2 * HIGH), abs=0.01)


def test_the_hypotheses_take_what_makes_the_games_most_likely():
    """1/4, 1/2, 1/4 of the scores 0, 1/2, 1, to have the mean 0.6: p = q / (1 + t (a - 0.6)), the most likely one."""
    found = most_likely(np.array([25, 1e-9, 50, 1e-9, 25]), 0.6)
    assert found.sum() == pytest.approx(1)
    assert found @ SCORES == pytest.approx(0.6)
    t = [(0.25 / found[0] - 1) / -0.6, (0.5 / found[2] - 1) / -0.1, (0.25 / found[4] - 1) / 0.4]
    assert t == pytest.approx([t[0]] * 3, rel=1e-6)
    draw = np.random.default_rng(0)
    best = np.array([25, 0, 50, 0, 25]) @ np.log(found)
    for _ in range(200):  # no others of that mean are more likely
        win = draw.uniform(0.2, 0.55)
        loss = win - 0.2  # the mean is win + (1 - win - loss) / 2
        other = np.array([loss, 1, 1 - win - loss, 1, win])  # those that were never seen do not count
        if other.min() > 0:
            assert other @ np.array([0, 0, 0.5, 0, 1]) == pytest.approx(0.6)
            assert np.array([25, 0, 50, 0, 25]) @ np.log(other) <= best + 1e-9


def test_it_is_near_the_textbooks_approximation_where_strengths_are_close():
    """n (s1 - s0) (2 m - s0 - s1) / (2 v), m and v mean and variance of the scores."""
    scores = np.repeat(SCORES, [30, 90, 160, 110, 40])
    exact = tell(2 * scores).ratio
    mean, variance, low = scores.mean(), scores.var(), 0.5
    rough = len(scores) * (HIGH - low) * (2 * mean - low - HIGH) / (2 * variance)
    assert exact == pytest.approx(rough, rel=0.03)


def test_no_pairs_tell_nothing():
    assert tell(pairs()) == Told(verdict=Verdict.UNDECIDED, ratio=0.0, pairs=0)


def test_verdicts_are_wrong_as_seldom_as_they_may_be():
    """Rows of pairs with a look after each forty: equals, and 20 points apart, in 50 rows of each."""
    draw, said = np.random.default_rng(0), []
    for score in (0.5, HIGH):
        shares = most_likely(np.array([1.0, 2, 3, 2, 1]), score)
        stronger = 0
        for _ in range(50):
            points = 2 * draw.choice(SCORES, 4000, p=shares)
            looks = (tell(points[:n]) for n in range(40, 4001, 40))
            stronger += next(one for one in looks if one.verdict != Verdict.UNDECIDED).verdict == Verdict.STRONGER
        said.append(stronger / 50)
    assert said[0] < 0.11
    assert said[1] > 0.89


# in matches


def block(first: int, ways: list[float], car: int = 0) -> Match:
    """A match whose games are told apart by the winner's time."""
    rows: list[dict[str, Any]] = []
    for race, time in enumerate(ways):
        rows += [{"race": race, "car": car, "time_s": time}, {"race": race, "car": 1 - car, "time_s": None}]
    return Match(a="a", b="b", terms={"games": len(ways), "first": first}, rows=rows, ways=list(range(len(ways))))


def test_blocks_become_one_match_in_which_the_same_game_is_the_same():
    match = joined([block(0, [1.0, 2.0]), block(1, [1.0, 3.0]), block(2, [1.0, 2.0], car=1)])
    assert [row["race"] for row in match.rows] == [k for k in range(6) for _ in range(2)]
    assert match.ways == [0, 1, 0, 2, 3, 4]  # in the other seats it is another game
    assert match.terms["games"] == 6
    assert match.points().tolist() == [1.0] * 6


def test_a_row_of_games_in_blocks_is_the_row_itself(met: tuple[list[Contender], Place]):
    """Starts are those of one long match, whoever drives how many of them at once."""
    a, b = met[0][:2]
    whole = drive_match(a, b, Terms(place=met[1], games=8, laps=1))
    parts = [drive_match(a, b, Terms(place=met[1], games=4, laps=1, first=first)) for first in (0, 2)]
    assert joined(parts).rows == whole.rows
    assert parts[0].key != parts[1].key


@pytest.mark.slow
def test_the_faster_one_is_told_and_no_block_is_driven_twice(
    racers: list[RunDirectory], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    slow, fast = racers
    usual = ["compare", "match=true", "laps=1", "anchor=null", "games=sprt", f"paths.outputs={tmp_path}"]
    assert main([*usual, f"run=[{fast.path},{slow.path}]", f"out={tmp_path / 'out'}"]) == 0
    out = capsys.readouterr().out
    found = json.loads((tmp_path / "out/results.json").read_text())
    (match,) = found["matches"]
    told = match["sprt"]
    assert (told["verdict"], 2 * told["pairs"]) == ("stronger", match["games"])
    assert told["ratio"] > BOUNDS[1]
    assert match["wins"] > match["losses"]
    assert f"{fast.name} is stronger than {slow.name}: {match['games']} games, {told['pairs']} pairs that differ" in out
    assert found["terms"]["games"] == "sprt"
    assert len(list((tmp_path / "matches").iterdir())) == match["games"] / 20
    monkeypatch.setattr(sprt, "drive", None)
    assert main([*usual, f"run=[{slow.path},{fast.path}]"]) == 0  # the other way round, of the same games
    assert f"{slow.name} is not stronger than {fast.name}: " in capsys.readouterr().out


def test_who_repeats_the_same_games_is_not_told_apart(
    met: tuple[list[Contender], Place], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(sprt, "drive", lambda a, b, terms, watch: block(terms.first, [1.0, 2.0] * 10))
    monkeypatch.setattr(sprt, "kept_match", lambda *_: None)
    monkeypatch.setattr(sprt, "keep_match", lambda *_: None)
    match, tested = drive_until_told(*met[0][:2], Terms(place=met[1], games=2, laps=1), tmp_path)
    assert (len(match.ways), tested.pairs, tested.verdict) == (40, 1, Verdict.UNDECIDED)
