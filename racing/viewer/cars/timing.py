"""The clocks of one car: its lap, its sectors, and how far ahead of other laps it is."""

from __future__ import annotations

import math
from typing import Any

from racing.viewer.cars.lap_trace import LapTrace

SECTORS = 3  # equal lengths of the centreline, counted from the start line


class Timing:
    """Lap and sector times of one car, as the simulator counts them: a lap runs from the first gate passed to it again.

    sectors: [s] that each sector took when the car last drove all of it, NaN before. best: the quickest lap of all that
    `laps_done` was told of.
    """

    def __init__(self, length: float, reference: LapTrace, best: LapTrace | None = None) -> None:
        """length: of the lap [m]. best: a lap of earlier drives."""
        self._length, self._reference, self.best = length, reference, best
        self.begin()

    def begin(self) -> None:
        """A new episode: what was being timed is no lap."""
        self.sectors = [math.nan] * SECTORS
        self.since: float | None = None  # [m] arc length of the gate that the lap began at
        self.clock = math.nan  # [s] of the lap that is being driven
        self._entered: tuple[int, float] | None = None  # sector, and when [s]
        self._laps = 0

    def update(self, before: Any, car: Any, step_dt: float) -> bool:
        """Account for one step of `step_dt` [s] from record `before` to `car`; returns whether a lap was completed."""
        now = float(car["steps"]) * step_dt
        self._enter(float(before["s"]), float(car["progress_delta"]), now, step_dt)
        done = int(car["laps"]) > self._laps
        self._laps = int(car["laps"])
        if car["gates"] == 0:
            return False
        if self.since is None or done:
            behind = (now - float(car["lap_started"])) / step_dt  # share of the step after the gate
            self.since = (float(car["s"]) - behind * float(car["progress_delta"])) % self._length
        self.clock = now - float(car["lap_started"])
        return done

    def keep(self, lap: LapTrace | None) -> bool:
        """Remember a complete lap where it is the best one; returns whether it is."""
        if lap is None or (self.best is not None and lap.time_s >= self.best.time_s):
            return False
        self.best = lap
        return True

    def deltas(self, s: float) -> tuple[float, float]:
        """How much later [s] the car is at arc length `s` [m] than the reference and the best lap; NaN: no such."""
        return self._behind(self._reference, s), self._behind(self.best, s)

    def _behind(self, other: LapTrace | None, s: float) -> float:
        if other is None or self.since is None:
            return math.nan
        taken = other.duration(self.since, s)
        if taken > 0.9 * other.time_s and self.clock < 0.1 * other.time_s:
            taken -= other.time_s  # a hair before the gate that its lap has begun at
        return self.clock - taken

    def _enter(self, s: float, moved: float, now: float, step_dt: float) -> None:
        size = self._length / SECTORS
        before, after = math.floor(s / size), math.floor((s + moved) / size)
        if moved <= 0 or before == after:
            return
        moment = now - step_dt * (1 - ((before + 1) * size - s) / moved)
        if self._entered is not None and self._entered[0] == before % SECTORS:
            self.sectors[before % SECTORS] = moment - self._entered[1]
        self._entered = ((before + 1) % SECTORS, moment)
