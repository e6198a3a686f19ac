"""A driving session in real time: cars in worlds of their own, one clock, what a person asks for. Knows no web."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import reduce
from time import monotonic

import numpy as np
import numpy.typing as npt

from racing.viewer.car import Car, LapDone
from racing.viewer.drivers import HUMAN, Driver, Hands, Place
from racing.viewer.lap_trace import LapTrace

F = npt.NDArray[np.float32]

RATES = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0)  # of time
SLICE = 0.05  # [s] of work, after which whatever else waits has its turn
WINDOW = 1.0  # [s] over which it is measured how much of the asked rate is kept
ON_TIME = 0.95  # share of the asked rate that counts as kept
START_PACE = 0.5  # share of the safe speed with which a restart rolls
RUN_UP = 2.0  # [car lengths] behind the start line: the lap that begins there is a lap from the line


class Session:
    """Cars that do not touch each other, driven in time.

    The worlds advance in whole control periods, whenever so much time has passed on `clock`, times `rate`. Where the
    machine is late, time slows (`share` says to how much of the rate) and nothing is left out: what is driven is what
    the same policy drives in an evaluation, bit for bit.
    """

    def __init__(
        self,
        drivers: Sequence[Driver],
        place: Place,
        reference: LapTrace,
        *,
        hands: Hands | None = None,
        best: LapTrace | None = None,
        keep: bool = False,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        """The cars are made, and stand at their starts.

        drivers: at least one. hands: of the person among them. best: their best lap so far. keep: whether the drives of
        policies are kept, too. clock: [s].
        """
        self.place, self.hands, self._clock = place, hands or Hands(), clock
        self.cars = [
            Car(number, driver, reference, keep or driver.kind == HUMAN, best if driver.kind == HUMAN else None)
            for number, driver in enumerate(drivers)
        ]
        self._stride = reduce(math.gcd, (car.repeat for car in self.cars))
        self.tick = self._stride * self.cars[0].task.vehicle.control_period  # [s]
        self.rate, self.paused, self.driving, self.ticks = 1.0, False, False, 0
        self.share = 1.0
        self._last, self._due = clock(), 0.0
        self._measured = [self._last, 0.0, 0.0]  # since when [s]; time asked for, and made, since then [s]

    @property
    def human(self) -> Car | None:
        """The person's car."""
        return next((car for car in self.cars if car.driver.kind == HUMAN), None)

    @property
    def time(self) -> float:
        """[s] that were driven."""
        return self.ticks * self.tick

    @property
    def active(self) -> list[Car]:
        """Those that drive: all, without the person's while nobody is at its wheel."""
        return [car for car in self.cars if self.driving or car.driver.kind != HUMAN]

    @property
    def wait(self) -> float:
        """[s] until the next control period is due."""
        return WINDOW if self.paused else max(0.0, (self.tick - self._due) / self.rate)

    def advance(self) -> list[LapDone]:
        """Drive what is due by now, for SLICE at most; returns the laps that were completed."""
        now = self._clock()
        passed, self._last = now - self._last, now
        if self.paused:
            return []
        asked = passed * self.rate
        self._due += asked
        laps: list[LapDone] = []
        made = 0.0
        while self._due >= self.tick * (1 - 1e-9):
            laps += self._step()
            self._due = max(0.0, self._due - self.tick)
            made += self.tick
            if self._clock() - now > SLICE:
                break
        if self._due >= 2 * self.tick:
            self._due = self.tick  # the rest is not made up for
        self._measure(now, asked, made)
        return laps

    def _measure(self, now: float, asked: float, made: float) -> None:
        since, asked_before, made_before = self._measured
        self._measured = [since, asked_before + asked, made_before + made]
        if now - since >= WINDOW and self._measured[1] > 0:
            share = self._measured[2] / self._measured[1]
            self.share = 1.0 if share >= ON_TIME - self.tick / self._measured[1] else share
            self._measured = [now, 0.0, 0.0]

    def _step(self) -> list[LapDone]:
        """One control period, or as many as all cars have in common."""
        self.ticks += 1
        laps = []
        for car in self.active:
            if self.ticks % (car.repeat // self._stride) == 0:
                done = car.step()
                car.time = self.time
                laps += [done] if done else []
        return laps

    def pause(self, on: bool) -> None:
        """Stop time, or let it go on."""
        self.paused, self._last = on, self._clock()
        self._measured = [self._last, 0.0, 0.0]

    def set_rate(self, rate: float) -> None:
        """How fast time goes, RATES[0] to RATES[-1]."""
        self.rate, self._due = rate, 0.0
        self._measured = [self._clock(), 0.0, 0.0]

    def restart(self, along: float | None) -> None:
        """All cars begin at arc length `along` [m], rolling; None: a little before the start line."""
        track, vehicle = self.place.track, self.place.vehicle
        self.hands.let_go()
        for car in self.cars:
            car.restart(track.length - RUN_UP * vehicle.length if along is None else along, START_PACE)
            car.time = self.time
        self._due = 0.0

    def drive(self, on: bool) -> None:
        """Take the wheel: all start anew; or leave it."""
        if self.human is None or on == self.driving:
            return
        self.driving = on
        if on:
            self.restart(None)

    def state(self) -> F:
        """(A, len(STATE)) numbers of the A active cars, racing.viewer.car.STATE."""
        return np.stack([car.state() for car in self.active]) if self.active else np.zeros((0, 1), np.float32)
