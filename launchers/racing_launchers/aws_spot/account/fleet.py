"""One instance for one attempt: asked for in all pools at once, and what AWS says where there is none."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

from racing.errors import InputError
from racing_launchers.aws_spot.account.client import answered, code_of, explained, said

PROJECT, SWEEP, JOB, CALL = "racing:project", "racing:sweep", "racing:job", "racing:call"  # tags
ALIVE = ("pending", "running")  # states of instances
NOT_GONE = (*ALIVE, "stopping", "stopped", "shutting-down")
SHORTEST, LONGEST = 30.0, 600.0  # [s] between two tries where there is no capacity
PROPAGATION = 10.0  # [s] between two tries while AWS does not know a new role everywhere
QUOTAS = "https://console.aws.amazon.com/servicequotas/home/services/ec2/quotas"


class Lack(Enum):
    """Why there is no instance."""

    CAPACITY = auto()  # AWS has none to spare just now
    QUOTA = auto()  # the account may have no more
    PROPAGATION = auto()  # a role that was just made is not known everywhere
    THROTTLED = auto()  # too many requests


LACKS = {
    **dict.fromkeys(
        ("InsufficientInstanceCapacity", "UnfulfillableCapacity", "InsufficientCapacity", "SpotMaxPriceTooLow"),
        Lack.CAPACITY,
    ),
    **dict.fromkeys(("InsufficientFreeAddressesInSubnet", "Unsupported", "InvalidFleetConfiguration"), Lack.CAPACITY),
    **dict.fromkeys(("MaxSpotInstanceCountExceeded", "VcpuLimitExceeded", "InstanceLimitExceeded"), Lack.QUOTA),
    **dict.fromkeys(("RequestLimitExceeded", "Throttling", "InternalError", "Unavailable"), Lack.THROTTLED),
}
FAMILIES = {  # first letters of an instance type -> the quota of spot instances, of on-demand instances, its name
    ("p5", "p6"): ("L-C4BD4855", "L-417A185B", "P5"),
    ("p",): ("L-7212CCBC", "L-417A185B", "P4, P3, P2"),
    ("g", "vt"): ("L-3819A6DF", "L-DB2E81BA", "G and VT"),
    ("a", "c", "d", "h", "i", "m", "r", "t", "z"): ("L-34B43A08", "L-1216C47A", "Standard"),
}


@dataclass(frozen=True)
class Launched:
    """An instance that was started. lifecycle: spot or on-demand."""

    instance: str
    type: str
    subnet: str
    lifecycle: str


@dataclass(frozen=True)
class Refusal:
    """There is no instance. why: for people."""

    lack: Lack
    why: str


@dataclass(frozen=True, kw_only=True)
class FleetRequest:
    """What is asked for. token: the same request never starts a second instance. tags: of the instance."""

    template: str
    version: str
    types: Sequence[str]
    subnets: Sequence[str]
    profile: str
    user_data: str
    token: str
    tags: Mapping[str, str]
    image: str | None = None
    on_demand: bool = False

    def arguments(self, *, dry_run: bool = False) -> dict[str, Any]:
        """Of boto3's create_fleet."""
        kind = "on-demand" if self.on_demand else "spot"
        more = {"IamInstanceProfile": {"Name": self.profile}} | ({"ImageId": self.image} if self.image else {})
        pools = [{"InstanceType": name, "SubnetId": subnet, **more} for name in self.types for subnet in self.subnets]
        template = {"LaunchTemplateId": self.template, "Version": self.version}
        tags = [{"Key": key, "Value": value} for key, value in self.tags.items()]
        options = (
            {"OnDemandOptions": {"AllocationStrategy": "lowest-price"}}
            if self.on_demand
            else {
                "SpotOptions": {
                    "AllocationStrategy": "price-capacity-optimized",
                    "InstanceInterruptionBehavior": "terminate",
                }
            }
        )
        return {
            "Type": "instant",
            "DryRun": dry_run,
            "ClientToken": f"{self.token}-{kind}",
            "TargetCapacitySpecification": {"TotalTargetCapacity": 1, "DefaultTargetCapacityType": kind},
            "LaunchTemplateConfigs": [
                {
                    "LaunchTemplateSpecification": template | {"LaunchTemplateSpecificationUserData": self.user_data},
                    "Overrides": pools,
                }
            ],
            "TagSpecifications": [
                {"ResourceType": "instance", "Tags": tags},
                {"ResourceType": "fleet", "Tags": tags},
            ],
            **options,
        }


