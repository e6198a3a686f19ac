"""Ratings of games that are written by hand, and of games between entries of known strength."""

from __future__ import annotations

import math
from dataclasses import astuple
from typing import Any

import numpy as np
import pytest

from racing.evaluation.intervals import wilson
from racing.league.ratings import LEVEL, Field, Meeting, plackett_luce, rate, win_share


def meeting(a: int, b: int, *points: float, times: int = 1) -> Meeting:
    return Meeting(a=a, b=b, points=np.array(points * times))


def elo(odds: float) -> float:
    return 400 * math.log10(odds)


def values(
    meetings: list[Meeting | Field] | list[Meeting], entries: int, anchor: int | None = None, **options: float
) -> list[float]:
    return [rating.value for rating in rate(meetings, entries, anchor, **options)]


def test_three_to_one_is_191_points():
    first, second = values([meeting(0, 1, 2, 1, times=10)], 2, 1, prior=0)
    assert second == LEVEL == 1000
    assert first - second == pytest.approx(190.85, abs=0.01)
    assert first - second == pytest.approx(elo(3), abs=1e-6)


def test_the_prior_counts_as_a_game_that_is_half_won():
    first, second = values([meeting(0, 1, 2, 1, times=10)], 2, 1)
    assert first - second == pytest.approx(elo(30.5 / 10.5), abs=1e-6)


def test_draws_are_half_won():
    drawn, halved = (values([meeting(0, 1, *points)], 2) for points in ((1.5, 1.5, 0.5), (2, 1, 0.5)))
    assert drawn == halved
    assert drawn[0] > drawn[1]


def test_what_is_won_against_others_adds_up():
    """2:1 and 3:1 against the next one: 6:1 between the first and the last, who never met."""
    chain = [meeting(0, 1, 2, 2, 0), meeting(1, 2, 2, 1)]
    first, second, third = values(chain, 3, 2, prior=0)
    assert (second - third, first - third) == pytest.approx((elo(3), elo(6)), abs=1e-4)


def test_whoever_won_all_is_finite_and_its_interval_has_a_width():
    (best, other) = rate([meeting(0, 1, 2, times=50)], 2, 1)
    assert best.value == pytest.approx(LEVEL + elo(100.5 / 0.5), abs=1e-5)
    assert LEVEL + elo(30) < best.low < LEVEL + elo(100) < best.value < best.high < LEVEL + 2500
    assert (other.low, other.value, other.high) == (LEVEL, LEVEL, LEVEL)
    with pytest.raises(ValueError, match="must have won, and lost"):
        rate([meeting(0, 1, 2, times=50)], 2, 1, prior=0)


def test_equals_are_zero_apart_within_the_interval():
    first, second = rate([meeting(0, 1, 2, 0, 1, 1, times=10)], 2, 1)
    assert first.value == pytest.approx(second.value, abs=1e-6)
    assert first.low < LEVEL < first.high
    assert 20 < first.high - first.low < 200


def test_pairs_that_are_always_split_leave_little_doubt():
    """Seats decide, not policies: as many games as those of equals by chance, whose interval is wider."""
    split, chance = (rate([meeting(0, 1, *points, times=50)], 2, 1)[0] for points in ((1, 1), (2, 0)))
    assert split.value == pytest.approx(chance.value, abs=1e-6)
    assert split.high - split.low < 0.2 * (chance.high - chance.low)


def test_exchanging_two_entries_negates_their_distance():
    meetings = [meeting(0, 1, 2, 1, 1), meeting(0, 2, 2, 2, 0), meeting(1, 2, 1, 0, 1)]
    turned = [Meeting(a=one.b, b=one.a, points=2 - one.points) for one in meetings]
    assert values(turned, 3, 2) == pytest.approx(values(meetings, 3, 2), abs=1e-6)
    other = {0: 2, 1: 1, 2: 0}
    renamed = [Meeting(a=other[one.a], b=other[one.b], points=one.points) for one in meetings]
    assert values(renamed, 3)[::-1] == pytest.approx(values(meetings, 3), abs=1e-6)


def test_the_order_of_games_and_meetings_does_not_matter():
    meetings = [meeting(0, 1, 2, 2, 1, 0), meeting(0, 2, 1, 2), meeting(1, 2, 2, 1, 1)]
    backwards = [Meeting(a=one.a, b=one.b, points=one.points[::-1]) for one in meetings[::-1]]
    assert values(backwards, 3, 0) == pytest.approx(values(meetings, 3, 0), abs=1e-9)


