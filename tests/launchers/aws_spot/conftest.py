"""moto's server, an account in it with the stack, and instances that really run."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import boto3
import pytest
import requests

from racing_launchers.aws_spot.account.bucket import ensure
from racing_launchers.aws_spot.account.client import Aws
from racing_launchers.aws_spot.account.stack import deploy
from tests.launchers.aws_spot.instances.host import Host, hindrance

REGION = "us-east-1"
BUCKET = "racing-tests"
IMAGE = "ami-12c6146b"  # one that moto knows
EXPIRED = (
    "<ErrorResponse><Error><Type>Sender</Type><Code>ExpiredToken</Code>"
    "<Message>The security token included in the request is expired</Message></Error></ErrorResponse>"
)


@pytest.fixture(scope="session")
def moto() -> Iterator[str]:
    """Address of a server that is AWS, but for spot notices and quotas."""
    from moto.server import ThreadedMotoServer

    # Without a handler of ours, its own one writes each request to the stderr of whichever test came first.
    requests_log = logging.getLogger("werkzeug")
    requests_log.addHandler(logging.NullHandler())
    requests_log.setLevel(logging.WARNING)
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def aws(moto: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """An empty account, which boto3 finds; returns the address."""
    requests.post(f"{moto}/moto-api/reset")
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.delenv(name, raising=False)
    settings = {
        "AWS_ENDPOINT_URL": moto,
        "AWS_ACCESS_KEY_ID": "AKIAUSER",
        "AWS_SECRET_ACCESS_KEY": "secret/of/the/user",
        "AWS_DEFAULT_REGION": REGION,
        "AWS_CONFIG_FILE": str(tmp_path / "none"),
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "none"),
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    # moto takes a policy's "deny without TLS" for "deny": it does not look at conditions.
    monkeypatch.setattr("racing_launchers.aws_spot.account.bucket.tls_only", harmless)
    return moto


def harmless(name: str, partition: str) -> dict[str, Any]:
    arn = f"arn:{partition}:s3:::{name}"
    allow = {"Effect": "Allow", "Principal": "*", "Action": "s3:*", "Resource": [arn, f"{arn}/*"]}
    return {"Version": "2012-10-17", "Statement": [allow]}


@pytest.fixture
def client(aws: str) -> Any:
    """client("ec2"): of this account."""
    return lambda service: boto3.client(service, region_name=REGION)


@pytest.fixture
def stack(aws: str, client: Any, monkeypatch: pytest.MonkeyPatch) -> str:
    """The stack and the bucket, whose name it returns."""
    monkeypatch.setattr("racing_launchers.aws_spot.account.stack.TRIES", {"Delay": 0.05, "MaxAttempts": 100})
    ec2 = client("ec2")
    vpc = ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
    subnets = [one["SubnetId"] for one in ec2.describe_subnets()["Subnets"]][:2]
    account = Aws(REGION)
    ensure(account, BUCKET, "racing")
    parameters = {"Project": "racing", "Bucket": BUCKET, "VpcId": vpc, "SubnetIds": ",".join(subnets), "ImageId": IMAGE}
    deploy(account, "racing", parameters)
    return BUCKET


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
