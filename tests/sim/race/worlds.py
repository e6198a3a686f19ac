"""Worlds of races, their cars put where a test wants them, and somebody who drives them."""

from __future__ import annotations

import math

import numpy as np

from racing.sim.episodes import EpisodeConfig
from racing.sim.track import Track
from racing.sim.vehicle import Vehicle
from racing.sim.world import RangeFinder, World


def make(track: Track, vehicle: Vehicle, **options) -> World:
    speeds = [np.full(len(track.points), 0.3 * vehicle.max_speed)]
    options.setdefault("episodes", EpisodeConfig(time_limit=20.0))
    finder = RangeFinder(rays=9, range=60.0)
    return World(
        [track], vehicle, start_speeds=speeds, **{"races": 8, "cars_per_race": 4, "range_finder": finder, **options}
    )


def commands(steps: int, shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (rng.uniform(-1, 1, (steps, *shape, 2)) * [0.3, 0.6] + [0.0, 0.3]).astype(np.float32)


def bits(world: World) -> bytes:
    kept = (world.cars, world.ranges, world.final_cars, world.traffic, world.final_traffic)
    return b"".join(array.tobytes() for array in kept)


def place(world: World, slot: int, race: int = 0, **values: float) -> None:
    for name, value in values.items():
        world.cars[name][race, slot] = value


def line_up(world: World, *places: tuple[float, float, float]) -> None:
    """Put the cars of the first race at (arc length [m], lateral offset [m], speed [m/s]), along the track."""
    track = world.tracks[0]
    for slot, (s, lateral, v) in enumerate(places):
        index = round(s / track.spacing) % len(track.points)
        x, y = track.points[index] + lateral * track.normals[index]
        yaw = math.remainder(track.heading[index], math.tau)
        place(world, slot, x=x, y=y, yaw=yaw, v=v, s=index * track.spacing, nearest=index, slip=0, yaw_rate=0, steer=0)


def driver(world: World, speed: float | list = 10.0) -> np.ndarray:
    """Back to the centreline, at half throttle up to `speed` [m/s]."""
    cars, speed = world.cars.reshape(-1), np.reshape(speed, -1)
    steer = np.clip(-0.1 * cars["lateral"] - 1.5 * cars["heading_error"] + 3 * curvature(world), -1, 1)
    return np.column_stack([steer, np.where(cars["v"] < speed, 0.5, 0.0)])


def curvature(world: World) -> np.ndarray:
    track = world.tracks[0]
    return track.curvature[(world.cars["nearest"].reshape(-1) + 2) % len(track.points)]
