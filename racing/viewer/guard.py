"""Who may speak to the page's server: this machine, or who knows the token; from the page itself; in small portions."""

from __future__ import annotations

import hmac
import re
import socket
from collections.abc import Awaitable, Callable, MutableMapping
from http.cookies import CookieError, SimpleCookie
from time import monotonic
from typing import Any
from urllib.parse import parse_qs

from racing.errors import require
from racing.viewer.addresses import EVERYWHERE, LOOPBACK, is_address

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

COOKIE = "racing_token"
SECURE_COOKIE = "__Host-racing_token"  # over https; of another name, for it cannot be replaced over http
LEAST_TOKEN = 8  # letters
MOST_MESSAGE = 1 << 14  # [bytes] of a page's message; NiceGUI's own are below a thousand
MOST_RATE, MOST_BURST = 120.0, 240.0  # [1/s] messages of one connection; that come at once
NICEGUI = "/_nicegui_ws/"  # path of the connection by which NiceGUI keeps a page
# What its page says there: alive, here, gone, what came. All else would be for elements that are not on this page, or
# for the log, which is somebody's terminal.
KEPT_ALIVE = re.compile(r'3|40(\{\})?|41|42\["ack",\{"client_id":"[0-9a-f-]{36}","next_message_id":\d{1,15}\}\]')
REFUSED, TOO_MUCH = 1008, 1009  # WebSocket close codes: policy violation, message too big


def require_token(host: str, token: Any) -> None:
    """Raise InputError unless the host is this machine alone, or there is a token that others must know."""
    usable = token is None or (isinstance(token, str) and re.fullmatch(r"[A-Za-z0-9_-]+", token) is not None)
    require(usable, f"token must be letters, digits, _ and -, got {token!r}; write token=TEXT")
    rule = f"host={host} opens the page to other machines, which needs a token of {LEAST_TOKEN} letters or more"
    there = host in LOOPBACK or (token is not None and len(token) >= LEAST_TOKEN)
    require(there, f"{rule}; add token=SOMETHING-LONG, or leave host away")


class Guard:
    """An ASGI application before another: refuses foreign hosts, foreign origins, strangers, and floods."""

    def __init__(self, app: Any, host: str, token: str | None, *, secure: bool = False) -> None:
        """host: that the server listens on. token: that the address of the page must have; None: none is needed.

        secure: it is spoken to over https, and so are its own pages.
        """
        self.app, self._token, self._secure = app, token, secure
        self._any_address = host in EVERYWHERE
        self._names = {*LOOPBACK, host.lower(), *({socket.gethostname().lower()} if self._any_address else ())}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        refused = self._refusal(scope, headers)
        if refused is not None:
            await _refuse(scope, receive, send, refused)
        elif scope["type"] == "websocket":
            await self.app(
                scope, _bounded(receive, send, KEPT_ALIVE if scope["path"].startswith(NICEGUI) else None), send
            )
        else:
            await self.app(scope, receive, self._with_cookie(scope, send))

    def _refusal(self, scope: Scope, headers: MutableMapping[str, str]) -> str | None:
        if not self._is_ours(headers.get("host", "")):
            return "this name is not the page's; use the address that racing play printed"
        origin = headers.get("origin")
        ours = "https" if self._secure else "https?"
        if origin is not None and re.sub(f"^{ours}://", "", origin) != headers["host"]:
            return "another page may not use this one"
        if scope["type"] == "http" and scope["method"] not in ("GET", "HEAD"):
            return "the page takes no such request"
        if self._token is not None and not (self._knows(_asked(scope)) or self._knows(_kept(headers, self._cookie))):
            return "the address must end with ?token=... as racing play printed it"
        return None

    def _is_ours(self, host: str) -> bool:
        """Whether a Host header is one of the server's names: a name of somebody else's may lead here, too."""
        found = re.fullmatch(r"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._-]+))(?::\d{1,5})?", host)
        if found is None:
            return False
        name = (found[1] or found[2]).lower()
        return name in self._names or (self._any_address and is_address(name))

    @property
    def _cookie(self) -> str:
        return SECURE_COOKIE if self._secure else COOKIE

    def _knows(self, token: str) -> bool:
        return hmac.compare_digest(token.encode(), str(self._token).encode())

    def _with_cookie(self, scope: Scope, send: Send) -> Send:
        """Who has come with the token is known by a cookie from then on: what the page loads has no query."""
        if self._token is None or not self._knows(_asked(scope)):
            return send
        secure = "; Secure" if self._secure else ""  # browsers never send it over http then
        cookie = f"{self._cookie}={self._token}; HttpOnly; SameSite=Strict; Path=/{secure}".encode()

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), (b"set-cookie", cookie)]
            await send(message)

        return sending


def _asked(scope: Scope) -> str:
    query: bytes = scope.get("query_string", b"")
    return parse_qs(query.decode("latin-1")).get("token", [""])[0]


def _kept(headers: MutableMapping[str, str], name: str) -> str:
    try:
        jar = SimpleCookie(headers.get("cookie", ""))
    except CookieError:
        return ""
    return str(jar[name].value) if name in jar else ""


async def _refuse(scope: Scope, receive: Receive, send: Send, why: str) -> None:
    if scope["type"] == "websocket":
        await receive()  # the wish to connect
        await send({"type": "websocket.close", "code": REFUSED, "reason": why[:120]})
        return
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": 403, "headers": headers})
    await send({"type": "http.response.body", "body": f"racing play: {why}\n".encode()})


def _bounded(receive: Receive, send: Send, known: re.Pattern[str] | None) -> Receive:
    """Receive messages of a size and rate that a page has; another one's connection ends.

    known: others are left out; None: whoever listens knows what to do with them.
    """
    left, then = MOST_BURST, monotonic()

    async def receiving() -> Message:
        nonlocal left, then
        while True:
            message = await receive()
            if message["type"] != "websocket.receive":
                return message
            now = monotonic()
            left, then = min(MOST_BURST, left + (now - then) * MOST_RATE) - 1, now
            text = message.get("text")
            size = len(message.get("bytes") or b"") + len(text or "")
            code = TOO_MUCH if size > MOST_MESSAGE else REFUSED if left < 0 else None
            if code is not None:
                await send({"type": "websocket.close", "code": code})
                return {"type": "websocket.disconnect", "code": code}
            if known is None or (text is not None and known.fullmatch(text)):
                return message

    return receiving
