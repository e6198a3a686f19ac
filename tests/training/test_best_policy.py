"""The best policy is chosen on validation starts, kept as a checkpoint, and reported on others."""

from __future__ import annotations

from pathlib import Path

import pytest

from racing.evaluation.seeds import TEST_SEEDS, VALIDATION_SEEDS
from racing.runs.checkpoints import Checkpoints
from racing.training import session
from racing.training.trainer import train
from tests.training.test_resolve import composed


@pytest.mark.slow
def test_it_is_kept_and_reported_on_other_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    driven, before = [], session.evaluate_policy

    def evaluate_policy(experiment, seeds, **options):
        driven.append(seeds)
        result = before(experiment, seeds, **options)
        if len(driven) > 1:  # whatever was learned, the first one stays the best
            result.summary["finish_rate"] = -1.0
        return result

    monkeypatch.setattr(session, "evaluate_policy", evaluate_policy)
    often = ["eval.every_steps=2048", "eval.start_fraction=0", "checkpoint.every=2048", "checkpoint.keep_last=1"]
    run = train(composed(tmp_path, *often))
    assert driven == [VALIDATION_SEEDS] * 4 + [TEST_SEEDS]
    assert run.summary["best_step"] == 2048
    assert [checkpoint.step for checkpoint in Checkpoints(run.path).all()] == [2048, 8192]
