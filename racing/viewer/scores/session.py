"""Drivers of one scored episode after another, each in a world of its own, all at the same step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any

import numpy as np
import numpy.typing as npt

from racing.envs.task import ScoredTask
from racing.evaluation.evaluate import Diverged
from racing.evaluation.evaluator import Policy
from racing.viewer.session import Session

F = npt.NDArray[np.float32]
ROWS_KIND = 3.0  # first number of a message
REST = 2.0  # [s] between two episodes, in which the page shows how the last one ended


@dataclass(frozen=True, kw_only=True)
class ScoreDriver:
    """Who drives. task: makes the environment, with one car. wheel: takes it over, and gives what drives it."""

    name: str
    task: Callable[[], ScoredTask]
    wheel: Callable[[ScoredTask], Policy]


@dataclass(frozen=True)
class EpisodeBegun:
    """Episode `number` begins. plan: columns (steps + ahead,) that are known beforehand, by name."""

    number: int
    name: str
    plan: dict[str, list[float]]

    def message(self) -> dict[str, Any]:
        """See racing.viewer.session.Event."""
        return {"event": "episode", **vars(self)}


@dataclass(frozen=True)
class EpisodeDone:
    """An episode is over. costs: of each driver, by cost, as `racing evaluate` reports them."""

    number: int
    name: str
    costs: list[dict[str, float]]

    def message(self) -> dict[str, Any]:
        """See racing.viewer.session.Event."""
        return {"event": "done", **vars(self)}


class ScoreCar:
    """A driver's car, alone in its world."""

    def __init__(self, driver: ScoreDriver) -> None:
        self.name, self.task = driver.name, driver.task()
        self._drive = driver.wheel(self.task)

    def begin(self, number: int) -> None:
        """Begin an episode."""
        self._observation = self.task.begin(number)

    def step(self) -> bool:
        """Drive a step; returns whether that was the last one. Raises Diverged as `racing.evaluation` does."""
        actions = self._drive(self._observation)
        if not np.isfinite(actions).all():
            raise Diverged(f"policy {self.name}: its actions are not numbers, its training diverged")
        step = self.task.step_batch(np.clip(actions, -1.0, 1.0))
        self._observation = step.observation
        return bool(step.terminated[0] or step.truncated[0])


class ScoreSession(Session):
    """Episodes of a ScoredTask in their order, or those that are asked for; each as an evaluation drives it."""

    def __init__(
        self, drivers: Sequence[ScoreDriver], *, first: int = 0, clock: Callable[[], float] = monotonic
    ) -> None:
        """drivers: at least one, of tasks with the same episodes. first: number of the first one. clock: [s]."""
        self.cars = [ScoreCar(driver) for driver in drivers]
        self.task = self.cars[0].task
        super().__init__(self.task.world.step_dt, clock)
        self._names = list(self.task.episode_names)
        self.begin(first)

    def begin(self, number: int) -> None:
        """Begin an episode; numbers go round."""
        self.number, self._rest = number % len(self._names), 0
        for car in self.cars:
            car.begin(self.number)
        plan = {name: np.round(values, 5).tolist() for name, values in self.task.planned(0).items()}
        self.events.append(EpisodeBegun(self.number, self._names[self.number], plan))
        self._rows = [{name: values[:0] for name, values in car.task.so_far(0).items()} for car in self.cars]
        self._costs = [dict[str, float]() for _ in self.cars]
        self._sent, self._due = 0, 0.0

    def _step(self) -> None:
        """See Session."""
        if self._rest:
            self._rest -= 1
            if not self._rest:
                self.begin(self.number + 1)
            return
        for number, car in enumerate(self.cars):
            if car.step():
                self._rest = max(1, round(REST / self.tick))
                self._rows[number] = {name: car.task.telemetry(0)[name] for name in self._rows[number]}
                facts = car.task.last_episode(0)
                self._costs[number] = {cost.name: facts[cost.name] for cost in car.task.costs}
            else:
                self._rows[number], self._costs[number] = car.task.so_far(0), car.task.costs_so_far(0)
        if self._rest:
            self.events.append(EpisodeDone(self.number, self._names[self.number], self._costs))

    def do(self, name: str, values: dict[str, Any]) -> None:
        """See Session; `restart`: the episode again."""
        match name:
            case "episode":
                self.begin(values["number"])
            case "restart":
                self.begin(self.number)
            case _:
                super().do(name, values)

    def messages(self) -> list[bytes]:
        """See Session: the rows since the last message, and what all of them cost.

        Header: kind, head (racing.viewer.session.Session.head), number of the episode, number of the first row, rows,
        drivers, columns, costs. Rows (rows, drivers, columns), costs (drivers, costs), NaN where they have no meaning.
        """
        table = np.stack([np.stack(list(rows.values()), axis=1) for rows in self._rows], axis=1)[self._sent :]
        names = [cost.name for cost in self.task.costs]
        costs = [[own.get(name, np.nan) for name in names] for own in self._costs]
        head = [ROWS_KIND, *self.head, self.number, self._sent, *table.shape, len(names)]
        self._sent += len(table)
        parts: list[Any] = [head, table.ravel(), np.ravel(costs)]
        return [np.concatenate([np.asarray(part, np.float32) for part in parts]).tobytes()]
