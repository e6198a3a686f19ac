"""`racing bench races`: cars per second where they race each other, and what becomes of races of random policies."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from racing.commands.bench.report import Result, Row, say

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from racing.sim.world import World

FIELDS = (1, 2, 4, 8, 16)  # cars of a race
STEPS = 40  # of one measurement
RANDOM_STEPS = 150  # of races of random policies
AT_ONCE = 1000  # races of them


def races(options: Mapping[str, Any]) -> Result:
    """Environment steps per second by cars of a race and threads, and RANDOM_STEPS of `races` races of four."""
    from racing.commands.bench.simulator import record_drive

    rates: dict[tuple[int, int], list[float]] = {}
    for threads in options["threads"]:
        worlds = {cars: world_of(options, max(options["num_cars"]) // cars, cars, threads) for cars in FIELDS}
        drives = {cars: record_drive(world, STEPS) for cars, world in worlds.items()}
        for repeat in range(options["repeats"]):
            for cars, world in worlds.items():  # in turns: the machine is the same for all
                rates.setdefault((cars, threads), []).append(rate(world, drives[cars]))
            say(f"{threads} threads, repeat {repeat + 1}")
    rows: list[Row] = []
    for (cars, threads), found in rates.items():
        shares = [one / alone for one, alone in zip(found, rates[FIELDS[0], threads], strict=True)]
        row = {"cars": cars, "threads": threads, "steps_per_s": statistics.median(found)}
        rows.append({**row, "of_one_alone": statistics.median(shares), "rates": found})
    return rows, at_random(options)


def world_of(options: Mapping[str, Any], count: int, cars: int, threads: int, first: int = 0) -> World:
    """`count` races of the first vehicle on the track, with the rays of `racing bench sim`."""
    from racing.commands.bench.simulator import vehicle_called
    from racing.envs.racelines import centre_line
    from racing.sim.episodes import EpisodeConfig
    from racing.sim.world import RangeFinder, World
    from racing.tracks.catalog import load_track

    track, vehicle = load_track(options["track"]), vehicle_called(options["vehicles"][0])
    return World(
        [track],
        vehicle,
        races=count,
        cars_per_race=cars,
        first_race=first,
        range_finder=RangeFinder(rays=options["rays"], range=options["range"]),
        episodes=EpisodeConfig(time_limit=60.0, start_speed=(0.5, 1.0)),
        start_speeds=[centre_line(track, vehicle).speed],
        threads=threads,
    )


def rate(world: World, drive: npt.NDArray[np.float32]) -> float:
    """Environment steps of a car per second, over `drive` (T, N, 2)."""
    world.reseed(0)
    world.reset()
    began = time.perf_counter()
    for command in drive:
        world.step(command)
    return len(drive) * world.num_cars / (time.perf_counter() - began)


def at_random(options: Mapping[str, Any]) -> dict[str, Any]:
    """What becomes of races of four cars whose drivers draw what they do; all but contacts should be 0.

    numbers_lost: cars whose place or speed is no number. cars_lost: that do not race. deepest_overlap: [m] of two cars
    that have not moved apart within a second.
    """
    import numpy as np

    rng = np.random.default_rng(0)
    lost = gone = contacts = 0
    deepest = 0.0
    for first in range(0, options["races"], AT_ONCE):
        world = world_of(options, min(AT_ONCE, options["races"] - first), 4, max(options["threads"]), first)
        world.reset()
        held = np.zeros((world.races, 4, 4), int)
        drivers = rng.uniform(-1, 1, (world.num_cars, 2)) * [0.3, 0.5] + [0.0, 0.4]
        for _ in range(RANDOM_STEPS):
            world.step(drivers + rng.normal(0, 0.3, drivers.shape))
            cars = world.cars
            lost += int((~np.isfinite(cars["x"] + cars["y"] + cars["yaw"] + cars["v"] + cars["yaw_rate"])).sum())
            gone += int((world.traffic["state"] != 0).sum())
            contacts += int((world.final_traffic["contact_with"] != 0).sum())
            depth = overlaps(cars, world.vehicle.length, world.vehicle.width)
            held = np.where(depth > 0, held + 1, 0)
            stays = held * world.step_dt > 1
            deepest = max(deepest, float(depth[stays].max(initial=0.0)))
        say(f"{first + world.races} races of random policies")
    return {
        "races": options["races"],
        "numbers_lost": lost,
        "cars_lost": gone,
        "steps_in_contact": contacts,
        "deepest_overlap_m": deepest,
    }


def overlaps(cars: npt.NDArray[Any], length: float, width: float) -> npt.NDArray[Any]:
    """(R, C, C) depth [m] by which the boxes of two cars of a race overlap, 0 where they do not, by separating axes."""
    import numpy as np

    along = np.stack([np.cos(cars["yaw"]), np.sin(cars["yaw"])], axis=-1)
    axes = np.stack([along, np.stack([-along[..., 1], along[..., 0]], axis=-1)], axis=2)  # (R, C, 2, 2)
    places = np.stack([cars["x"], cars["y"]], axis=-1)
    apart = places[:, None] - places[:, :, None]  # (R, C, C, 2), from the first to the second
    half = np.array([length, width]) / 2
    least = np.full(apart.shape[:3], np.inf)
    reach = [np.abs(np.einsum("rcax,rdbx->rcdab", axes, axes)) @ half]  # of the second along the first's axes
    for own, other in ((axes[:, :, None], reach[0]), (axes[:, None], np.swapaxes(reach[0], 1, 2))):
        depth = half + other - np.abs((own * apart[..., None, :]).sum(axis=-1))
        least = np.minimum(least, depth.min(axis=-1))
    least[:, np.arange(least.shape[1]), np.arange(least.shape[1])] = 0
    return np.maximum(least, 0)
