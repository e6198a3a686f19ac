"""A race: cars that see and touch each other, and a person among them who wants to."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any

import numpy as np
import numpy.typing as npt

from racing.evaluation.evaluate import EpisodeRecorder
from racing.evaluation.race.driving import Drive, Entrant, Races, Task, race_task
from racing.evaluation.race.result import car_rows
from racing.evaluation.race.suites import GRID
from racing.evaluation.seeds import TEST_SEEDS
from racing.sim.race.traffic import GONE
from racing.sim.records import Ending
from racing.viewer.cars.car import Episode, kept_episode
from racing.viewer.cars.dashboard import Dashboard, Senses
from racing.viewer.cars.drivers import HUMAN, Hands, Place
from racing.viewer.cars.lap_trace import LapTrace
from racing.viewer.cars.records import Records
from racing.viewer.cars.session import CarSession
from racing.viewer.cars.timing import Timing

Array = npt.NDArray[Any]
F = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Grid:
    """Who starts, in turn, and the rules.

    names: of the entrants. env: config group. laps, cars: of a race, without the person's.
    """

    entrants: Sequence[Entrant]
    names: Sequence[str]
    env: Mapping[str, Any]
    laps: int
    cars: int

    @property
    def drivers(self) -> list[str]:
        """Names of those in the cars; of an entrant's further ones with their number."""
        count = len(self.names)
        names = [self.names[k % count] for k in range(self.cars)]
        return [name if k < count else f"{name} #{1 + k // count}" for k, name in enumerate(names)]

    def task(self, place: Place, cars: int) -> Task:
        """The world of a race of so many cars, as `racing evaluate env=race` has it."""
        size = {"races": 1, "cars": cars, "laps": self.laps, "seed": TEST_SEEDS + place.seed}
        rules = {"start": "grid", "spacing": GRID, "reference": place.reference_s}
        return race_task(self.env, place.track, place.vehicle, **size, **rules)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Contact:
    """Two cars have begun to touch each other. cars, blame: of both. x, y: [m]. closing: [m/s]."""

    cars: tuple[int, int]
    blame: tuple[float, float]
    x: float
    y: float
    closing: float

    def message(self) -> dict[str, Any]:
        """See racing.viewer.session.Event."""
        return {"event": "contact", **vars(self)}


@dataclass(frozen=True)
class CarOver:
    """The race is over for a car. home: it has driven all laps."""

    car: int
    home: bool

    def message(self) -> dict[str, Any]:
        """See racing.viewer.session.Event."""
        return {"event": "over", **vars(self)}


@dataclass(frozen=True)
class RaceOver:
    """All cars are out or home. results: as they finished; number and name of a car, position, time_s, ended, ..."""

    results: list[dict[str, Any]]

    def message(self) -> dict[str, Any]:
        """See racing.viewer.session.Event."""
        return {"event": "race", "results": self.results}


class Racer:
    """A car of the race; without a seat in it, the person's."""

    def __init__(self, session: RaceSession, number: int, name: str, kind: str, task: Task) -> None:
        self.number, self.name, self.kind = number, name, kind
        self._session = session
        self.dashboard = Dashboard(number, task, number, session.reference)

    @property
    def period(self) -> float:
        """[s] between two of its decisions."""
        return self._session.tick

    @property
    def timing(self) -> Timing:
        """Its clocks."""
        return self.dashboard.timing

    def state(self) -> F:
        """(len(STATE),) numbers; NaN: there is none."""
        return self.dashboard.state(self._session.among(self.number))

    def senses(self) -> Senses:
        """What it senses now."""
        return self.dashboard.senses(self._session.races.observation)

    def driven(self) -> list[Episode]:
        """What the person has driven."""
        return self._session.driven()


