"""What several pages share of who drives where. Each page gets a session of its own."""

from __future__ import annotations

from abc import ABC, abstractmethod
from enum import StrEnum
from typing import Any, ClassVar

from racing.viewer.session import RATES, Session


class View(StrEnum):
    """Which page shows it."""

    CARS = "cars"  # a circuit in three dimensions
    SCORES = "scores"  # channels of episodes that say themselves what they cost


class Stage(ABC):
    """title: of the page. news: lines that all pages are told; it grows."""

    view: ClassVar[View]
    title: str
    news: list[str]

    @abstractmethod
    def session(self) -> Session:
        """What a new page shows."""

    @abstractmethod
    def greeting(self, session: Any) -> dict[str, Any]:
        """What a page is told first of its session, beside `hello`."""

    def hello(self, session: Session, pages: int) -> dict[str, Any]:
        """The first message. pages: how many are open."""
        return {
            "event": "hello",
            "rates": RATES,
            "tick": session.tick,
            "pages": pages,
            **self.greeting(session),
        }
