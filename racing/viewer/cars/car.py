"""One car of a session: its world, who drives it, what it has driven."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from racing.evaluation.evaluate import Diverged, EpisodeRecorder, Task
from racing.sim.records import Ending
from racing.viewer.cars.dashboard import Dashboard, LapDone, Senses
from racing.viewer.cars.drivers import HUMAN, Driver
from racing.viewer.cars.lap_trace import LapTrace
from racing.viewer.cars.timing import Timing

F = npt.NDArray[np.float32]

LONGEST = 72_000  # rows of an episode that are kept: an hour of twenty a second
LEAST_PROGRESS = 5.0  # [m] of an episode that is worth keeping


@dataclass
class Episode:
    """What was driven from a start to an end. facts: as `evaluate` has them. rows: (steps + 1, K) of the telemetry."""

    facts: dict[str, Any]
    rows: F


@dataclass
class Car:
    """A car, alone in its world. keep: whether what it drives is kept in `episodes`.

    reference: the lap that its laps are compared with. best: one of earlier drives.
    """

    number: int
    driver: Driver
    reference: LapTrace
    keep: bool = False
    best: LapTrace | None = None
    episodes: list[Episode] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.task: Task = self.driver.task()
        self._drive = self.driver.wheel(self.task)
        self._observation: Any = None
        self.dashboard = Dashboard(self.number, self.task, 0, self.reference, self.best)
        self.begin()

    @property
    def name(self) -> str:
        """Who drives it."""
        return self.driver.name

    @property
    def kind(self) -> str:
        """What kind of driver that is."""
        return self.driver.kind

    @property
    def period(self) -> float:
        """[s] between two of its decisions."""
        return self.task.world.step_dt

    @property
    def timing(self) -> Timing:
        """Its clocks."""
        return self.dashboard.timing

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
        self._observation, _ = self.task.start_at(along % self.dashboard.track.length, pace)
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
        lap, car = self.dashboard.after(before), task.final_cars[0]
        if car["ended"] != Ending.RUNNING:
            self._over(car)
        return lap

    def _over(self, car: Any) -> None:
        """An episode has ended by itself, the task has begun another; a person goes on where that was."""
        self.dashboard.ended = Ending(int(car["ended"]))
        self._close()
        if self.kind == HUMAN:
            self._observation, _ = self.task.start_at(float(car["s"]) % self.dashboard.track.length, 0.0)
        self._began()

    def _began(self) -> None:
        self._recorder = EpisodeRecorder(self.task)
        if self.keep:
            self._recorder.record(self.task.cars, self.task.world.conditions)
        self.dashboard.begin()

    def _close(self) -> None:
        """Keep the episode that ends here."""
        episode = kept_episode(self._recorder, 0, self.name, self.reference.time_s) if self.keep else None
        if episode is not None:
            self.episodes.append(episode)

    def driven(self) -> list[Episode]:
        """All that was kept, with the episode that is being driven."""
        before = list(self.episodes)
        self._close()
        everything, self.episodes = self.episodes, before
        return everything

    def state(self) -> F:
        """(len(STATE),) numbers; NaN: there is none."""
        return self.dashboard.state()

    def senses(self) -> Senses:
        """What it senses now."""
        return self.dashboard.senses(self._observation)


def kept_episode(recorder: EpisodeRecorder, slot: int, driver: str, reference_s: float) -> Episode | None:
    """What car `slot` has driven up to here; None where that is not worth keeping. reference_s: lap [s]."""
    task = recorder.task
    if len(recorder.rows) < 2:
        return None
    if not recorder.done[slot]:
        recorder.final[slot] = task.cars[slot]
        if recorder.conditions is not None and task.world.conditions is not None:
            recorder.conditions[slot] = task.world.conditions.reshape(-1)[slot]
    facts = recorder.episode(slot, reference_s, None)
    if facts["progress_m"] < LEAST_PROGRESS:
        return None
    rows = np.stack([row[slot] for row in recorder.rows])[: facts["steps"] + 1]
    facts |= {"steps": len(rows) - 1, "driver": driver}
    del facts["off_track_m"]  # of the laps that were planned: nobody has planned any
    return Episode(facts, rows)