def test_without_anchor_the_average_is_the_level():
    found = values([meeting(0, 1, 2, 1), meeting(1, 2, 2, 0, 0)], 3)
    assert np.mean(found) == pytest.approx(LEVEL)


def test_games_against_oneself_say_nothing():
    games = [meeting(0, 1, 2, 1, 1)]
    assert values([*games, meeting(0, 0, 1, 1)], 2) == values(games, 2)


def test_those_who_never_met_are_not_compared():
    with pytest.raises(ValueError, match="must have won, and lost"):
        rate([meeting(0, 1, 1), meeting(2, 3, 1)], 4)


def test_the_same_seed_gives_the_same_interval():
    games = [meeting(0, 1, 2, 1, 0, 1, 2)]
    assert rate(games, 2, seed=3) == rate(games, 2, seed=3) != rate(games, 2, seed=4)


def test_strengths_that_are_known_are_found():
    """Four entries 100 points apart, 4,000 games of each two; intervals hold the truth nineteen times of twenty."""
    draw, truth = np.random.default_rng(0), LEVEL + 100.0 * np.arange(4)
    inside = 0
    for pairs, tries in ((2000, 1), (30, 60)):
        for _ in range(tries):
            meetings = [
                Meeting(a=a, b=b, points=draw.binomial(2, 1 / (1 + 10 ** ((truth[b] - truth[a]) / 400)), pairs))
                for a in range(4)
                for b in range(a)
            ]
            found = rate(meetings, 4, 0)
            if tries == 1:
                assert [rating.value for rating in found] == pytest.approx(truth, abs=25)
            else:
                inside += sum(found[k].low <= truth[k] <= found[k].high for k in (1, 2, 3))
    assert 0.88 < inside / (60 * 3) <= 1


def test_a_stack_of_results_is_fitted_at_once():
    sets, times = np.array([[True, True]]), np.array([[4.0], [2.0]])
    found = plackett_luce(sets, times, np.array([[3.0, 1.0], [1.0, 1.0]]))
    np.testing.assert_allclose(found, [[elo(3) / 2, -elo(3) / 2], [0, 0]], atol=1e-6)


# races of several


def races(*orders: str, entries: str = "abc", **more: Any) -> Field:
    """Each order names who came home, the first first; who is left away did not."""
    times = [[float(order.find(one)) if one in order else np.inf for one in entries] for order in orders]
    return Field(entries=tuple(range(len(entries))), times=np.array(times), **more)


def test_a_row_of_races_by_hand():
    """Each order as often as strengths 3 : 2 : 1 have it: abc in 3/6 * 2/3 of the races, and so on."""
    expected = {  # how often of 60 races, strengths 3 : 2 : 1
        order: round(60 * s[0] / 6 * s[1] / (6 - s[0]))
        for order in ("abc", "acb", "bac", "bca", "cab", "cba")
        for s in [[{"a": 3, "b": 2, "c": 1}[one] for one in order]]
    }
    assert expected == {"abc": 20, "acb": 10, "bac": 15, "bca": 5, "cab": 6, "cba": 4}
    orders = [order for order, times in expected.items() for _ in range(times)]
    first, second, third = values([races(*orders)], 3, 2, prior=0)
    assert (first - third, second - third) == pytest.approx((elo(3), elo(2)), abs=1e-6)


def test_a_few_races_by_hand():
    """Each is chosen as often as is to be expected: of all three in 3 races, of b and c in 2, of a and c in 1.

    a was chosen twice, of all; b three times, once of all and twice of b and c; c once, of a and c.
    """
    found = values([races("abc", "bca", "abc")], 3, 2, prior=0)
    a, b = (10 ** ((value - found[2]) / 400) for value in found[:2])
    assert 3 * a / (a + b + 1) + a / (a + 1) == pytest.approx(2, abs=1e-6)
    assert 3 * b / (a + b + 1) + 2 * b / (b + 1) == pytest.approx(3, abs=1e-6)
    assert 3 / (a + b + 1) + 2 / (b + 1) + 1 / (a + 1) == pytest.approx(1, abs=1e-6)


def test_races_of_two_are_games():
    both = Field(entries=(1, 0), times=np.array([[1.0, 2.0], [1.0, 2.0], [2.0, 1.0], [np.inf, np.inf]]))
    single = [Meeting(a=1, b=0, points=np.array([2.0, 2.0, 0.0, 1.0]))]
    # A pair counts as two games, a race as one: twice the prior.
    assert values([both], 2, 1, prior=0.5) == pytest.approx(values(single, 2, 1, prior=1.0), abs=1e-9)


