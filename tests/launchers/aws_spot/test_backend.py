"""Jobs on instances: every way to end, fenced, cancelled, looked after from anywhere, told secrets."""

from __future__ import annotations

import base64
import hashlib
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from racing.cli import main
from racing.errors import JobsFailed
from racing_launchers.aws_spot.account.objects import Objects
from racing_launchers.aws_spot.launches import Launches
from racing_launchers.aws_spot.place import Place, Writer
from racing_launchers.sweep import Job, Sweep
from racing_launchers.watch import report_failures
from tests.launchers.aws_spot.driving import run
from tests.launchers.aws_spot.instances.account import IMAGE
from tests.launchers.aws_spot.instances.host import Host, wait
from tests.launchers.payloads import Act, endings

pytestmark = pytest.mark.slow


def jobs_verb(tmp_path: Path, action: str, *arguments: str) -> int:
    return main(["jobs", action, "acts", *arguments, f"paths.outputs={tmp_path}"])


def place_of(job: Job, client: Any, bucket: str) -> Place:
    return Place(Objects(client("s3"), bucket), job.folder.attempt["handle"]["place"])


def begun(job: Job, client: Any, bucket: str) -> bool:
    """Whether the job has begun, as the newest commit knows it."""
    snapshot = place_of(job, client, bucket).snapshot()
    return snapshot is not None and any(file.path.endswith("/attempts.txt") for file in snapshot.files())


def test_every_way_to_end_is_told_and_harms_no_other(host: Host, client: Any, tmp_path: Path):
    sweep, jobs = run(tmp_path, [Act("work"), Act("fail"), Act("refuse"), Act("die")])
    assert endings(jobs) == ["DONE", "FAILED", "REFUSED", "FAILED"]
    assert jobs[0].folder.result["value"] == 0.5
    with pytest.raises(JobsFailed) as told:
        report_failures(sweep, jobs, max_resubmits=0)
    lines = str(told.value).splitlines()
    assert "failed, RuntimeError: the engine; log: " in lines[1]
    assert "refused, fuel must be > 0, got 0; refuel" in lines[2]
    assert "failed, killed by SIGKILL: out of memory, or by hand" in lines[3]
    assert "is broken" in jobs[1].folder.log.read_text()
    assert "I work" in jobs[0].folder.log.read_text()
    assert [job.folder.attempts for job in jobs] == [1] * 4  # what a job raises is not tried again
    wait(lambda: not host.alive, "all have ended themselves")
    for machine in host.machines.values():
        assert machine.ending == "off"
        assert int((machine.folder / "dead-man").read_text().strip().lstrip("+")) == 720 + 15
        assert machine.metadata.refused == []  # nobody asks without a token
    assert all(launch["ended"] for job in jobs for launch in Launches(job).all)
    assert client("iam").list_roles(PathPrefix="/racing/")["Roles"] == []
    assert client("iam").list_instance_profiles(PathPrefix="/racing/")["InstanceProfiles"] == []


