"""Who an instance is: a role of the job's own, which reads code/* and writes the job's place, and nothing else.

An instance needs no right to end itself: it is shut down, and its launch template says that this terminates it. The
roles' boundary, made once with the stack, is the most that any of them may ever do.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from racing_launchers.aws_spot.account.client import answered, code_of
from racing_launchers.aws_spot.account.secrets import SSM, split

PATH = "/racing/"  # of all our roles and profiles
THERE = "EntityAlreadyExists"
GONE = "NoSuchEntity"
LONGEST = 64  # characters of a role's name


def role_name(stack: str, place: str) -> str:
    """Of the job at that place; its profile is called the same."""
    sweep, _, number = place.rpartition("/")
    end = f"-{sweep.rpartition('-')[2]}-{number}"  # the token makes it unique
    start = re.sub(r"[^A-Za-z0-9+=,.@_-]", "-", f"{stack}-{sweep.rpartition('-')[0]}")
    return f"{start[: LONGEST - len(end)]}{end}"


def trust() -> dict[str, Any]:
    """Who may take the role: instances."""
    allow = {"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}
    return {"Version": "2012-10-17", "Statement": [allow]}


def job_policy(
    bucket: str,
    place: str,
    tracks: str,
    secrets: Mapping[str, str],
    group: str = "",
    *,
    partition: str,
    region: str,
    account: str,
) -> dict[str, Any]:
    """What the instance of one job may do.

    tracks: folder of the bucket; '' where it needs none.
    group: Auto Scaling group that it ends, which has at most one instance whatever is desired; '' where there is none.
    """
    arn = f"arn:{partition}:s3:::{bucket}"
    read = [f"{arn}/code/*", f"{arn}/runs/{place}/*", *([f"{arn}/{tracks}/*"] if tracks else [])]
    prefixes = ["code/*", f"runs/{place}/*"]
    statements: list[dict[str, Any]] = [
        {"Sid": "Read", "Effect": "Allow", "Action": ["s3:GetObject", "s3:GetObjectVersion"], "Resource": read},
        {"Sid": "Write", "Effect": "Allow", "Action": ["s3:PutObject"], "Resource": [f"{arn}/runs/{place}/*"]},
        {
            "Sid": "TellAbsent",  # without it a missing object looks like a forbidden one
            "Effect": "Allow",
            "Action": ["s3:ListBucket"],
            "Resource": [arn],
            "Condition": {"StringLike": {"s3:prefix": prefixes}},
        },
    ]
    named = [split(name) for name in secrets.values()]
    parameters = [name.lstrip("/") for service, name in named if service == SSM]
    others = [name for service, name in named if service != SSM]
    place_of = f"{partition}:{{}}:{region}:{account}"
    if parameters:
        base = f"arn:{place_of.format('ssm')}:parameter"
        resources = [f"{base}/{name}" for name in parameters]
        statements.append(
            {"Sid": "Parameters", "Effect": "Allow", "Action": ["ssm:GetParameter"], "Resource": resources}
        )
    if others:
        base = f"arn:{place_of.format('secretsmanager')}:secret"
        resources = [f"{base}:{name}-??????" for name in others]
        action = ["secretsmanager:GetSecretValue"]
        statements.append({"Sid": "Secrets", "Effect": "Allow", "Action": action, "Resource": resources})
    if group:
        resources = [f"arn:{place_of.format('autoscaling')}:autoScalingGroup:*:autoScalingGroupName/{group}"]
        action = ["autoscaling:SetDesiredCapacity"]
        statements.append({"Sid": "EndGroup", "Effect": "Allow", "Action": action, "Resource": resources})
    return {"Version": "2012-10-17", "Statement": statements}


def make_role(iam: Any, name: str, policy: Mapping[str, Any], *, boundary: str, stack: str) -> str:
    """Make the role and its instance profile, or bring them up to date; returns the name of the profile."""
    from botocore.exceptions import ClientError

    tags = [{"Key": "racing:project", "Value": stack}]
    steps = (
        (
            iam.create_role,
            {
                "RoleName": name,
                "Path": PATH,
                "AssumeRolePolicyDocument": json.dumps(trust()),
                "PermissionsBoundary": boundary,
                "Description": "An instance that does one job of racing",
                "Tags": tags,
            },
        ),
        (iam.put_role_policy, {"RoleName": name, "PolicyName": "job", "PolicyDocument": json.dumps(policy)}),
        (iam.create_instance_profile, {"InstanceProfileName": name, "Path": PATH, "Tags": tags}),
    )
    with answered(f"role {name}"):
        for step, arguments in steps:
            try:
                step(**arguments)
            except ClientError as error:
                if code_of(error) != THERE:
                    raise
        try:
            iam.add_role_to_instance_profile(InstanceProfileName=name, RoleName=name)
        except ClientError as error:
            if code_of(error) not in (THERE, "LimitExceeded"):  # a profile has one role: it has ours
                raise
    return name


def remove_role(iam: Any, name: str) -> None:
    """Remove a role of ours and its profile, as far as they are there."""
    steps = (
        (iam.remove_role_from_instance_profile, {"InstanceProfileName": name, "RoleName": name}),
        (iam.delete_instance_profile, {"InstanceProfileName": name}),
        (iam.delete_role_policy, {"RoleName": name, "PolicyName": "job"}),
        (iam.delete_role, {"RoleName": name}),
    )
    with answered(f"role {name}"):
        for step, arguments in steps:
            with absent_is_fine():
                step(**arguments)


def roles_of(iam: Any, stack: str) -> list[str]:
    """The names of the roles that jobs of a stack have left."""
    with answered("the roles of jobs"):
        pages = iam.get_paginator("list_roles").paginate(PathPrefix=PATH)
        names: Sequence[str] = [role["RoleName"] for page in pages for role in page["Roles"]]
    return [name for name in names if name.startswith(f"{stack}-")]


@contextlib.contextmanager
def absent_is_fine() -> Iterator[None]:
    """What is to be removed is not there."""
    from botocore.exceptions import ClientError

    try:
        yield
    except ClientError as error:
        if code_of(error) != GONE:
            raise
