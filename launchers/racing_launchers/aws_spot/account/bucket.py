"""The bucket: made with what it must have, and looked at before it is trusted. It outlives the stack."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from racing.errors import InputError, require
from racing_launchers.aws_spot.account.client import Aws, answered, code_of, said
from racing_launchers.aws_spot.account.objects import Conflict, Objects

PROBE = "code/.probe"
OLD_DAYS = 3  # that earlier versions of files stay: journals have many
UNFINISHED_DAYS = 2  # that uploads stay which were broken off


def default_name(aws: Aws, stack: str) -> str:
    """The bucket of a stack, one in the world."""
    return f"{stack}-{aws.account}-{aws.region}"


def partition_of(aws: Aws) -> str:
    """`aws`, or `aws-cn`, `aws-us-gov`."""
    return str(aws.client("s3").meta.partition)


def ensure(aws: Aws, name: str, stack: str) -> str:
    """Make the bucket, or bring it up to date; returns what was done. What is in it stays. Raises InputError."""
    from botocore.exceptions import ClientError

    s3 = aws.client("s3")
    place = {} if aws.region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": aws.region}}
    with answered(f"bucket {name}"):
        made = "brought up to date"
        try:
            s3.head_bucket(Bucket=name)
        except ClientError as error:
            require(code_of(error) != "403", f"bucket {name} is somebody else's; choose another: bucket=NAME")
            if code_of(error) not in ("404", "NoSuchBucket"):
                raise
            s3.create_bucket(Bucket=name, **place)
            made = "made"
        for apply in settings(name, partition_of(aws), stack):
            apply(s3)
    verify(aws, name)
    return made


def settings(name: str, partition: str, stack: str) -> list[Callable[[Any], Any]]:
    """What a bucket must have, each as the call that sets it."""
    versions = {"NoncurrentDays": OLD_DAYS, "NewerNoncurrentVersions": 3}
    rules = [
        {
            "ID": "racing-old",
            "Status": "Enabled",
            "Filter": {"Prefix": ""},
            "NoncurrentVersionExpiration": versions,
            "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": UNFINISHED_DAYS},
        },
        {"ID": "racing-code", "Status": "Enabled", "Filter": {"Prefix": "code/"}, "Expiration": {"Days": 90}},
    ]
    blocked = dict.fromkeys(("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets"), True)
    encrypted = {
        "Rules": [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}, "BucketKeyEnabled": True}]
    }
    owned = {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}
    policy = json.dumps(tls_only(name, partition))
    tags = {"TagSet": [{"Key": "racing:project", "Value": stack}]}
    return [
        lambda s3: s3.put_public_access_block(Bucket=name, PublicAccessBlockConfiguration=blocked),
        lambda s3: s3.put_bucket_ownership_controls(Bucket=name, OwnershipControls=owned),
        lambda s3: s3.put_bucket_encryption(Bucket=name, ServerSideEncryptionConfiguration=encrypted),
        lambda s3: s3.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"}),
        lambda s3: s3.put_bucket_lifecycle_configuration(Bucket=name, LifecycleConfiguration={"Rules": rules}),
        lambda s3: s3.put_bucket_policy(Bucket=name, Policy=policy),
        lambda s3: s3.put_bucket_tagging(Bucket=name, Tagging=tags),
    ]


def tls_only(name: str, partition: str) -> dict[str, Any]:
    """Nobody speaks to the bucket without TLS."""
    arn = f"arn:{partition}:s3:::{name}"
    deny = {"Sid": "TlsOnly", "Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": [arn, f"{arn}/*"]}
    return {
        "Version": "2012-10-17",
        "Statement": [deny | {"Condition": {"Bool": {"aws:SecureTransport": "false"}}}],
    }


def verify(aws: Aws, name: str) -> None:
    """Raise InputError unless the bucket is there and ours, keeps versions, and heeds conditions of writes."""
    from botocore.exceptions import ClientError

    s3 = aws.client("s3")
    with answered(f"bucket {name}"):
        try:
            s3.head_bucket(Bucket=name)
            versions = s3.get_bucket_versioning(Bucket=name).get("Status")
        except ClientError as error:
            problem = {"404": "is not there", "403": "is not yours to use", "301": "is in another region"}
            code = code_of(error)
            if code in problem:
                raise InputError(f"bucket {name} {problem[code]} ({said(error)}); racing cloud up makes one") from error
            raise
    rule = f"bucket {name} must keep versions, or two instances could overwrite each other's files"
    require(versions == "Enabled", f"{rule}; racing cloud up turns that on")
    require(heeds_conditions(Objects(s3, name)), f"bucket {name} does not heed If-None-Match, as S3 does; use S3's own")


def heeds_conditions(objects: Objects) -> bool:
    """Whether a write that must not replace anything is refused: several that call themselves S3 do not ask."""
    try:
        objects.write(PROBE, b"", if_absent=True)
        objects.write(PROBE, b"", if_absent=True)
    except Conflict:
        return True
    return False
