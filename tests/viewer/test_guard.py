"""Who may speak to the page's server, and what hostile messages change: nothing."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests

from racing.cli import main
from racing.errors import InputError
from racing.viewer.guard import COOKIE, MOST_BURST, MOST_MESSAGE, Guard, require_token
from racing.viewer.stages import MOST_PAGES
from tests.viewer.conftest import Play, connected, greeting

TOKEN = "long-and-secret"


async def page(scope: Any, receive: Any, send: Any) -> None:
    """Says that it is the page; over a WebSocket, how long each message was."""
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"the page"})
        return
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": f"got {len(message['text'])}"})


def ask(
    guard: Guard,
    *messages: str,
    kind: str = "http",
    method: str = "GET",
    query: str = "",
    path: str = "/",
    **headers: str,
) -> list[dict[str, Any]]:
    """What a request, or a WebSocket with these messages, is answered. headers: host is this machine's by default."""
    names = {"host": "127.0.0.1:8765", **headers}
    listed = [(name.encode(), value.encode("latin-1")) for name, value in names.items()]
    scope = {"type": kind, "method": method, "path": path, "query_string": query.encode(), "headers": listed}
    come = [{"type": "websocket.connect"}, *({"type": "websocket.receive", "text": text} for text in messages)]
    come.append({"type": "websocket.disconnect", "code": 1000})
    answers: list[dict[str, Any]] = []

    async def receive() -> Any:
        return come.pop(0)

    async def send(message: Any) -> None:
        answers.append(message)

    asyncio.run(guard(scope, receive, send))
    return answers


def status(answers: list[dict[str, Any]]) -> int:
    return int(answers[0]["status"])


@pytest.mark.parametrize("name", ["127.0.0.1:8765", "localhost:8765", "localhost:9000", "[::1]:8765", "LOCALHOST"])
def test_this_machine_is_answered_by_each_of_its_names(name: str):
    assert ask(Guard(page, "127.0.0.1", None), host=name)[1]["body"] == b"the page"


@pytest.mark.parametrize(
    "name", ["evil.example", "evil.example:8765", "127.0.0.1.evil.example", "192.168.1.7", "", "localhost@evil", "a b"]
)
def test_other_names_are_refused(name: str):
    answers = ask(Guard(page, "127.0.0.1", None), host=name)
    assert status(answers) == 403
    assert answers[1]["body"] != b"the page"


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "http://localhost:1", "http://127.0.0.1.evil.example", "127.0.0.1"]
)
def test_other_pages_are_refused(origin: str):
    guard = Guard(page, "127.0.0.1", None)
    assert status(ask(guard, origin=origin)) == 403
    assert [one["type"] for one in ask(guard, "abc", kind="websocket", origin=origin)] == ["websocket.close"]
    own = "http://127.0.0.1:8765"
    assert status(ask(guard, origin=own)) == 200
    assert ask(guard, "abc", kind="websocket", origin=own)[1]["text"] == "got 3"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_requests_that_change_things_are_refused(method: str):
    assert status(ask(Guard(page, "127.0.0.1", None), method=method)) == 403


def test_strangers_need_the_token_and_are_known_by_a_cookie_then():
    guard, host = Guard(page, "0.0.0.0", TOKEN), "192.168.1.7:8765"
    assert status(ask(guard, host=host)) == 403
    assert status(ask(guard, host=host, query="token=wrong-and-secret")) == 403
    assert status(ask(guard, host=host, cookie=f"{COOKIE}=wrong")) == 403
    assert status(ask(guard, host=host, cookie='=;;"')) == 403
    assert ask(guard, "abc", kind="websocket", host=host)[0]["type"] == "websocket.close"
    answers = ask(guard, host=host, query=f"token={TOKEN}")
    assert status(answers) == 200
    cookie = dict(answers[0]["headers"])[b"set-cookie"].decode()
    assert "HttpOnly; SameSite=Strict" in cookie
    kept = cookie.partition(";")[0]
    assert status(ask(guard, host=host, cookie=kept)) == 200
    assert ask(guard, "abc", kind="websocket", host=host, cookie=kept)[1]["text"] == "got 3"
    assert status(ask(guard, host="evil.example", cookie=kept)) == 403


