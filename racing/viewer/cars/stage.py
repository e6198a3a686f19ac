"""Who can drive on a circuit, as several pages share it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from racing.tracks.reference_lap import ReferenceLap
from racing.viewer.cars.alone import AloneSession
from racing.viewer.cars.circuit import circuit_facts
from racing.viewer.cars.drivers import Driver, Hands, Place, human_driver, human_env
from racing.viewer.cars.lap_trace import LapTrace, trace_of_reference
from racing.viewer.cars.race import Grid, RaceSession
from racing.viewer.cars.records import Records
from racing.viewer.cars.session import CarSession
from racing.viewer.stage import Stage, View


@dataclass
class CarStage(Stage):
    """outputs: where drives are recorded."""

    view = View.CARS
    place: Place
    reference: ReferenceLap
    outputs: Path
    news: list[str] = field(default_factory=list, kw_only=True)
    trace: LapTrace = field(init=False)

    def __post_init__(self) -> None:
        self.title = self.place.track.name
        self.trace = trace_of_reference(self.place.track, self.reference)
        self.circuit = circuit_facts(self.place.track, self.place.vehicle, self.reference)

    @abstractmethod
    def session(self) -> CarSession:
        """See Stage."""

    def greeting(self, session: CarSession) -> dict[str, Any]:
        """See Stage."""
        cars = [
            {"number": car.number, "name": car.name, "kind": car.kind, "period": car.period} for car in session.cars
        ]
        best = session.human.timing.best if session.human else None
        return {
            "circuit": self.circuit,
            "cars": cars,
            "best": None if best is None else round(best.time_s, 4),
            "laps": None,  # of a race
        }


@dataclass
class AloneStage(CarStage):
    """Each in a world of its own. drivers: all but the person, who can always take a wheel.

    conditions: env.conditions of the first of them.
    """

    drivers: Sequence[Driver]
    conditions: Any = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self._env = human_env(self.conditions)  # once: sessions are made by several threads, and Hydra knows one

    def session(self) -> AloneSession:
        """See Stage: a new page's cars."""
        hands = Hands()
        drivers = [*self.drivers, human_driver(self.place, self._env, hands)]
        records = Records(self.outputs, self.place)
        return AloneSession(drivers, self.place, self.trace, hands=hands, records=records)


@dataclass
class RaceStage(CarStage):
    """A race. grid: who takes part, and its rules; the person can always join."""

    grid: Grid

    def session(self) -> RaceSession:
        """See Stage: a new page's race."""
        return RaceSession(self.grid, self.place, self.trace, records=Records(self.outputs, self.place))

    def greeting(self, session: CarSession) -> dict[str, Any]:
        """See Stage."""
        return super().greeting(session) | {"laps": self.grid.laps}
