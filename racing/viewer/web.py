"""The web server: NiceGUI's page with three.js from its package, and a connection that carries what is driven."""

from __future__ import annotations

import asyncio
import socket
import ssl
import webbrowser
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI, WebSocket
from fastapi.responses import JSONResponse, RedirectResponse
from nicegui import core, ui
from nicegui.element import Element
from nicegui.elements import scene

from racing.viewer.guard import MOST_MESSAGE, Guard
from racing.viewer.link import serve
from racing.viewer.stage import View
from racing.viewer.stages import Stages

LINK, RUNS = "/racing/link", "/racing/runs"
RUNS_PAGE = "/runs"
THREE = scene.__name__  # its import tells NiceGUI where the page finds three.js
STYLE = Path(__file__).parent / "page" / "style.css"
PATIENCE = 30.0  # [s] without a sign of life, after which NiceGUI has a page load itself again
GRACE = 3  # [s] that pages have to go away, when the server ends


class CarsView(Element, component="page/view.js", esm={"racing-viewer": "page"}):
    """All that the page on which cars drive shows; it runs in the browser."""


class ScoresView(Element, component="page/scores/scores.js", esm={"racing-viewer": "page"}):
    """Channels of episodes that say themselves what they cost, likewise."""


class RunsView(Element, component="page/runs.js", esm={"racing-viewer": "page"}):
    """Runs and the quickest laps, likewise."""


VIEWS = {View.CARS: CarsView, View.SCORES: ScoresView}


def application(stages: Stages, host: str, token: str | None, *, secure: bool) -> Guard:
    """The ASGI application; there can be one in a process, which is how NiceGUI is made. secure: over https."""
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)

    @app.websocket(LINK)
    async def link(connection: WebSocket) -> None:
        await serve(connection, stages, connection.query_params.get("run"))

    @app.get(RUNS)
    async def runs() -> JSONResponse:
        return JSONResponse(await asyncio.to_thread(stages.overview.facts))

    title = "racing" if stages.first is None else f"racing: {stages.first.title}"

    @ui.page("/", title=title)
    async def page(run: str | None = None) -> RedirectResponse | None:
        if run is None and stages.first is None:
            return RedirectResponse(RUNS_PAGE)
        view = VIEWS[await asyncio.to_thread(stages.view, run)]
        ui.add_css(STYLE)
        view()
        return None

    @ui.page(RUNS_PAGE, title="racing: runs")
    def overview() -> None:
        ui.add_css(STYLE)
        RunsView()

    core.app.config.socket_io_js_transports = ["websocket"]
    fresh = "no-cache"  # a page of an earlier version would misread what is sent
    look: dict[str, Any] = {"title": title, "dark": None, "tailwind": False, "show_welcome_message": False}
    ui.run_with(app, **look, reconnect_timeout=PATIENCE, cache_control_directives=fresh)
    return Guard(app, host, token, secure=secure)


def run(
    stages: Stages,
    listening: socket.socket,
    host: str,
    token: str | None,
    tls: ssl.SSLContext | None,
    open_at: str | None,
) -> None:
    """Serve until a signal ends it.

    listening: bound. tls: with the server's certificate; None: over http. open_at: address that a browser is asked to
    show; None: none.
    """
    settings: dict[str, Any] = {"ws_max_size": MOST_MESSAGE, "ws_max_queue": 32, "timeout_graceful_shutdown": GRACE}
    if tls is not None:
        settings["ssl_context_factory"] = lambda config, usual: tls
    app = application(stages, host, token, secure=tls is not None)
    config = uvicorn.Config(app, log_level="error", lifespan="on", **settings)
    server = uvicorn.Server(config)

    async def main() -> None:
        if open_at is not None:
            asyncio.get_running_loop().run_in_executor(None, webbrowser.open, open_at)
        await server.serve([listening])

    asyncio.run(main())
