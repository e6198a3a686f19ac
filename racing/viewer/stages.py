"""All that a server shows: what it was started for, and each run that a page has named, for as long as one is open."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

from racing.errors import InputError
from racing.viewer.overview import Overview
from racing.viewer.stage import Stage, View

MOST_PAGES = 8  # at a time: each has worlds of its own


class Stages:
    """first: on the page that names no run; None: there is none. make, view: those of a run, by name.

    Both raise InputError for what is none.
    """

    def __init__(
        self, first: Stage | None, make: Callable[[str], Stage], view: Callable[[str], View], overview: Overview
    ) -> None:
        self.first, self.overview = first, overview
        self.pages = 0  # that are open
        self._make, self._view, self._lock = make, view, asyncio.Lock()
        self._open: dict[str, tuple[Stage, int]] = {}  # by name: it, and how many pages have it

    def view(self, name: str | None) -> View:
        """Which page shows a run, None: the first stage. Of what is none any page: it is told so there."""
        if name is None:
            return View.CARS if self.first is None else self.first.view
        try:
            return self._view(name)
        except InputError:
            return View.CARS

    @contextlib.asynccontextmanager
    async def opened(self, name: str | None) -> AsyncIterator[Stage]:
        """The stage of a run, None: the first one. Raises InputError where it cannot be had."""
        if name is None:
            if self.first is None:
                raise InputError("no run was named; choose one at /runs")
            yield self.first
            return
        async with self._lock:  # one at a time: Hydra knows one composition
            if name not in self._open:
                self._open[name] = await asyncio.to_thread(self._make, name), 0
            stage, count = self._open[name]
            self._open[name] = stage, count + 1
        try:
            yield stage
        finally:
            stage, count = self._open.pop(name)
            if count > 1:
                self._open[name] = stage, count - 1
