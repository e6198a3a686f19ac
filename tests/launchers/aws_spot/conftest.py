"""moto's server, an account in it with the stack, and instances that really run."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.launchers.aws_spot.instances import account
from tests.launchers.aws_spot.instances.host import Host, hindrance

EXPIRED = (
    "<ErrorResponse><Error><Type>Sender</Type><Code>ExpiredToken</Code>"
    "<Message>The security token included in the request is expired</Message></Error></ErrorResponse>"
)


@pytest.fixture(scope="session")
def moto() -> Iterator[str]:
    """Address of a server that is AWS, but for spot notices and quotas."""
    with account.serve() as url:
        yield url


@pytest.fixture
def aws(moto: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """An empty account, which boto3 finds; returns the address."""
    account.enter(moto, tmp_path, monkeypatch)
    return moto


@pytest.fixture
def client(aws: str) -> Any:
    """client("ec2"): of this account."""
    return account.client


@pytest.fixture
def stack(aws: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The stack and the bucket, whose name it returns."""
    return account.make_stack(monkeypatch)


@pytest.fixture
def answering() -> Iterator[Callable[[int, str], str]]:
    """answering(STATUS, TEXT): address of a service of AWS that says only that."""
    servers: list[ThreadingHTTPServer] = []

    def serve(status: int, text: str) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                self.send_response(status)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, *arguments: Any) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_address[1]}"

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def host(stack: str, aws: str, client: Any, tmp_path: Path) -> Iterator[Host]:
    """Instances run."""
    why = hindrance()
    if why:
        pytest.skip(f"instances in a box: {why}")
    with Host(client("ec2"), aws, tmp_path / "host") as running:
        yield running
