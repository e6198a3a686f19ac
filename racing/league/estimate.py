"""How long a match takes, from about a second of it."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace

from racing.errors import InputError
from racing.evaluation.evaluate import Diverged
from racing.league.match import Contender, Match, Terms, Watch, drive_match, task_of

TRIED = 1.0  # [s] that are driven for an estimate
LONGER = 1.4  # [reference laps] that a lap takes: as the cars are, and until the last of them is home


class Enough(Exception):
    """It was driven for long enough to tell how long the rest takes."""


@dataclass
class Trial:
    """Counts steps, and the cars that drove in them, for `TRIED` seconds. seconds: since the first step."""

    steps: int = 0
    decisions: int = 0
    began: float = 0.0
    seconds: float = 0.0

    def __call__(self, cars: int) -> None:
        """One more step. What came before the first one was planning and compiling."""
        now = time.perf_counter()
        if self.steps == 0:
            self.began = now
        self.seconds = now - self.began
        self.steps, self.decisions = self.steps + 1, self.decisions + cars
        if self.seconds > TRIED:
            raise Enough


def drive(a: Contender, b: Contender, terms: Terms, watch: Watch | None = None) -> Match:
    """`drive_match`, whose diverged policies are wrong input."""
    try:
        return drive_match(a, b, terms, watch)
    except Diverged as error:
        raise InputError(f"run: {a.name} against {b.name}: {error}") from error


def steps_of_match(terms: Terms) -> int:
    """About how many environment steps a match takes: all first games of its pairs at once, then all second ones."""
    step_dt = task_of(replace(terms, games=2)).world.step_dt
    return 2 * math.ceil(LONGER * terms.laps * terms.place.reference / step_dt)


def estimate_match(a: Contender, b: Contender, terms: Terms) -> tuple[float, float]:
    """How long their match takes [s], and decisions/s, from about a second of it."""
    trial = Trial()
    try:
        drive(a, b, terms, trial)
        whole = trial.seconds
    except Enough:
        whole = trial.seconds / trial.steps * steps_of_match(terms)
    return whole, trial.decisions / max(trial.seconds, 1e-9)
