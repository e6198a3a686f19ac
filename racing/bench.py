"""`racing bench`: measure the simulator, the learner, the start, and the result over seeds, on this machine."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from racing.arguments import verb_options
from racing.errors import InputError, require, require_number

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from racing.envs.sensors import SensorsTask
    from racing.sim.vehicle import Vehicle
    from racing.sim.world import World

EXAMPLES = """usage: racing bench sim|ppo|startup|seeds [key=value ...]

Measure on this machine; prints a table and writes JSON. Nothing else should be running.

examples:
  racing bench sim                            decisions per second by vehicle model, lanes and threads; half a minute
  racing bench ppo                            learning steps per second, beside Stable-Baselines3's PPO; a minute
  racing bench startup                        seconds until help, imports, the first update; a minute
  racing bench seeds seeds=[0,1,2]            finish rate and lap of the default experiment over seeds; a minute each
  racing bench sim lanes=[1,4096] threads=[1] rays=1080
"""
Row = dict[str, Any]
Result = tuple[list[Row], dict[str, Any]]  # rows of the table, what else is worth keeping
STOCK = {"n_steps": 256, "batch_size": 64, "n_epochs": 10}  # Stable-Baselines3's PPO, 4096 decisions an update
STOCK_LANES = 16
RESULTS = ("finish_rate", "lap_time_s", "lap_ratio", "learning_s", "steps_per_s")  # of a run's summary


def main(argv: Sequence[str]) -> int:
    """Entry point of the verb; returns the exit code."""
    asked = [argument for argument in argv if argument in ("-h", "--help")]
    benchmarks: dict[str, Callable[[Mapping[str, Any]], Result]] = {
        "sim": simulator,
        "ppo": learner,
        "startup": startup,
        "seeds": over_seeds,
    }
    name = argv[0] if argv else ""
    known = bool(asked) or name in benchmarks
    require(known, f"{name!r} is no benchmark; use one of: {', '.join(benchmarks)}; see racing bench --help")
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
        ("rays", 1, 4096),
        ("decisions", 1, 100_000),
        ("steps", 1, 1 << 40),
        ("stock_steps", 1, 1 << 40),
    ):
        require_number(name, options[name], low, high, whole=True, remedy="see racing bench --help")
    for name in ("range", "seconds"):
        require_number(name, options[name], 1e-3, 10_000, remedy="see racing bench --help")
    for name, low, high in (("lanes", 1, 1 << 20), ("threads", 1, 256), ("seeds", 0, (1 << 28) - 1)):
        values = options[name]
        require(isinstance(values, list) and values != [], f"{name} must be a list, got {values!r}; e.g. {name}=[1,2]")
        for value in values:
            require_number(name, value, low, high, whole=True, remedy="see racing bench --help")
    for name in ("vehicles", "imports", "train"):
        fits = isinstance(options[name], list) and all(isinstance(value, str) for value in options[name])
        require(fits, f"{name} must be a list of texts, got {options[name]!r}; see racing bench --help")


def say(message: str) -> None:
    """Progress, on stderr."""
    print(message, file=sys.stderr, flush=True)


def simulator(options: Mapping[str, Any]) -> Result:
    """Decisions per second of World.step (physics, rays, progress, laps, restarts) on recorded drives.

    With it, for the first vehicle on one thread at the most lanes: what one ray costs, and observations with rewards.
    """
    rows = []
    for vehicle in (vehicle_called(name) for name in options["vehicles"]):
        for lanes in options["lanes"]:
            for threads in options["threads"]:
                task = make_task(options, vehicle, lanes, threads)
                rows.append(timed_drive(options, task))
                say(f"{rows[-1]['vehicle']}, {lanes} lanes, {threads} threads: {rows[-1]['decisions_per_s']:,.0f}/s")
    return rows, parts(options)


def vehicle_called(name: str) -> Vehicle:
    """conf/vehicle/<name>.yaml, or the kinematic variant NAME_kinematic. Raises InputError if there is none."""
    from racing.configs import load_group

    base = name.removesuffix("_kinematic")
    vehicle: Vehicle = load_group("vehicle", base)
    return vehicle if base == name else replace(vehicle, name=name, model="kinematic")


def make_task(options: Mapping[str, Any], vehicle: Vehicle, lanes: int, threads: int, rays: int = 0) -> SensorsTask:
    """The sensors task of conf/env/mlp.yaml on the benchmark's track; rays: another number of them."""
    from racing.configs import build, compose
    from racing.tracks.catalog import load_track

    make = build(compose("train", ["env=mlp"]).env)
    looking = {"rays": rays or options["rays"], "range": options["range"]}
    task: SensorsTask = make(
        tracks=[load_track(options["track"])], vehicle=vehicle, races=lanes, threads=threads, **looking
    )
    return task


