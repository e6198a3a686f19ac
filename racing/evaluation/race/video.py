"""Render a race: the view from one of its cars, a map with all of them, and who leads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from racing.evaluation.evaluate import Task
from racing.evaluation.plots import speed_unit
from racing.evaluation.race.driving import RaceLog
from racing.evaluation.race.files import liveliest, telemetry_of_car
from racing.evaluation.race.plots import positions_over_time
from racing.evaluation.race.result import car_rows
from racing.evaluation.video import (
    BOARD,
    HEIGHT,
    HOLD,
    RATE,
    TOGETHER,
    VIEW,
    WIDTH,
    encode,
    moments_of,
    poses_of,
    widened,
)
from racing.evaluation.video_panels import BACKGROUND, FAINT, INK, Map, Strip, fitting, write
from racing.sim.camera.camera import Camera, make_lens
from racing.sim.camera.cars import PAINTS
from racing.sim.race.traffic import GONE, RACING
from racing.sim.world import World
from racing.tracks.texture import make_textures

Array = npt.NDArray[Any]
U = npt.NDArray[np.uint8]


def write_race_video(path: Path, task: Task, log: RaceLog, names: Sequence[str], title: str) -> Path:
    """Write a video of the liveliest race in real time, 1280 x 720 at 30 frames/s, H.264; returns `path`.

    It is seen from the car that starts last of those that come home, or last of all.
    task: what was driven. names: of the entrants.
    The file is written atomically.
    """
    race = liveliest(log, car_rows(log, names))
    home = np.isfinite(log.time[race])
    mine = int(np.argmax(np.where(home | ~home.any(), log.place[race], -1)))
    tables = [telemetry_of_car(log, race, car) for car in range(log.who.shape[1])]
    lap = tables[mine]
    moments, rows = moments_of(lap)
    poses = np.stack([poses_of(table, np.minimum(moments, table["time_s"][-1])) for table in tables], axis=1)
    out = moments[:, None] > [table["time_s"][-1] for table in tables]
    positions = positions_over_time(log, race)
    place = Map(
        task.tracks[0], lap["v"], WIDTH - VIEW[0], VIEW[1], [title, f"seen from {names[int(log.who[race, mine])]}"]
    )
    strip = Strip(lap, WIDTH - BOARD, HEIGHT - VIEW[1])
    scale, unit = speed_unit(lap["v"])
    entrants = [names[int(who)] for who in log.who[race]]

    def pictures() -> Iterator[U]:
        picture = np.full((HEIGHT, WIDTH, 3), BACKGROUND, np.uint8)
        wide, high = VIEW
        for n, view in enumerate(_views(task, poses, out, mine)):
            speed = float(np.interp(moments[n], lap["time_s"], lap["v"]))
            others = [(poses[n, car], PAINTS[car % len(PAINTS)].tolist()) for car in range(len(tables)) if car != mine]
            picture[:high, :wide] = view
            picture[:high, wide:] = place.show(poses[n, mine, :2], float(poses[n, mine, 2]), speed, others)
            picture[high:, :BOARD] = _board(positions[rows[n]], entrants, mine, f"{speed * scale:.0f} {unit}")
            picture[high:, BOARD:] = strip.show(float(moments[n]) / max(float(lap["time_s"][-1]), 1e-6))
            yield picture
        for _ in range(round(HOLD * RATE)):
            yield picture

    encode(path, pictures(), (WIDTH, HEIGHT))
    return path


def _views(task: Task, poses: Array, out: Array, mine: int) -> Iterator[U]:
    """Frames (H, W, 3) as car `mine` sees them. poses: (n, C, 3); out: (n, C), whether a car is gone."""
    track, count = task.tracks[0], poses.shape[1]
    world = World([track], task.vehicle, races=TOGETHER, cars_per_race=count)
    camera = Camera(world, widened(make_lens(task.vehicle), *VIEW), make_textures([track], source="drawn"))
    for first in range(0, len(poses), TOGETHER):
        some = poses[first : first + TOGETHER]
        cars, traffic = world.cars.copy(), world.traffic.copy()
        for k, name in enumerate(("x", "y", "yaw")):
            cars[name][: len(some)] = some[:, :, k]
        traffic["state"][: len(some)] = np.where(out[first : first + TOGETHER], GONE, RACING)
        traffic["state"][:, mine] = RACING
        yield from camera.render(cars, np.arange(len(some)) * count + mine, traffic=traffic)


def _board(positions: Array, entrants: Sequence[str], mine: int, speed: str) -> U:
    """The order of the cars (C,), those that are out last, and the speed of car `mine`, as a panel."""
    picture = np.full((HEIGHT - VIEW[1], BOARD, 3), BACKGROUND, np.uint8)
    order = np.argsort(np.where(np.isnan(positions), np.inf, positions), kind="stable")
    room = (picture.shape[0] - 50) // max(len(order), 1)
    size = min(15, room - 4)
    for n, car in enumerate(order):
        top = 12 + n * room
        cv2.rectangle(picture, (14, top), (14 + size, top + size), PAINTS[car % len(PAINTS)].tolist(), -1)
        gone = bool(np.isnan(positions[car]))
        text = fitting(f"{'-' if gone else n + 1}  {entrants[car]}", size, BOARD - 60)
        write(picture, (40, top - 1), text, size, FAINT if gone else INK, bold=car == mine)
    write(picture, (14, picture.shape[0] - 32), speed, 18, INK, bold=True)
    return picture
