"""Sessions of cars: what those in worlds of their own and those of a race have in common."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from racing.viewer.cars.car import Episode
from racing.viewer.cars.dashboard import STATE, Senses
from racing.viewer.cars.drivers import HUMAN, Hands
from racing.viewer.cars.lap_trace import LapTrace
from racing.viewer.cars.messages import senses_message, state_message
from racing.viewer.cars.records import Records
from racing.viewer.cars.timing import Timing
from racing.viewer.session import Session

F = npt.NDArray[np.float32]


class Shown(Protocol):
    """A car as the page knows it. period: [s] between two of its decisions."""

    number: int

    @property
    def name(self) -> str:
        """Who drives it."""

    @property
    def kind(self) -> str:
        """As of racing.viewer.cars.drivers.Driver."""

    @property
    def period(self) -> float:
        """[s] between two of its decisions."""

    @property
    def timing(self) -> Timing:
        """Its clocks."""

    def state(self) -> F:
        """(len(STATE),) numbers; NaN: there is none."""

    def senses(self) -> Senses:
        """What it senses now."""

    def driven(self) -> list[Episode]:
        """What it has driven that is kept."""


class CarSession(Session):
    """Cars on a circuit. hands: of the person among them. records: where their drives are kept; None: nowhere."""

    def __init__(
        self,
        tick: float,
        reference: LapTrace,
        hands: Hands | None,
        records: Records | None,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        """tick: [s]. reference: the lap that all laps are compared with. clock: [s]."""
        super().__init__(tick, clock)
        self.reference, self.hands, self.records = reference, hands or Hands(), records
        self.watched, self._looks = 0, False  # number of a car; whether what it senses is shown
        self._fresh = False  # whether there is a new drive to be kept

    @property
    @abstractmethod
    def cars(self) -> Sequence[Shown]:
        """All that the page knows, in the order of their numbers."""

    @property
    @abstractmethod
    def active(self) -> Sequence[Shown]:
        """Those of them that drive."""

    @property
    def human(self) -> Shown | None:
        """The person's car."""
        return next((car for car in self.cars if car.kind == HUMAN), None)

    @property
    def problem(self) -> str:  # type: ignore[override]
        """See Session."""
        return "" if self.records is None else self.records.problem

    @abstractmethod
    def restart(self, along: float | None) -> None:
        """All cars begin anew; along: arc length [m], where that may be chosen."""

    @abstractmethod
    def _take(self) -> None:
        """A person takes the wheel, or leaves it, as `driving` says."""

    def drive(self, on: bool) -> None:
        """Take the wheel: all start anew; or leave it."""
        if self.human is None or on == self.driving:
            return
        self._fresh = self._fresh or self.driving
        self.driving = on
        self._take()

    def do(self, name: str, values: dict[str, Any]) -> None:
        """See Session."""
        match name:
            case "restart":
                self.restart(values["along"])
            case "drive":
                self.drive(values["on"])
            case "hands":
                self.hands.ask(values["steer"], values["throttle"], keys=values["keys"])
            case "watch" if values["car"] < len(self.cars):
                self.watched, self._looks = values["car"], values["senses"]
            case _:
                super().do(name, values)

    def state(self) -> F:
        """(A, len(STATE)) numbers of the A active cars, racing.viewer.cars.dashboard.STATE."""
        return np.stack([car.state() for car in self.active]) if self.active else np.zeros((0, len(STATE)), np.float32)

    def messages(self) -> list[bytes]:
        """See Session."""
        numbers = [car.number for car in self.active]
        found = [state_message(self.head, numbers, self.state(), self._ghosts())]
        if self._looks and self.watched in numbers:
            found.append(senses_message(self.watched, self.cars[self.watched].senses()))
        return found

    def _ghosts(self) -> list[tuple[float, ...]]:
        """Where the reference and the person's best lap were, as long after the gate at which the watched car's began.

        There are none before it has begun.
        """
        watched = next((car for car in self.active if car.number == self.watched), None)
        if watched is None or watched.timing.since is None or math.isnan(watched.timing.clock):
            return []
        best = self.human.timing.best if self.human else None
        traces = [self.reference, *([] if best is None else [best])]
        return [trace.pose(watched.timing.since, watched.timing.clock) for trace in traces]

    def unkept(self, *, at_end: bool = False) -> Callable[[], None] | None:
        """See Session: all that the person has driven, with each lap, when the wheel is left, and at the end."""
        human, records = self.human, self.records
        if human is None or records is None or not (self._fresh or at_end):
            return None
        self._fresh = False
        driven, best, period = human.driven(), self._best(human), human.period

        def write() -> None:
            if best is not None:
                records.keep_best(best)
            records.write(driven, period)

        return write

    def _best(self, human: Shown) -> LapTrace | None:
        """The person's best lap, where it is one of this circuit's."""
        return human.timing.best
