"""Names of metrics, and which of two results is better."""

import itertools

from racing.runs.metrics import current_name, rank


def result(finish_rate, lap_ratio):
    return {"finish_rate": finish_rate, "lap_ratio": lap_ratio}


def test_order_of_results():
    ordered = [result(0.0, None), result(0.5, None), result(0.5, 1.2), result(0.9, 1.3), result(0.9, 1.1), result(1, 2)]
    for worse, better in itertools.combinations(ordered, 2):
        assert rank(worse) < rank(better)


def test_racers_are_judged_by_what_they_do_among_others_too():
    race = {"success_rate": 0.8, "grid_finish_rate": 0.5}
    assert rank(result(0.5, 1.1) | {"race": race}) == (0.2, -1.1)


def test_finishing_more_often_than_wanted_does_not_count():
    assert rank(result(1.0, 1.2), 0.9) < rank(result(0.9, 1.1), 0.9)
    assert rank(result(0.89, 1.0), 0.9) < rank(result(0.9, 1.1), 0.9)


def test_metrics_of_earlier_versions():
    assert current_name("selection/lap_ratio") == "validation/lap_ratio"
    assert current_name("rollout/reward") == "rollout/ep_rew_mean"
    assert current_name("rollout/reward_terms") == "rollout/reward_terms"
    assert current_name("eval/finish_rate") == "eval/finish_rate"
