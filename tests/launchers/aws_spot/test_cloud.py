"""`racing cloud`: the stack and the bucket come, are looked at, and go."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from racing.cli import main
from racing.commands.cloud.find import spot_roles
from racing.errors import InputError
from racing_launchers.aws_spot.account import bucket
from racing_launchers.aws_spot.account.client import Aws
from racing_launchers.aws_spot.account.stack import read_stack
from tests.launchers.aws_spot.conftest import EXPIRED
from tests.launchers.aws_spot.instances.account import IMAGE, REGION

OWN = f"racing-123456789012-{REGION}"  # moto's account


@pytest.fixture
def up(aws: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    monkeypatch.setattr("racing_launchers.aws_spot.account.stack.TRIES", {"Delay": 0.05, "MaxAttempts": 100})
    assert main(["cloud", "up", f"image={IMAGE}"]) == 0
    return capsys.readouterr().out


def test_up_makes_all_of_it(up: str, client: Any):
    assert f"s3://{OWN} made" in up
    found = read_stack(Aws(REGION), "racing")
    assert found.bucket == OWN
    assert len(found.subnets) == len(client("ec2").describe_subnets()["Subnets"])
    version = client("ec2").describe_launch_template_versions(LaunchTemplateId=found.template)["LaunchTemplateVersions"]
    data = version[0]["LaunchTemplateData"]
    assert data["ImageId"] == IMAGE
    assert data["InstanceInitiatedShutdownBehavior"] == "terminate"
    assert data["MetadataOptions"]["HttpTokens"] == "required"
    assert data["BlockDeviceMappings"][0]["Ebs"]["Encrypted"] is True
    group = client("ec2").describe_security_groups(GroupIds=data["SecurityGroupIds"])["SecurityGroups"][0]
    assert group["IpPermissions"] == []
    s3 = client("s3")
    assert s3.get_bucket_versioning(Bucket=OWN)["Status"] == "Enabled"
    assert all(s3.get_public_access_block(Bucket=OWN)["PublicAccessBlockConfiguration"].values())
    encrypted = s3.get_bucket_encryption(Bucket=OWN)["ServerSideEncryptionConfiguration"]["Rules"][0]
    assert encrypted["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"] == "AES256"
    rules = s3.get_bucket_lifecycle_configuration(Bucket=OWN)["Rules"]
    assert {rule["ID"] for rule in rules} == {"racing-old", "racing-code"}


def test_who_may_not_make_the_roles_of_spot_goes_on_without(
    aws: str,
    monkeypatch: pytest.MonkeyPatch,
    answering: Callable[[int, str], str],
):
    """They are mostly there already."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_IAM", answering(403, EXPIRED.replace("ExpiredToken", "AccessDenied")))
    spot_roles(Aws(REGION))


