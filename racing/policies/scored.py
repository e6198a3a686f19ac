"""Policies whose environment says itself what its episodes cost: how they are evaluated after they were loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from racing.errors import InputError, require
from racing.evaluation.evaluators import scored
from racing.observations import shapes_of
from racing.policies.foreign_code import refuse_foreign_code
from racing.policies.loading import LoadedPolicy, batch_text

if TYPE_CHECKING:
    from racing.evaluation.scores.evaluator import ScoreEvaluator


def is_scored_policy(policy: LoadedPolicy) -> bool:
    """Whether a policy's environment says itself what its episodes cost (racing.envs.task.ScoredTask).

    Raises InputError where it names code that is not racing's.
    """
    if not policy.config.get("env"):
        return False
    if not policy.trusted:
        refuse_foreign_code(policy.config, f"policy {policy.name}")
    return scored(policy.config["env"])


def score_evaluator(policy: LoadedPolicy, episodes: int) -> ScoreEvaluator:
    """How a policy of such an environment is evaluated, on so many episodes.

    Raises InputError if the policy reads observations of another size, or files that its env names are not here.
    """
    from racing.evaluation.scores.evaluator import ScoreEvaluator

    name = policy.name
    try:
        evaluator = ScoreEvaluator({**policy.config, "eval": {"episodes": episodes}})
        space = evaluator.task().observation_space
    except TypeError as error:  # a keyword that this version does not know
        raise InputError(f"policy {name}: its env does not fit this version, {error}; train it again") from error
    theirs, given = policy.shapes, shapes_of(space)
    sizes = f"reads observations {batch_text(theirs)}, its environment gives {batch_text(given)}"
    require(theirs == given, f"policy {name} {sizes}; the configuration belongs to another policy: export it again")
    return evaluator
