"""What is looked at before anything is submitted, started or charged."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from racing.config import hint
from racing.errors import InputError, require
from racing_launchers.aws_spot.account.bucket import verify
from racing_launchers.aws_spot.account.client import Aws, answered, code_of, said
from racing_launchers.aws_spot.account.fleet import quota_of, quota_words
from racing_launchers.aws_spot.account.prices import listed_prices
from racing_launchers.aws_spot.account.secrets import check_there
from racing_launchers.aws_spot.account.stack import Stack
from racing_launchers.aws_spot.inputs import files_needed
from racing_launchers.backend import insists_on_gpu
from racing_launchers.remote.needs import needs_own_files

ARCHITECTURE = "x86_64"  # of the packages, and of the stack's image


def refuse_what_cannot_be(
    jobs: Sequence[Mapping[str, Any]], commands: Sequence[Sequence[str]], env: Mapping[str, Any]
) -> None:
    """Raise InputError for jobs that would find something missing on an instance. See Backend.check.

    env: launcher.env.
    """
    rule = "--config-dir is not on an instance, where phases, a search or a teacher would need it"
    require(not any(map(needs_own_files, jobs)), f"{rule}; use another launcher, or put the files into conf/")
    searching = [config for config in jobs if config.get("tuning")]
    rule = f"tuning.workers={len(searching)} share a study, and instances share no disk"
    require(len(searching) < 2, f"{rule}; tuning.workers=1, or launcher=modal or slurm")
    files_needed(jobs, commands, env)


def check_account(
    aws: Aws,
    stack: Callable[[], Stack],
    settings: Mapping[str, Any],
    subnets: Callable[[], Sequence[str]],
    jobs: Sequence[Mapping[str, Any]],
) -> None:
    """Raise InputError unless the account has what jobs need. The credentials come first, then what is looked up."""
    require(aws.account != "", "AWS does not say which account this is; `aws sts get-caller-identity`")
    bucket = stack().bucket
    kinds = instance_kinds(aws, settings["instance_types"])
    futile = any(map(insists_on_gpu, jobs)) and not all(kind.get("GpuInfo") for kind in kinds)
    without = ", ".join(str(kind["InstanceType"]) for kind in kinds if not kind.get("GpuInfo"))
    require(not futile, f"hardware.fallback=false wants a GPU, {without} has none; launcher.instance_types=[g6.xlarge]")
    _check_there(aws, subnets(), settings["image"])
    check_quota(aws, kinds, on_demand=settings["on_demand"])
    check_there(settings["secrets"], aws.client)
    verify(aws, bucket)


def instance_kinds(aws: Aws, names: Sequence[str]) -> list[dict[str, Any]]:
    """What AWS says of instance types. Raises InputError for one that is not in the region, or of another processor."""
    from botocore.exceptions import ClientError

    with answered("the instance types"):
        try:
            found = list(aws.client("ec2").describe_instance_types(InstanceTypes=list(names))["InstanceTypes"])
        except ClientError as error:
            if not code_of(error).startswith("InvalidInstanceType"):
                raise
            wrong = next((name for name in names if name in said(error)), names[0])
            known = sorted(listed_prices().on_demand)
            rule = f"launcher.instance_types has {wrong!r}, which is not in {aws.region}"
            raise InputError(f"{rule}; {hint(wrong, known)}") from error
    for kind in found:
        kinds = kind.get("ProcessorInfo", {}).get("SupportedArchitectures", [ARCHITECTURE])
        rule = f"launcher.instance_types has {kind['InstanceType']!r}, whose processor is {', '.join(kinds)}"
        require(ARCHITECTURE in kinds, f"{rule}; take one of Intel's or AMD's, such as c7i.2xlarge")
    return found


def _check_there(aws: Aws, subnets: Sequence[str], image: str | None) -> None:
    from botocore.exceptions import ClientError

    ec2 = aws.client("ec2")
    asked = [("launcher.subnets", ec2.describe_subnets, {"SubnetIds": list(subnets)}, "Subnets")]
    if image:
        asked.append(("launcher.image", ec2.describe_images, {"ImageIds": [image]}, "Images"))
    for key, ask, arguments, what in asked:
        with answered(key):
            try:
                there = ask(**arguments)[what]
            except ClientError as error:
                if "NotFound" not in code_of(error) and "Malformed" not in code_of(error):
                    raise
                there = []
        named = ", ".join(next(iter(arguments.values())))
        require(len(there) > 0, f"{key}: {named} is not in {aws.region}; correct it, or null for the stack's")


def check_quota(aws: Aws, kinds: Sequence[Mapping[str, Any]], *, on_demand: bool) -> None:
    """Raise InputError if the account may have none of these types: new accounts have a quota of 0 for GPUs.

    on_demand: instances at the full price would do. Where the quotas are not told, nothing is.
    """
    refused = []
    for kind in kinds:
        needed = int(kind.get("VCpuInfo", {}).get("DefaultVCpus", 1))
        for regular in (False, True) if on_demand else (False,):
            quota = quota_value(aws, quota_of(str(kind["InstanceType"]), on_demand=regular)[0])
            if quota is None or quota >= needed:
                return
            refused.append((str(kind["InstanceType"]), quota, needed, regular))
    name, quota, needed, regular = refused[0]
    why = quota_words(name, on_demand=regular)
    raise InputError(f"{name} needs {needed} vCPUs, the quota is {quota:g}: {why}")


def quota_value(aws: Aws, code: str) -> float | None:
    """[vCPUs] of a quota; None where AWS does not tell it to this user."""
    if not code:
        return None
    try:
        with answered("the quotas"):
            answer = aws.client("service-quotas").get_service_quota(ServiceCode="ec2", QuotaCode=code)
            return float(answer["Quota"]["Value"])
    except (InputError, KeyError):
        return None