def test_who_does_not_come_home_is_behind_all_who_do_and_even_with_the_others():
    found = values([races(*["a"] * 4)], 3)
    assert found[0] > found[1] == pytest.approx(found[2], abs=1e-6)
    nobody = values([races("", "", "")], 3)
    assert nobody == pytest.approx([LEVEL] * 3, abs=1e-6)


def test_games_and_races_are_one_fit():
    """3 : 1 from games of a and b, 2 : 1 from races of b and c: 6 : 1 of a and c, who never met."""
    mixed = [meeting(0, 1, 2, 1), Field(entries=(1, 2), times=np.array([[0.0, 1.0], [0.0, 1.0], [1.0, 0.0]]))]
    first, _, third = values(mixed, 3, 2, prior=0)
    assert first - third == pytest.approx(elo(6), abs=1e-4)


def test_the_order_of_races_and_the_names_of_entries_do_not_matter():
    orders = ["abc", "bca", "abc", "cab", "ab", "c"]
    there, back = values([races(*orders)], 3), values([races(*orders[::-1])], 3)
    assert back == pytest.approx(there, abs=1e-9)
    renamed = Field(entries=(2, 0, 1), times=races(*orders).times)
    assert [values([renamed], 3)[k] for k in (2, 0, 1)] == pytest.approx(there, abs=1e-6)


def test_races_that_are_the_same_are_one_observation():
    often = races(*["abc", "cab"] * 20, same=np.array([5, 9] * 20))
    for first, second in zip(rate([often], 3), rate([races("abc", "cab")], 3), strict=True):
        assert astuple(first) == pytest.approx(astuple(second))


def test_strengths_of_a_field_are_found():
    """Four entries 100 points apart in 3,000 races: who draws the greatest of exponentials, scaled, is chosen first."""
    draw, truth = np.random.default_rng(1), 100.0 * np.arange(4)
    times = draw.standard_exponential((3000, 4)) / 10 ** (truth / 400)
    found = rate([Field(entries=(0, 1, 2, 3), times=times)], 4, 0)
    assert [rating.value - LEVEL for rating in found] == pytest.approx(truth, abs=20)
    assert all(one.low < level + LEVEL < one.high for one, level in zip(found[1:], truth[1:], strict=True))


# win shares


@pytest.mark.parametrize(
    ("points", "worth"),
    [
        ([2] * 10, 10),  # the second game of each pair may have said nothing new
        ([0] * 10, 10),
        ([2, 0] * 5, 10 * 0.9),  # the games of a pair agree: sample variance 10/9 of 1/4
        ([1] * 10, 20),  # seats decide
        ([2, 1, 1, 0] * 5, 20 * 2 * 19 / 20),  # as if games were independent
        ([1] * 8 + [2, 0], 20),  # mostly seats: more than twice as many would be too good to be true
        ([1], 2),
        ([2], 1),
    ],
)
def test_a_win_share_counts_as_many_games_as_the_pairs_are_worth(points: list[float], worth: float):
    share, low, high = win_share([meeting(0, 1, *points)])
    assert share == np.mean(points) / 2
    games = min(max(worth, len(points)), 2 * len(points))
    assert (low, high) == pytest.approx(wilson(share * games, games), abs=1e-12)


def test_pairs_that_are_the_same_are_one_observation():
    points, same = np.array([2.0, 1.0] * 50), np.array([3, 7] * 50)
    once, often = Meeting(a=0, b=1, points=points[:2]), Meeting(a=0, b=1, points=points, same=same)
    assert win_share([often]) == pytest.approx(win_share([once]))
    for first, second in zip(rate([often], 2), rate([once], 2), strict=True):
        assert astuple(first) == pytest.approx(astuple(second))


def test_a_share_against_several_is_of_all_games():
    both = [meeting(0, 1, 2, 2, 1), meeting(0, 2, 0)]
    assert win_share(both)[0] == 5 / 8
    numbered = [Meeting(a=0, b=k, points=np.array([2.0, 0.0]), same=np.array([0, 1])) for k in (1, 2)]
    assert win_share(numbered) == win_share([meeting(0, 1, 2, 0, 2, 0)])  # the same only among the games of two
