"""What the page tells of one car of a task: its numbers, its clocks, what it senses, the lap that it drives."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from racing.envs.vision import VisionTask
from racing.evaluation.evaluate import Task
from racing.sim.records import Ending
from racing.sim.vehicle import GRAVITY
from racing.viewer.cars.lap_trace import LapTrace, trace_of_lap
from racing.viewer.cars.timing import Timing

F = npt.NDArray[np.float32]

STATE = (  # numbers of a car that the page gets, in this order
    *("time", "x", "y", "yaw", "steer", "v", "steering_command", "throttle_command", "longitudinal_g", "lateral_g"),
    *("s", "lateral", "heading_error", "lap", "clock", "last_lap", "best_lap", "behind_reference", "behind_best"),
    *("sector_1", "sector_2", "sector_3", "episode", "ended"),
    *("position", "gap", "touches"),  # in a race: from 1; [s] behind the car ahead; 1 while it touches another one
)
ALONE = {"position": 0, "gap": math.nan, "touches": 0}


@dataclass(frozen=True)
class LapDone:
    """A lap was completed. best: the quickest of this driver."""

    car: int
    time_s: float
    best: bool

    def message(self) -> dict[str, Any]:
        """See racing.viewer.session.Event."""
        return {"event": "lap", "car": self.car, "time": self.time_s, "best": self.best}


@dataclass
class Senses:
    """What a car senses. rays: ends (R, 2) [m] in the car's frame. preview: points (P, 2) [m] of the world.

    picture: (H, W, 1 or 3) uint8, of who has a camera.
    """

    rays: F
    preview: F
    picture: npt.NDArray[np.uint8] | None


class Dashboard:
    """Of car `slot` of a task. It is told when an episode begins, and after each step.

    time: [s] of the session at its last state. ended: how its last episode did.
    """

    def __init__(self, number: int, task: Task, slot: int, reference: LapTrace, best: LapTrace | None = None) -> None:
        """number: of the car, for the page. reference: what its laps are compared with. best: one of earlier drives."""
        self.number, self.reference, self.time, self.ended = number, reference, 0.0, Ending.RUNNING
        self._task, self._slot = task, slot
        self.track = task.world.tracks[0]
        self.timing = Timing(self.track.length, reference, best)
        self._last_lap = self._best_lap = math.nan

    @property
    def car(self) -> Any:
        """Its record, now."""
        return self._task.cars[self._slot]

    def begin(self) -> None:
        """An episode has begun."""
        self.timing.begin()
        self._path: list[tuple[float, ...]] = []
        self._note(self.car)

    def after(self, before: Any) -> LapDone | None:
        """A step has been driven, from record `before` on; says if that completed a lap."""
        car, since, dt = self._task.final_cars[self._slot], self.timing.since, self._task.world.step_dt
        self._note(car)
        return self._lap(since, float(car["lap_time"])) if self.timing.update(before, car, dt) else None

    def _lap(self, since: float | None, time_s: float) -> LapDone:
        self._last_lap = time_s
        self._best_lap = time_s if math.isnan(self._best_lap) else min(time_s, self._best_lap)
        trace = self._trace(since, time_s)
        return LapDone(self.number, time_s, self.timing.keep(trace))

    def _trace(self, since: float | None, time_s: float) -> LapTrace | None:
        """The lap that was just completed."""
        if since is None or not self._path:
            return None
        steps = int(time_s / self._task.world.step_dt) + 3
        rows = np.array(self._path[-steps:])
        names = ("time_s", "x", "y", "yaw", "s", "distance", "v", "steer")
        table = {name: rows[:, k] for k, name in enumerate(names)}
        return trace_of_lap(table, time_s, self.track.length, since)

    def _note(self, car: Any) -> None:
        """Remember where the car is, for the trace of its lap."""
        dt = self._task.world.step_dt
        names = ("x", "y", "yaw", "s", "progress", "v", "steer")
        self._path.append((float(car["steps"]) * dt, *(float(car[name]) for name in names)))
        most = 4 * int(max(60.0, 3 * self.reference.time_s) / dt)
        if len(self._path) > 2 * most:
            del self._path[:most]

    def state(self, among: Mapping[str, float] = ALONE) -> F:
        """(len(STATE),) numbers; NaN: there is none. among: its place among others."""
        car, timing = self.car, self.timing
        values: dict[str, Any] = {
            "time": self.time,
            "longitudinal_g": car["ax"] / GRAVITY,
            "lateral_g": car["ay"] / GRAVITY,
            "lap": car["laps"] + (car["gates"] > 0),
            "clock": timing.clock,
            "last_lap": self._last_lap,
            "best_lap": self._best_lap,
            **{f"sector_{k + 1}": seconds for k, seconds in enumerate(timing.sectors)},
            "ended": self.ended,
            **among,
        }
        values["behind_reference"], values["behind_best"] = timing.deltas(float(car["s"]))
        return np.array([values[name] if name in values else car[name] for name in STATE], np.float32)

    def senses(self, observation: Any) -> Senses:
        """What it senses now. observation: of all cars of the task."""
        task, world = self._task, self._task.world
        finder, ranges = world.range_finder, world.ranges.reshape(task.num_cars, -1)[self._slot]
        half = finder.field_of_view / 2
        angles = np.linspace(half, -half, finder.rays) if finder.rays > 1 else np.zeros(1)
        rays = np.stack([ranges * np.cos(angles), ranges * np.sin(angles)], axis=1).astype(np.float32)
        seeing = task if isinstance(task, VisionTask) else None
        sensors = task.sensors if isinstance(task, VisionTask) else task
        ahead = np.arange(1, sensors.preview + 1) * sensors.preview_spacing / self.track.spacing
        points: Any = world.points[(int(self.car["nearest"]) + ahead.astype(int)) % len(world.points)]
        preview = np.stack([points["line_x"], points["line_y"]], axis=1).astype(np.float32)
        picture = observation["vision"][self._slot][..., -seeing.channels :] if seeing else None
        return Senses(rays, preview, picture)
