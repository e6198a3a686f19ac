"""Two records are compared point by point, as far as both can be; the first difference is named."""

from __future__ import annotations

import json
import math
from types import SimpleNamespace

import pytest

from racing.runs.identity import identity
from racing.tracking.compare import Difference, compare, config_differences, first_difference, results, same

SERIES = {"eval/reward": [(200, 1.5)], "train/loss": [(100, 0.1), (200, math.nan), (300, -0.0)]}
TAGS = {"racing.weights_sha256": "a1", "racing.final_sha256": "b2"}


def record(series=SERIES, tags=TAGS, status="FINISHED", **summary):
    return SimpleNamespace(series=lambda: series, tags=tags, status=status, summary=summary)


def test_equal_runs_are_equal():
    found = compare(record(finish_rate=0.5), record(finish_rate=0.5))
    assert found.equal
    assert found.lines()[0] == "EQUAL: 2 metrics, 4 points, all equal"
    assert found.checksums == {"policy": True, "policy and optimizer after the last update": True}
    assert found.results == {"finish_rate": (0.5, 0.5)}


@pytest.mark.parametrize(
    ("a", "b", "equal"),
    [
        (0.1, 0.1, True),
        (0.1, math.nextafter(0.1, 1), False),  # one bit
        (math.nan, math.nan, True),
        (math.nan, 0.0, False),
        (math.inf, math.inf, True),
        (math.inf, -math.inf, False),
        (-0.0, 0.0, True),
    ],
)
def test_values_are_compared_as_doubles(a, b, equal):
    assert same(a, b) == same(b, a) == equal


def test_the_first_step_that_differs_is_named():
    other = {"eval/reward": [(200, 1.5)], "train/loss": [(100, 0.1), (200, 0.25), (300, 7.0)]}
    found = compare(record(), record(other, finish_rate=1.0))
    assert found.verdict == "DIFFERENT"
    assert (found.first.step, found.first.metric, found.first.again) == (200, "train/loss", 0.25)
    assert math.isnan(found.first.original)
    assert found.lines()[0] == "DIFFERENT from step 200: train/loss was nan and is 0.25 (2 metrics, 4 points compared)"
    assert json.loads(json.dumps(found.as_dict()))["verdict"] == "DIFFERENT"


@pytest.mark.parametrize(
    ("other", "first"),
    [
        ({"a": [(1, 1.0)]}, Difference(2, "a", 2.0, None)),
        ({"a": [(1, 1.0), (2, 2.0), (3, 3.0)]}, Difference(3, "a", None, 3.0)),
        ({"a": [(2, 2.0)]}, Difference(1, "a", 1.0, None)),
        ({"a": [(1, 1.0), (2, 2.0)], "b": [(0, 5.0)]}, Difference(0, "b", None, 5.0)),
        ({}, Difference(1, "a", 1.0, None)),
        ({"a": [(1, 1.0), (2, 2.0)]}, None),
    ],
)
def test_points_that_only_one_run_has_are_differences(other, first):
    assert first_difference({"a": [(1, 1.0), (2, 2.0)]}, other) == first


def test_other_weights_are_different_though_all_metrics_are_equal():
    found = compare(record(), record(tags=TAGS | {"racing.final_sha256": "c3"}))
    assert found.verdict == "DIFFERENT"
    assert found.lines()[0] == "DIFFERENT: 2 metrics, 4 points, all equal, but not the weights"
    assert "policy: equal" in found.lines()


def test_checksums_that_were_not_recorded_are_said_to_be_missing():
    found = compare(record(tags={}), record())
    assert found.equal
    assert "policy: not recorded" in found.lines()


def test_an_unfinished_original_is_compared_as_far_as_it_went():
    cut = {"train/loss": [(100, 0.1)]}
    found = compare(record(cut, tags={}, status="KILLED"), record())
    assert found.equal
    assert found.lines()[0] == "EQUAL: 1 metrics, 1 points up to step 100, where the original ended, all equal"
    changed = SERIES | {"train/loss": [(100, 0.2)]}
    assert not compare(record(cut, tags={}, status="KILLED"), record(changed)).equal


def test_nothing_is_never_equal():
    assert compare(record({}), record({})).lines() == ["DIFFERENT: the original recorded no metric to compare with"]


def test_a_result_that_only_one_run_has_is_shown_beside_nothing():
    found = results({"finish_rate": 0.5, "mean_speed": 9.0, "other": 1}, {"finish_rate": 0.25, "reward": 3.0})
    assert found == {"finish_rate": (0.5, 0.25), "mean_speed": (9.0, None), "reward": (None, 3.0)}


def test_configurations_are_compared_key_by_key():
    was = {"algo": {"gamma": 0.9, "tau": 1}, "paths": {"outputs": "a"}, "seed": 0}
    now = {"algo": {"gamma": 0.8, "beta": None}, "paths": {"outputs": "b"}, "seed": 0}
    assert config_differences(identity(was), identity(now)) == [
        ("algo.gamma", "0.9", "0.8"),
        ("algo.tau", "1", "no such key"),
        ("algo.beta", "no such key", "null"),
    ]
