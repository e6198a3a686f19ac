"""Which evaluator an environment has: that of laps, unless its task says itself what its episodes cost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from racing.config import build
from racing.envs.task import is_scored
from racing.evaluation.evaluator import Evaluator


def evaluator_of(config: Mapping[str, Any], threads: int = 1) -> Evaluator:
    """The evaluator of a run's resolved configuration. Raises InputError where a value breaks a rule."""
    if scored(config["env"]):
        from racing.evaluation.scores.evaluator import ScoreEvaluator

        return ScoreEvaluator(config, threads)
    from racing.evaluation.laps import LapEvaluator

    return LapEvaluator(config, threads)


def scored(env: Mapping[str, Any]) -> bool:
    """Whether a config group `env` makes tasks that say themselves what their episodes cost (ScoredTask)."""
    return is_scored(kind_of_task(env))


def kind_of_task(env: Mapping[str, Any]) -> Any:
    """The class of the tasks that a config group `env` makes. What else the group says takes Hydra ten milliseconds."""
    named = {key: value for key, value in env.items() if key == "_target_"}
    return build({**named, "_partial_": True}).func