def timed_drive(options: Mapping[str, Any], task: SensorsTask, step: Callable[[Any], Any] | None = None) -> Row:
    """Median speed of `step` (default World.step) over `repeats`; each replays the same recorded drive."""
    import numpy as np

    world = task.world
    step = step or world.step
    commands = record_drive(world, options["decisions"])
    rates, cpu_rates = [], []
    for _ in range(options["repeats"]):
        spent, cpu, done = 0.0, 0.0, 0
        while spent < options["seconds"]:
            world.reseed(0)
            world.reset()
            began, cpu_began = time.perf_counter(), time.process_time()
            for command in commands:
                step(command)
            spent, cpu = spent + time.perf_counter() - began, cpu + time.process_time() - cpu_began
            done += len(commands) * world.lanes
        rates.append(done / spent)
        cpu_rates.append(done / cpu)
    rate = statistics.median(rates)
    return {
        "vehicle": world.vehicle.name,
        "model": world.vehicle.model,
        "lanes": world.lanes,
        "threads": world.threads,
        "rays": world.rays.number,
        "decisions_per_s": rate,
        "per_cpu_s": statistics.median(cpu_rates),  # hardly changes when the machine is busy
        "ns_per_decision": 1e9 / statistics.median(cpu_rates),
        "restarts": int(world.cars["episode"].sum()),
        "mean_speed": float(np.mean(world.cars["v"])),  # [m/s]
        "rates": rates,
    }


def record_drive(world: World, decisions: int) -> npt.NDArray[np.float32]:
    """Commands (decisions, N, 2) of an unsteady driver: pure pursuit of the centreline, at 0.8 of the safe speed.

    The world is deterministic: played again from the same seed, the commands give the same drive, restarts included.
    """
    import numpy as np

    rng = np.random.default_rng(0)
    wobble = np.zeros((world.lanes, 2))
    commands = np.empty((decisions, world.lanes, 2), np.float32)
    vehicle, points, spacing = world.vehicle, world.points, world.tracks[0].spacing
    world.reseed(0)
    world.reset()
    for command in commands:
        cars = world.cars.reshape(-1)
        ahead = np.maximum(2 * spacing, 0.5 * cars["v"])
        aim = points[(cars["nearest"] + np.round(ahead / spacing).astype(int)) % len(points)]
        dx, dy = aim["x"] - cars["x"], aim["y"] - cars["y"]
        bend = 2 * np.sin(np.arctan2(dy, dx) - cars["yaw"]) / np.hypot(dx, dy)
        wobble = 0.95 * wobble + rng.normal(0.0, 0.03, wobble.shape)
        command[:, 0] = np.arctan(vehicle.wheelbase * bend) / vehicle.max_steer
        command[:, 1] = 0.3 * (0.8 * points["speed"][cars["nearest"]] - cars["v"])
        command += wobble
        world.step(command)
    return commands


def parts(options: Mapping[str, Any]) -> dict[str, float]:
    """Nanoseconds of one decision on one thread: per ray, of the rest, of observations and rewards."""
    vehicle, lanes = vehicle_called(options["vehicles"][0]), max(options["lanes"])
    many = max(2, options["rays"])
    one, all_rays = (
        timed_drive(options, make_task(options, vehicle, lanes, 1, rays))["ns_per_decision"] for rays in (1, many)
    )
    task = make_task(options, vehicle, lanes, 1, many)
    whole = timed_drive(options, task, task.step)["ns_per_decision"]
    per_ray = (all_rays - one) / (many - 1)
    return {"ns_per_ray": per_ray, "ns_without_rays": one - per_ray, "ns_observation_and_reward": whole - all_rays}


def learner(options: Mapping[str, Any]) -> Result:
    """Steps per second of learn(): ours, stock PPO with our settings, stock PPO near its defaults; compiled before.

    The three take turns, so that a change of the machine's load meets them all.
    """
    from racing.configs import compose, plain
    from racing.parts import build_parts, check

    cfg = compose("train", options["train"])
    check(plain(cfg))
    built = build_parts(cfg, plain(cfg))
    models = {"racing": (built.model, options["steps"])} | stock_models(built, options)
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

    from racing.configs import build
    from racing.envs.vec_env import RacingVecEnv

    def world(lanes: int) -> RacingVecEnv:
        make = build(built.config["env"])
        return RacingVecEnv(make(tracks=built.tracks, vehicle=built.vehicle, races=lanes))

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


def startup(options: Mapping[str, Any]) -> Result:
    """Wall-clock seconds from the start of a process: to its help, its imports, the first update of a training."""
    python = [sys.executable, "-c"]
    help_page = [sys.executable, "-m", "racing.cli", "--help"]
    tasks = {"racing --help": help_page} | {
        f"import {name}": [*python, f"import {name}"] for name in options["imports"]
    }
    tasks = {"python, nothing": [*python, "pass"]} | tasks
    rows = []
    for name, command in tasks.items():
        subprocess.run(command, capture_output=True, check=True)  # from now on its files are in memory
        rows.append(seconds_row(name, [wall(command) for _ in range(options["repeats"])]))
    first, whole = zip(*(first_update(options["train"]) for _ in range(options["repeats"])), strict=True)
    rows += [seconds_row("racing train debug=fast: first update", first), seconds_row("the whole of it", whole)]
    return rows, {"to_first_update_s": statistics.median(first)}


