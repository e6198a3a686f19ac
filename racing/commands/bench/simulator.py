"""`racing bench sim`: steps per second of the simulator."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from racing.commands.bench.report import Result, Row, say

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from racing.envs.sensors import SensorsTask
    from racing.sim.vehicle import Vehicle
    from racing.sim.world import World

CHANGES = {  # what a step takes longer with -> how it is asked for
    "ns_randomize": "env.randomize.mass=[0.9,1.1]",
    "ns_conditions": "conditions=rain",
}


def simulator(options: Mapping[str, Any]) -> Result:
    """Environment steps per second of World.step (physics, rays, progress, laps, restarts) on recorded drives.

    With it, for the first vehicle on one thread at the most cars: what one ray costs, observations with rewards, and
    cars that differ or change.
    """
    rows = []
    for vehicle in (vehicle_called(name) for name in options["vehicles"]):
        for num_cars in options["num_cars"]:
            for threads in options["threads"]:
                task = make_task(options, vehicle, num_cars, threads)
                rows.append(timed_drive(options, task))
                say(f"{rows[-1]['vehicle']}, {num_cars} cars, {threads} threads: {rows[-1]['steps_per_s']:,.0f}/s")
    return rows, parts(options)


def vehicle_called(name: str) -> Vehicle:
    """conf/vehicle/<name>.yaml, or the kinematic variant NAME_kinematic. Raises InputError if there is none."""
    from racing.config import load_group

    base = name.removesuffix("_kinematic")
    vehicle: Vehicle = load_group("vehicle", base)
    return vehicle if base == name else replace(vehicle, name=name, model="kinematic")


def make_task(
    options: Mapping[str, Any],
    vehicle: Vehicle,
    num_cars: int,
    threads: int,
    rays: int = 0,
    changes: Sequence[str] = (),
) -> SensorsTask:
    """The sensors task of conf/env/mlp.yaml on the benchmark's track; rays: another number of them.

    changes: overrides of racing train.
    """
    from racing.config import build, compose
    from racing.tracks.catalog import load_track

    make = build(compose("train", ["env=mlp", *changes]).env)
    looking = {"rays": rays or options["rays"], "range": options["range"]}
    task: SensorsTask = make(
        tracks=[load_track(options["track"])], vehicle=vehicle, races=num_cars, threads=threads, **looking
    )
    return task


def timed_drive(options: Mapping[str, Any], task: SensorsTask, step: Callable[[Any], Any] | None = None) -> Row:
    """Median speed of `step` (default World.step) over `repeats`; each replays the same recorded drive."""
    import numpy as np

    world = task.world
    step = step or world.step
    commands = record_drive(world, options["drive_steps"])
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
            done += len(commands) * world.num_cars
        rates.append(done / spent)
        cpu_rates.append(done / cpu)
    rate = statistics.median(rates)
    return {
        "vehicle": world.vehicle.name,
        "model": world.vehicle.model,
        "num_cars": world.num_cars,
        "threads": world.threads,
        "rays": world.range_finder.rays,
        "steps_per_s": rate,
        "per_cpu_s": statistics.median(cpu_rates),  # hardly changes when the machine is busy
        "ns_per_step": 1e9 / statistics.median(cpu_rates),
        "restarts": int(world.cars["episode"].sum()),
        "mean_speed": float(np.mean(world.cars["v"])),  # [m/s]
        "rates": rates,
    }


def record_drive(world: World, steps: int) -> npt.NDArray[np.float32]:
    """Commands (steps, N, 2) of an unsteady driver: pure pursuit of the centreline, at 0.8 of the safe speed.

    The world is deterministic: played again from the same seed, the commands give the same drive, restarts included.
    """
    import numpy as np

    rng = np.random.default_rng(0)
    wobble = np.zeros((world.num_cars, 2))
    commands = np.empty((steps, world.num_cars, 2), np.float32)
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
    """Nanoseconds of one step on one thread: per ray, of the rest, of observations and rewards, of cars that change."""
    vehicle, num_cars = vehicle_called(options["vehicles"][0]), max(options["num_cars"])
    many = max(2, options["rays"])
    one, all_rays = (
        timed_drive(options, make_task(options, vehicle, num_cars, 1, rays))["ns_per_step"] for rays in (1, many)
    )
    task = make_task(options, vehicle, num_cars, 1, many)
    whole = timed_drive(options, task, task.step_batch)["ns_per_step"]
    changed = {
        name: timed_drive(options, make_task(options, vehicle, num_cars, 1, many, [change]))["ns_per_step"] - all_rays
        for name, change in CHANGES.items()
    }
    per_ray = (all_rays - one) / (many - 1)
    fixed = {"ns_per_ray": per_ray, "ns_without_rays": one - per_ray, "ns_observation_and_reward": whole - all_rays}
    return fixed | changed
