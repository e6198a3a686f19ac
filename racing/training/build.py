"""What a training configuration describes, checked and built: hardware, tracks, vehicle, environment, model."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from racing.config import build
from racing.errors import InputError, require


@dataclass(kw_only=True)
class Parts:
    """Everything that the configuration describes, built and checked."""

    config: dict[str, Any]
    hardware: Any
    tracks: list[Any]
    vehicle: Any
    judged: list[Any]  # tracks that policies are judged on: those held out of training, else all
    references: list[float]  # [s] reference lap of each of them
    env: Any
    model: Any
    ancestor: Any  # racing.policies.init_from.Ancestor that the model's weights come from; None without init_from


def build_parts(cfg: DictConfig, config: dict[str, Any]) -> Parts:
    """Make hardware, tracks, vehicle, environment and model. Raises InputError where a value breaks a rule.

    config: `cfg` as plain data; its init_from is replaced by the name of exactly these weights.
    """
    from racing.algos.optimizers import leave_dynamo_out
    from racing.envs.vec_env import RacingVecEnv
    from racing.tracks.reference_lap import reference_lap
    from racing.training.hardware import choose

    ancestor = None
    if config["init_from"] is not None:
        from racing.policies.init_from import find_ancestor, inherit

        outputs = Path(config["paths"]["outputs"]).resolve()
        ancestor = find_ancestor(config["init_from"], outputs, config["tracking"]["uri"])
        config["init_from"] = ancestor.spec  # the name of exactly these weights: part of the run's identity
    hardware = choose(config["hardware"])
    tracks, vehicle = build(cfg.track), build(cfg.vehicle)
    holdout = cfg.eval.holdout
    require(
        holdout < len(tracks),
        f"eval.holdout must be less than the {len(tracks)} tracks, got {holdout}; 0 holds out none",
    )
    learned, judged = tracks[: len(tracks) - holdout], tracks[-holdout:] if holdout else tracks
    make_task = build(cfg.env)
    races, seed, threads = cfg.algo.n_envs, cfg.seed, hardware.sim_threads
    task = build_with("env", make_task, tracks=learned, vehicle=vehicle, races=races, seed=seed, threads=threads)
    elsewhere = ("total_timesteps", "n_envs", "teacher")
    settings = OmegaConf.masked_copy(cfg.algo, [key for key in cfg.algo if key not in elsewhere])
    env = RacingVecEnv(task)
    leave_dynamo_out()
    model = build_with("algo", build(settings), env=env, seed=seed, device=hardware.device, **lesson(config, env))
    if ancestor is not None:
        inherit(model, ancestor)
    return Parts(
        config=config,
        hardware=hardware,
        tracks=tracks,
        vehicle=vehicle,
        judged=judged,
        references=[reference_lap(track, vehicle).time_s for track in judged],
        env=env,
        model=model,
        ancestor=ancestor,
    )


def lesson(config: dict[str, Any], env: Any) -> dict[str, Any]:
    """The teacher as an argument of the algorithm, if there is one; its name becomes that of exactly these weights."""
    spec = config["algo"].get("teacher")
    if spec is None:
        return {}
    from racing.training.teacher import find_teacher

    rule = f"algo.teacher={spec} needs an environment that has sensors beside what is observed"
    require(env.privileged is not None, f"{rule}; choose env=vision or leave it null")
    outputs = Path(config["paths"]["outputs"]).resolve()
    uri, size = config["tracking"]["uri"], env.privileged.shape[1]
    config["algo"]["teacher"], act = find_teacher(spec, outputs, uri, config["env"], size)
    return {"teacher": act}


def build_with(group: str, factory: Any, **arguments: Any) -> Any:
    """Call a partial that a config group made; a key too many or too few is the user's mistake."""
    try:
        return factory(**arguments)
    except TypeError as error:
        surplus = re.search(r"unexpected keyword argument '(\w+)'", str(error))
        if surplus:
            raise InputError(f"{surplus[1]!r} is no key here; remove +{group}.{surplus[1]}") from error
        missing = re.search(r"missing .* argument.*: (.*)", str(error))
        if missing:
            raise InputError(f"{group} must have {missing[1]}, it was removed; leave its ~ away") from error
        raise
