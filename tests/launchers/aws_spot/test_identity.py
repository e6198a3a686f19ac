"""What an instance may do, as moto's IAM decides: read code, write its own job's place, and nothing else."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest
import requests
from botocore.exceptions import ClientError

from racing_launchers.aws_spot.account.client import DENIED
from racing_launchers.aws_spot.account.identity import (
    job_policy,
    make_role,
    remove_role,
    role_name,
    roles_of,
    trust,
)
from racing_launchers.aws_spot.account.objects import Objects
from racing_launchers.aws_spot.place import Commit, Place, Writer

PLACE = "s-1a2b3c4d-0f0f0f0f/3"
WHERE = {"partition": "aws", "region": "us-east-1", "account": "123456789012"}


@pytest.fixture
def instance(aws: str, stack: str, client: Any) -> Iterator[Callable[[str], Any]]:
    """instance("s3"): a client with the credentials of the job's role, while moto asks IAM."""
    name = role_name("racing", PLACE)
    policy = job_policy(stack, PLACE, "", {}, **WHERE)
    boundary = "arn:aws:iam::123456789012:policy/racing/racing-job-boundary"
    assert make_role(client("iam"), name, policy, boundary=boundary, stack="racing") == name
    for key in ("code/a.tar.gz", f"runs/{PLACE}/latest.json", "runs/s-other/0/latest.json", "mine"):
        client("s3").put_object(Bucket=stack, Key=key, Body=b"1")
    arn = client("iam").get_role(RoleName=name)["Role"]["Arn"]
    keys = client("sts").assume_role(RoleArn=arn, RoleSessionName="i-1")["Credentials"]
    requests.post(f"{aws}/moto-api/reset-auth", data=b"0")
    yield lambda service: boto3.client(
        service,
        region_name="us-east-1",
        aws_access_key_id=keys["AccessKeyId"],
        aws_secret_access_key=keys["SecretAccessKey"],
        aws_session_token=keys["SessionToken"],
    )
    requests.post(f"{aws}/moto-api/reset-auth", data=b"inf")


def test_it_may_do_what_its_job_needs(instance: Callable[[str], Any], stack: str):
    s3 = instance("s3")
    assert s3.get_object(Bucket=stack, Key="code/a.tar.gz")["Body"].read() == b"1"
    s3.put_object(Bucket=stack, Key=f"runs/{PLACE}/runs/x/journal.jsonl", Body=b"2")
    assert s3.get_object(Bucket=stack, Key=f"runs/{PLACE}/latest.json")["Body"].read() == b"1"
    # All that an instance does with its place, by the code that does it: nobody has wished to cancel.
    place = Place(Objects(s3, stack), PLACE)
    s3.put_object(Bucket=stack, Key=place.latest_key, Body=Commit().text())
    writer = Writer(place, 1, "i-1")
    entry = writer.upload("log.txt", b"line", 4, 0, hashlib.sha256(b"line").hexdigest())
    writer.commit({"log.txt": entry})
    snapshot = place.snapshot()
    assert snapshot is not None
    assert snapshot.read("log.txt") == b"line"  # in the version that was committed
    assert place.objects.read(place.cancel_key) is None


def test_it_lists_its_own_place_only():
    """moto does not look at conditions."""
    (listing,) = [one for one in job_policy("b", PLACE, "", {}, **WHERE)["Statement"] if one["Sid"] == "TellAbsent"]
    assert listing["Resource"] == ["arn:aws:s3:::b"]
    assert listing["Condition"] == {"StringLike": {"s3:prefix": ["code/*", f"runs/{PLACE}/*"]}}


def test_its_secrets_are_named_one_by_one():
    """moto does not look at the resources of SSM and Secrets Manager."""
    named = {"A": "ssm:/racing/mine", "B": "ssm:plain", "C": "secretsmanager:team/key"}
    statements = {one["Sid"]: one for one in job_policy("b", PLACE, "", named, **WHERE)["Statement"]}
    place = "us-east-1:123456789012"
    parameters = [f"arn:aws:ssm:{place}:parameter/racing/mine", f"arn:aws:ssm:{place}:parameter/plain"]
    assert statements["Parameters"]["Resource"] == parameters
    assert statements["Secrets"]["Resource"] == [f"arn:aws:secretsmanager:{place}:secret:team/key-??????"]
    assert {one["Sid"] for one in job_policy("b", PLACE, "", {}, **WHERE)["Statement"]} == {
        *("Read", "Write", "TellAbsent"),
    }


