"""`racing cloud`: what launcher=aws_spot needs in an account of AWS, and what of it is there."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from racing.commands.cloud import find
from racing.commands.options import action_options
from racing.errors import ExitCode, InputError, require, require_number
from racing_launchers.aws_spot.account import bucket, group, identity, policy, stack
from racing_launchers.aws_spot.account.client import Aws
from racing_launchers.aws_spot.account.fleet import JOB, SWEEP
from racing_launchers.aws_spot.account.objects import Objects, require_bucket_name
from racing_launchers.aws_spot.checks import check_quota, instance_kinds
from racing_launchers.sweep import Sweep

EXAMPLES = """usage: racing cloud up | status | ls | doctor | down  [STACK] [key=value ...]

What launcher=aws_spot needs in an account of AWS: a bucket, and a stack (infra/cloudformation.yaml) with a launch
template, a security group and the most that roles of jobs may do. None of it costs anything while no job runs, but
for what lies in the bucket. STACK is short for stack=STACK.

examples:
  racing cloud doctor region=eu-central-1     what is there, what is missing, the rights that you need
  racing cloud up region=eu-central-1         make it, or bring it up to date
  racing cloud status                         stack, bucket
  racing cloud ls                             instances that run, and what they cost
  racing cloud down                           remove the stack; the bucket and what lies in it stay