def seconds_row(name: str, seconds: Sequence[float]) -> Row:
    """Row of the median."""
    say(f"{name}: {statistics.median(seconds):.2f} s")
    return {"name": name, "seconds": statistics.median(seconds), "rates": list(seconds)}


def wall(command: Sequence[str]) -> float:
    """Seconds that a command takes."""
    began = time.perf_counter()
    subprocess.run(command, capture_output=True, check=True)
    return time.perf_counter() - began


def first_update(settings: Sequence[str]) -> tuple[float, float]:
    """Seconds from the start of `racing train debug=fast` to its first recorded metrics, and to its end."""
    from racing.runs.directory import all_runs
    from racing.runs.journal import read_journal

    with tempfile.TemporaryDirectory(prefix="racing-bench-") as folder:
        command = [sys.executable, "-m", "racing.cli", "train", "debug=fast", f"paths.outputs={folder}", *settings]
        began = time.time()
        done = subprocess.run(command, capture_output=True, text=True)
        whole = time.time() - began
        if done.returncode:
            raise InputError(f"train={list(settings)} must train: {done.stderr.strip().splitlines()[-1]}; correct it")
        records = (line.record or {} for line in read_journal(all_runs(Path(folder))[0].path / "journal.jsonl"))
        stamp = next(record["ts"] for record in records if record.get("kind") == "metrics")
    return stamp / 1000 - began, whole


def over_seeds(options: Mapping[str, Any]) -> Result:
    """Train the experiment with each seed, one after another; the runs stay below outputs/bench."""
    from racing.configs import compose
    from racing.runs.directory import all_runs
    from racing.train import train

    outputs = Path(options["paths"]["outputs"]) / "bench" / f"seeds-{stamp_now()}"
    rows = []
    for seed in options["seeds"]:
        overrides = ["name=seeds", *options["train"], f"seed={seed}", f"paths.outputs={outputs}"]
        train(compose("train", overrides), overrides)
        summary = all_runs(outputs)[0].summary
        first = summary["first_lap"] or {"steps": None, "seconds": None}
        row = {"seed": seed} | {key: summary[key] for key in RESULTS}
        rows.append(row | {"first_lap_steps": first["steps"], "first_lap_s": first["seconds"]})
        say(f"seed {seed}: finish rate {summary['finish_rate']:.2f}, lap ratio {show(summary['lap_ratio'])}")
    return rows, {f"median_{key}": median for key, median in medians(rows)} | {"runs": str(outputs)}


def medians(rows: Sequence[Row]) -> Iterator[tuple[str, float | None]]:
    """Name and median of each column but the seed, over the rows that have it."""
    for key in rows[0]:
        values = [row[key] for row in rows if row[key] is not None]
        if key != "seed":
            yield key, statistics.median(values) if values else None


def make_folder(folder: Path) -> Path:
    """`folder`, made if missing. Raises InputError if that is impossible."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: {error.strerror}, results need a folder; set paths.outputs=FOLDER") from error
    return folder


def write(folder: Path, name: str, options: Mapping[str, Any], rows: Sequence[Row], summary: Mapping[str, Any]) -> Path:
    """Write <folder>/<name>-<UTC time>.json: the result, the options, the machine, the versions."""
    from racing.runs.directory import write_atomic
    from racing.runs.provenance import collect

    where = {key: value for key, value in collect().items() if key not in ("diff", "untracked", "tracks")}
    where["load_average"] = list(os.getloadavg())  # of the last 1, 5 and 15 minutes
    path = folder / f"{name}-{stamp_now()}.json"
    content = {"benchmark": name, **where, "options": dict(options), "summary": dict(summary), "rows": list(rows)}
    write_atomic(path, json.dumps(content, indent=2) + "\n")
    return path


def stamp_now() -> str:
    """UTC time for file names."""
    return datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")


def print_table(title: str, rows: Sequence[Row]) -> None:
    """The rows as a table; single measurements are in the JSON only."""
    from rich.console import Console
    from rich.table import Table

    columns = [key for key in rows[0] if key != "rates"]
    table = Table(title=title, title_justify="left")
    for column in columns:
        right = not isinstance(rows[0][column], str)
        table.add_column(column.replace("_", " "), no_wrap=True, justify="right" if right else "left")
    for row in rows:
        table.add_row(*(show(row[column]) for column in columns))
    Console(width=140).print(table)


def show(value: Any) -> str:
    """A value of a table."""
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return "-" if value is None else str(value)
