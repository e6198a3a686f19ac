"""The script that instances are started with: its own S3 client signs as botocore does; what is put into it is safe."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.auth import S3SigV4Auth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from racing.errors import InputError
from racing_launchers.aws_spot.instance.metadata import Metadata
from racing_launchers.aws_spot.instance.user_data import LARGEST, user_data
from tests.launchers.aws_spot.instances.account import IMAGE
from tests.launchers.aws_spot.instances.metadata import Service, credentials
from tests.test_shell_scripts import shell_problems

VALUES = {
    "bucket": "my-bucket",
    "region": "us-east-1",
    "spec": "code/s-1/0/1.json",
    "spec_sha256": "0" * 64,
    "code": "code/c.tar.gz",
    "code_sha256": "1" * 64,
    "boot_log": "runs/s-1/0/boot-1.log",
    "group": "",
}


def script(*setup: str, **values: str) -> str:
    return user_data(setup=setup, timeout_s=3600, **VALUES | values)


@pytest.fixture
def service() -> Iterator[Service]:
    running = Service(None, "i-1", "g5.xlarge", "the-role")
    yield running
    running.close()


@pytest.fixture
def call(service: Service, tmp_path: Path) -> Any:
    """call(arguments, endpoint): the S3 client of the script, as the script writes it."""
    code = re.search(r"s3\.py <<'PYTHON'\n(.*?)\nPYTHON\n", script(), re.DOTALL)
    assert code is not None
    (tmp_path / "s3.py").write_text(code[1])
    port = service.server.server_address[1]
    environment = {"BUCKET": "my-bucket", "AWS_DEFAULT_REGION": "us-east-1"}
    environment |= {"AWS_EC2_METADATA_SERVICE_ENDPOINT": f"http://127.0.0.1:{port}"}

    def run(*arguments: str, endpoint: str = "") -> subprocess.CompletedProcess[bytes]:
        command = [sys.executable, "-I", str(tmp_path / "s3.py"), *arguments]
        more = {"AWS_ENDPOINT_URL": endpoint} if endpoint else {}
        return subprocess.run(command, env=environment | more, capture_output=True)

    return run


def test_it_reads_and_writes_objects(call: Any, client: Any, aws: str, tmp_path: Path):
    client("s3").create_bucket(Bucket="my-bucket")
    (tmp_path / "log").write_bytes(b"x" * 200_000 + b"the end")
    done = call("put", "runs/s-1/0/boot-1.log", str(tmp_path / "log"), endpoint=aws)
    assert done.returncode == 0, done.stderr
    done = call("get", "runs/s-1/0/boot-1.log", endpoint=aws)
    assert len(done.stdout) == 100_000
    assert done.stdout.endswith(b"the end")
    assert call("meta", "instance-type").stdout == b"g5.xlarge\n"
    assert call("get", "none", endpoint=aws).returncode != 0


END = b"Action=SetDesiredCapacity&AutoScalingGroupName=racing-s-1&DesiredCapacity=0&Version=2011-01-01"


@pytest.mark.parametrize(("method", "body"), [("GET", b""), ("PUT", b"text"), ("POST", END)])
def test_it_signs_as_botocore_does(method: str, body: bytes, call: Any, tmp_path: Path):
    """moto takes any signature: so what is sent is compared."""
    import socket
    import threading

    listening = socket.create_server(("127.0.0.1", 0))
    port, heard = listening.getsockname()[1], []

    def answer() -> None:
        line, _ = listening.accept()
        heard.append(line.recv(1 << 16).decode())
        line.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        line.close()

    thread = threading.Thread(target=answer)
    thread.start()
    (tmp_path / "log").write_bytes(body)
    key = "code/a b+c.json"
    commands = {"GET": ["get", key], "PUT": ["put", key, str(tmp_path / "log")], "POST": ["end", "racing-s-1"]}
    assert call(*commands[method], endpoint=f"http://127.0.0.1:{port}").returncode == 0
    thread.join()
    listening.close()
    about, _, sent_body = heard[0].partition("\r\n\r\n")
    assert sent_body.encode() in (body, b"")  # it may come by itself
    first, *lines = about.splitlines()
    sent = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    assert first.split()[0] == method
    url = f"http://127.0.0.1:{port}{first.split()[1]}"
    keys = credentials()
    known = Credentials(keys["AccessKeyId"], keys["SecretAccessKey"], keys["Token"])
    auth = SigV4Auth(known, "autoscaling", "us-east-1") if method == "POST" else S3SigV4Auth(known, "s3", "us-east-1")
    kept = ("x-amz-content-sha256", "x-amz-date", "x-amz-security-token")
    request = AWSRequest(method, url, headers={name: sent[name] for name in kept}, data=body)
    request.context["timestamp"] = sent["x-amz-date"]
    text = auth.string_to_sign(request, auth.canonical_request(request))
    assert sent["authorization"].rpartition("Signature=")[2] == auth.signature(text, request)
    assert sent["authorization"].partition("Credential=")[2].startswith(f"{keys['AccessKeyId']}/")


def test_it_ends_its_group(call: Any, client: Any, stack: str, aws: str):
    image = {"ImageId": IMAGE, "InstanceType": "c7i.xlarge"}
    client("ec2").create_launch_template(LaunchTemplateName="plain", LaunchTemplateData=image)
    zones = {"AvailabilityZones": ["us-east-1a"], "LaunchTemplate": {"LaunchTemplateName": "plain", "Version": "1"}}
    scaling = client("autoscaling")
    for name in ("mine", "other"):
        scaling.create_auto_scaling_group(AutoScalingGroupName=name, MinSize=0, MaxSize=1, DesiredCapacity=1, **zones)
    done = call("end", "mine", endpoint=aws)
    assert done.returncode == 0, done.stderr
    found = {one["AutoScalingGroupName"]: one for one in scaling.describe_auto_scaling_groups()["AutoScalingGroups"]}
    assert {name: one["DesiredCapacity"] for name, one in found.items()} == {"mine": 0, "other": 1}


def test_notices(service: Service, monkeypatch: pytest.MonkeyPatch):
    port = service.server.server_address[1]
    monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", f"http://127.0.0.1:{port}")
    metadata = Metadata()
    assert metadata.notice(rebalance=True) is None
    service.tokens.clear()  # it is not known any more: another is taken
    assert metadata.get("instance-id") is None
    assert metadata.get("instance-id") == "i-1"
    service.values["events/recommendations/rebalance"] = '{"noticeTime": "2026-01-01T00:00:00Z"}'
    assert metadata.notice(rebalance=False) is None
    found = metadata.notice(rebalance=True)
    assert found is not None
    assert (found.why, found.until) == ("AWS recommends to leave the spot instance", None)
    service.values["spot/instance-action"] = '{"action": "terminate", "time": "2026-11-30T12:00:00Z"}'
    found = metadata.notice(rebalance=True)
    assert found is not None
    assert (found.why, found.until) == ("AWS takes the spot instance away", 1796040000.0)
    service.values["spot/instance-action"] = "soon"
    assert metadata.notice(rebalance=False).until > 1796040000.0  # type: ignore[union-attr]
    service.close()
    assert metadata.notice(rebalance=True) is None


def test_nobody_writes_a_script_through_a_name():
    with pytest.raises(ValueError, match="cannot stand in a script"):
        script(bucket="b'; rm -rf /; '")
    quoted = script("echo 'a' \"$HOME\" && false")
    assert "bash -Eeuo pipefail -c 'echo '\"'\"'a'\"'\"' \"$HOME\" && false'" in quoted
    assert re.findall(r"@[A-Z0-9_]+@", quoted) == []


def test_a_script_that_is_too_long_is_refused():
    with pytest.raises(InputError, match=rf"launcher\.setup makes the user data .* bytes long, AWS takes {LARGEST:,}"):
        script("x" * LARGEST)


def test_shell_and_unit_are_sound(tmp_path: Path):
    """As far as tools for that are here."""
    (tmp_path / "user_data").write_text(script("true", "echo 'a' \"$HOME\" && false"))
    assert shell_problems(tmp_path / "user_data") == ""
    if shutil.which("systemd-analyze"):
        unit = re.search(r"racing-job\.service <<'UNIT'\n(.*?)\nUNIT\n", script(), re.DOTALL)
        assert unit is not None
        text = unit[1].replace("/opt/racing/venv/bin/python", sys.executable).replace("/opt/racing", str(tmp_path))
        (tmp_path / "racing-job.service").write_text(text)
        command = ["systemd-analyze", "verify", "--man=no", str(tmp_path / "racing-job.service")]
        done = subprocess.run(command, capture_output=True, text=True)
        assert "racing-job" not in done.stdout + done.stderr


def test_what_looks_after_a_job_does_not_load_what_trains():
    """Every instance starts it once, while nothing is done that one pays for."""
    code = "import racing_launchers.aws_spot.instance.worker, sys; print(*{'numba', 'scipy', 'torch'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, "")
