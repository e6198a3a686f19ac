"""The metadata service (IMDSv2) of one instance, on a Unix socket: inside it is 169.254.169.254."""

from __future__ import annotations

import json
import secrets
import socketserver
import threading
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True


class Service:
    """socket: None: on a port of this machine.

    values: path below latest/meta-data -> text; what is not there is 404. refused: requests without a token.
    """

    def __init__(self, socket: Path | None, instance: str, kind: str, role: str) -> None:
        self.values: dict[str, str] = {"instance-id": instance, "instance-type": kind}
        if role:
            self.values["iam/security-credentials/"] = role
            self.values[f"iam/security-credentials/{role}"] = json.dumps(credentials())
        self.refused: list[str] = []
        self.tokens: set[str] = set()
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_PUT(self) -> None:
                assert self.path == "/latest/api/token"
                assert 1 <= int(self.headers["X-aws-ec2-metadata-token-ttl-seconds"]) <= 21600
                service.tokens.add(token := secrets.token_hex(8))
                self.answer(200, token)

            def do_GET(self) -> None:
                if self.headers.get("X-aws-ec2-metadata-token") not in service.tokens:
                    service.refused.append(self.path)
                    self.answer(401, "")
                    return
                text = service.values.get(self.path.removeprefix("/latest/meta-data/"))
                self.answer(404 if text is None else 200, text or "")

            def answer(self, code: int, text: str) -> None:
                self.send_response(code)
                self.send_header("Content-Length", str(len(text.encode())))
                self.end_headers()
                self.wfile.write(text.encode())

            def address_string(self) -> str:
                return "instance"

            def log_message(self, *arguments: Any) -> None:
                pass

        self.server = Server(str(socket), Handler) if socket else ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, args=[0.01], daemon=True).start()

    def notice(self, seconds: float = 120.0) -> None:
        """AWS takes the instance away."""
        when = datetime.now(UTC) + timedelta(seconds=seconds)
        self.values["spot/instance-action"] = json.dumps({"action": "terminate", "time": f"{when:%Y-%m-%dT%H:%M:%SZ}"})

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


def credentials() -> dict[str, str]:
    """Of the role, as the service gives them."""
    now = datetime.now(UTC)
    return {
        "Code": "Success",
        "LastUpdated": f"{now:%Y-%m-%dT%H:%M:%SZ}",
        "Type": "AWS-HMAC",
        "AccessKeyId": "ASIAINSTANCEROLE0000",
        "SecretAccessKey": "secret/of/the/role",
        "Token": "token-of-the-role",
        "Expiration": f"{now + timedelta(hours=6):%Y-%m-%dT%H:%M:%SZ}",
    }
