"""Names that earlier versions gave to keys: records keep them, and whoever reads a record upgrades it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

# Keys that earlier versions named otherwise: old -> new. Records keep the old names; who reads one upgrades it.
# A group's name stands for all its keys but those that are listed themselves.
RENAMED_KEYS: dict[str, str] = {
    "env.decision_repeat": "env.action_repeat",
    "env.randomize.colour": "env.randomize.color",
    "vehicle.kinematic_below": "vehicle.kinematic_speed_threshold",
    "env.episodes.random": "env.episodes.random_start",
    "env.episodes.lateral": "env.episodes.start_lateral_offset",
    "env.episodes.heading": "env.episodes.start_heading_error",
    "env.episodes.speed": "env.episodes.start_speed",
    "env.episodes.standing": "env.episodes.standing_start_prob",
    "env.episodes.time_limit_from": "env.episodes.time_limit_min",
    "algo.teacher_weight": "algo.distillation_weight",
    "algo.teacher_until": "algo.distillation_fraction",
    "checkpoint.minutes": "checkpoint.every_minutes",
    "eval.every": "eval.every_steps",
    "eval.finish_rate": "eval.target_finish_rate",
    "eval.from": "eval.start_fraction",
    "eval.holdout": "eval.holdout_tracks",
    "sweep": "tuning",
    "sweep.settings": "tuning.overrides",
    "launcher.poll": "launcher.poll_interval_s",
    "launcher.retries": "launcher.max_restarts",
    "launcher.retry": "launcher.max_resubmits",
    "launcher.send": "launcher.upload_from",
    "launcher.time_min": "launcher.timeout_min",
    "launcher.timeout": "launcher.timeout_min",
}
# Of env.randomize, which was the camera's alone.
VARIED = (
    *("mass", "friction", "stiffness", "power", "drag", "steering_offset", "command_delay", "throttle_lag"),
    *("ray_bias", "ray_noise", "ray_dropout"),
)
# What conf/conditions/none.yaml says.
NO_CONDITIONS = {
    "tyres": {
        "life": None,
        "grip_loss": 0.3,
        "start_wear": 0.0,
        "optimal_temperature": None,
        "temperature_window": 50.0,
        "temperature_loss": 0.2,
        "start_temperature": 60.0,
        "ambient_temperature": 20.0,
        "heating": 1.0,
        "cooling_time": 60.0,
    },
    "fuel": {"start": 0.0, "consumption": 0.1},
    "weather": {
        "start_wetness": 0.0,
        "rain_start": None,
        "rain_duration": None,
        "wetting_time": 30.0,
        "drying_time": 300.0,
        "line_drying_time": 120.0,
        "line_width": 1.5,
        "grip_loss": 0.35,
    },
    "damage": {"closing_speed": None, "power_loss": 0.5, "drag": 1.0, "steering_offset": 0.05, "retires_at": 1.0},
    "pit_stop": {"every": 0, "time": 20.0},
    "sensed": [],
}
# Keys that earlier versions did not have: key -> (a key beside it that shows where it belongs, what they did).
ADDED_KEYS: dict[str, tuple[str, Any]] = {
    "algo.critic_norm": ("gradient_steps", "none"),
    "algo.n_steps": ("gradient_steps", 1),
    "algo.normalize_advantage_per_mini_batch": ("clip_range", False),
    "algo.policy_delay": ("gradient_steps", 1),
    "algo.reset_log_std": ("log_std_init", False),
    "algo.target_entropy": ("gradient_steps", "auto"),
    "algo.teacher_pace": ("distillation_weight", 1.0),
    "algo.teacher_reach": ("distillation_weight", 0.15),
    "env.episodes.edge_margin": ("stall_speed", 0.0),
    "env.conditions": ("rays", NO_CONDITIONS),
    "env.mpc": ("action_scale", {"samples": 32, "horizon": 10, "iterations": 2, "seed": 0}),
    "env.league": ("mix", {"choice": "equal", "power": 2.0, "snapshots": 0.0, "joins_above": 0.55}),
    "env.observed.motion": ("ahead", False),
    "env.race.disqualify": ("near", 0.0),
    "env.reward.braking_needed": ("rear_end", 0.0),
    "env.reward.damage": ("steering_change", 0.0),
    "env.reward.tyre_wear": ("steering_change", 0.0),
    "env.randomize": ("rays", dict.fromkeys(VARIED)),
    **{f"env.randomize.{name}": ("blur", None) for name in VARIED},
    "eval.confirmations": ("target_finish_rate", 0),
    "launcher.supervise": ("leave_on_rebalance", "watcher"),
    "track.columns": ("half_width", None),
}


def upgraded(config: Mapping[str, Any]) -> dict[str, Any]:
    """A recorded configuration, or some groups of one, with today's names and all of today's keys.

    What RENAMED_KEYS and ADDED_KEYS list is upgraded; a present configuration comes out as it is.
    """
    out: dict[str, Any] = {RENAMED_KEYS.get(key, key): upgraded_group(key, value) for key, value in config.items()}
    for key, (beside, value) in ADDED_KEYS.items():
        group, _, name = key.rpartition(".")
        node: Any = out
        for part in group.split("."):
            node = node.get(part) if isinstance(node, dict) else None
        if isinstance(node, dict) and beside in node and name not in node:
            node[name] = deepcopy(value)
    return out


def upgraded_group(group: str, node: Any) -> Any:
    """What `group` (a dotted key) of a recorded configuration holds, as `upgraded`."""
    if not isinstance(node, Mapping):
        return node
    out: dict[str, Any] = {}
    for key, value in node.items():
        new = RENAMED_KEYS.get(f"{group}.{key}", f"{group}.{key}")
        out[new.rpartition(".")[2]] = upgraded_group(f"{group}.{key}", value)
    return out


def renamed(key: str) -> str | None:
    """Today's name of a dotted key that was renamed, itself or the group that it is in; None if neither was."""
    for end in (match.start() for match in reversed([*re.finditer(r"\.|$", key)])):
        if key[:end] in RENAMED_KEYS:
            return RENAMED_KEYS[key[:end]] + key[end:]
    return None


def upgraded_overrides(overrides: Sequence[str]) -> list[str]:
    """Recorded overrides with today's names for the keys of RENAMED_KEYS."""
    keys = [key_of(override) for override in overrides]
    return [o.replace(key, renamed(key) or key, 1) for o, key in zip(overrides, keys, strict=True)]


def key_of(override: str) -> str:
    """The key of `key=value`, `+key=value`, `++key=value`."""
    return override.partition("=")[0].lstrip("+~")