FORBIDDEN: list[tuple[str, str, dict[str, Any]]] = [
    ("s3", "put_object", {"Key": "code/a.tar.gz", "Body": b"3"}),
    ("s3", "delete_object", {"Key": "code/a.tar.gz"}),
    ("s3", "put_object", {"Key": "runs/s-other/0/latest.json", "Body": b"3"}),
    ("s3", "put_object", {"Key": "runs/s-1a2b3c4d-0f0f0f0f/30/latest.json", "Body": b"3"}),
    ("s3", "get_object", {"Key": "runs/s-other/0/latest.json"}),
    ("s3", "delete_object", {"Key": f"runs/{PLACE}/latest.json"}),
    ("s3", "put_object", {"Key": "mine", "Body": b"3"}),
    ("s3", "put_bucket_versioning", {"VersioningConfiguration": {"Status": "Suspended"}}),
    ("ec2", "terminate_instances", {"InstanceIds": ["i-0123456789abcdef0"]}),
    ("ec2", "run_instances", {"ImageId": "ami-12c6146b", "MinCount": 1, "MaxCount": 1}),
    ("iam", "create_user", {"UserName": "mallory"}),
    ("iam", "list_roles", {}),
    ("iam", "attach_role_policy", {"RoleName": "me", "PolicyArn": "arn:aws:iam::aws:policy/AdministratorAccess"}),
    ("sts", "assume_role", {"RoleArn": "arn:aws:iam::123456789012:role/other", "RoleSessionName": "mallory"}),
    ("ssm", "get_parameter", {"Name": "/racing/somebody", "WithDecryption": True}),
    ("secretsmanager", "get_secret_value", {"SecretId": "somebody"}),
    ("cloudformation", "delete_stack", {"StackName": "racing"}),
    ("autoscaling", "set_desired_capacity", {"AutoScalingGroupName": "racing-other", "DesiredCapacity": 9}),
]


def test_it_may_do_nothing_else(instance: Callable[[str], Any], stack: str):
    """One account for all of them: none changes anything.

    moto looks at actions, and at resources in S3. It looks at no condition: that what may be listed is the job's own
    (s3:prefix) is compared as text above.
    """
    assert len(FORBIDDEN) >= 15
    codes = []
    for service, action, arguments in FORBIDDEN:
        more = {"Bucket": stack} if service == "s3" else {}
        with pytest.raises(ClientError) as refused:
            getattr(instance(service), action)(**more, **arguments)
        codes.append(refused.value.response["Error"]["Code"])
    assert set(codes) <= {*DENIED}, codes


def test_only_instances_take_the_role_and_it_has_a_boundary(stack: str, client: Any):
    name = role_name("racing", PLACE)
    boundary = "arn:aws:iam::123456789012:policy/racing/racing-job-boundary"
    policy = job_policy(stack, PLACE, "tracks", {}, **WHERE)
    iam = client("iam")
    for _ in range(2):  # a second time changes nothing
        make_role(iam, name, policy, boundary=boundary, stack="racing")
    role = iam.get_role(RoleName=name)["Role"]
    assert role["PermissionsBoundary"]["PermissionsBoundaryArn"] == boundary
    assert role["Path"] == "/racing/"
    assert role["AssumeRolePolicyDocument"] == trust()
    profile = iam.get_instance_profile(InstanceProfileName=name)["InstanceProfile"]
    assert [one["RoleName"] for one in profile["Roles"]] == [name]
    assert roles_of(iam, "racing") == [name]
    assert roles_of(iam, "other") == []
    for _ in range(2):
        remove_role(iam, name)
    assert roles_of(iam, "racing") == []


@pytest.mark.parametrize(
    ("stack_name", "place"),
    [("racing", PLACE), ("r" * 21, "n" * 90 + "-1a2b3c4d-0f0f0f0f/9999"), ("racing", "a+b c-1a2b3c4d-0f0f0f0f/0")],
)
def test_names_of_roles(stack_name: str, place: str):
    name = role_name(stack_name, place)
    assert len(name) <= 64
    assert name.startswith(f"{stack_name}-")
    assert name.endswith(f"-0f0f0f0f-{place.rpartition('/')[2]}")
    assert re.fullmatch(r"[A-Za-z0-9+=,.@_-]+", name)  # what IAM takes