class RaceSession(CarSession):
    """Races of one field, one after another: each is as long as `Grid.laps`, and starts in a grid that goes round.

    The first one is, bit for bit, what racing.evaluation.race.driving.drive_races drives in the world of `Grid.task`.
    With the person, who decides as often as everybody, there is one car more.
    """

    def __init__(
        self,
        grid: Grid,
        place: Place,
        reference: LapTrace,
        *,
        hands: Hands | None = None,
        records: Records | None = None,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        """The cars stand in their grid. The rest: of CarSession."""
        self.grid, self._place = grid, place
        self._tasks = {count: grid.task(place, count) for count in (grid.cars, grid.cars + 1)}
        super().__init__(self._tasks[grid.cars].world.step_dt, reference, hands, records, clock)
        self._made: dict[int, Races] = {}  # by the number of cars
        self._episodes: list[Episode] = []  # of the person
        self._take()

    @property
    def cars(self) -> Sequence[Racer]:
        """See CarSession: the last one is the person's."""
        return self._cars

    @property
    def active(self) -> list[Racer]:
        """See CarSession: all that race."""
        states = self.races.task.world.traffic[0]["state"]
        return [self._cars[slot] for slot in np.flatnonzero(states != GONE).tolist()]

    def _person(self, task: Task, cars: Array) -> Drive:
        return lambda cars, observation: self.hands.action(self.tick)

    def _take(self) -> None:
        """See CarSession: a new race with one car more, or less."""
        count = self.grid.cars + self.driving
        task, person = self._tasks[count], Entrant(name=HUMAN, make=self._person)
        kinds = {slot: "policy" for slot in range(self.grid.cars)} | {self.grid.cars: HUMAN}
        seats = self._tasks[self.grid.cars + 1]  # of whoever has none in this race
        self._cars = [
            Racer(self, slot, name, kinds[slot], task if slot < count else seats)
            for slot, name in enumerate([*self.grid.drivers, HUMAN])
        ]
        if count not in self._made:
            who = np.arange(self.grid.cars) % len(self.grid.entrants)
            who = np.append(who, [len(self.grid.entrants)] * self.driving)[None]
            self._made[count] = Races(task, [*self.grid.entrants, *[person] * self.driving], who)
            self._begin(over=None)
        else:
            self._begin(over=False)

    @property
    def races(self) -> Races:
        """That which is driven."""
        return self._made[self.grid.cars + self.driving]

    def _begin(self, *, over: bool | None) -> None:
        """A new race. over: the one before is over, which has begun it; None: the first one."""
        if over is not None:
            self.races.again(over=over)
        self.hands.let_go()
        task = self.races.task
        self._recorder = EpisodeRecorder(task)  # of the person
        self._recorder.record(task.cars, task.world.conditions)
        self._far = [task.world.traffic[0]["distance"].copy()]  # [m] that each car came at most, by step
        for car in self._drivers:
            car.dashboard.begin()
            car.dashboard.time = self.time

    @property
    def _drivers(self) -> Sequence[Racer]:
        """Of the cars of the race, in or out."""
        return self._cars[: self.races.task.num_cars]

    def _step(self) -> None:
        """See Session."""
        races, known = self.races, len(self.races.recorder.contacts)
        before, racing = races.task.cars.copy(), ~races.recorder.done[0]
        step = races.step()
        final = races.task.final_cars
        if self.driving:
            self._recorder.record(final, races.task.world.final_conditions, step.terms)
            self._recorder.add(step.reward, step.terms, step.terminated | step.truncated)
        self._far.append(np.maximum(self._far[-1], races.task.world.final_traffic[0]["distance"]))
        for car in self._drivers:
            car.dashboard.time = self.time
            if not racing[car.number]:
                continue
            lap = car.dashboard.after(before[car.number])
            if lap:
                self.events.append(lap)
                self._fresh = self._fresh or car.kind == HUMAN
            ended = Ending(int(final[car.number]["ended"]))
            if ended != Ending.RUNNING:
                car.dashboard.ended = ended
                self.events.append(CarOver(car.number, ended == Ending.LAPS_DONE))
        self.events += contacts(races.recorder.contacts[known:])
        if races.recorder.done.all():
            self.events.append(RaceOver(self._results()))
            self._close()
            self._begin(over=True)

    def _results(self) -> list[dict[str, Any]]:
        """Rows of the race that is over, in the order in which they finished; the best laps [s] are of this session."""
        names = [car.name for car in self._drivers]
        log = self.races.recorder.log()
        rows = car_rows(log, [*self.grid.names, HUMAN], self._place.reference_s)
        keys = ("position", "grid", "ended", "time_s", "overtakes", "contacts", "at_fault")
        found = [
            {"number": row["car"], "name": names[row["car"]], **{key: row[key] for key in keys}}
            | {"laps": int(self.races.task.final_cars[row["car"]]["laps"])}
            for row in rows
        ]
        return sorted(found, key=lambda row: row["position"])

    def _close(self) -> None:
        """Keep what the person has driven in the race that ends here."""
        self._episodes = self.driven()

    def driven(self) -> list[Episode]:
        """What the person has driven in all races, with the present one."""
        if not self.driving:
            return self._episodes
        slot = self.grid.cars
        episode = kept_episode(self._recorder, slot, HUMAN, self.reference.time_s)
        if episode is None:
            return self._episodes
        episode.facts |= {"position": int(self._positions()[slot]), "against": ", ".join(self.grid.drivers)}
        return [*self._episodes, episode]

    def restart(self, along: float | None) -> None:
        """See CarSession: a new race, in the next grid."""
        self._close()
        self._begin(over=False)
        self._due = 0.0

    def drive(self, on: bool) -> None:
        """See CarSession."""
        if on != self.driving:
            self._close()
        super().drive(on)

    def _positions(self) -> Array:
        """(C,) from 1: those who are home by their time, then the others by how far they came."""
        order = np.lexsort((-self._far[-1], self.races.recorder.time[0]))
        return np.argsort(order) + 1

    def among(self, number: int) -> dict[str, float]:
        """Of a car: see racing.viewer.cars.dashboard.STATE."""
        positions, traffic = self._positions(), self.races.task.world.traffic[0]
        position = int(positions[number])
        ahead = int(np.flatnonzero(positions == position - 1)[0]) if position > 1 else None
        gap = math.nan if ahead is None else self._gap(number, ahead)
        return {"position": position, "gap": gap, "touches": float(traffic[number]["contact_with"] != 0)}

    def _gap(self, number: int, ahead: int) -> float:
        """How long ago [s] the car ahead was where a car is now; NaN where it never was."""
        far, mine = self._far, float(self._far[-1][number])
        k = bisect_left(far, mine, key=lambda row: float(row[ahead]))
        if k >= len(far):
            return 0.0
        if k == 0:  # both have not moved yet
            return math.nan
        step = float(far[k][ahead] - far[k - 1][ahead])
        share = (mine - float(far[k - 1][ahead])) / step if step > 0 else 1.0
        return (len(far) - 1 - (k - 1 + share)) * self.tick

    def _best(self, human: Any) -> None:
        """See CarSession: laps of races are none of the best ones, others help and hinder."""


def contacts(noted: Sequence[tuple[Any, ...]]) -> list[Contact]:
    """Contacts, one for every two cars. noted: of a step, by car (racing.evaluation.race.driving.CONTACT)."""
    blame = {(car, other): float(share) for _, _, car, other, _, _, _, share in noted}
    found: dict[frozenset[int], Contact] = {}
    for _, _, car, other, x, y, closing, _ in noted:
        pair, both = frozenset((car, other)), (blame.get((car, other), 0.0), blame.get((other, car), 0.0))
        found.setdefault(pair, Contact((int(car), int(other)), both, float(x), float(y), float(closing)))
    return list(found.values())
