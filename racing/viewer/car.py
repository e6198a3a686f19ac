"""One car of a session: its world, who drives it, what it has driven."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from racing.envs.vision import VisionTask
from racing.evaluation.evaluate import Diverged, EpisodeRecorder, Task
from racing.sim.records import Ending
from racing.sim.vehicle import GRAVITY
from racing.viewer.drivers import HUMAN, Driver
from racing.viewer.lap_trace import LapTrace, trace_of_lap
from racing.viewer.timing import Timing

F = npt.NDArray[np.float32]

STATE = (  # numbers of a car that the page gets, in this order
    *("time", "x", "y", "yaw", "steer", "v", "steering_command", "throttle_command", "longitudinal_g", "lateral_g"),
    *("s", "lateral", "heading_error", "lap", "clock", "last_lap", "best_lap", "behind_reference", "behind_best"),
    *("sector_1", "sector_2", "sector_3", "episode", "ended"),
)
LONGEST = 72_000  # rows of an episode that are kept: an hour of twenty a second
LEAST_PROGRESS = 5.0  # [m] of an episode that is worth keeping


@dataclass
class Episode:
    """What was driven from a start to an end. facts: as `evaluate` has them. rows: (steps + 1, K) of the telemetry."""

    facts: dict[str, Any]
    rows: F


@dataclass(frozen=True)
class LapDone:
    """A lap was completed. best: the quickest of this driver."""

    car: int
    time_s: float
    best: bool


@dataclass
class Senses:
    """What a car senses. rays: ends (R, 2) [m] in the car's frame. preview: points (P, 2) [m] of the world.

    picture: (H, W, 1 or 3) uint8, of who has a camera.
    """

    rays: F
    preview: F
    picture: npt.NDArray[np.uint8] | None


@dataclass
class Car:
    """A car, alone in its world. keep: whether what it drives is kept in `episodes`.

    reference: the lap that its laps are compared with. best: one of earlier drives.
    time: [s] of the session at its last state. ended: how its last episode did.
    """

    number: int
    driver: Driver
    reference: LapTrace
    keep: bool = False
    best: LapTrace | None = None
    time: float = 0.0
    episodes: list[Episode] = field(default_factory=list)
    ended: Ending = Ending.RUNNING

    def __post_init__(self) -> None:
        self.task: Task = self.driver.task()
        self._drive = self.driver.wheel(self.task)
        self._observation: Any = None
        self._track = self.task.world.tracks[0]
        self.timing = Timing(self._track.length, self.reference, self.best)
        self._last_lap = self._best_lap = math.nan
        self.begin()

    @property
    def repeat(self) -> int:
        """Control periods between two of its decisions."""
        return max(1, round(self.task.world.step_dt / self.task.vehicle.control_period))

    def begin(self) -> None:
        """The first episode of an evaluation."""
        self.task.world.restart_all()
        self._observation, _ = self.task.reset()
        self._began()

    def restart(self, along: float, pace: float) -> None:
        """Begin an episode in the middle of the road; arguments as in World.start_at."""
        self._close()
        self._observation, _ = self.task.start_at(along % self._track.length, pace)
        self._began()

    def step(self) -> LapDone | None:
        """Drive for one step; says if that completed a lap. Raises Diverged for a policy that gives no numbers."""
        task, before = self.task, self.task.cars[0].copy()
        actions = self._drive(self._observation)
        if not np.isfinite(actions).all():
            raise Diverged(f"policy {self.driver.name}: its actions are not numbers, its training diverged")
        step = task.step_batch(np.clip(actions, -1.0, 1.0))
        self._observation = step.observation
        if self.keep and len(self._recorder.rows) <= LONGEST:
            self._recorder.record(task.final_cars, task.world.final_conditions, step.terms)
        self._recorder.add(step.reward, step.terms, step.terminated | step.truncated)
        car = task.final_cars[0]
        self._note(car)
        since = self.timing.since
        lap = self._lap(since, float(car["lap_time"])) if self.timing.update(before, car, task.world.step_dt) else None
        if car["ended"] != Ending.RUNNING:
            self._over(car)
        return lap

    def _lap(self, since: float | None, time_s: float) -> LapDone:
        self._last_lap = time_s
        self._best_lap = time_s if math.isnan(self._best_lap) else min(time_s, self._best_lap)
        trace = self._trace(since, time_s)
        return LapDone(self.number, time_s, self.timing.keep(trace))

    def _trace(self, since: float | None, time_s: float) -> LapTrace | None:
        """The lap that was just completed."""
        if since is None or not self._path:
            return None
        steps = int(time_s / self.task.world.step_dt) + 3
        rows = np.array(self._path[-steps:])
        names = ("time_s", "x", "y", "yaw", "s", "distance", "v", "steer")
        table = {name: rows[:, k] for k, name in enumerate(names)}
        return trace_of_lap(table, time_s, self._track.length, since)

    def _over(self, car: Any) -> None:
        """An episode has ended by itself, the task has begun another; a person goes on where that was."""
        self.ended = Ending(int(car["ended"]))
        self._close()
        if self.driver.kind == HUMAN:
            self._observation, _ = self.task.start_at(float(car["s"]) % self._track.length, 0.0)
        self._began()

    def _began(self) -> None:
        self.timing.begin()
        self._path: list[tuple[float, ...]] = []
        self._recorder = EpisodeRecorder(self.task)
        if self.keep:
            self._recorder.record(self.task.cars, self.task.world.conditions)
        self._note(self.task.cars[0])

    def _note(self, car: Any) -> None:
        """Remember where the car is, for the trace of its lap."""
        dt = self.task.world.step_dt
        names = ("x", "y", "yaw", "s", "progress", "v", "steer")
        self._path.append((float(car["steps"]) * dt, *(float(car[name]) for name in names)))
        most = 4 * int(max(60.0, 3 * self.reference.time_s) / dt)
        if len(self._path) > 2 * most:
            del self._path[:most]

    def _close(self) -> None:
        """Keep the episode that ends here."""
        recorder = self._recorder
        if not self.keep or len(recorder.rows) < 2:
            return
        if not recorder.done[0]:
            recorder.final[:] = self.task.cars
            if recorder.conditions is not None and self.task.world.conditions is not None:
                recorder.conditions[:] = self.task.world.conditions.reshape(-1)
        facts = recorder.episode(0, self.reference.time_s, None)
        if facts["progress_m"] >= LEAST_PROGRESS:
            rows = np.concatenate(recorder.rows)[: facts["steps"] + 1]
            facts |= {"steps": len(rows) - 1, "driver": self.driver.name}
            del facts["off_track_m"]  # of the laps that were planned: nobody has planned any
            self.episodes.append(Episode(facts, rows))

    def driven(self) -> list[Episode]:
        """All that was kept, with the episode that is being driven."""
        before = list(self.episodes)
        self._close()
        everything, self.episodes = self.episodes, before
        return everything

    def state(self) -> F:
        """(len(STATE),) numbers; NaN: there is none."""
        car, timing = self.task.cars[0], self.timing
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
        }
        values["behind_reference"], values["behind_best"] = timing.deltas(float(car["s"]))
        return np.array([values[name] if name in values else car[name] for name in STATE], np.float32)

    def senses(self) -> Senses:
        """What it senses now."""
        task, world = self.task, self.task.world
        finder, ranges = world.range_finder, world.ranges.reshape(-1)
        half = finder.field_of_view / 2
        angles = np.linspace(half, -half, finder.rays) if finder.rays > 1 else np.zeros(1)
        rays = np.stack([ranges * np.cos(angles), ranges * np.sin(angles)], axis=1).astype(np.float32)
        seeing = task if isinstance(task, VisionTask) else None
        sensors = task.sensors if isinstance(task, VisionTask) else task
        ahead = np.arange(1, sensors.preview + 1) * sensors.preview_spacing / self._track.spacing
        points: Any = world.points[(int(task.cars[0]["nearest"]) + ahead.astype(int)) % len(world.points)]
        preview = np.stack([points["line_x"], points["line_y"]], axis=1).astype(np.float32)
        picture = self._observation["vision"][0][..., -seeing.channels :] if seeing else None
        return Senses(rays, preview, picture)