def test_a_host_without_a_token_is_refused(capsys: pytest.CaptureFixture[str]):
    require_token("localhost", None)
    require_token("0.0.0.0", TOKEN)
    for host, token in (("0.0.0.0", None), ("192.168.1.7", "short"), ("localhost", "a b"), ("::", 12345678)):
        with pytest.raises(InputError, match="token"):
            require_token(host, token)
    assert main(["play", "host=0.0.0.0"]) == 2
    assert "needs a token" in capsys.readouterr().err


def test_large_messages_and_floods_end_a_connection():
    guard = Guard(page, "127.0.0.1", None)
    answers = ask(guard, "x" * MOST_MESSAGE, "x" * (MOST_MESSAGE + 1), "abc", kind="websocket")
    assert [one.get("code", one.get("text")) for one in answers] == [None, f"got {MOST_MESSAGE}", 1009]
    answers = ask(guard, *["x"] * int(MOST_BURST * 1.5), kind="websocket")
    assert answers[-1] == {"type": "websocket.close", "code": 1008}
    assert MOST_BURST <= len(answers) - 2 < MOST_BURST * 1.4


def test_what_keeps_a_page_alive_passes_and_nothing_else_reaches_nicegui():
    client = "12345678-1234-1234-1234-123456789abc"
    kept = ["3", "40", f'42["ack",{{"client_id":"{client}","next_message_id":12}}]', "41"]
    left_out = [
        '42["event",{}]',
        f'42["log",{{"client_id":"{client}","message":"x"}}]',
        '42["ack",{}]',
        "42[[[",
        "",
        "33",
    ]
    mixed = [message for pair in zip(left_out, [*kept, "3", "3"], strict=True) for message in pair]
    answers = ask(Guard(page, "127.0.0.1", None), *mixed, kind="websocket", path="/_nicegui_ws/socket.io/")
    assert [one["text"] for one in answers[1:]] == [f"got {len(message)}" for message in [*kept, "3", "3"]]


# the real server


def header(link: Any) -> Any:
    """The next state's header."""
    while True:
        message = link.recv(timeout=60)
        if isinstance(message, bytes):
            values = np.frombuffer(message, np.float32)
            if values[0] == 1:
                return values


def later(link: Any, seconds: float) -> Any:
    """The first state after so much more time."""
    first = header(link)[1]
    while (values := header(link))[1] < first + seconds:
        pass
    return values


HOSTILE = [
    "",
    "null",
    "{" * 400,
    '{"do": "rate", "rate": NaN}',
    '{"do": "rate", "rate": 1e999}',
    '{"do": "rate", "rate": -4}',
    '{"do": "pause", "on": "yes"}',
    '{"do": "restart", "along": "../../../etc/passwd"}',
    '{"do": "restart", "along": {"$gt": 0}}',
    '{"do": "watch", "car": 999, "senses": true}',
    '{"do": "watch", "car": -1, "senses": true}',
    '{"do": "hands", "steer": 1e300, "throttle": 0, "keys": true}',
    '{"do": "open", "path": "/etc/passwd"}',
    '{"do": "__init__"}',
    "\x00\ufffe\U0001f600" * 20,
    "x" * 10_000,
    b"\x00\xff" * 100,
    b"",
]


@pytest.fixture
def link(play: Play) -> Iterator[Any]:
    with connected(play) as there:
        assert json.loads(there.recv(timeout=60))["event"] == "hello"
        yield there


