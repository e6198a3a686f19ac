"""What `racing cloud` looks up in an account: network, image, instances."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from racing.errors import InputError, require
from racing_launchers.aws_spot.account import fleet
from racing_launchers.aws_spot.account.client import Aws, answered, code_of
from racing_launchers.aws_spot.account.prices import listed_prices, live_prices

# AWS's own pointer to its newest image with Ubuntu and NVIDIA's driver.
NEWEST = "/aws/service/deeplearning/ami/x86_64/base-oss-nvidia-driver-gpu-ubuntu-22.04/latest/ami-id"
THERE = ("InvalidInput", "InvalidInputException", "EntityAlreadyExists")  # a service-linked role


@dataclass(frozen=True)
class Image:
    """An AMI. size [GiB] of its disk."""

    id: str
    root_device: str
    size: int


@dataclass(frozen=True)
class Instance:
    """One that runs. hours: since it was launched. price [$/h]: None where it is not known."""

    id: str
    state: str
    type: str
    zone: str
    lifecycle: str
    sweep: str
    job: str
    hours: float
    price: float | None


def default_vpc(ec2: Any) -> str:
    """The network that an account has from the beginning. Raises InputError where it was removed."""
    with answered("the networks"):
        found = ec2.describe_vpcs(Filters=[{"Name": "is-default", "Values": ["true"]}])["Vpcs"]
    require(len(found) > 0, "there is no default VPC in this region; name one with vpc=vpc-..., and its subnets")
    return str(found[0]["VpcId"])


def subnets(ec2: Any, vpc: str, wanted: Sequence[str] | None) -> list[str]:
    """The subnets that are wanted, else all of the network. Raises InputError where there are none."""
    with answered(f"the subnets of {vpc}"):
        found = ec2.describe_subnets(Filters=[{"Name": "vpc-id", "Values": [vpc]}])["Subnets"]
    known = sorted(one["SubnetId"] for one in found)
    require(len(known) > 0, f"{vpc} has no subnet in this region; name another with vpc=vpc-...")
    for name in wanted or ():
        require(name in known, f"subnet {name!r} is none of {vpc}; it has {', '.join(known)}")
    return list(wanted or known)


def image(aws: Aws, wanted: str | None) -> Image:
    """The image that is wanted, else AWS's newest. Raises InputError where it is not in the region."""
    from botocore.exceptions import ClientError

    name = wanted
    if name is None:
        with answered("the newest image"):
            try:
                name = str(aws.client("ssm").get_parameter(Name=NEWEST)["Parameter"]["Value"])
            except ClientError as error:
                if code_of(error) != "ParameterNotFound":
                    raise
                rule = f"AWS names no image with NVIDIA's driver in {aws.region}"
                raise InputError(f"{rule}; name one with image=ami-...") from error
    with answered(f"image {name}"):
        try:
            found = aws.client("ec2").describe_images(ImageIds=[name])["Images"]
        except ClientError as error:
            if "InvalidAMIID" not in code_of(error):
                raise
            found = []
    require(len(found) > 0, f"image {name!r} is not in {aws.region}; `aws ec2 describe-images --image-ids` shows those")
    about = found[0]
    disks = [disk.get("Ebs", {}).get("VolumeSize", 0) for disk in about.get("BlockDeviceMappings") or []]
    return Image(str(name), str(about.get("RootDeviceName") or "/dev/sda1"), max(map(int, disks), default=0))


def spot_roles(aws: Aws) -> None:
    """Have the roles that AWS's own spot and fleet services use; they are made once for an account.

    Who may not make them is told when an instance is asked for, and only if they are not there.
    """
    from botocore.exceptions import ClientError

    for service in ("spot.amazonaws.com", "ec2fleet.amazonaws.com", "autoscaling.amazonaws.com"):
        with suppress(InputError), answered("spot instances"):
            try:
                aws.client("iam").create_service_linked_role(AWSServiceName=service)
            except ClientError as error:
                if code_of(error) not in THERE:
                    raise


def instances(aws: Aws, stack: str) -> list[Instance]:
    """The instances of a stack that are not gone, the oldest first."""
    found = list(fleet.instances(aws.client("ec2"), **fleet.tagged(fleet.PROJECT, stack)))
    kinds = sorted({one["InstanceType"] for one in found})
    prices = live_prices(aws.client("ec2"), kinds, listed_prices()) if kinds else listed_prices()
    rows = []
    for one in sorted(found, key=lambda one: one["LaunchTime"]):
        tags = {tag["Key"]: tag["Value"] for tag in one.get("Tags") or []}
        zone = one.get("Placement", {}).get("AvailabilityZone", "")
        lifecycle = fleet.lifecycle_of(one)
        hours = (datetime.now(UTC) - one["LaunchTime"]).total_seconds() / 3600
        price = prices.hour(one["InstanceType"], zone, lifecycle)
        names = (tags.get(fleet.SWEEP, "?"), tags.get(fleet.JOB, "?"))
        state = one["State"]["Name"]
        rows.append(Instance(one["InstanceId"], state, one["InstanceType"], zone, lifecycle, *names, hours, price))
    return rows


def terminate(aws: Aws, ids: Sequence[str]) -> None:
    """End instances, and wait until they are gone: the security group cannot be removed before."""
    ec2 = aws.client("ec2")
    with answered("the end of instances"):
        ec2.terminate_instances(InstanceIds=list(ids))
        ec2.get_waiter("instance_terminated").wait(InstanceIds=list(ids), WaiterConfig={"Delay": 5, "MaxAttempts": 120})


def bucket_is_there(aws: Aws, name: str) -> bool:
    """Whether there is such a bucket, and it is ours."""
    from botocore.exceptions import ClientError

    with answered(f"bucket {name}"):
        try:
            aws.client("s3").head_bucket(Bucket=name)
        except ClientError as error:
            if code_of(error) in ("404", "403", "NoSuchBucket"):
                return False
            raise
    return True
