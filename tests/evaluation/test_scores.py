"""Evaluations by what episodes cost: averages by hand, the references beside them, files, what is refused."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
import pytest

from racing.config import compose_run
from racing.envs.lateral.task import LateralTask
from racing.envs.task import Part
from racing.errors import InputError
from racing.evaluation.evaluate import Diverged
from racing.evaluation.evaluators import evaluator_of, scored
from racing.evaluation.laps import LapEvaluator
from racing.evaluation.scores.evaluator import Scored, ScoreEvaluator, drive, summarise
from racing.evaluation.seeds import TEST_SEEDS, VALIDATION_SEEDS
from racing.tuning.score import SCORED_METRICS, value_of

SETTINGS = ["env=lateral", "env.route_count=4", "env.holdout_routes=3", "eval.episodes=3"]


@pytest.fixture(scope="module")
def evaluator() -> ScoreEvaluator:
    made = evaluator_of(compose_run(SETTINGS))
    assert isinstance(made, ScoreEvaluator)
    return made


def nothing(observation: Any) -> np.ndarray:
    return np.zeros((len(observation), 1), np.float32)


@pytest.fixture(scope="module")
def idle(evaluator: ScoreEvaluator) -> Scored:
    return evaluator.evaluate(nothing, TEST_SEEDS, telemetry=True)


def test_the_environment_says_how_it_is_evaluated():
    lateral, cars = compose_run(SETTINGS), compose_run(["track=oval"])
    assert scored(lateral["env"])
    assert not scored(cars["env"])
    assert isinstance(evaluator_of(cars), LapEvaluator)
    assert (lateral["track"], lateral["vehicle"], lateral["name"]) == ({}, {}, "lateral-ppo")


def test_averages_by_hand():
    def episode(total: float) -> dict[str, Any]:
        costs = {"total_cost": total, "lataccel_cost": total / 100, "jerk_cost": 1.0}
        return {**costs, "reward": -total, "reward_terms": {"jerk": -1.0}}

    found = summarise([episode(10), episode(20), episode(60)], LateralTask.costs)
    assert (found["episodes"], found["total_cost"], found["total_cost_median"]) == (3, 30, 20)
    assert found["score"] == -30
    # Student's t with two degrees of freedom: 4.3027 * 26.458 / sqrt(3)
    assert found["total_cost_high"] - 30 == pytest.approx(65.72, abs=0.01)
    assert found["lataccel_cost"] == pytest.approx(0.3)
    assert found["reward_terms"] == {"jerk": -1.0}


def test_policies_are_compared_with_the_references_on_the_same_episodes(evaluator: ScoreEvaluator, idle: Scored):
    summary = idle.summary
    assert set(summary["references"]) == {"pid", "preview_pid", "feed_forward"}
    assert summary["references"]["feed_forward"]["total_cost"] < summary["references"]["pid"]["total_cost"]
    assert evaluator.reached(idle) == []
    assert (summary["dynamics"], summary["routes"]) == ("default", "generated")
    assert len(summary["dynamics_sha256"]) == len(summary["routes_sha256"]) == 64
    assert evaluator.tags()["racing.dynamics"] == "default"


@pytest.mark.parametrize("name", LateralTask.reference_names)
def test_a_driver_that_is_a_reference_costs_what_it_does(idle: Scored, name: str):
    """To the last bit: as it drives without a student, nothing limits its commands."""
    task = LateralTask(races=3, part=Part.TEST, holdout_routes=3, **LateralTask.driver_settings)
    follow = task.driver(name)
    episodes, _ = drive(lambda _: follow(), task)
    assert [e["total_cost"] for e in episodes] == [row["total_cost"] for row in idle.references[name]]


def test_validation_and_test_are_other_episodes_and_each_is_the_same_again(evaluator: ScoreEvaluator, idle: Scored):
    other = evaluator.evaluate(nothing, VALIDATION_SEEDS, telemetry=False)
    again = evaluator.evaluate(nothing, TEST_SEEDS, telemetry=True)
    assert other.tables is None
    assert again.episodes == idle.episodes
    assert {e["route"] for e in other.episodes}.isdisjoint(e["route"] for e in idle.episodes)
    trained = LateralTask(races=1, route_count=4).world.routes.names
    assert {e["route"] for e in (*other.episodes, *idle.episodes)}.isdisjoint(trained)


def test_the_better_policy_has_the_greater_key(evaluator: ScoreEvaluator, idle: Scored):
    worse = evaluator.evaluate(lambda o: nothing(o) + 0.02, TEST_SEEDS, telemetry=False)
    assert worse.summary["total_cost"] > idle.summary["total_cost"]
    assert idle.key() > worse.key() > (-np.inf,)
    assert value_of("score", idle.summary, 1.0) == -idle.summary["total_cost"]
    assert all(isinstance(value_of(metric, idle.summary, 1.0), float) for metric in SCORED_METRICS)


def test_metrics_and_lines_name_what_was_measured(evaluator: ScoreEvaluator, idle: Scored):
    metrics = evaluator.metrics(idle)
    assert metrics["eval/total_cost"] == idle.summary["total_cost"]
    assert metrics["eval/references/pid/jerk_cost"] == idle.summary["references"]["pid"]["jerk_cost"]
    assert {f"validation/{name}" for name in evaluator.validation} <= set(evaluator.metrics(idle, "validation/"))
    lines = dict(evaluator.lines(idle.summary))
    assert "of 3 unseen episodes; pid " in lines["total cost"]
    assert lines["driven"] == "dynamics default, routes generated"
    rollout = evaluator.rollout([{"total_cost": 40.0, "lataccel_cost": 1, "jerk_cost": 2}])
    assert evaluator.note(rollout) == "total_cost 40.0"


def test_the_files_of_an_evaluation(evaluator: ScoreEvaluator, idle: Scored, tmp_path: Path):
    files = evaluator.write(idle, tmp_path, "idle")
    assert [path.name for path in files] == ["costs.csv", "telemetry.parquet", "costs.png", "worst.png"]
    rows = list(csv.DictReader((tmp_path / "costs.csv").open()))
    assert [float(row["total_cost"]) for row in rows] == [e["total_cost"] for e in idle.episodes]
    assert float(rows[1]["pid_total_cost"]) == idle.references["pid"][1]["total_cost"]
    table = pyarrow.parquet.read_table(tmp_path / "telemetry.parquet")
    assert table.column_names[:5] == ["episode", "time_s", "target", "lataccel", "steer"]
    assert len(table) == 3 * 400
    first = table.filter(pyarrow.compute.equal(table["episode"], 0))
    target, lataccel = (np.array(first[name]) for name in ("target", "lataccel"))
    assert 100 * np.mean((target - lataccel) ** 2) == pytest.approx(idle.episodes[0]["lataccel_cost"], rel=1e-4)
    assert all(path.stat().st_size > 0 for path in files)


def test_actions_that_are_no_numbers_are_refused(evaluator: ScoreEvaluator):
    with pytest.raises(Diverged, match="its training diverged"):
        evaluator.evaluate(lambda o: nothing(o) * np.nan, TEST_SEEDS, telemetry=False)


@pytest.mark.parametrize("typed", ["track=oval", "vehicle=kart"])
def test_what_it_has_no_use_for_is_refused(typed: str):
    with pytest.raises(InputError, match=f"{typed.partition('=')[0]} must be left away: the environment has none"):
        evaluator_of(compose_run([*SETTINGS, typed]))
