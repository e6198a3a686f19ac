"""`racing bench`: measure simulator, camera, learner, start, tracking, and results over seeds, on this machine."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from racing.commands.bench.camera import pictures
from racing.commands.bench.lateral import lateral
from racing.commands.bench.learning import learner, over_seeds
from racing.commands.bench.races import races
from racing.commands.bench.report import Result, make_folder, print_table, show, write
from racing.commands.bench.simulator import simulator
from racing.commands.bench.startup import startup
from racing.commands.bench.sweep import sweeps
from racing.commands.bench.tracking import tracking
from racing.commands.bench.tracks import workshop
from racing.commands.bench.vision import eyes
from racing.commands.options import require_action, verb_options
from racing.errors import require, require_number

EXAMPLES = """usage: racing bench sim|races|lateral|camera|ppo|vision|startup|tracking|tracks|sweep|seeds [key=value]

Measure on this machine; prints a table and writes JSON. Nothing else should be running.

examples:
  racing bench sim                            steps per second by vehicle model, cars and threads; half a minute
  racing bench races                          the same with cars that race each other; 10,000 random races; two minutes
  racing bench lateral                        steps per second of env=lateral, alone and on every core; half a minute
  racing bench camera                         pictures per second, beside CarRacing's; half a minute
  racing bench ppo                            learning steps per second, beside Stable-Baselines3's PPO; a minute
  racing bench vision                         learning steps per second by frames; two minutes
  racing bench startup                        seconds until help, imports, the first update; a minute
  racing bench tracking                       what MLflow costs training, server alive and dead; a quarter of an hour
  racing bench tracks circuits=1000           pictures read, circuits generated and driven; five minutes
  racing bench sweep                          16 short jobs side by side, beside one after another; ten minutes
  racing bench seeds seeds=[0,1,2]            finish rate and lap of the default experiment over seeds; a minute each
  racing bench sim num_cars=[1,4096] threads=[1] rays=1080
"""


def main(argv: Sequence[str]) -> int:
    """Entry point of the verb; returns the exit code."""
    asked = [argument for argument in argv if argument in ("-h", "--help")]
    benchmarks: dict[str, Callable[[Mapping[str, Any]], Result]] = {
        "sim": simulator,
        "races": races,
        "lateral": lateral,
        "camera": pictures,
        "ppo": learner,
        "vision": eyes,
        "startup": startup,
        "tracking": tracking,
        "tracks": workshop,
        "sweep": sweeps,
        "seeds": over_seeds,
    }
    name = argv[0] if argv else ""
    if not asked:
        require_action(name, list(benchmarks))
    options = verb_options("bench", asked or argv[1:], EXAMPLES)
    if options is None:
        return 0
    check(options)
    folder = make_folder(Path(options["paths"]["outputs"]) / "bench")
    rows, summary = benchmarks[name](options)
    print_table(f"racing bench {name}", rows)
    path = write(folder, name, options, rows, summary)
    for key, value in summary.items():
        print(f"{key.replace('_', ' ')}: {show(value)}")
    print(path)
    return 0


def check(options: Mapping[str, Any]) -> None:
    """Raise InputError unless the options of conf/verbs/bench.yaml are in their ranges."""
    for name, low, high in (
        ("repeats", 1, 100),
        ("circuits", 1, 100_000),
        ("races", 1, 1_000_000),
        ("rays", 1, 4096),
        ("cameras", 1, 1 << 16),
        ("pixels", 8, 1024),
        ("drive_steps", 1, 100_000),
        ("steps", 1, 1 << 40),
        ("stock_steps", 1, 1 << 40),
        ("seen_steps", 1, 1 << 40),
        ("windows", 4, 10_000),
        ("jobs", 1, 1000),
        ("places", 1, 256),
    ):
        require_number(name, options[name], low, high, whole=True, remedy="see racing bench --help")
    for name in ("range", "seconds", "window"):
        require_number(name, options[name], 1e-3, 10_000, remedy="see racing bench --help")
    for name, low, high in (("num_cars", 1, 1 << 20), ("threads", 1, 256), ("seeds", 0, (1 << 28) - 1)):
        values = options[name]
        require(isinstance(values, list) and values != [], f"{name} must be a list, got {values!r}; e.g. {name}=[1,2]")
        for value in values:
            require_number(name, value, low, high, whole=True, remedy="see racing bench --help")
    require(isinstance(options["dynamics"], str), f"dynamics must be a text, got {options['dynamics']!r}; name a file")
    for name in ("vehicles", "imports", "train"):
        fits = isinstance(options[name], list) and all(isinstance(value, str) for value in options[name])
        require(fits, f"{name} must be a list of texts, got {options[name]!r}; see racing bench --help")
