"""What a page is told, and what is left of it when it goes away; the socket is two lists."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from racing.errors import InputError
from racing.tracks.reference_lap import reference_lap
from racing.viewer.cars.drivers import Driver, Place
from racing.viewer.cars.stage import AloneStage
from racing.viewer.link import serve
from racing.viewer.overview import Overview
from racing.viewer.stage import View
from racing.viewer.stages import MOST_PAGES, Stages
from tests.viewer.conftest import keeps_to_the_middle

PATIENCE = 60.0  # [s]
Make = Callable[..., Driver]


class Socket:
    """A page's end. does: coroutine that plays the page, and goes away at its end."""

    def __init__(self) -> None:
        self.told: list[dict[str, Any]] = []
        self.states: list[Any] = []
        self.closed: int | None = None
        self._coming: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    async def accept(self) -> None:
        pass

    async def close(self, code: int = 1000, reason: str = "") -> None:
        self.closed = code

    async def receive(self) -> dict[str, Any]:
        return await self._coming.get()

    async def send_text(self, text: str) -> None:
        self.told.append(json.loads(text))

    async def send_bytes(self, content: bytes) -> None:
        self.states.append(np.frombuffer(content, np.float32))

    def say(self, what: str, **values: Any) -> None:
        self._coming.put_nowait({"type": "websocket.receive", "text": json.dumps({"do": what, **values})})

    def leave(self) -> None:
        self._coming.put_nowait({"type": "websocket.disconnect"})

    async def until(self, what: Callable[[], Any]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not what():
                await asyncio.sleep(0.01)


@pytest.fixture
def stage(place: Place, driver: Make, tmp_path: Path) -> AloneStage:
    return AloneStage(place, reference_lap(place.track, place.vehicle), tmp_path, [driver()])


@pytest.fixture
def stages(stage: AloneStage, tmp_path: Path) -> Stages:
    def make(name: str) -> AloneStage:
        if name != "a-run":
            raise InputError("it is none of those at /runs")
        return replace(stage)

    return Stages(stage, make, lambda name: View.CARS, Overview(tmp_path))


def visit(stages: Stages, does: Callable[[Socket], Any], name: str | None = None) -> Socket:
    """A page that does this, and goes away. name: of the run that it wants to see."""

    async def both() -> Socket:
        socket = Socket()
        serving = asyncio.create_task(serve(socket, stages, name))  # type: ignore[arg-type]
        await socket.until(lambda: socket.states or serving.done())
        await does(socket)
        socket.leave()
        await asyncio.wait_for(serving, PATIENCE)
        return socket

    return asyncio.run(both())


def test_a_page_is_told_what_there_is_and_then_how_cars_are(stages: Stages, stage: AloneStage):
    async def looks(socket: Socket) -> None:
        assert stages.pages == 1
        await socket.until(lambda: len(socket.states) > 3)
        stage.news.append("something new")
        await socket.until(lambda: len(socket.told) > 1)

    socket = visit(stages, looks)
    hello, news = socket.told
    assert [car["name"] for car in hello["cars"]] == ["middle", "human"]
    assert hello["circuit"]["name"] == "wavy"
    assert len(hello["circuit"]["points"]) == len(hello["circuit"]["s"]) == len(hello["circuit"]["kerbs"])
    assert news == {"event": "news", "text": "something new"}
    times = [state[1] for state in socket.states]
    assert times == sorted(times)
    assert times[-1] > times[0]
    assert stages.pages == 0


def test_a_page_does_what_it_is_asked_while_time_stands(stages: Stages):
    async def asks(socket: Socket) -> None:
        socket.say("pause", on=True)
        await socket.until(lambda: socket.states[-1][4] == 1)
        then = socket.states[-1][1]
        socket.say("restart", along=100_000.0)  # beyond the lap: as far as it goes round
        socket.say("rate", rate=4)
        socket.say("watch", car=0, senses=True)
        await socket.until(lambda: any(state[0] == 2 for state in socket.states))
        states = [state for state in socket.states if state[0] == 1]
        assert states[-1][1] == then
        assert states[-1][2] == 4

    visit(stages, asks)


def test_what_a_person_drives_is_written_when_the_page_goes_away(stages: Stages, tmp_path: Path):
    async def drives(socket: Socket) -> None:
        socket.say("drive", on=True)
        socket.say("rate", rate=16)
        socket.say("hands", steer=0.0, throttle=1.0, keys=False)
        await socket.until(lambda: socket.states[-1][5] == 1 and socket.states[-1][1] > 3)

    visit(stages, drives)
    (laps,) = (tmp_path / "drives").rglob("laps.csv")
    assert "human" in laps.read_text()
    assert laps.with_name("telemetry.parquet").is_file()


def test_a_policy_that_breaks_stops_time_and_is_named(stages: Stages, stage: AloneStage, driver: Make):
    calls = []

    def breaks(seen: Any) -> Any:
        calls.append(1)
        return keeps_to_the_middle(seen) * (np.nan if len(calls) > 5 else 1)

    stage.drivers = [driver("broken", breaks)]

    async def waits(socket: Socket) -> None:
        await socket.until(lambda: len(socket.told) > 1 and socket.states[-1][4] == 1)

    socket = visit(stages, waits)
    assert socket.told[1]["event"] == "problem"
    assert "policy broken" in socket.told[1]["text"]


def test_one_page_too_many_is_turned_away(stages: Stages):
    stages.pages = MOST_PAGES

    async def nothing(socket: Socket) -> None:
        assert socket.closed == 4000

    assert visit(stages, nothing).states == []
    assert stages.pages == MOST_PAGES


def test_a_run_is_there_as_long_as_a_page_shows_it(stages: Stages, stage: AloneStage):
    async def looks(socket: Socket) -> None:
        (made, count) = stages._open["a-run"]
        assert count == 1
        assert made is not stage
        async with stages.opened("a-run") as other:
            assert other is made
        assert "a-run" in stages._open

    assert visit(stages, looks, "a-run").told[0]["event"] == "hello"
    assert stages._open == {}


def test_what_no_run_is_called_is_refused(stages: Stages):
    async def nothing(socket: Socket) -> None:
        assert socket.closed == 1000

    socket = visit(stages, nothing, "../a-run")
    assert socket.told == [{"event": "refused", "text": "it is none of those at /runs"}]
    assert stages.pages == 0
    stages.first = None
    assert visit(stages, nothing).told == [{"event": "refused", "text": "no run was named; choose one at /runs"}]