def test_nobody_speaks_to_the_bucket_without_tls():
    (deny,) = bucket.tls_only("b", "aws")["Statement"]
    assert (deny["Effect"], deny["Principal"], deny["Action"]) == ("Deny", "*", "s3:*")
    assert deny["Resource"] == ["arn:aws:s3:::b", "arn:aws:s3:::b/*"]
    assert deny["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}


def test_up_again_changes_nothing_and_loses_nothing(up: str, client: Any, capsys: pytest.CaptureFixture[str]):
    client("s3").put_object(Bucket=OWN, Key="runs/mine", Body=b"1")
    assert main(["cloud", "up", f"image={IMAGE}"]) == 0
    assert f"s3://{OWN} brought up to date" in capsys.readouterr().out
    assert client("s3").get_object(Bucket=OWN, Key="runs/mine")["Body"].read() == b"1"


def test_status_ls_and_down(up: str, client: Any, capsys: pytest.CaptureFixture[str]):
    assert main(["cloud", "status"]) == 0
    said = capsys.readouterr().out
    assert "racing CREATE_COMPLETE" in said
    assert f"s3://{OWN} is as it should be" in said
    tags = [{"Key": "racing:project", "Value": "racing"}, {"Key": "racing:sweep", "Value": "s-1"}]
    spec = [{"ResourceType": "instance", "Tags": [*tags, {"Key": "racing:job", "Value": "3"}]}]
    client("ec2").run_instances(ImageId=IMAGE, InstanceType="g5.xlarge", MinCount=1, MaxCount=1, TagSpecifications=spec)
    client("ec2").run_instances(ImageId=IMAGE, InstanceType="t3.micro", MinCount=1, MaxCount=1)  # somebody's
    assert main(["cloud", "ls"]) == 0
    said = capsys.readouterr().out
    assert "s-1 job 3; not of " in said
    assert f"1 instance of racing in {REGION}, 1.01 $/h" in said
    assert main(["cloud", "down"]) == 2
    assert "racing still has 1 instance at work; racing jobs cancel SWEEP, or" in capsys.readouterr().err
    assert main(["cloud", "down", "force=true"]) == 0
    assert f"bucket s3://{OWN} stays" in capsys.readouterr().out
    states = {
        instance["InstanceType"]: instance["State"]["Name"]
        for reservation in client("ec2").describe_instances()["Reservations"]
        for instance in reservation["Instances"]
    }
    assert states == {"g5.xlarge": "terminated", "t3.micro": "running"}
    client("s3").head_bucket(Bucket=OWN)
    assert main(["cloud", "status"]) == 1
    with pytest.raises(InputError, match="launcher.stack=racing is not in us-east-1; racing cloud up racing region="):
        read_stack(Aws(REGION), "racing")


def test_doctor_says_what_is_missing_and_prints_the_rights(
    up: str, client: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert main(["cloud", "doctor"]) == 0
    said = capsys.readouterr().out
    assert said.count("ok ") == 4
    policy = json.loads(said[said.index("{") :])
    by_sid = {one["Sid"]: one for one in policy["Statement"]}
    assert by_sid["EndOurs"]["Condition"] == {"StringEquals": {"aws:ResourceTag/racing:project": "racing"}}
    assert by_sid["RolesOfJobs"]["Condition"]["StringEquals"]["iam:PermissionsBoundary"].endswith(
        ":policy/racing/racing-job-boundary"
    )
    assert by_sid["Objects"]["Resource"] == [f"arn:aws:s3:::{OWN}/*"]
    assert len(json.dumps(policy)) < 6144  # what AWS takes for a managed policy
    client("s3").put_bucket_versioning(Bucket=OWN, VersioningConfiguration={"Status": "Suspended"})
    assert main(["cloud", "doctor", "policy=setup", "instance_types=[g5.tiny]"]) == 1
    said = capsys.readouterr().out
    assert f"missing  bucket: bucket {OWN} must keep versions" in said
    assert "launcher.instance_types has 'g5.tiny', which is not in us-east-1" in said
    assert len(json.dumps(json.loads(said[said.index("{") :]))) < 6144


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["up", "image=ami-00000000000000000"], "image 'ami-00000000000000000' is not in us-east-1"),
        (["up", "vpc=vpc-1"], "vpc-1 has no subnet in this region"),
        (["up", "subnets=[subnet-1]"], "subnet 'subnet-1' is none of vpc-"),
        (["up"], "AWS names no image with NVIDIA's driver in us-east-1; name one with image=ami-..."),
        (["up", "bucket=My_Bucket"], "bucket must be the name of a bucket, 3 to 63 of a-z, 0-9 and -, got 'My_Bucket'"),
        (["up", "volume_gib=10"], "volume_gib must be a whole number in [20, 1000] GiB, got 10"),
        (["up", "region=eu-zentral-1"], "'eu-zentral-1' is no region of AWS; did you mean eu-central-1?"),
        (["up", "Racing"], "stack must be 2 to 21 of a-z, 0-9 and -, a letter first, got 'Racing'"),
        (["up", "profile=nobody"], "launcher.profile=nobody is not in ~/.aws/config"),
        (
            ["down", "image=x"],
            "unknown key 'image'; racing cloud down takes stack, region, profile, force",
        ),
        (["doctor", "policy=all"], "policy must be launch or setup, got 'all'"),
        (["raise"], "unknown action 'raise'"),
        ([], "missing action; one of up, status, ls, doctor, down"),
    ],
)
def test_wrong_input(arguments: list[str], text: str, aws: str, client: Any, capsys: pytest.CaptureFixture[str]):
    assert main(["cloud", *arguments]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert text in line
    assert client("cloudformation").describe_stacks()["Stacks"] == []
    assert client("s3").list_buckets()["Buckets"] == []