def test_what_an_instance_is_started_with_holds_no_secret(
    host: Host, stack: str, client: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    client("ssm").put_parameter(Name="/racing/told", Type="SecureString", Value="hush-hush")
    run(tmp_path, [Act("told")], "secrets={TOLD_TO_JOBS: ssm:/racing/told}")
    (job,) = Sweep(tmp_path / "sweeps/acts").jobs
    assert job.folder.result["value"] == "hush-hush"  # the job got it, and has given it away itself
    (machine,) = host.machines.values()
    said = capsys.readouterr()
    written = [said.out, said.err, repr(machine.tags), machine.console, (machine.folder / "user_data").read_text()]
    written += [(machine.folder / "etc/racing/job.env").read_text(), (tmp_path / "sweeps/acts/sweep.json").read_text()]
    handle = job.folder.attempt["handle"]
    objects = Objects(client("s3"), stack)
    written += [(objects.read(file.path) or b"").decode(errors="replace") for file in objects.list("code/")]
    assert [text for text in written if "hush-hush" in text] == []
    spec = objects.read(handle["spec"]) or b""
    assert hashlib.sha256(spec).hexdigest() == handle["spec_sha256"]
    assert b"ssm:/racing/told" in spec
    assert machine.tags["racing:project"] == "racing"
    assert (machine.tags["racing:sweep"], machine.tags["racing:job"]) == ("acts", "0")


def test_submitted_and_left_a_sweep_is_looked_after_from_elsewhere(
    host: Host, stack: str, client: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    _, jobs = run(tmp_path, [Act("last", then="work"), Act("last"), Act("work")], "wait=false", "max_instances=2")
    assert "racing jobs status | logs | collect | cancel acts" in capsys.readouterr().out
    wait(lambda: all(begun(job, client, stack) for job in jobs[:2]), "two have begun")
    assert Launches(jobs[2]).current is None  # no more than two at a time
    first = next(machine for machine in host.alive if machine.tags["racing:job"] == "0")
    first.metadata.values["events/recommendations/rebalance"] = '{"noticeTime": "2026-01-01T00:00:00Z"}'
    assert jobs_verb(tmp_path, "cancel", "job=1") == 0
    wait(lambda: len(host.alive) == 0, "both have saved their state and left")
    assert jobs_verb(tmp_path, "status") == 0
    assert jobs_verb(tmp_path, "collect", "wait=true") == 1
    assert endings(jobs) == ["DONE", "STOPPED", "DONE"]
    assert [job.folder.attempts for job in jobs] == [2, 1, 1]
    assert jobs[1].folder.result["error"] == "cancelled: stopped on SIGTERM, state saved"
    assert (jobs[0].folder.path / "attempts.txt").read_text() == "last\nlast\n"
    capsys.readouterr()
    assert jobs_verb(tmp_path, "logs", "job=0") == 0
    said = capsys.readouterr().out
    assert "stopped on SIGTERM, state saved" in said
    assert "attempt 2" in said
    assert "I work" in said


def test_two_instances_never_write_one_job(host: Host, stack: str, client: Any, tmp_path: Path):
    """The second one of an attempt ends itself; the first does when the next attempt has taken the job over."""
    _, (job,) = run(tmp_path, [Act("last")], "wait=false")
    wait(lambda: begun(job, client, stack), "it has begun")
    (first,) = host.alive
    script = (first.folder / "user_data").read_text()
    client("ec2").run_instances(ImageId=IMAGE, InstanceType="c7i.xlarge", MinCount=1, MaxCount=1, UserData=script)
    wait(lambda: len(host.machines) == 2, "the second boots")
    second = next(machine for machine in host.machines.values() if machine.id != first.id)
    wait(lambda: second.ending, "the second has left")
    assert "left with 3" in second.console
    assert first.ending == ""
    place = place_of(job, client, stack)
    assert place.latest()[0].instance == first.id  # type: ignore[index]
    Writer(place, 2, "i-0123456789abcdef0")
    wait(lambda: first.ending, "the first has left")
    assert "left with 3" in first.console
    assert place.latest()[0].instance == "i-0123456789abcdef0"  # type: ignore[index]
    log = (first.folder / "var/log/racing.log").read_text()
    assert "i-0123456789abcdef0 has the job now: this instance ends" in log


def test_the_program_that_looks_after_the_job_dies(host: Host, stack: str, client: Any, tmp_path: Path):
    """systemd starts it again, and what is on the disk, which is newer than the bucket, counts."""
    _, (job,) = run(tmp_path, [Act("last", then="work")], "wait=false")
    wait(lambda: begun(job, client, stack), "it has begun")
    (machine,) = host.alive
    worker = machine.pid_of("racing_launchers.aws_spot.instance.worker")
    os.kill(worker, signal.SIGKILL)
    assert jobs_verb(tmp_path, "collect", "wait=true") == 0
    assert endings([job]) == ["DONE"]
    assert (job.folder.attempts, len(host.machines)) == (1, 1)
    assert (job.folder.path / "attempts.txt").read_text() == "last\nlast\n"
    assert "left with -9" in (machine.folder / "console.log").read_text()


def test_an_instance_that_cannot_be_set_up_is_not_paid_for_again_and_again(
    host: Host, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    _, (job,) = run(tmp_path, [Act("work")], "setup=['echo no such disk; false']")
    assert endings([job]) == ["FAILED"]
    assert len(host.machines) == 2
    assert "its instance could not be set up: " in job.folder.result["error"]
    assert "racing: the instance could not be set up, line" in job.folder.result["error"]
    capsys.readouterr()
    assert jobs_verb(tmp_path, "logs") == 0
    assert "no such disk" in capsys.readouterr().out


def test_user_data_can_be_read_by_aws(host: Host, client: Any, tmp_path: Path):
    run(tmp_path, [Act("work")], "timeout_min=30", "packages=[einops]")
    (machine,) = host.machines.values()
    asked = client("ec2").describe_instance_attribute(InstanceId=machine.id, Attribute="userData")
    text = base64.b64decode(asked["UserData"]["Value"]).decode()
    assert len(text) < 16_384
    assert (machine.folder / "dead-man").read_text().strip() == "+45"
    packages = (machine.folder / "requirements.txt").read_text().splitlines()
    assert any(line.startswith("numpy==") and "--hash=sha256:" in line for line in packages)
    assert any(line.startswith("boto3==") for line in packages)
    assert "einops" in packages
    assert (machine.folder / "uv.log").read_text().startswith("venv --quiet --python 3.")
