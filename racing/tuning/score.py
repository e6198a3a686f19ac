"""One number that says how good a policy is: what a search maximises."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from racing.runs.metrics import SCORE

METRICS = ("score", "finish_rate", "reward", "mean_speed")  # the greater, the better
SCORED_METRICS = ("score", "reward")  # of environments without laps


def score(summary: Mapping[str, Any], enough: float) -> float:
    """The order in which a training ranks its policies (racing.runs.metrics.rank), as one number.

    summary: of an evaluation. enough: eval.target_finish_rate. A policy that finishes less often has the share of it
    that it reaches, in [0, 1); one that does has 1 + reference lap / lap, so about 2 as fast as the reference, and 1
    without a lap to compare. Environments without laps say it themselves. Samplers and pruners only ask which of two
    trials is better: the step at 1 does not mislead them.
    """
    if SCORE in summary:
        return float(summary[SCORE])
    share = min(1.0, float(summary["finish_rate"]) / enough) if enough > 0 else 1.0
    ratio = summary["lap_ratio"]
    return share if share < 1 or ratio is None else 1 + 1 / float(ratio)


def value_of(metric: str, summary: Mapping[str, Any], enough: float) -> float:
    """The value of `metric`, one of METRICS, for an evaluation."""
    return score(summary, enough) if metric == "score" else float(summary[metric])
