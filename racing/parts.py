"""What a training configuration describes, checked and built: hardware, tracks, vehicle, environment, model."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from omegaconf import DictConfig, OmegaConf

from racing.configs import build
from racing.errors import InputError, require, require_number

MAX_TASK_SEED = 1 << 28  # above it are the seeds of evaluation starts (racing.laps)


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


def check(config: Mapping[str, Any]) -> None:
    """Refuse values that no part checks itself. Raises InputError."""
    for name in ("env", "track", "vehicle", "algo", "hardware", "tracking", "eval", "paths"):
        group = config.get(name)
        require(isinstance(group, dict), f"{name}={group!r} must be a group of keys; choose a file of conf/{name}")
    require_number("seed", config["seed"], 0, MAX_TASK_SEED - 1, whole=True)
    for key, low, high in (("n_envs", 1, 1 << 20), ("total_timesteps", 1, 1 << 40)):
        require_number(f"algo.{key}", config["algo"].get(key), low, high, whole=True)
    judging, tracking = config["eval"], config["tracking"]
    for key, low, high in (("episodes", 1, 100_000), ("laps", 1, 1000), ("every", 0, 1 << 40), ("holdout", 0, 10_000)):
        require_number(f"eval.{key}", judging[key], low, high, whole=True)
    for key in ("from", "finish_rate"):
        require_number(f"eval.{key}", judging[key], 0, 1, remedy="it is a share")
    require_number("tracking.close_timeout", tracking["close_timeout"], 0, 86_400, unit="s")
    hardware = config["hardware"]
    switches = {"fresh": config["fresh"], "tracking.enabled": tracking["enabled"]}
    for key, value in (switches | {"hardware.fallback": hardware["fallback"]}).items():
        require(isinstance(value, bool), f"{key} must be true or false, got {value!r}; choose one")
    texts = {"tracking.experiment": tracking["experiment"], "paths.outputs": config["paths"]["outputs"]}
    if tracking["uri"] is not None:
        texts["tracking.uri"] = tracking["uri"]
    for key, value in texts.items():
        require(isinstance(value, str) and value != "", f"{key} must be a text, got {value!r}; write {key}=TEXT")


def build_parts(cfg: DictConfig, config: dict[str, Any]) -> Parts:
    """Make hardware, tracks, vehicle, environment and model. Raises InputError where a value breaks a rule."""
    from racing.envs.vec_env import RacingVecEnv
    from racing.hardware import choose
    from racing.tracks.reference import reference_lap

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
    settings = OmegaConf.masked_copy(cfg.algo, [k for k in cfg.algo if k not in ("total_timesteps", "n_envs")])
    env = RacingVecEnv(task)
    model = build_with("algo", build(settings), env=env, seed=seed, device=hardware.device)
    return Parts(
        config=config,
        hardware=hardware,
        tracks=tracks,
        vehicle=vehicle,
        judged=judged,
        references=[reference_lap(track, vehicle).time_s for track in judged],
        env=env,
        model=model,
    )


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
