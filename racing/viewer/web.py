"""The web server: NiceGUI's page with three.js from its package, and a connection that carries what is driven."""

from __future__ import annotations

import asyncio
import socket
import webbrowser
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI, WebSocket
from nicegui import core, ui
from nicegui.element import Element
from nicegui.elements import scene

from racing.viewer.guard import MOST_MESSAGE, Guard
from racing.viewer.link import serve
from racing.viewer.stage import Stage

LINK = "/racing/link"
THREE = scene.__name__  # its import tells NiceGUI where the page finds three.js
STYLE = Path(__file__).parent / "page" / "style.css"
PATIENCE = 30.0  # [s] without a sign of life, after which NiceGUI has a page load itself again
GRACE = 3  # [s] that pages have to go away, when the server ends


class CircuitView(Element, component="page/view.js", esm={"racing-viewer": "page"}):
    """All that the page shows; it runs in the browser."""


def application(stage: Stage, host: str, token: str | None) -> Guard:
    """The ASGI application; there can be one in a process, which is how NiceGUI is made."""
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)

    @app.websocket(LINK)
    async def link(connection: WebSocket) -> None:
        await serve(connection, stage)

    title = f"racing: {stage.place.track.name}"

    @ui.page("/", title=title)
    def page() -> None:
        ui.add_css(STYLE)
        CircuitView()

    core.app.config.socket_io_js_transports = ["websocket"]
    fresh = "no-cache"  # a page of an earlier version would misread what is sent
    look: dict[str, Any] = {"title": title, "dark": None, "tailwind": False, "show_welcome_message": False}
    ui.run_with(app, **look, reconnect_timeout=PATIENCE, cache_control_directives=fresh)
    return Guard(app, host, token)


def run(stage: Stage, listening: socket.socket, host: str, token: str | None, open_at: str | None) -> None:
    """Serve until a signal ends it. listening: bound. open_at: address that a browser is asked to show; None: none."""
    settings: dict[str, Any] = {"ws_max_size": MOST_MESSAGE, "ws_max_queue": 32, "timeout_graceful_shutdown": GRACE}
    config = uvicorn.Config(application(stage, host, token), log_level="error", lifespan="on", **settings)
    server = uvicorn.Server(config)

    async def main() -> None:
        if open_at is not None:
            asyncio.get_running_loop().run_in_executor(None, webbrowser.open, open_at)
        await server.serve([listening])

    asyncio.run(main())
