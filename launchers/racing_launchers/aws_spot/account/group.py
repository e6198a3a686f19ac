"""An Auto Scaling group of one instance: AWS itself brings the instance of a job back, whoever watches."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from racing_launchers.aws_spot.account.client import answered, code_of, said
from racing_launchers.aws_spot.account.fleet import PROJECT, FleetRequest, Refusal, lack_of, words

# What the launch template of a job takes over from the stack's: a group cannot be given user data, as a fleet can.
KEPT = ("ImageId", "SecurityGroupIds", "InstanceInitiatedShutdownBehavior", "BlockDeviceMappings", "TagSpecifications")
ABSENT = "not found"  # in what AWS says of a group that is not there
NO_TEMPLATE = "InvalidLaunchTemplateId.NotFound"
TEMPLATE_THERE = "InvalidLaunchTemplateName.AlreadyExistsException"


@dataclass(frozen=True)
class Group:
    """wanted: instances, 1 or 0. Its launch template has its name."""

    name: str
    wanted: int
    instances: tuple[str, ...]
    tags: Mapping[str, str]


def arguments(name: str, request: FleetRequest) -> dict[str, Any]:
    """Of boto3's create_auto_scaling_group."""
    template = {"LaunchTemplateName": name, "Version": "1"}
    tags = [
        {
            "Key": key,
            "Value": value,
            "PropagateAtLaunch": True,
            "ResourceId": name,
            "ResourceType": "auto-scaling-group",
        }
        for key, value in request.tags.items()
    ]
    return {
        "AutoScalingGroupName": name,
        "MinSize": 0,
        "MaxSize": 1,  # so that whoever may set what is desired cannot have more than one
        "DesiredCapacity": 1,
        "VPCZoneIdentifier": ",".join(request.subnets),
        "HealthCheckType": "EC2",
        "MixedInstancesPolicy": {
            "LaunchTemplate": {
                "LaunchTemplateSpecification": template,
                "Overrides": [{"InstanceType": kind} for kind in request.types],
            },
            "InstancesDistribution": {
                "OnDemandBaseCapacity": 0,
                "OnDemandPercentageAboveBaseCapacity": 0,
                "SpotAllocationStrategy": "price-capacity-optimized",
            },
        },
        "Tags": tags,
    }


def start(scaling: Any, ec2: Any, name: str, request: FleetRequest, until: datetime) -> Refusal | None:
    """Make the group, which launches its instance; returns why there is none. Raises InputError.

    until: AWS ends it then, whatever happens.
    """
    from botocore.exceptions import ClientError

    with answered("an Auto Scaling group"):
        try:
            _make_template(ec2, name, request)
            scaling.create_auto_scaling_group(**arguments(name, request))
        except ClientError as error:
            lack = lack_of(code_of(error), said(error))
            if code_of(error) != "AlreadyExists" and lack is None:
                raise
            if lack is not None:
                return Refusal(lack, words(lack, request, said(error)))
        scaling.put_scheduled_update_group_action(
            AutoScalingGroupName=name,
            ScheduledActionName=f"end-{name}",
            StartTime=until,
            MinSize=0,
            MaxSize=0,
            DesiredCapacity=0,
        )
    return None


def _make_template(ec2: Any, name: str, request: FleetRequest) -> None:
    """Make the launch template of a job: the stack's, with user data and profile."""
    from botocore.exceptions import ClientError

    which = {"LaunchTemplateId": request.template, "Versions": [request.version]}
    (found,) = ec2.describe_launch_template_versions(**which)["LaunchTemplateVersions"]
    known = found["LaunchTemplateData"]
    data = {key: known[key] for key in KEPT if key in known}
    options = {key: value for key, value in known.get("MetadataOptions", {}).items() if key != "State"}
    data |= {"MetadataOptions": options} if options else {}
    data |= {"UserData": request.user_data, "IamInstanceProfile": {"Name": request.profile}}
    data |= {"InstanceType": request.types[0]} | ({"ImageId": request.image} if request.image else {})
    tags = [{"Key": key, "Value": value} for key, value in request.tags.items()]
    try:
        ec2.create_launch_template(
            LaunchTemplateName=name,
            ClientToken=request.token,
            LaunchTemplateData=data,
            TagSpecifications=[{"ResourceType": "launch-template", "Tags": tags}],
        )
    except ClientError as error:
        if code_of(error) != TEMPLATE_THERE:  # of this attempt: whoever asked before has died
            raise


def describe(scaling: Any, names: Sequence[str]) -> dict[str, Group]:
    """Those of these groups that are there, by name."""
    found: dict[str, Group] = {}
    for first in range(0, len(names), 50):
        with answered("the Auto Scaling groups"):
            pages = scaling.get_paginator("describe_auto_scaling_groups").paginate(
                AutoScalingGroupNames=list(names[first : first + 50])
            )
            found |= {group.name: group for page in pages for group in map(_read, page["AutoScalingGroups"])}
    return found


def groups_of(scaling: Any, stack: str) -> list[Group]:
    """All groups of a stack."""
    with answered("the Auto Scaling groups"):
        pages = scaling.get_paginator("describe_auto_scaling_groups").paginate()
        found = [_read(group) for page in pages for group in page["AutoScalingGroups"]]
    return [group for group in found if group.tags.get(PROJECT) == stack]


def _read(group: Mapping[str, Any]) -> Group:
    return Group(
        str(group["AutoScalingGroupName"]),
        int(group["DesiredCapacity"]),
        tuple(str(one["InstanceId"]) for one in group.get("Instances") or []),
        {str(tag["Key"]): str(tag["Value"]) for tag in group.get("Tags") or []},
    )


def end(scaling: Any, name: str) -> None:
    """Have the group launch nothing more, and end what it has launched."""
    for group in describe(scaling, [name]).values():
        with answered(f"the end of {name}"), _absent_is_fine():
            scaling.set_desired_capacity(AutoScalingGroupName=group.name, DesiredCapacity=0)


def remove(scaling: Any, ec2: Any, name: str) -> None:
    """Remove the group, its instance, and its launch template, as far as they are there."""
    for group in describe(scaling, [name]).values():
        with answered(f"the end of {name}"), _absent_is_fine():
            scaling.delete_auto_scaling_group(AutoScalingGroupName=group.name, ForceDelete=True)
    named = [{"Name": "launch-template-name", "Values": [name]}]
    with answered(f"the launch template of {name}"), _absent_is_fine():
        for template in ec2.describe_launch_templates(Filters=named)["LaunchTemplates"]:
            ec2.delete_launch_template(LaunchTemplateId=template["LaunchTemplateId"])


@contextlib.contextmanager
def _absent_is_fine() -> Iterator[None]:
    """What is to be ended is gone already."""
    from botocore.exceptions import ClientError

    try:
        yield
    except ClientError as error:
        gone = code_of(error) == "ValidationError" and ABSENT in said(error).lower()
        if not gone and code_of(error) != NO_TEMPLATE:
            raise
