"""The connection of one page: what it asks for reaches its session, what is driven reaches it, what ends is kept."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import Any

from starlette.websockets import WebSocket, WebSocketDisconnect

from racing.errors import InputError
from racing.evaluation.evaluate import Diverged
from racing.viewer.car import LapDone
from racing.viewer.drivers import HUMAN
from racing.viewer.messages import command_of, senses_message, state_message
from racing.viewer.records import Records
from racing.viewer.session import Session
from racing.viewer.stage import Stage
from racing.viewer.stages import MOST_PAGES, Stages

FASTEST = 1 / 40  # [s] between two messages, however fast time goes
FULL = 4000  # WebSocket close code of ours: too many pages


async def serve(socket: WebSocket, stages: Stages, name: str | None = None) -> None:
    """Drive for one page until it goes away; then nothing of it is left but what was recorded. name: of its run."""
    await socket.accept()
    if stages.pages >= MOST_PAGES:
        await socket.close(FULL, f"{MOST_PAGES} pages are open; close one")
        return
    stages.pages += 1
    try:
        async with stages.opened(name) as stage:
            await _drive(socket, stage, stages)
    except InputError as error:
        with contextlib.suppress(WebSocketDisconnect, RuntimeError):  # it has gone away meanwhile
            await socket.send_text(json.dumps({"event": "refused", "text": str(error)}))  # a page asks no more then
            await socket.close()
    finally:
        stages.pages -= 1


async def _drive(socket: WebSocket, stage: Stage, stages: Stages) -> None:
    session, records = await asyncio.to_thread(stage.session)
    link = Link(socket, stage, session, records)
    try:
        await link.run(stages.pages)
    finally:
        await link.record(at_end=True)


class Link:
    """A page and its session."""

    def __init__(self, socket: WebSocket, stage: Stage, session: Session, records: Records) -> None:
        self._socket, self._stage, self._session, self._records = socket, stage, session, records
        self._watched, self._looks = 0, False
        self._changed = asyncio.Event()
        self._writing: asyncio.Task[Any] | None = None
        self._said, self._heard = "", len(stage.news)  # of problems; of news

    async def run(self, pages: int) -> None:
        """Until the page goes away. pages: how many are open."""
        try:
            await self._tell(self._stage.greeting(self._session, pages))
        except WebSocketDisconnect:  # while its worlds were made
            return
        self._session.pause(False)  # time begins now
        tasks = [asyncio.create_task(part) for part in (self._listen(), self._drive())]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                _ended(task)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _listen(self) -> None:
        while True:
            message = await self._socket.receive()
            if message["type"] == "websocket.disconnect":
                return
            command = command_of(message.get("text"))
            if command is not None:
                await self._do(*command)
                self._changed.set()

    async def _do(self, name: str, values: dict[str, Any]) -> None:
        session = self._session
        match name:
            case "pause":
                session.pause(values["on"])
            case "rate":
                session.set_rate(values["rate"])
            case "restart":
                along = values["along"]
                session.restart(None if along is None else along % self._stage.place.track.length)
            case "drive":
                session.drive(values["on"])
                if not values["on"]:
                    await self.record()
            case "hands":
                session.hands.ask(values["steer"], values["throttle"], keys=values["keys"])
            case "watch" if values["car"] < len(session.cars):
                self._watched, self._looks = values["car"], values["senses"]

    async def _drive(self) -> None:
        session, sent = self._session, -1
        while True:
            try:
                laps = session.advance()
            except Diverged as error:
                session.pause(True)
                await self._tell({"event": "problem", "text": str(error)})
                laps = []
            for lap in laps:
                await self._lap(lap)
            if session.ticks != sent or self._changed.is_set():
                self._changed.clear()
                sent = session.ticks
                await self._send()
            if self._records.problem != self._said:
                self._said = self._records.problem
                await self._tell({"event": "problem", "text": self._said})
            for text in self._stage.news[self._heard :]:
                self._heard += 1
                await self._tell({"event": "news", "text": text})
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), max(session.wait, FASTEST if session.rate > 1 else 0.002))

    async def _send(self) -> None:
        session, watched = self._session, self._watched
        human = session.human
        best = human.timing.best if human else None
        ghosts = [self._stage.trace, *([] if best is None else [best])]
        await self._socket.send_bytes(state_message(session, ghosts, watched))
        if self._looks and session.cars[watched] in session.active:
            await self._socket.send_bytes(senses_message(watched, session.cars[watched].senses()))

    async def _lap(self, lap: LapDone) -> None:
        car = self._session.cars[lap.car]
        await self._tell({"event": "lap", "car": lap.car, "time": lap.time_s, "best": lap.best})
        if car.driver.kind == HUMAN:
            if lap.best and car.timing.best is not None:
                await asyncio.to_thread(self._records.keep_best, car.timing.best)
            await self.record()

    async def record(self, *, at_end: bool = False) -> None:
        """Write what the person has driven; in the middle of a drive without waiting for the disk."""
        human = self._session.human
        if human is None:
            return
        if self._writing is not None and (at_end or self._writing.done()):
            await self._writing
            self._writing = None
        if self._writing is None:
            write = asyncio.to_thread(self._records.write, human.driven(), human.task.world.step_dt)
            self._writing = asyncio.create_task(write)
        if at_end:
            await self._writing

    async def _tell(self, what: dict[str, Any]) -> None:
        await self._socket.send_text(json.dumps(what))


def _ended(task: asyncio.Task[None]) -> None:
    """Raise what a task has ended with, but for that nobody listens any more."""
    try:
        task.result()
    except WebSocketDisconnect:
        pass
    except RuntimeError as error:  # of the server, which was told to close the connection
        if "websocket" not in str(error):
            raise
