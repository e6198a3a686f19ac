"""Who can drive where, as several pages share it. Each page gets a session of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from racing.tracks.reference_lap import ReferenceLap
from racing.viewer.circuit import circuit_facts
from racing.viewer.drivers import Driver, Hands, Place, human_driver, human_env
from racing.viewer.lap_trace import LapTrace, trace_of_reference
from racing.viewer.records import Records
from racing.viewer.session import RATES, Session


@dataclass
class Stage:
    """drivers: all but the person, who can always take a wheel. conditions: env.conditions of the first of them.

    outputs: where drives are recorded. news: lines that all pages are told; it grows.
    """

    place: Place
    drivers: Sequence[Driver]
    reference: ReferenceLap
    outputs: Path
    conditions: Any = None
    news: list[str] = field(default_factory=list)
    trace: LapTrace = field(init=False)

    def __post_init__(self) -> None:
        self.trace = trace_of_reference(self.place.track, self.reference)
        self._env = human_env(self.conditions)  # once: sessions are made by several threads, and Hydra knows one
        self.circuit = circuit_facts(self.place.track, self.place.vehicle, self.reference)

    def session(self) -> tuple[Session, Records]:
        """A new page's cars, and where it records what its person drives."""
        hands, records = Hands(), Records(self.outputs, self.place)
        drivers = [*self.drivers, human_driver(self.place, self._env, hands)]
        return Session(drivers, self.place, self.trace, hands=hands, best=records.best_lap()), records

    def greeting(self, session: Session, pages: int) -> dict[str, Any]:
        """What a page is told first. pages: how many are open."""
        cars = [
            {"number": car.number, "name": car.driver.name, "kind": car.driver.kind, "period": car.task.world.step_dt}
            for car in session.cars
        ]
        best = session.human.timing.best if session.human else None
        return {
            "event": "hello",
            "circuit": self.circuit,
            "cars": cars,
            "rates": RATES,
            "tick": session.tick,
            "best": None if best is None else round(best.time_s, 4),
            "pages": pages,
        }
