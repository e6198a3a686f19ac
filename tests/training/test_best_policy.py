"""The best policy is chosen on validation starts, kept as a checkpoint, and reported on others."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from racing.evaluation.seeds import CONFIRMING_SEEDS, TEST_SEEDS, VALIDATION_SEEDS
from racing.runs.checkpoints import Checkpoints
from racing.runs.metrics import rank
from racing.training import session
from racing.training.build import build_experiment
from racing.training.resolve import resolve
from racing.training.trainer import train
from tests.training.test_resolve import composed


@pytest.mark.slow
def test_it_is_kept_and_reported_on_other_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    driven, before = [], session.evaluate_policy

    def evaluate_policy(experiment, learner, seeds, **options):
        driven.append(seeds)
        result = before(experiment, learner, seeds, **options)
        if len(driven) > 3:  # whatever was learned, the first one stays the best
            result.summary["finish_rate"] = -1.0
        return result

    monkeypatch.setattr(session, "evaluate_policy", evaluate_policy)
    often = ["eval.every_steps=2048", "eval.start_fraction=0", "checkpoint.every=2048", "checkpoint.keep_last=1"]
    run = train(composed(tmp_path, *often))
    assert driven == [VALIDATION_SEEDS, *CONFIRMING_SEEDS[:2], *[VALIDATION_SEEDS] * 3, TEST_SEEDS]
    assert run.summary["best_step"] == 2048
    assert [checkpoint.step for checkpoint in Checkpoints(run.path).all()] == [2048, 8192]


@pytest.mark.slow
@pytest.mark.parametrize(("confirmations", "best"), [(0, 2048), (1, 4096), (2, 6144)])
def test_who_finishes_by_luck_is_not_kept(
    confirmations: int, best: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Who would be the best drives from more starts, up to the first ones from which it is not; the worst counts."""
    first, second = CONFIRMING_SEEDS[:2]
    rates = {
        2048: {VALIDATION_SEEDS: 1.0, first: 0.2, second: 1.0},
        4096: {VALIDATION_SEEDS: 0.9, first: 0.8, second: 0.3},
        6144: {VALIDATION_SEEDS: 0.7, first: 0.7, second: 0.6},
        8192: {VALIDATION_SEEDS: 0.9, first: 0.1},  # not asked for a third time
    }
    before = session.evaluate_policy

    def evaluate_policy(experiment, learner, seeds, **options):
        result = before(experiment, learner, seeds, **options)
        if seeds != TEST_SEEDS:
            result.summary["finish_rate"] = rates[learner.num_timesteps][seeds]
        return result

    monkeypatch.setattr(session, "evaluate_policy", evaluate_policy)
    often = ["eval.every_steps=2048", "eval.start_fraction=0", f"eval.confirmations={confirmations}"]
    assert train(composed(tmp_path, *often)).summary["best_step"] == best


@pytest.mark.slow
def test_what_it_reaches_first_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """All finished, and near the limit, count from their first evaluation on; a lap near it of some doesn't."""
    rates, ratios = [0.5, 1.0, 0.9, 1.0, 1.0], [1.01, None, 1.02, 1.05, 1.0]
    results, before = iter(zip(rates, ratios, strict=True)), session.evaluate_policy

    def evaluate_policy(experiment, learner, seeds, **options):
        result = before(experiment, learner, seeds, **options)
        if seeds not in CONFIRMING_SEEDS:
            result.summary["finish_rate"], result.summary["limit_ratio"] = next(results)
        return result

    monkeypatch.setattr(session, "evaluate_policy", evaluate_policy)
    run = train(composed(tmp_path, "eval.every_steps=2048", "eval.start_fraction=0"))
    assert run.summary["first_lap"] is None
    assert [run.summary[name]["steps"] for name in ("all_finished", "near_limit")] == [4096, 8192]
    assert 0 < run.summary["all_finished"]["seconds"] < run.summary["near_limit"]["seconds"]
    lines = [json.loads(line) for line in (run.path / "journal.jsonl").read_text().splitlines()]
    events = [line for line in lines if line["kind"] == "event"]
    assert [line["step"] for line in events if line["name"] in ("all_finished", "near_limit")] == [4096, 8192]


@pytest.mark.slow
@pytest.mark.parametrize(("mix", "races"), [("{alone:1,self:0,line:0}", False), ("{alone:1,self:1,line:0}", True)])
def test_who_races_against_nobody_is_not_judged_by_overtaking(tmp_path: Path, mix: str, races: bool):
    """Else a first phase that learns to drive alone would keep whatever came past a slower car by chance."""
    settings = ["env=race", "env.cars=2", f"env.mix={mix}", "algo.n_envs=64", "eval.episodes=2", "eval.laps=1"]
    experiment = build_experiment(resolve(composed(tmp_path, *settings)))
    summary = session.evaluate_policy(experiment, experiment.model, VALIDATION_SEEDS, telemetry=False).summary
    assert ("race" in summary) is races
    summary["finish_rate"] = 1.0
    assert rank(summary)[0] == (0.0 if races else 1.0)  # untrained, it overtakes nobody
