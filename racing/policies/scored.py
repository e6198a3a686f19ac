"""Policies whose environment says itself what its episodes cost: how they are evaluated after they were loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from racing.config import explain
from racing.envs.task import is_scored
from racing.errors import InputError, require
from racing.evaluation.evaluators import kind_of_task
from racing.policies.foreign_code import refuse_foreign_code
from racing.policies.loading import LoadedPolicy, require_same_shapes

if TYPE_CHECKING:
    from racing.evaluation.scores.evaluator import ScoreEvaluator


def task_of(policy: LoadedPolicy) -> Any:
    """The class of the tasks of a policy's environment; None where it does not say what that is.

    Raises InputError where it names code that is not racing's, or none that is here.
    """
    from hydra.errors import InstantiationException

    env = policy.config.get("env")
    if not env:
        return None
    if not policy.trusted:
        refuse_foreign_code(policy.config, f"policy {policy.name}")
    require("_target_" in env, f"policy {policy.name} does not say what its environment is; export it again")
    try:
        return kind_of_task(env)
    except InstantiationException as error:
        raise InputError(f"policy {policy.name}: its env does not fit this version, {explain(error)}") from error


def is_scored_policy(policy: LoadedPolicy) -> bool:
    """Whether a policy's environment says itself what its episodes cost (racing.envs.task.ScoredTask).

    Raises InputError as `task_of`.
    """
    return is_scored(task_of(policy))


def score_evaluator(policy: LoadedPolicy, episodes: int, *, driven: bool = False) -> ScoreEvaluator:
    """How a policy of such an environment is evaluated, on so many episodes.

    driven: by a driver of that environment in place of the policy, as it would without a student.
    Raises InputError if the policy reads observations of another size, or files that its env names are not here.
    """
    from racing.evaluation.scores.evaluator import ScoreEvaluator

    own = task_of(policy).driver_settings if driven else {}
    try:
        config = {**policy.config, "env": {**policy.config["env"], **own}}
        evaluator = ScoreEvaluator({**config, "eval": {"episodes": episodes}})
        space = evaluator.task().observation_space
    except TypeError as error:  # a keyword that this version does not know
        rule = f"policy {policy.name}: its env does not fit this version"
        raise InputError(f"{rule}, {error}; train it again") from error
    if not driven:
        require_same_shapes(policy, space)
    return evaluator