@pytest.mark.slow
def test_hostile_messages_change_nothing(play: Play, link: Any):
    before = later(link, 0.3)
    for message in HOSTILE:
        link.send(message)
    after = later(link, 0.5)
    assert after[[2, 4, 5, 6, 7, 8]].tolist() == before[[2, 4, 5, 6, 7, 8]].tolist()
    link.send('{"do": "rate", "rate": 2}')
    while header(link)[2] != 2:
        pass


@pytest.mark.slow
def test_floods_and_large_messages_end_their_own_connection_only(play: Play, link: Any):
    from websockets.exceptions import ConnectionClosed

    for attack in (["x" * (1 << 20)], ['{"do": "pause", "on": true}'] * 2000):
        with connected(play) as other, pytest.raises(ConnectionClosed):
            for message in attack:
                other.send(message)
            while True:
                other.recv(timeout=60)
    assert later(link, 0.5)[4] == 0  # not paused


@pytest.mark.slow
def test_no_file_is_reached_and_nothing_foreign_answered(play: Play):
    for path in (
        "/../../etc/passwd",
        "/_nicegui/3.18.0/static/../../../../etc/passwd",
        "/racing/link",
        "/%2e%2e/etc/passwd",
    ):
        with socket.create_connection(("127.0.0.1", play.port), timeout=60) as wire:
            wire.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
            answer = b"".join(iter(lambda: wire.recv(1 << 16), b""))
        assert b"root:" not in answer
        assert not answer.startswith(b"HTTP/1.1 200"), path
    assert requests.get(play.address, headers={"Host": "evil.example"}, timeout=60).status_code == 403
    assert requests.get(play.address, headers={"Origin": "http://evil.example"}, timeout=60).status_code == 403
    assert requests.get(f"{play.address}racing/runs", headers={"Host": "evil.example"}, timeout=60).status_code == 403
    assert requests.get(f"{play.address}racing/runs", timeout=60).json().keys() == {"runs", "boards", "more"}
    with connected(play, query="?run=../../etc/passwd") as other:
        assert json.loads(other.recv(timeout=60))["event"] == "refused"
    assert requests.post(play.address, data=b"x" * 100, timeout=60).status_code == 403
    with pytest.raises(Exception, match="403"), connected(play, origin="http://evil.example"):
        pass


@pytest.mark.slow
def test_only_so_many_pages_are_open_at_a_time(play: Play):
    from websockets.exceptions import ConnectionClosed

    with contextlib.ExitStack() as stack:
        end = time.monotonic() + 60
        while greeting(play)["pages"] > 1 and time.monotonic() < end:
            time.sleep(0.1)
        for _ in range(MOST_PAGES):
            assert "hello" in stack.enter_context(connected(play)).recv(timeout=60)
        with connected(play) as one, pytest.raises(ConnectionClosed, match="pages are open"):
            one.recv(timeout=60)


@pytest.mark.slow
def test_a_port_that_is_taken_is_said_in_one_line(play: Play, capsys: pytest.CaptureFixture[str]):
    assert main(["play", "driver=human", "open=false", f"port={play.port}"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert f"port {play.port} of 127.0.0.1 cannot be had" in said
    assert f"port={play.port + 1}" in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("run=nowhere", "run 'nowhere' must be a run directory"),
        ("driver=nobody", "driver must be one of policy, human, optimal"),
        ("env=lateral", "env must be null or race"),
        ("laps=5", "laps=5 must come with env=race"),
        ("env=race driver=optimal", "driver=optimal must be left away with env=race"),
        ("env=race run=[line@2]", "line@2 must have a pace in [0.3, 1]"),
        ("driver=human track=nowhere", "neither a known track nor a file"),
        ("driver=human track=[oval,mini]", "track must be one name"),
        ("port=70000", "port must be a whole number"),
        ("reverse=true", "must come with track="),
        ("run=[]", "run must be a run"),
        ("wrong=1", "unknown key"),
    ],
)
def test_wrong_options_are_said_in_one_line(words: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["play", "open=false", "port=0", f"paths.outputs={tmp_path}", *words.split()]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert said in error
    assert not any(tmp_path.iterdir())
