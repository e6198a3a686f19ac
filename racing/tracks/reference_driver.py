"""The reference controller: pure pursuit of the centreline, to verify that a track can be driven."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from racing.sim.episodes import EpisodeConfig
from racing.sim.records import Ending
from racing.sim.speed_profile import speed_profile
from racing.sim.track import Track, grip_along
from racing.sim.vehicle import Vehicle
from racing.sim.world import RangeFinder, World
from racing.tracks.geometry import smooth_closed

Array = npt.NDArray[np.float64]

PACE = 0.75  # share of the quasi-steady-state speed on the centreline
SLOWER = (1.0, 0.8, 0.6)  # factors on it, tried in turn: a road that is driven slowly is a road
LOOK_AHEAD = 0.25  # [s] look-ahead time of pure pursuit ...
NEAREST_AIM = 1.5  # [wheelbases] ... and its least look-ahead distance
SETTLE = 1.0  # [road widths] over which the curvature is smoothed
PEDAL = 2.0  # [1/s] proportional gain: acceleration per speed error
SLOWEST = 0.5  # share of the planned average speed below which the lap times out


@dataclass(frozen=True)
class Drive:
    """Result of the reference controller. ending: label of an Ending; lap_time_s: None without a lap.

    at: index of the centreline point where the drive ended.
    """

    completed: bool
    ending: str
    lap_time_s: float | None
    at: int


def drive_round(tracks: Sequence[Track], vehicle: Vehicle) -> list[Drive]:
    """Drive one lap from a standing start on each track, in one batch, by pure pursuit of the centreline.

    The target speed is PACE times the quasi-steady-state speed profile (racing.sim.speed_profile); where the lap is not
    completed, slower ones follow.
    """
    drives: dict[int, Drive] = {}
    for factor in SLOWER:
        left = [k for k in range(len(tracks)) if k not in drives or not drives[k].completed]
        for k, drive in zip(left, _drive([tracks[k] for k in left], vehicle, factor * PACE), strict=True):
            drives[k] = drive if drive.completed or k not in drives else drives[k]  # else as the first one ended
    return [drives[k] for k in range(len(tracks))]


def _drive(tracks: Sequence[Track], vehicle: Vehicle, pace: float) -> list[Drive]:
    if not tracks:
        return []
    speeds = [_speeds(track, vehicle, pace) for track in tracks]
    limit = max(float((t.spacing / s).sum()) for t, s in zip(tracks, speeds, strict=True)) / SLOWEST + 10.0
    episodes = EpisodeConfig(
        random_start=False,
        start_lateral_offset=0.0,
        start_heading_error=0.0,
        start_speed=(0.0, 0.0),
        laps=1,
        time_limit=limit,
    )
    one_ray = RangeFinder(rays=1)
    world = World(tracks, vehicle, races=len(tracks), range_finder=one_ray, action_repeat=1, episodes=episodes)
    world.reset()
    points = np.stack([world.points["x"], world.points["y"]], axis=1).astype(float)
    wanted = np.concatenate(speeds)
    table = world.track_table
    results: list[Drive | None] = [None] * len(tracks)
    for _ in range(int(limit / world.step_dt) + 1):
        cars = world.cars.reshape(-1)
        world.step(_commands(cars, points, wanted, table[cars["track"]], vehicle))
        done = world.final_cars.reshape(-1)
        for k in np.nonzero(done["ended"] != Ending.RUNNING)[0]:
            if results[k] is None:
                completed = done["ended"][k] == Ending.LAPS_DONE
                time = float(done["best_lap"][k]) if completed else None
                results[k] = Drive(bool(completed), Ending(done["ended"][k]).label, time, int(done["nearest"][k]))
        if all(result is not None for result in results):
            break
    at = world.cars.reshape(-1)["nearest"]
    return [r or Drive(False, Ending.TIME_LIMIT.label, None, int(at[k])) for k, r in enumerate(results)]


def _speeds(track: Track, vehicle: Vehicle, pace: float) -> Array:
    steps = SETTLE * float(track.left.mean() + track.right.mean()) / track.spacing
    bend = np.maximum(np.abs(track.curvature), np.abs(smooth_closed(track.curvature, steps / 2, keep_size=False)))
    return pace * speed_profile(bend, track.spacing, vehicle, grip_along(track, track.points))


def _commands(
    cars: npt.NDArray[np.void], points: Array, wanted: Array, track: npt.NDArray[np.void], vehicle: Vehicle
) -> npt.NDArray[np.float32]:
    """Compute actions (N, 2), steering and pedal, for cars (N,) on their `track` rows (N,)."""
    speed = np.abs(cars["v"].astype(float))
    reach = np.maximum(LOOK_AHEAD * speed, NEAREST_AIM * vehicle.wheelbase)
    first, count = track["point_start"], track["point_count"]
    ahead = (cars["s"] + reach) / track["spacing"]
    whole = np.floor(ahead).astype(int)
    share = (ahead - whole)[:, None]
    aim = points[first + whole % count] * (1 - share) + points[first + (whole + 1) % count] * share
    gap = aim - np.stack([cars["x"], cars["y"]], axis=1)
    angle = np.arctan2(gap[:, 1], gap[:, 0]) - cars["yaw"] - cars["slip"] * 0.5
    bend = 2 * np.sin(angle) / np.maximum(np.linalg.norm(gap, axis=1), 1e-3)
    steer = np.arctan(vehicle.wheelbase * bend) / vehicle.max_steer
    target = wanted[first + (cars["nearest"] + 1) % count]
    acceleration = PEDAL * (target - speed)
    pedal = np.where(acceleration > 0, acceleration / vehicle.max_drive, acceleration / vehicle.max_brake)
    return np.stack([steer, pedal], axis=1).astype(np.float32)
