"""Validate a configuration before anything is written."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from racing.config import key_hint, keys_of, plain
from racing.errors import InputError, require, require_number
from racing.evaluation.seeds import CONFIRMING_SEEDS, MAX_TASK_SEED
from racing.naming import word
from racing.renamed_keys import renamed
from racing.runs.identity import flatten
from racing.runs.paths import require_name
from racing.tracking.address import refuse_secrets
from racing.tracking.sinks.configured import check_sinks
from racing.tracking.store import resolve_uri
from racing.training.sizes import check_sizes


def checked(cfg: DictConfig) -> dict[str, Any]:
    """`cfg` as plain data. Raises InputError where a value breaks a rule that no part checks itself."""
    config = plain(cfg)
    if "name" in config:
        config["name"] = word(config["name"])
    try:
        check(config)
    except KeyError as error:
        raise InputError(f"required key {error} is missing; drop the ~ override of it") from error
    return config


def check(config: Mapping[str, Any]) -> None:
    """Refuse values that no part checks itself. Raises InputError."""
    for name in ("env", "track", "vehicle", "algo", "hardware", "tracking", "eval", "checkpoint", "paths"):
        group = config.get(name)
        require(isinstance(group, dict), f"{name}={group!r} must be a group of keys; choose a file of conf/{name}")
    refuse_unknown(config)
    files = config["track"].get("file", "")
    named = all(isinstance(file, str) for file in (files if isinstance(files, list) else [files]))
    require(named, f"track.file must be a name, a path, or a list of them, got {files!r}; see racing tracks list")
    if config.get("name") is not None:  # else nobody is to write a run
        require_name("name", config["name"])
    require_number("seed", config["seed"], 0, MAX_TASK_SEED - 1, whole=True)
    for key, low, high in (("n_envs", 1, 1 << 20), ("total_timesteps", 1, 1 << 40)):
        require_number(f"algo.{key}", config["algo"].get(key), low, high, whole=True)
    evaluation, tracking = config["eval"], config["tracking"]
    for key, low, high in (("episodes", 1, 100_000), ("laps", 1, 1000), ("every_steps", 0, 1 << 40)):
        require_number(f"eval.{key}", evaluation[key], low, high, whole=True)
    require_number("eval.holdout_tracks", evaluation["holdout_tracks"], 0, 10_000, whole=True)
    require_number("eval.confirmations", evaluation["confirmations"], 0, len(CONFIRMING_SEEDS), whole=True)
    for key in ("start_fraction", "target_finish_rate"):
        require_number(f"eval.{key}", evaluation[key], 0, 1, remedy="it is a share")
    check_sizes(config)
    keeping = config["checkpoint"]
    for key, low in (("every", 0), ("milestone_every", 0), ("keep_last", 1)):
        require_number(f"checkpoint.{key}", keeping[key], low, 1 << 40, whole=True)
    require_number("checkpoint.every_minutes", keeping["every_minutes"], 0, 1 << 20)
    require_number("tracking.close_timeout", tracking["close_timeout"], 0, 86_400, unit="s")
    check_sinks(tracking)
    hardware = config["hardware"]
    switches = {name: config.get(name, False) for name in ("fresh", "trust")}
    switches |= {"tracking.enabled": tracking["enabled"], "eval.video": evaluation["video"]}
    for key, value in (switches | {"hardware.fallback": hardware["fallback"]}).items():
        require(isinstance(value, bool), f"{key} must be true or false, got {value!r}; choose one")
    texts = {"tracking.experiment": tracking["experiment"], "paths.outputs": config["paths"]["outputs"]}
    if tracking["uri"] is not None:
        texts["tracking.uri"] = tracking["uri"]
    for key, value in texts.items():
        require(isinstance(value, str) and value != "", f"{key} must be a text, got {value!r}; write {key}=TEXT")
    refuse_secrets(f"{key}={value}" for key, value in flatten(config).items())  # they must not even be recorded
    resolve_uri(tracking["uri"], Path(config["paths"]["outputs"]))


def refuse_unknown(config: Mapping[str, Any]) -> None:
    """Refuse keys that nobody would look at: Hydra takes any from a file, and after `+`. Raises InputError.

    Those of env, track, vehicle, algo and launcher are refused by what is built of them.
    """
    plain_groups = ("eval", "checkpoint", "tracking", "hardware", "paths")
    stray = [f"{group}.{key}" for group in plain_groups for key in config[group].keys() - keys_of(group)]
    for key in (*stray, *(key for key in flatten(config) if renamed(key))):
        raise InputError(f"unknown key {key!r}; {key_hint(key)}")
