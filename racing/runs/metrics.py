"""Names of a run's metrics that others rely on, and which of two results is better."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

LAPS = ("finish_rate", "lap_time_s", "lap_ratio", "limit_ratio")  # of a summary
SCORE = "score"  # of environments without laps, the greater the better: what they are ranked by
HEADLINE = (*LAPS, SCORE)  # in tables, comparisons, MLflow
SMOOTHNESS = ("steering_change", "steering_spectrum")  # less is smoother
RACE = ("race/overtake_rate", "race/clean_rate", "race/success_rate", "race/grid_finish_rate")  # of env=race
VALIDATION = (*LAPS, "off_track_m", *RACE)  # what a journal keeps of the evaluations on the way

NOTE_TAG = "mlflow.note.content"  # a tag: what MLflow shows on top of a run's page
AGENTS = "agents/"  # begins the names of their metrics

# What earlier versions called a metric -> its name now. A name ending in / stands for all that begin with it.
RENAMED_METRICS = {
    "selection/": "validation/",
    "rollout/reward": "rollout/ep_rew_mean",
    "rollout/steps": "rollout/ep_len_mean",
    "time/steps_per_s": "time/fps",
}


def of_agent(agent: str, name: str) -> str:
    """Name of a metric of one of several agents; agent: its name, '' where there is one learner."""
    return f"{AGENTS}{agent}/{name}" if agent else name


def current_name(metric: str) -> str:
    """The name that a recorded metric has in this version."""
    for old, new in RENAMED_METRICS.items():
        if metric == old or (old.endswith("/") and metric.startswith(old)):
            return new + metric.removeprefix(old)
    return metric


def rank(summary: Mapping[str, Any], target_finish_rate: float = 1.0) -> tuple[float, ...]:
    """Order of results, the better one is greater: who finishes more often, then who laps faster.

    summary: with `finish_rate` in [0, 1] and `lap_ratio` (lap time / reference lap; None without a lap). Of races, with
    `race`: how often it finishes alone is multiplied by how often it overtakes without fault, and how often it finishes
    in grids. Without laps, with `score`.
    target_finish_rate: finishing more often than this does not count.
    """
    if summary.get(SCORE) is not None:
        return (float(summary[SCORE]),)
    ratio = summary["lap_ratio"]
    rate, race = min(float(summary["finish_rate"]), target_finish_rate), summary.get("race", {})
    rate *= race.get("success_rate", 1.0) * race.get("grid_finish_rate", 1.0)
    return rate, -math.inf if ratio is None else -float(ratio)
