"""The stack of an account, infra/cloudformation.yaml: made, read, removed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from racing.config import PACKAGE
from racing.errors import InputError, require
from racing_launchers.aws_spot.account.client import Aws, answered, code_of, said

NAME = re.compile(r"[a-z][a-z0-9-]{1,20}")
DONE = ("CREATE_COMPLETE", "UPDATE_COMPLETE", "UPDATE_ROLLBACK_COMPLETE")
HALF = ("ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "CREATE_FAILED", "DELETE_FAILED")  # of no use, to be removed first
TRIES = {"Delay": 3, "MaxAttempts": 200}  # of a waiter: ten minutes


@dataclass(frozen=True)
class Stack:
    """What jobs need of it: its outputs."""

    name: str
    bucket: str
    subnets: tuple[str, ...]
    template: str
    version: str
    boundary: str


def require_stack_name(key: str, name: Any) -> None:
    """Raise InputError unless a stack may be called so."""
    rule = f"{key} must be 2 to 21 of a-z, 0-9 and -, a letter first, got {name!r}"
    require(isinstance(name, str) and NAME.fullmatch(name) is not None, f"{rule}; racing is usual")


def template() -> str:
    """The template: of the checkout, or its copy inside the installed wheel."""
    checkout = PACKAGE.parent / "infra" / "cloudformation.yaml"
    return (checkout if checkout.is_file() else PACKAGE / "_infra" / "cloudformation.yaml").read_text()


def describe(aws: Aws, name: str) -> dict[str, Any] | None:
    """What CloudFormation knows of the stack; None where there is none."""
    from botocore.exceptions import ClientError

    with answered(f"stack {name}"):
        try:
            found: dict[str, Any] = aws.client("cloudformation").describe_stacks(StackName=name)["Stacks"][0]
        except ClientError as error:
            if code_of(error) == "ValidationError" and "does not exist" in said(error):
                return None
            raise
    return None if found["StackStatus"] == "DELETE_COMPLETE" else found


def read_stack(aws: Aws, name: str) -> Stack:
    """The outputs of the stack. Raises InputError where it is not there or not whole."""
    found = describe(aws, name)
    make = f"racing cloud up {name} region={aws.region}"
    if found is None:
        raise InputError(f"launcher.stack={name} is not in {aws.region}; {make}")
    status = str(found["StackStatus"])
    require(
        status in DONE, f"launcher.stack={name} is {status} in {aws.region}; racing cloud status {name}, then {make}"
    )
    outputs = {one["OutputKey"]: str(one["OutputValue"]) for one in found.get("Outputs") or []}
    try:
        return Stack(
            name,
            outputs["Bucket"],
            tuple(outputs["Subnets"].split(",")),
            outputs["LaunchTemplate"],
            outputs["LaunchTemplateVersion"],
            outputs["Boundary"],
        )
    except KeyError as error:
        raise InputError(
            f"launcher.stack={name} lacks {error}, it is another's or of another version; {make}"
        ) from error


def deploy(aws: Aws, name: str, parameters: Mapping[str, str]) -> str:
    """Make the stack, or bring it up to date; returns what was done. Raises InputError where AWS refuses."""
    from botocore.exceptions import ClientError, WaiterError

    client = aws.client("cloudformation")
    found = describe(aws, name)
    arguments = {
        "StackName": name,
        "TemplateBody": template(),
        "Parameters": [{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()],
        "Capabilities": ["CAPABILITY_NAMED_IAM"],
        "Tags": [{"Key": "racing:project", "Value": name}],
    }
    if found is not None and found["StackStatus"] in HALF:
        remove(aws, name)
        found = None
    with answered(f"stack {name}"):
        try:
            (client.update_stack if found else client.create_stack)(**arguments)
        except ClientError as error:
            if "No updates are to be performed" in said(error):
                return "is as it should be"
            raise
        try:
            client.get_waiter("stack_update_complete" if found else "stack_create_complete").wait(
                StackName=name, WaiterConfig=TRIES
            )
        except WaiterError as error:
            raise InputError(
                f"stack {name} failed: {reason(aws, name)}; racing cloud down {name}, then again"
            ) from error
    return "updated" if found else "made"


def reason(aws: Aws, name: str) -> str:
    """Why a stack failed: what its first resource that failed says."""
    with answered(f"stack {name}"):
        events = aws.client("cloudformation").describe_stack_events(StackName=name)["StackEvents"]
    failed = [event for event in reversed(events) if str(event.get("ResourceStatus", "")).endswith("FAILED")]
    if not failed:
        return "nobody says why"
    first = failed[0]
    return f"{first['LogicalResourceId']}: {' '.join(str(first.get('ResourceStatusReason')).split())[:200]}"


def remove(aws: Aws, name: str) -> None:
    """Delete the stack and wait until it is gone."""
    from botocore.exceptions import WaiterError

    client = aws.client("cloudformation")
    with answered(f"stack {name}"):
        client.delete_stack(StackName=name)
        try:
            client.get_waiter("stack_delete_complete").wait(StackName=name, WaiterConfig=TRIES)
        except WaiterError as error:
            raise InputError(
                f"stack {name} could not be removed: {reason(aws, name)}; remove that, then again"
            ) from error