def launch(ec2: Any, request: FleetRequest) -> Launched | Refusal:
    """Start one instance, or say why not. Raises InputError where another try would not help."""
    from botocore.exceptions import ClientError

    with answered("create_fleet"):
        try:
            answer = ec2.create_fleet(**request.arguments())
        except ClientError as error:
            lack = lack_of(code_of(error), said(error))
            if lack is None:
                raise
            return Refusal(lack, words(lack, request, said(error)))
    for found in answer.get("Instances") or []:
        overrides = found.get("LaunchTemplateAndOverrides", {}).get("Overrides", {})
        lifecycle = "on-demand" if request.on_demand else "spot"
        for instance in found.get("InstanceIds") or []:
            return Launched(instance, str(found["InstanceType"]), str(overrides.get("SubnetId", "")), lifecycle)
    errors = [(str(error.get("ErrorCode")), str(error.get("ErrorMessage"))) for error in answer.get("Errors") or []]
    lacks = [(lack, text) for code, text in errors if (lack := lack_of(code, text)) is not None]
    if errors and not lacks:
        code, text = errors[0]
        raise InputError(
            explained(ClientError({"Error": {"Code": code, "Message": text}}, "CreateFleet"), "an instance")
        )
    order = (Lack.PROPAGATION, Lack.CAPACITY, Lack.THROTTLED, Lack.QUOTA)
    lack, text = min(lacks, key=lambda one: order.index(one[0]), default=(Lack.CAPACITY, "no pool has any"))
    return Refusal(lack, words(lack, request, text))


def instances(ec2: Any, **which: Any) -> Iterator[Mapping[str, Any]]:
    """What AWS says of instances. which: of describe_instances."""
    with answered("the instances"):
        for page in ec2.get_paginator("describe_instances").paginate(**which):
            for reservation in page["Reservations"]:
                yield from reservation["Instances"]


def tagged(tag: str, value: str) -> dict[str, Any]:
    """Which instances: those that bear a tag, and are not gone."""
    states = {"Name": "instance-state-name", "Values": list(NOT_GONE)}
    return {"Filters": [{"Name": f"tag:{tag}", "Values": [value]}, states]}


def lifecycle_of(instance: Mapping[str, Any]) -> str:
    """spot or on-demand."""
    return "spot" if instance.get("InstanceLifecycle") == "spot" else "on-demand"


def lack_of(code: str, text: str) -> Lack | None:
    """What an error of AWS means; None for one that another try does not mend."""
    if "iam instance profile" in text.lower() or "iaminstanceprofile" in text.lower():
        return Lack.PROPAGATION
    return LACKS.get(code)


def words(lack: Lack, request: FleetRequest, text: str) -> str:
    """A lack for people, with its remedy. text: AWS's own."""
    text = " ".join(text.split())[:200]
    if lack is Lack.QUOTA:
        return quota_words(request.types[0], on_demand=request.on_demand)
    if lack is Lack.CAPACITY:
        kind = "on-demand" if request.on_demand else "spot"
        pools = f"{', '.join(request.types)} in {len(request.subnets)} subnets"
        remedy = "more launcher.instance_types or subnets, or launcher.on_demand=true"
        return f"no {kind} capacity of {pools} ({text}); it is tried again; {remedy}"
    if lack is Lack.PROPAGATION:
        return "the job's role is not known everywhere yet"
    return f"AWS asks to wait ({text})"


def quota_of(kind: str, *, on_demand: bool) -> tuple[str, str]:
    """Code and name of the quota that an instance type counts for."""
    for prefixes, (spot, regular, name) in FAMILIES.items():
        if kind.startswith(prefixes):
            requests = f"All {name} Spot Instance Requests"
            return (regular, f"Running On-Demand {name} instances") if on_demand else (spot, requests)
    return "", "this kind of instance"


def quota_words(kind: str, *, on_demand: bool) -> str:
    """Why the account may have no more of an instance type."""
    code, name = quota_of(kind, on_demand=on_demand)
    new = "; new accounts may have none" if code not in ("L-34B43A08", "L-1216C47A") else ""
    return f"the account may have no more vCPUs of '{name}' (quota {code}{new}); ask for more: {QUOTAS}/{code}"


def pause(lack: Lack, tries: int) -> float:
    """[s] until the next try. tries: how often it was tried in vain."""
    if lack is Lack.PROPAGATION:
        return PROPAGATION
    return float(min(LONGEST, SHORTEST * 2 ** min(tries - 1, 10)))
