"""What one page shows, in real time: one clock, whatever is driven. Knows no web."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from time import monotonic
from typing import Any, Protocol

RATES = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0)  # of time
SLICE = 0.05  # [s] of work, after which whatever else waits has its turn
WINDOW = 1.0  # [s] over which it is measured how much of the asked rate is kept
ON_TIME = 0.95  # share of the asked rate that counts as kept


class Event(Protocol):
    """Something that happened in a step."""

    def message(self) -> dict[str, Any]:
        """As the page is told; `event` says what it is."""


class Session(ABC):
    """Worlds that advance in whole ticks, whenever so much time has passed on `clock`, times `rate`.

    Where the machine is late, time slows (`share` says to how much of the rate) and nothing is left out: what is driven
    is what the same policy drives in an evaluation, bit for bit.
    """

    problem = ""  # of what cannot be kept, said once

    def __init__(self, tick: float, clock: Callable[[], float] = monotonic) -> None:
        """tick: [s]. clock: [s]."""
        self.tick, self._clock = tick, clock
        self.rate, self.paused, self.driving, self.ticks = 1.0, False, False, 0  # driving: a person does
        self.share, self.events = 1.0, list[Any]()  # events: that the page has not been told yet
        self._last, self._due = clock(), 0.0
        self._measured = [self._last, 0.0, 0.0]  # since when [s]; time asked for, and made, since then [s]

    @property
    def time(self) -> float:
        """[s] that were driven."""
        return self.ticks * self.tick

    @property
    def wait(self) -> float:
        """[s] until the next tick is due."""
        return WINDOW if self.paused else max(0.0, (self.tick - self._due) / self.rate)

    @property
    def head(self) -> list[float]:
        """What each binary message begins with after its kind: time [s], rate, share, paused, driving."""
        return [self.time, self.rate, self.share, self.paused, self.driving]

    def advance(self) -> list[Any]:
        """Drive what is due by now, for SLICE at most; returns the events since it was last asked."""
        now = self._clock()
        passed, self._last = now - self._last, now
        if not self.paused:
            self._drive(now, passed * self.rate)
        events, self.events = self.events, []
        return events

    def _drive(self, now: float, asked: float) -> None:
        """Drive what is due. now: [s] of the clock. asked: [s] that are due in addition."""
        self._due += asked
        made = 0.0
        while self._due >= self.tick * (1 - 1e-9):
            self.ticks += 1
            self._step()
            self._due = max(0.0, self._due - self.tick)
            made += self.tick
            if self._clock() - now > SLICE:
                break
        if self._due >= 2 * self.tick:
            self._due = self.tick  # the rest is not made up for
        self._measure(now, asked, made)

    def _measure(self, now: float, asked: float, made: float) -> None:
        since, asked_before, made_before = self._measured
        self._measured = [since, asked_before + asked, made_before + made]
        if now - since >= WINDOW and self._measured[1] > 0:
            share = self._measured[2] / self._measured[1]
            self.share = 1.0 if share >= ON_TIME - self.tick / self._measured[1] else share
            self._measured = [now, 0.0, 0.0]

    def pause(self, on: bool) -> None:
        """Stop time, or let it go on."""
        self.paused, self._last = on, self._clock()
        self._measured = [self._last, 0.0, 0.0]

    def set_rate(self, rate: float) -> None:
        """How fast time goes, RATES[0] to RATES[-1]."""
        self.rate, self._due = rate, 0.0
        self._measured = [self._clock(), 0.0, 0.0]

    def do(self, name: str, values: dict[str, Any]) -> None:
        """What the page asks for: a command of racing.viewer.messages.COMMANDS; those that mean nothing here don't."""
        match name:
            case "pause":
                self.pause(values["on"])
            case "rate":
                self.set_rate(values["rate"])

    @abstractmethod
    def _step(self) -> None:
        """Drive one tick."""

    def try_out(self) -> None:
        """Drive a tick, at once. Raises what does not fit."""
        self.ticks += 1
        self._step()

    @abstractmethod
    def messages(self) -> list[bytes]:
        """How everything is now: binary messages."""

    def unkept(self, *, at_end: bool = False) -> Callable[[], None] | None:
        """What writes to the disk what is to be kept, in another thread; None: there is nothing new."""
        return None
