"""Cars in worlds of their own, which neither see nor touch each other."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import reduce
from time import monotonic

from racing.viewer.cars.car import Car
from racing.viewer.cars.drivers import HUMAN, Driver, Hands, Place
from racing.viewer.cars.lap_trace import LapTrace
from racing.viewer.cars.records import Records
from racing.viewer.cars.session import CarSession

START_PACE = 0.5  # share of the safe speed with which a restart rolls
RUN_UP = 2.0  # [car lengths] behind the start line: the lap that begins there is a lap from the line


class AloneSession(CarSession):
    """Ghosts of each other. The worlds advance in control periods, or as many of them as all cars have in common."""

    def __init__(
        self,
        drivers: Sequence[Driver],
        place: Place,
        reference: LapTrace,
        *,
        hands: Hands | None = None,
        records: Records | None = None,
        keep: bool = False,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        """The cars are made, and stand at their starts.

        drivers: at least one. keep: whether the drives of policies are kept, too. The rest: of CarSession.
        """
        best = None if records is None else records.best_lap()
        self._cars = [
            Car(number, driver, reference, keep or driver.kind == HUMAN, best if driver.kind == HUMAN else None)
            for number, driver in enumerate(drivers)
        ]
        self._stride = reduce(math.gcd, (car.repeat for car in self._cars))
        super().__init__(self._stride * place.vehicle.control_period, reference, hands, records, clock)
        self.place = place

    @property
    def cars(self) -> list[Car]:
        """See CarSession."""
        return self._cars

    @property
    def active(self) -> list[Car]:
        """See CarSession: all, without the person's while nobody is at its wheel."""
        return [car for car in self._cars if self.driving or car.kind != HUMAN]

    def _step(self) -> None:
        """See Session."""
        for car in self.active:
            if self.ticks % (car.repeat // self._stride) == 0:
                done = car.step()
                car.dashboard.time = self.time
                if done:
                    self.events.append(done)
                    self._fresh = self._fresh or car.kind == HUMAN

    def try_out(self) -> None:
        """See Session: every car, the person's, too."""
        for car in self._cars:
            car.step()

    def restart(self, along: float | None) -> None:
        """All cars begin at arc length `along` [m], rolling; None: a little before the start line."""
        track, vehicle = self.place.track, self.place.vehicle
        self.hands.let_go()
        for car in self._cars:
            car.restart(track.length - RUN_UP * vehicle.length if along is None else along % track.length, START_PACE)
            car.dashboard.time = self.time
        self._due = 0.0

    def _take(self) -> None:
        """See CarSession."""
        if self.driving:
            self.restart(None)
