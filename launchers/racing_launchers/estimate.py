"""What jobs typically take and cost: as runs of the same kind that are here have taken."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from racing.runs.directory import RUNS, whole_runs
from racing.training.progress_bar import clock
from racing_launchers.backend import Backend

NEWEST = 100  # runs that are looked at
LEAST_S = 5.0  # of learning: shorter ones have mostly compiled


class PastRate(NamedTuple):
    """How fast a run was, evaluations included [steps/s].

    there: it was a job of the same launcher. steps: that it has trained.
    """

    there: bool
    steps: int
    rate: float
    run: str


def typical_lines(jobs: Sequence[tuple[Mapping[str, Any], int | None]], outputs: Path, backend: Backend) -> list[str]:
    """Lines about what jobs will probably take, given their configurations and steps. Empty where nothing is paid.

    What has no steps is none of the trainings that are known from before.
    """
    if not jobs or backend.price_text(1.0) is None:
        return []
    known, used, seconds = past_rates(outputs, backend.name), set(), []
    for config, steps in jobs:
        found = known.get(kind_of(config))
        if steps is None or found is None:
            return [f"what it typically costs is told once runs of these kinds are in {outputs / RUNS}"]
        seconds.append(backend.start_s + steps / found.rate)
        used.add(found)
    slowest = min(used, key=lambda found: found.rate)
    where = f"on {backend.name}" if slowest.there else "on this machine"
    took = f"{slowest.rate:,.0f} steps/s as {slowest.run} had {where}"
    cost = backend.price_text(sum(seconds) / 3600)
    return [f"typically about {cost}: {clock(max(seconds))} for the longest job, at {took}"]


def past_rates(outputs: Path, launcher: str) -> dict[tuple[Any, ...], PastRate]:
    """How fast runs were, by their kind: the longest one, of those of the same launcher if there are some."""
    found: dict[tuple[Any, ...], PastRate] = {}
    for run in islice(whole_runs(outputs), NEWEST):
        summary, config = run.summary, run.config
        seconds = float(summary.get("learning_s") or 0.0)
        if seconds < LEAST_S or not summary.get("steps"):
            continue
        steps = int(summary["steps"])
        there = (config.get("launcher") or {}).get("name") == launcher
        rate = PastRate(there, steps, steps / (seconds + float(summary.get("eval_time_s") or 0.0)), run.name)
        kind = kind_of(config)
        found[kind] = max(rate, found.get(kind, rate))
    return found


def kind_of(config: Mapping[str, Any]) -> tuple[Any, ...]:
    """What decides how fast a training is, roughly: two with the same are of one kind."""
    env, algo = config.get("env") or {}, config.get("algo") or {}
    sizes = tuple(env.get(name) for name in ("width", "height", "frame_stack", "cars"))
    return env.get("_target_"), *sizes, algo.get("_target_"), algo.get("cnn"), tuple(algo.get("net_arch") or [])
