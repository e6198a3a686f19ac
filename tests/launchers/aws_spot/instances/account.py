"""An account of AWS for tests: moto's server, and in it the stack and the bucket."""

from __future__ import annotations

import contextlib
import functools
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
import requests
from botocore.loaders import JSONFileLoader
from moto.core.types import Base64EncodedString
from moto.ec2.models import amis
from moto.ec2.models.launch_templates import LaunchTemplateVersion

from racing_launchers.aws_spot.account.bucket import ensure
from racing_launchers.aws_spot.account.client import Aws
from racing_launchers.aws_spot.account.stack import deploy

REGION = "us-east-1"
BUCKET = "racing-tests"
IMAGE = "ami-12c6146b"  # one that moto knows


@contextlib.contextmanager
def serve() -> Iterator[str]:
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


def enter(url: str, folder: Path, patch: pytest.MonkeyPatch) -> None:
    """Be a user of an empty account, which boto3 finds. folder: without settings of AWS's own tools."""
    be_quick(patch)
    requests.post(f"{url}/moto-api/reset")
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
        patch.delenv(name, raising=False)
    settings = {
        "AWS_ENDPOINT_URL": url,
        "AWS_ACCESS_KEY_ID": "AKIAUSER",
        "AWS_SECRET_ACCESS_KEY": "secret/of/the/user",
        "AWS_DEFAULT_REGION": REGION,
        "AWS_CONFIG_FILE": str(folder / "none"),
        "AWS_SHARED_CREDENTIALS_FILE": str(folder / "none"),
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    for name, value in settings.items():
        patch.setenv(name, value)
    # moto takes a policy's "deny without TLS" for "deny": it does not look at conditions.
    patch.setattr("racing_launchers.aws_spot.account.bucket.tls_only", harmless)
    # moto launches no instance by a launch template that has user data: it takes them for what it decodes itself.
    patch.setattr(LaunchTemplateVersion, "user_data", property(lambda version: encoded(version.data.get("UserData"))))


def be_quick(patch: pytest.MonkeyPatch) -> None:
    """A new account of moto has thousands of images, a new session of boto3 reads megabytes: neither anew each time."""
    patch.setattr(amis, "AMIS", [image for image in amis.AMIS if image["ami_id"] == IMAGE])
    patch.setenv("MOTO_AMIS_PATH", "")  # no more of them by region
    patch.setattr(JSONFileLoader, "load_file", lambda _, path: read_once(path))


@functools.cache
def read_once(path: str, real: Any = JSONFileLoader.load_file) -> Any:
    """What describes a service, which nobody changes."""
    return real(JSONFileLoader(), path)


def encoded(text: Any) -> Any:
    return Base64EncodedString(text) if isinstance(text, str) else text


def harmless(name: str, partition: str) -> dict[str, Any]:
    arn = f"arn:{partition}:s3:::{name}"
    allow = {"Effect": "Allow", "Principal": "*", "Action": "s3:*", "Resource": [arn, f"{arn}/*"]}
    return {"Version": "2012-10-17", "Statement": [allow]}


def client(service: str) -> Any:
    """client("ec2"): of this account."""
    return boto3.client(service, region_name=REGION)


def make_stack(patch: pytest.MonkeyPatch) -> str:
    """The stack and the bucket, whose name it returns."""
    patch.setattr("racing_launchers.aws_spot.account.stack.TRIES", {"Delay": 0.05, "MaxAttempts": 100})
    ec2 = client("ec2")
    vpc = ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
    subnets = [one["SubnetId"] for one in ec2.describe_subnets()["Subnets"]][:2]
    account = Aws(REGION)
    ensure(account, BUCKET, "racing")
    parameters = {"Project": "racing", "Bucket": BUCKET, "VpcId": vpc, "SubnetIds": ",".join(subnets), "ImageId": IMAGE}
    deploy(account, "racing", parameters)
    return BUCKET
