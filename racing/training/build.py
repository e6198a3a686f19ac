"""What a training configuration describes, built: hardware, tracks, vehicle, environment, model."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from racing.config import build, key_hint
from racing.errors import InputError, input_group, require
from racing.renamed_keys import renamed
from racing.training.hardware import Hardware, choose
from racing.training.resolve import ResolvedConfig, resolve

if TYPE_CHECKING:
    from racing.algos.common import BatchAlgorithm
    from racing.envs.vec_env import RacingVecEnv
    from racing.evaluation.evaluator import Evaluator


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """Everything that a configuration describes.

    evaluator: how its policies are evaluated, and where is driven.
    task: what is driven while training; `env` is its face for algorithms.
    facts: of this machine that the training's bits depend on, by name.
    """

    config: ResolvedConfig
    hardware: Hardware
    evaluator: Evaluator
    task: Any
    env: RacingVecEnv
    model: BatchAlgorithm
    facts: dict[str, str]


def build_experiment(config: ResolvedConfig) -> Experiment:
    """Build hardware, evaluator, environment and model. Raises InputError where a value breaks a rule."""
    from racing.envs.race import RaceTask
    from racing.envs.task import is_scored
    from racing.envs.vec_env import RacingVecEnv
    from racing.evaluation.evaluators import evaluator_of
    from racing.policies.snapshots import reviver

    cfg = config.tree
    hardware = choose(cfg.hardware)
    with input_group("env", cfg.env):
        evaluator = evaluator_of(config.values, hardware.sim_threads)
    arguments = {"races": cfg.algo.n_envs, "seed": cfg.seed, "threads": hardware.sim_threads}
    if config.opponents is not None:
        arguments["opponents"] = config.opponents.policies
    task = build_with("env", build(cfg.env), **evaluator.place, **arguments)
    env = RacingVecEnv(task)
    teacher = None if config.teacher is None else config.teacher.teach(env)
    model = build_model(config, env, hardware.device, teacher)
    if isinstance(task, RaceTask) and task.league is not None and task.league.config.snapshots:
        rule = f"env.league.snapshots must be 0 with several agents, got {task.league.config.snapshots}"
        require("" in model.learners, f"{rule}; set it to 0, or algo.share=true")
        task.league.revive = reviver(model)
    return Experiment(
        config=config,
        hardware=hardware,
        evaluator=evaluator,
        task=task,
        env=env,
        model=model,
        facts={**hardware.facts(), **getattr(teacher, "facts", {}), **(task.facts() if is_scored(task) else {})},
    )


def build_model(config: ResolvedConfig, env: RacingVecEnv, device: str, teacher: Any = None) -> BatchAlgorithm:
    """Build the algorithm with its networks, which begin with the initial weights if there are some.

    teacher: what its student imitates, see racing.algos.distillation.Teacher.
    """
    from racing.algos.common import BatchAlgorithm
    from racing.algos.optimizers import leave_dynamo_out

    leave_dynamo_out()
    cfg = config.tree
    trainers = ("total_timesteps", "n_envs", "teacher", "teacher_pace", "teacher_reach")
    own = [key for key in cfg.algo if key not in trainers]
    make = build(OmegaConf.masked_copy(cfg.algo, own))
    arguments: dict[str, Any] = {"env": env, "seed": cfg.seed, "device": device}
    if teacher is not None:
        arguments["teacher"] = teacher
    model = build_with("algo", make, **arguments)
    rule = f"algo must make a racing.algos.common.BatchAlgorithm, got {type(model).__name__}; see docs/adding.md"
    if not isinstance(model, BatchAlgorithm):
        raise InputError(rule)
    if config.initial_weights is not None:
        from racing.policies.init_from import load_initial_weights

        load_initial_weights(model, config.initial_weights)
    return model


def check_buildable(cfg: DictConfig, **replaced: Any) -> BatchAlgorithm:
    """Build what `cfg` describes and return the model; for those who must do something else before it is trained.

    replaced: `init_from=None`, `teacher=None` for weights that do not exist yet. Raises InputError as `resolve` and
    `build_experiment`.
    """
    copy = cfg.copy()
    if "init_from" in replaced:
        copy.init_from = replaced["init_from"]
    if "teacher" in replaced and "teacher" in copy.algo:
        copy.algo.teacher = replaced["teacher"]
    return build_experiment(resolve(copy)).model


def build_with(group: str, factory: Any, **arguments: Any) -> Any:
    """Call a partial that a config group made; a key too many or too few is the user's mistake."""
    try:
        with input_group(group, getattr(factory, "keywords", ())):
            return factory(**arguments)
    except TypeError as error:
        surplus = re.search(r"unexpected keyword argument '(\w+)'", str(error))
        if surplus:
            key = f"{group}.{surplus[1]}"
            remedy = key_hint(key) if renamed(key) else f"remove +{key}"
            raise InputError(f"unknown key {key!r}; {remedy}") from error
        missing = re.search(r"missing .* argument.*: (.*)", str(error))
        if missing:
            raise InputError(f"required key {missing[1]} of {group} is missing; drop the ~ override of it") from error
        raise
