"""`racing bench ppo`, `racing bench seeds`: speed and results of learning."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from racing.commands.bench.report import Result, Row, say, show, stamp_now
from racing.errors import require
from racing.runs.metrics import LAPS, SMOOTHNESS

STOCK = {"n_steps": 256, "batch_size": 64, "n_epochs": 10}  # Stable-Baselines3's PPO, 4096 steps an update
STOCK_LANES = 16
RESULTS = (*LAPS, *SMOOTHNESS, "learning_s", "steps_per_s")  # of a run's summary


def learner(options: Mapping[str, Any]) -> Result:
    """Steps per second of learn(): ours, stock PPO with our settings, stock PPO near its defaults; compiled before.

    The three take turns, so that a change of the machine's load meets them all.
    """
    from racing.config import compose
    from racing.training.build import build_experiment
    from racing.training.resolve import resolve

    built = build_experiment(resolve(compose("train", options["train"])))
    models = {"racing": (built.model, options["steps"])} | stock_models(built, options)
    built.model.imitation = None  # theirs have no teacher
    speeds: dict[str, list[float]] = {name: [] for name in models}
    for model, _ in models.values():
        model.learn(1)  # one update: compiles, and fills the caches
    for repeat in range(options["repeats"]):
        for name, (model, steps) in models.items():
            before, began = model.num_timesteps, time.perf_counter()
            model.learn(steps, reset_num_timesteps=False)
            speeds[name].append((model.num_timesteps - before) / (time.perf_counter() - began))
            say(f"{name}, repeat {repeat + 1}: {speeds[name][-1]:,.0f} steps/s")
    ours = statistics.median(speeds["racing"])
    rows = []
    for name, (model, _) in models.items():
        settings = {key: getattr(model, key) for key in ("n_envs", "n_steps", "batch_size", "n_epochs")}
        speed = statistics.median(speeds[name])
        rows.append({"name": name, **settings, "steps_per_s": speed, "ours_to_it": ours / speed, "rates": speeds[name]})
    return rows, {"torch_threads": built.hardware.torch_threads, "device": built.hardware.device}


def stock_models(built: Any, options: Mapping[str, Any]) -> dict[str, tuple[Any, int]]:
    """Stable-Baselines3's PPO on the same world: name -> model, steps of one measurement."""
    from stable_baselines3 import PPO

    from racing.config import build
    from racing.envs.vec_env import RacingVecEnv

    def world(num_cars: int) -> RacingVecEnv:
        make = build(built.config.tree.env)
        return RacingVecEnv(make(**built.evaluator.place, races=num_cars))

    ours = built.model
    require(isinstance(ours, PPO), f"racing bench ppo compares PPO, got {type(ours).__name__}; leave algo=ppo")
    same = {name: getattr(ours, name) for name in ("n_steps", "batch_size", "n_epochs", "learning_rate", "gamma")}
    network = {"policy_kwargs": ours.policy_kwargs, "device": ours.device}
    return {
        "stock PPO, our settings": (PPO("MlpPolicy", world(ours.n_envs), **same, **network), options["steps"] // 4),
        "stock PPO, near its defaults": (
            PPO("MlpPolicy", world(STOCK_LANES), **STOCK, **network),
            options["stock_steps"],
        ),
    }


def over_seeds(options: Mapping[str, Any]) -> Result:
    """Train the experiment with each seed, one after another; the runs stay below outputs/bench.

    Evaluated is from the beginning on, so that it shows when all finish for the first time.
    """
    from racing.config import compose
    from racing.evaluation.laps import MILESTONES
    from racing.runs.directory import all_runs
    from racing.training.trainer import train

    outputs = Path(options["paths"]["outputs"]) / "bench" / f"seeds-{stamp_now()}"
    rows = []
    for seed in options["seeds"]:
        overrides = [
            "name=seeds",
            "eval.start_fraction=0",
            *options["train"],
            f"seed={seed}",
            f"paths.outputs={outputs}",
        ]
        train(compose("train", overrides), overrides)
        summary = all_runs(outputs)[0].summary
        reached = {name: summary[name] or {"steps": None, "seconds": None} for name in MILESTONES}
        row = {"seed": seed} | {key: summary.get(key) for key in RESULTS}
        row |= {f"{name}_s": when["seconds"] for name, when in reached.items()}
        rows.append(row | {"first_lap_steps": reached["first_lap"]["steps"]})
        say(f"seed {seed}: finish rate {summary['finish_rate']:.2f}, lap ratio {show(summary['lap_ratio'])}")
    return rows, {f"median_{key}": median for key, median in medians(rows)} | {"runs": str(outputs)}


def medians(rows: Sequence[Row]) -> Iterator[tuple[str, float | None]]:
    """Name and median of each column but the seed, over the rows that have it."""
    for key in rows[0]:
        values = [row[key] for row in rows if row[key] is not None]
        if key != "seed":
            yield key, statistics.median(values) if values else None
