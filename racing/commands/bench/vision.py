"""`racing bench vision`: steps per second of learning by frames, from end to end."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping
from typing import Any

from racing.commands.bench.report import Result, Row, say

SETTINGS = {
    "gray, 4 frames, small CNN (experiment=vision_gray4)": ["env.grayscale=true", "env.frame_stack=4"],
    "RGB, small CNN (experiment=vision_rgb)": [],
    "gray, 4 frames, nature CNN": ["env.grayscale=true", "env.frame_stack=4", "algo.cnn=nature"],
    "RGB, nature CNN, 4 passes": ["algo.cnn=nature", "algo.n_epochs=4"],
    "RGB, nature CNN, 4 passes, float32": ["algo.cnn=nature", "algo.n_epochs=4", "algo.precision=float32"],
}


def eyes(options: Mapping[str, Any]) -> Result:
    """learn() of algo=ppo_cnn with each of SETTINGS in turns, `train` added: rendering, driving, updating."""
    from racing.config import compose
    from racing.training.build import build_experiment
    from racing.training.resolve import resolve

    built = {}
    for name, settings in SETTINGS.items():
        cfg = compose("train", ["env=vision", "algo=ppo_cnn", *settings, *options["train"]])
        built[name] = build_experiment(resolve(cfg))
        built[name].model.learn(1)  # one update: compiles, and fills the caches
    rates: dict[str, list[tuple[float, float]]] = {name: [] for name in built}
    for repeat in range(options["repeats"]):
        for name, experiment in built.items():
            model = experiment.model
            before, wall, cpu = model.num_timesteps, time.perf_counter(), time.process_time()
            model.learn(options["seen_steps"], reset_num_timesteps=False)
            done = model.num_timesteps - before
            rates[name].append((done / (time.perf_counter() - wall), done / (time.process_time() - cpu)))
            say(f"{name}, repeat {repeat + 1}: {rates[name][-1][0]:,.0f} steps/s")
    rows = [row(name, experiment, rates[name]) for name, experiment in built.items()]
    first = next(iter(built.values()))
    return rows, {"torch_threads": first.hardware.torch_threads, "device": first.hardware.device}


def row(name: str, experiment: Any, rates: list[tuple[float, float]]) -> Row:
    """What was measured of one setting; bytes: of one frame in the rollout."""
    model, frames = experiment.model, experiment.model.rollout_buffer.frames
    return {
        "name": name,
        "cars": model.n_envs,
        "passes": model.n_epochs,
        "parameters": sum(parameter.numel() for parameter in model.policy.parameters()),
        "bytes": frames[0, 0].numel(),
        "steps_per_s": statistics.median(wall for wall, _ in rates),
        "steps_per_cpu_s": statistics.median(cpu for _, cpu in rates),
    }
