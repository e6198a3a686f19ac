"""Situations in which racers are tested: behind a slower car, ahead of a faster one, in a grid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from racing.evaluation.race.driving import Entrant, RaceLog, Task, drive_races, line_entrant, race_task
from racing.evaluation.race.result import car_rows, summarise_races
from racing.sim.track import Track
from racing.sim.vehicle import Vehicle

PACE = 0.85  # of the line follower that is put ahead
BRAKES = (2.0, 8.0)  # [s] between which it begins to brake fully
BEHIND = 8.0  # [car lengths] from middle to middle that one of two cars starts behind the other
GRID = 2.0  # [car lengths] from a place of the grid to the next one, on the other side
CARS = 4  # in a grid of one entrant


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where races are driven, and what cars sense. reference: reference lap [s]. env: config group.

    randomize: keys of `env.randomize` that the races are about.
    """

    track: Track
    vehicle: Vehicle
    reference: float
    env: Mapping[str, Any]
    randomize: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Driven:
    """Races that were driven. entrants: of them. tested: those of them whose result counts."""

    task: Task
    log: RaceLog
    entrants: Sequence[Entrant]
    tested: Sequence[Entrant]


def drive_suite(
    suite: str,
    entrants: Sequence[Entrant],
    place: Place,
    *,
    races: int,
    laps: int,
    seed: int,
    cars: int | None = None,
    threads: int = 1,
) -> list[Driven]:
    """Drive a suite of racing.evaluation.seeds.SUITES: all entrants together in a grid, else one after another.

    follow: each starts behind a line follower at PACE. braking: likewise, and that one brakes fully once,
    some time. defend: each starts ahead of the next entrant, or of itself. grid: all start in a grid, standing or
    rolling; the places go round.

    races: of each. cars: in the grid; None: one for each entrant, CARS for a single one.
    """

    def drive(together: Sequence[Entrant], tested: Sequence[Entrant], who: Any, start: Mapping[str, Any]) -> Driven:
        size = {"races": races, "cars": who.shape[1], "laps": laps, "seed": seed, "threads": threads, **start}
        size["randomize"] = place.randomize
        task = race_task(place.env, place.track, place.vehicle, reference=place.reference, **size)
        return Driven(task=task, log=drive_races(task, together, who), entrants=together, tested=tested)

    if suite == "grid":
        count = cars or (len(entrants) if len(entrants) > 1 else CARS)
        apart: dict[str, Any] = {"start": "mixed", "spacing": GRID}
        return [drive(entrants, entrants, np.tile(np.arange(count) % len(entrants), (races, 1)), apart)]
    apart = {"start": "rolling", "spacing": BEHIND / 2}
    ahead = (np.arange(2) + np.arange(races)[:, None]) % 2 == 0  # slots that start in front
    out = []
    for number, entrant in enumerate(entrants):
        if suite == "defend":
            other = entrants[(number + 1) % len(entrants)]
            out.append(drive([entrant, other], [entrant], np.where(ahead, 0, 1), apart))
        else:
            other = line_entrant(PACE, BRAKES if suite == "braking" else None)
            out.append(drive([entrant, other], [entrant], np.where(ahead, 1, 0), apart))
    return out


def among_others(entrant: Entrant, place: Place, *, cars: int, races: int, **size: Any) -> dict[str, Any]:
    """What chooses a racer: its summary in suite follow, and as `grid_finish_rate` how many of it finish in grids.

    cars: of a grid. races: behind a slower car; twice as many cars drive in grids. size: laps, seed, threads.
    """
    grids = max(1, 2 * races // cars)
    (behind,) = drive_suite("follow", [entrant], place, races=races, **size)
    (grid,) = drive_suite("grid", [entrant], place, races=grids, cars=cars, **size)
    found = [
        summarise_races(car_rows(driven.log, [one.name for one in driven.entrants], place.reference))[entrant.name]
        for driven in (behind, grid)
    ]
    return found[0] | {"grid_finish_rate": found[1]["finish_rate"]}
