"""The rights that people need, as `racing cloud doctor` prints them: to train, and to set an account up."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from racing_launchers.aws_spot.account.fleet import PROJECT
from racing_launchers.aws_spot.account.identity import PATH

GROUP_ACTIONS = (
    *("CreateAutoScalingGroup", "DeleteAutoScalingGroup", "SetDesiredCapacity", "PutScheduledUpdateGroupAction"),
    "CreateOrUpdateTags",
)
LOOK = (
    *("Instances", "InstanceTypes", "Subnets", "Images", "SpotPriceHistory"),
    *("LaunchTemplates", "LaunchTemplateVersions"),
)


def allow(
    sid: str, actions: list[str], resources: list[str] | str, condition: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """One statement."""
    about: dict[str, Any] = {"Sid": sid, "Effect": "Allow", "Action": actions, "Resource": resources}
    return about | ({"Condition": dict(condition)} if condition else {})


def launch_policy(stack: str, bucket: str, *, partition: str, region: str, account: str) -> dict[str, Any]:
    """To train with launcher=aws_spot, and for `racing jobs`, `racing runs --from s3://...`."""
    ec2, iam = f"arn:{partition}:ec2:{region}:{account}", f"arn:{partition}:iam::{account}"
    objects = f"arn:{partition}:s3:::{bucket}"
    boundary = f"{iam}:policy{PATH}{stack}-job-boundary"
    roles, profiles = f"{iam}:role{PATH}{stack}-*", f"{iam}:instance-profile{PATH}{stack}-*"
    profile = ("Create", "Delete", "AddRoleTo", "RemoveRoleFrom", "Tag")
    stack_arn = f"arn:{partition}:cloudformation:{region}:{account}:stack/{stack}/*"
    statements = [
        allow("Look", [*(f"ec2:Describe{name}" for name in LOOK), "servicequotas:GetServiceQuota"], "*"),
        allow("ReadStack", ["cloudformation:DescribeStacks"], [stack_arn]),
        allow("Launch", ["ec2:CreateFleet", "ec2:RunInstances"], "*"),
        allow(
            "TagWhatIsLaunched",
            ["ec2:CreateTags"],
            [f"{ec2}:{name}/*" for name in ("instance", "volume", "fleet", "launch-template")],
            {"StringEquals": {"ec2:CreateAction": ["CreateFleet", "RunInstances", "CreateLaunchTemplate"]}},
        ),
        allow(
            "EndOurs",
            ["ec2:TerminateInstances"],
            [f"{ec2}:instance/*"],
            {"StringEquals": {f"aws:ResourceTag/{PROJECT}": stack}},
        ),
        allow("LookAtGroups", ["autoscaling:DescribeAutoScalingGroups"], "*"),
        allow(
            "GroupsOfJobs",  # launcher.supervise=asg
            [f"autoscaling:{name}" for name in GROUP_ACTIONS],
            [f"arn:{partition}:autoscaling:{region}:{account}:autoScalingGroup:*:autoScalingGroupName/{stack}-*"],
        ),
        allow(
            "MakeTheirTemplates",
            ["ec2:CreateLaunchTemplate"],
            [f"{ec2}:launch-template/*"],
            {"StringEquals": {f"aws:RequestTag/{PROJECT}": stack}},
        ),
        allow(
            "EndTheirTemplates",
            ["ec2:DeleteLaunchTemplate"],
            [f"{ec2}:launch-template/*"],
            {"StringEquals": {f"aws:ResourceTag/{PROJECT}": stack}},
        ),
        allow(
            "RolesOfJobs",  # none of them may do more than the boundary
            ["iam:CreateRole", "iam:PutRolePolicy"],
            [roles],
            {"StringEquals": {"iam:PermissionsBoundary": boundary}},
        ),
        allow("EndRolesOfJobs", ["iam:DeleteRole", "iam:DeleteRolePolicy", "iam:TagRole"], [roles]),
        allow("ProfilesOfJobs", [f"iam:{name}InstanceProfile" for name in profile], [profiles, roles]),
        allow("PassRoles", ["iam:PassRole"], [roles], {"StringEquals": {"iam:PassedToService": "ec2.amazonaws.com"}}),
        allow("Bucket", ["s3:ListBucket", "s3:GetBucketVersioning"], [objects]),
        allow("Objects", ["s3:GetObject", "s3:GetObjectVersion", "s3:PutObject", "s3:DeleteObject"], [f"{objects}/*"]),
        allow(
            "SeeThatSecretsAreThere",
            ["ssm:GetParameter", "secretsmanager:DescribeSecret"],
            [
                f"arn:{partition}:ssm:{region}:{account}:parameter/*",
                f"arn:{partition}:secretsmanager:{region}:{account}:secret:*",
            ],
        ),
    ]
    return {"Version": "2012-10-17", "Statement": statements}


def setup_policy(stack: str, bucket: str, *, partition: str, region: str, account: str) -> dict[str, Any]:
    """For `racing cloud up`, `status`, `ls` and `down`, beside `launch_policy`."""
    iam, objects = f"arn:{partition}:iam::{account}", f"arn:{partition}:s3:::{bucket}"
    cloudformation = ["CreateStack", "UpdateStack", "DeleteStack", "DescribeStacks", "DescribeStackEvents"]
    stack_arn = f"arn:{partition}:cloudformation:{region}:{account}:stack/{stack}/*"
    template = ["CreateLaunchTemplate", "CreateLaunchTemplateVersion", "DeleteLaunchTemplate", "ModifyLaunchTemplate"]
    group = ["CreateSecurityGroup", "DeleteSecurityGroup", "AuthorizeSecurityGroupEgress", "RevokeSecurityGroupEgress"]
    look = ["Vpcs", "Subnets", "Images", "SecurityGroups", "LaunchTemplates", "LaunchTemplateVersions", "Instances"]
    policy = ["CreatePolicy", "DeletePolicy", "GetPolicy", "CreatePolicyVersion", "DeletePolicyVersion"]
    settings = (
        *("BucketVersioning", "BucketPublicAccessBlock", "BucketOwnershipControls", "EncryptionConfiguration"),
        *("LifecycleConfiguration", "BucketPolicy", "BucketTagging"),
    )
    spot = [f"{iam}:role/aws-service-role/{name}.amazonaws.com/*" for name in ("spot", "ec2fleet", "autoscaling")]
    statements = [
        allow("Stack", [f"cloudformation:{name}" for name in cloudformation], [stack_arn]),
        allow("Look", [f"ec2:Describe{name}" for name in look], "*"),
        allow("Parts", [f"ec2:{name}" for name in (*template, *group, "CreateTags")], "*"),
        allow(
            "Boundary",
            [f"iam:{name}" for name in (*policy, "ListPolicyVersions")],
            [f"{iam}:policy{PATH}{stack}-job-boundary"],
        ),
        allow("LookAtRoles", ["iam:ListRoles", "autoscaling:DescribeAutoScalingGroups"], "*"),
        allow("SpotItself", ["iam:CreateServiceLinkedRole"], spot),
        allow("Image", ["ssm:GetParameter"], [f"arn:{partition}:ssm:{region}::parameter/aws/service/*"]),
        allow(
            "Bucket",
            ["s3:CreateBucket", "s3:ListBucket", "s3:GetBucketVersioning", *(f"s3:Put{name}" for name in settings)],
            [objects],
        ),
        allow("Probe", ["s3:PutObject"], [f"{objects}/code/.probe"]),
    ]
    return {"Version": "2012-10-17", "Statement": statements}
