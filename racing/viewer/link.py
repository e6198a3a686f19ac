"""The connection of one page: what it asks for reaches its session, what is driven reaches it, what ends is kept."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import Any

from starlette.websockets import WebSocket, WebSocketDisconnect

from racing.errors import InputError
from racing.evaluation.evaluate import Diverged
from racing.viewer.messages import command_of
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
    link = Link(socket, stage, await asyncio.to_thread(stage.session))
    try:
        await link.run(stages.pages)
    finally:
        await link.keep(at_end=True)


class Link:
    """A page and its session."""

    def __init__(self, socket: WebSocket, stage: Stage, session: Session) -> None:
        self._socket, self._stage, self._session = socket, stage, session
        self._changed = asyncio.Event()
        self._writing: asyncio.Task[Any] | None = None
        self._said, self._heard = "", len(stage.news)  # of problems; of news

    async def run(self, pages: int) -> None:
        """Until the page goes away. pages: how many are open."""
        try:
            await self._tell(self._stage.hello(self._session, pages))
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
                self._session.do(*command)
                self._changed.set()

    async def _drive(self) -> None:
        session, sent = self._session, -1
        while True:
            try:
                events = session.advance()
            except Diverged as error:
                session.pause(True)
                await self._tell({"event": "problem", "text": str(error)})
                events = []
            for event in events:
                await self._tell(event.message())
            await self.keep()
            if session.ticks != sent or self._changed.is_set():
                self._changed.clear()
                sent = session.ticks
                for message in session.messages():
                    await self._socket.send_bytes(message)
            if session.problem != self._said:
                self._said = session.problem
                await self._tell({"event": "problem", "text": self._said})
            for text in self._stage.news[self._heard :]:
                self._heard += 1
                await self._tell({"event": "news", "text": text})
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), max(session.wait, FASTEST if session.rate > 1 else 0.002))

    async def keep(self, *, at_end: bool = False) -> None:
        """Write what is to be kept; in the middle of a drive without waiting for the disk."""
        if self._writing is not None:
            if not (at_end or self._writing.done()):
                return  # the next time
            await self._writing
            self._writing = None
        write = self._session.unkept(at_end=at_end)
        if write is not None:
            self._writing = asyncio.create_task(asyncio.to_thread(write))
        if at_end and self._writing is not None:
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
