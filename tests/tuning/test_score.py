"""The number that a search maximises orders policies as a training does."""

import itertools

import pytest

from racing.runs.metrics import rank
from racing.tuning.score import score, value_of

RATES, RATIOS = (0.0, 0.01, 0.5, 0.89, 0.9, 0.95, 1.0), (None, 0.98, 1.0, 1.3, 4.0)


def test_by_hand():
    assert score({"finish_rate": 0.25, "lap_ratio": 1.01}, 1.0) == 0.25
    assert score({"finish_rate": 0.25, "lap_ratio": 1.01}, 0.5) == 0.5
    assert score({"finish_rate": 1.0, "lap_ratio": 1.25}, 1.0) == 1.8
    assert score({"finish_rate": 0.9, "lap_ratio": 1.0}, 0.9) == 2.0
    assert score({"finish_rate": 1.0, "lap_ratio": None}, 1.0) == 1.0
    assert score({"finish_rate": 0.0, "lap_ratio": 2.0}, 0.0) == 1.5
    assert value_of("reward", {"finish_rate": 1.0, "lap_ratio": 1.0, "reward": -3}, 1.0) == -3.0


@pytest.mark.parametrize("enough", [0.9, 1.0])
def test_a_better_rank_never_has_a_lower_score(enough):
    summaries = [{"finish_rate": f, "lap_ratio": r} for f, r in itertools.product(RATES, RATIOS)]
    for one, other in itertools.permutations(summaries, 2):
        if rank(one, enough) > rank(other, enough):
            assert score(one, enough) >= score(other, enough)
        if min(one["finish_rate"], other["finish_rate"]) >= enough and rank(one, enough) > rank(other, enough):
            assert score(one, enough) > score(other, enough)