"""
COMMON = ("stack", "region", "profile")
ACTIONS = {  # action -> keys that it takes besides paths.outputs
    "up": (*COMMON, "bucket", "vpc", "subnets", "image", "volume_gib"),
    "status": COMMON,
    "ls": COMMON,
    "doctor": (*COMMON, "bucket", "instance_types", "policy"),
    "down": (*COMMON, "force"),
}


@dataclass(frozen=True)
class Request:
    """An action, its options (conf/verbs/cloud.yaml), and the account that it is about."""

    action: str
    options: dict[str, Any]
    aws: Aws

    @property
    def name(self) -> str:
        """Of the stack."""
        return str(self.options["stack"])

    @cached_property
    def bucket(self) -> str:
        """The one that is named, else that of the stack where there is one, else the usual one. AWS is asked once."""
        if self.options["bucket"] is not None:
            return str(self.options["bucket"])
        found = stack.describe(self.aws, self.name) or {}
        outputs = {one["OutputKey"]: str(one["OutputValue"]) for one in found.get("Outputs") or []}
        return outputs.get("Bucket") or bucket.default_name(self.aws, self.name)


def main(argv: Sequence[str]) -> int:
    """Run the verb; returns the exit code."""
    options = parse(argv)
    if options is None:
        return ExitCode.DONE
    action = options["action"]
    request = Request(action, options, Aws(options["region"], options["profile"]))
    return {"up": up, "status": status, "ls": show_instances, "doctor": doctor, "down": down}[action](request)


def parse(argv: Sequence[str]) -> dict[str, Any] | None:
    """The options of conf/verbs/cloud.yaml, checked, and `action`; None after printing help. Raises InputError."""
    parsed = action_options("cloud", argv, EXAMPLES, ACTIONS, "stack")
    if parsed is None:
        return None
    options, _ = parsed
    check(options)
    return options


def check(options: dict[str, Any]) -> None:
    """Raise InputError unless the values are of the right kind; AWS is not asked."""
    stack.require_stack_name("stack", options["stack"])
    for key in ("region", "profile", "vpc", "image"):
        value = options[key]
        require(value is None or (isinstance(value, str) and value != ""), f"{key} must be a text, got {value!r}")
    if options["bucket"] is not None:
        require_bucket_name("bucket", options["bucket"])
    require_number("volume_gib", options["volume_gib"], 20, 1000, whole=True, unit="GiB", remedy="75 is usual")
    for key in ("subnets", "instance_types"):
        value = options[key]
        fits = value is None or (isinstance(value, list) and value and all(isinstance(one, str) for one in value))
        require(bool(fits), f"{key} must be a list of names, got {value!r}; write {key}=[a,b]")
    require(options["instance_types"] is not None, "instance_types must be a list of names, got null; [g6.xlarge]")
    rule = f"policy must be launch or setup, got {options['policy']!r}; choose one"
    require(options["policy"] in ("launch", "setup"), rule)
    require(isinstance(options["force"], bool), f"force must be true or false, got {options['force']!r}; choose one")


def up(request: Request) -> int:
    """Make the bucket and the stack, or bring them up to date."""
    aws, options, name = request.aws, request.options, request.name
    print(f"account {aws.account}, {aws.region}")
    ec2 = aws.client("ec2")
    vpc = options["vpc"] or find.default_vpc(ec2)
    subnets = find.subnets(ec2, vpc, options["subnets"])
    image = find.image(aws, options["image"])
    own = request.bucket
    find.spot_roles(aws)
    print(f"bucket   s3://{own} {bucket.ensure(aws, own, name)}")
    parameters = {
        "Project": name,
        "Bucket": own,
        "VpcId": vpc,
        "SubnetIds": ",".join(subnets),
        "ImageId": image.id,
        "RootDevice": image.root_device,
        "VolumeSizeGiB": str(max(options["volume_gib"], image.size)),
    }
    print(f"stack    {name} {stack.deploy(aws, name, parameters)}: image {image.id}, {len(subnets)} subnets of {vpc}")
    region = f" launcher.region={options['region']}" if options["region"] else ""
    usual = "" if name == "racing" else f" launcher.stack={name}"
    print(f"train    racing train launcher=aws_spot{region}{usual} launcher.dry_run=true seed=1,2")
    return ExitCode.DONE


def status(request: Request) -> int:
    """Print what is there; 1 if it is not whole."""
    aws, found = request.aws, stack.describe(request.aws, request.name)
    print(f"account  {aws.account}, {aws.region}")
    if found is None:
        print(f"stack    {request.name} is not there; racing cloud up {request.name}")
        return ExitCode.FAILED
    whole = found["StackStatus"] in stack.DONE
    print(f"stack    {request.name} {found['StackStatus']}" + ("" if whole else f": {stack.reason(aws, request.name)}"))
    for output in found.get("Outputs") or []:
        print(f"  {output['OutputKey']:<22} {output['OutputValue']}")
    try:
        bucket.verify(aws, request.bucket)
        print(f"bucket   s3://{request.bucket} is as it should be")
    except InputError as error:
        print(f"bucket   {error}")
        whole = False
    running = counted(len(find.instances(aws, request.name)))
    print(f"running  {running}; racing cloud ls {request.name}")
    return ExitCode.DONE if whole else ExitCode.FAILED


def show_instances(request: Request) -> int:
    """Print the instances of the stack that run, and the roles of jobs."""
    rows = find.instances(request.aws, request.name)
    outputs = Path(request.options["paths"]["outputs"]).resolve()
    for row in rows:
        price = f"{row.price:.4f} $/h" if row.price is not None else "price unknown"
        print(f"{row.id}  {row.state:<13} {row.lifecycle:<9} {row.type:<12} {row.zone:<11} {row.hours:6.2f} h  {price}")
        here = Sweep(outputs / "sweeps" / row.sweep)
        hint = f"racing jobs status {here.named}" if here.exists else f"not of {outputs}: of another folder or machine"
        print(f"    {row.sweep} job {row.job}; {hint}")
    total = sum(row.price or 0.0 for row in rows)
    print(f"{counted(len(rows))} of {request.name} in {request.aws.region}, {total:.2f} $/h")
    for found in group.groups_of(request.aws.client("autoscaling"), request.name):
        sweep, job = found.tags.get(SWEEP, "?"), found.tags.get(JOB, "?")
        state = "launches its instance again when it is lost" if found.wanted else "has ended"
        print(f"group {found.name} of {sweep} job {job} {state}")
    roles = identity.roles_of(request.aws.client("iam"), request.name)
    print(f"{len(roles)} roles of jobs that go on, or that nobody has collected; racing cloud down removes them")
    return ExitCode.DONE


def doctor(request: Request) -> int:
    """Print what is there and what is missing, and the rights that are needed; 1 if something is missing."""
    aws, options, name = request.aws, request.options, request.name
    print(f"ok       account {aws.account}, {aws.region}")
    missing = 0
    findings: dict[str, Callable[[], Any]] = {
        f"stack {name}": lambda: stack.read_stack(aws, name),
        "bucket": lambda: bucket.verify(aws, request.bucket),
        f"instance types {', '.join(options['instance_types'])}, quota": lambda: check_quota(
            aws, instance_kinds(aws, options["instance_types"]), on_demand=False
        ),
    }
    for what, look in findings.items():
        try:
            look()
            print(f"ok       {what}")
        except InputError as error:
            missing += 1
            print(f"missing  {what}: {error}")
    make = policy.launch_policy if options["policy"] == "launch" else policy.setup_policy
    place = {"partition": bucket.partition_of(aws), "region": aws.region, "account": aws.account}
    other = "setup" if options["policy"] == "launch" else "launch"
    print(f"the rights that you need ({options['policy']}; policy={other} prints the others):", file=sys.stderr)
    print(json.dumps(make(name, request.bucket, **place), indent=2))
    return ExitCode.FAILED if missing else ExitCode.DONE


def down(request: Request) -> int:
    """Remove the stack and the roles of jobs. Raises InputError while instances are at work, unless forced."""
    aws, name = request.aws, request.name
    at_work = find.instances(aws, name)
    own = request.bucket
    scaling = aws.client("autoscaling")
    groups = group.groups_of(scaling, name)
    launching = [found for found in groups if found.wanted]
    more = f", and {len(launching)} groups that launch them again" if launching else ""
    rule = f"{name} still has {counted(len(at_work))} at work{more}"
    free = not (at_work or launching) or request.options["force"]
    require(free, f"{rule}; racing jobs cancel SWEEP, or racing cloud down {name} force=true")
    for found in groups:  # first: they would launch others
        group.remove(scaling, aws.client("ec2"), found.name)
    if groups:
        print(f"removed {len(groups)} groups")
    if at_work:
        find.terminate(aws, [one.id for one in at_work])
        print(f"ended {counted(len(at_work))}")
    iam = aws.client("iam")
    roles = identity.roles_of(iam, name)
    for role in roles:
        identity.remove_role(iam, role)
    print(f"removed {len(roles)} roles of jobs")
    if stack.describe(aws, name) is None:
        print(f"stack {name} is not there")
    else:
        stack.remove(aws, name)
        print(f"stack {name} removed")
    if find.bucket_is_there(aws, own):
        size = sum(file.size for file in Objects(aws.client("s3"), own).list())
        print(f"bucket s3://{own} stays, {size:,} bytes; to be rid of it, empty it in AWS's console, old versions too")
    return ExitCode.DONE


def counted(number: int) -> str:
    """`1 instance`, `2 instances`."""
    return f"{number} instance{'' if number == 1 else 's'}"
