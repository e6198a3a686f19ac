"""infra/: the template is sound, and Terraform describes the same."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

import pytest
import yaml

from racing_launchers.aws_spot.account import bucket
from racing_launchers.aws_spot.account.stack import template
from tests.conftest import REPOSITORY

TERRAFORM = REPOSITORY / "infra/terraform"
PLACEHOLDERS = {  # Terraform's -> CloudFormation's
    "${local.partition}": "${AWS::Partition}",
    "${var.region}": "${AWS::Region}",
    "${local.account}": "${AWS::AccountId}",
    "${local.arn}": "arn:${AWS::Partition}:s3:::${Bucket}",
    "${var.project}": "${Project}",
}


class Template(yaml.SafeLoader):
    """YAML with CloudFormation's tags: !Sub TEXT is its text, !Ref NAME is ${NAME}, others are their arguments."""


def tagged(loader: Template, suffix: str, node: yaml.Node) -> Any:
    if isinstance(node, yaml.ScalarNode):
        return f"${{{node.value}}}" if suffix == "Ref" else node.value
    return loader.construct_sequence(node, deep=True)  # type: ignore[arg-type]


Template.add_multi_constructor("!", tagged)


@pytest.fixture(scope="module")
def cloudformation() -> dict[str, Any]:
    return yaml.load(template(), Template)


@pytest.fixture(scope="module")
def load() -> Callable[[TextIO], Any]:
    """Reads a file of Terraform."""
    try:
        import hcl2
    except ImportError:
        pytest.skip("needs python-hcl2; pip install -e '.[dev]'")
    return hcl2.load


@pytest.fixture(scope="module")
def terraform(load: Callable[[TextIO], Any]) -> dict[str, dict[str, Any]]:
    """type -> resource, of which there is one each."""
    found: dict[str, dict[str, Any]] = {}
    for path in TERRAFORM.glob("*.tf"):
        with path.open() as file:
            for block in load(file).get("resource", []):
                for kind, named in plain(block).items():
                    assert kind not in found
                    (found[kind],) = named.values()
    return found


def plain(node: Any) -> Any:
    """Without the quotes and marks of the parser."""
    if isinstance(node, dict):
        return {str(plain(key)): plain(value) for key, value in node.items() if not key.startswith("__")}
    if isinstance(node, list):
        return [plain(one) for one in node]
    return node[1:-1] if isinstance(node, str) and node[:1] == node[-1:] == '"' else node


def as_cloudformation(text: str) -> str:
    for ours, theirs in PLACEHOLDERS.items():
        text = text.replace(ours, theirs)
    return text


def encoded(text: str) -> Any:
    """What is inside `${jsonencode(...)}`."""
    inside = re.fullmatch(r"\$\{jsonencode\((.*)\)\}", text, re.DOTALL)
    assert inside is not None
    quoted = re.sub(r"([{,] *)(\w+) = ", r'\1"\2" = ', inside[1]).replace(" = ", ": ")
    return json.loads(as_cloudformation(re.sub(r"([\[ ])local\.arn\b", r'\1"${local.arn}"', quoted)))


def listed(statement: dict[str, Any]) -> dict[str, Any]:
    """A statement whose actions and resources are lists."""
    return {
        key: [value] if key in ("Action", "Resource") and isinstance(value, str) else value
        for key, value in statement.items()
    }


@pytest.mark.slow
def test_the_template_is_sound():
    path = REPOSITORY / "infra/cloudformation.yaml"
    command = [str(Path(sys.executable).with_name("cfn-lint")), str(path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.fixture
def terraform_command(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """terraform_command("fmt", ...): Terraform, or OpenTofu, in a copy of its files."""
    tool = shutil.which("tofu") or shutil.which("terraform")
    if tool is None:
        pytest.skip("needs OpenTofu or Terraform: https://opentofu.org/docs/intro/install")
    folder = shutil.copytree(TERRAFORM, tmp_path / "terraform", ignore=shutil.ignore_patterns(".terraform*"))
    environment = os.environ | {"TF_CLI_CONFIG_FILE": os.devnull, "CHECKPOINT_DISABLE": "1"}

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([tool, *arguments], cwd=folder, env=environment, capture_output=True, text=True)

    return run


def test_terraform_formats_it_so(terraform_command: Callable[..., subprocess.CompletedProcess[str]]):
    done = terraform_command("fmt", "-check", "-diff")
    assert done.returncode == 0, done.stdout + done.stderr


def test_terraform_finds_it_valid(terraform_command: Callable[..., subprocess.CompletedProcess[str]]):
    done = terraform_command("init", "-backend=false", "-input=false", "-no-color")
    if "provider" in done.stderr and done.returncode:
        pytest.skip("needs the provider hashicorp/aws, which Terraform loads from its registry")
    assert done.returncode == 0, done.stderr
    done = terraform_command("validate", "-no-color")
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_boundary_is_the_same(cloudformation: dict[str, Any], terraform: dict[str, Any]):
    theirs = cloudformation["Resources"]["Boundary"]["Properties"]
    ours = terraform["aws_iam_policy"]
    assert as_cloudformation(ours["name"]) == theirs["ManagedPolicyName"]
    assert ours["path"] == theirs["Path"]
    statements = encoded(ours["policy"])["Statement"]
    assert list(map(listed, statements)) == list(map(listed, theirs["PolicyDocument"]["Statement"]))


def test_the_launch_template_is_the_same(cloudformation: dict[str, Any], terraform: dict[str, Any]):
    theirs = cloudformation["Resources"]["LaunchTemplate"]["Properties"]
    data, ours = theirs["LaunchTemplateData"], terraform["aws_launch_template"]
    assert as_cloudformation(ours["name"]) == theirs["LaunchTemplateName"]
    assert ours["instance_initiated_shutdown_behavior"] == data["InstanceInitiatedShutdownBehavior"] == "terminate"
    (options,) = ours["metadata_options"]
    assert options == {
        "http_endpoint": data["MetadataOptions"]["HttpEndpoint"],
        "http_tokens": data["MetadataOptions"]["HttpTokens"],
        "http_put_response_hop_limit": data["MetadataOptions"]["HttpPutResponseHopLimit"],
    }
    (disk,) = ours["block_device_mappings"]
    (ebs,) = disk["ebs"]
    (their_disk,) = data["BlockDeviceMappings"]
    their_ebs = their_disk["Ebs"]
    assert (ebs["volume_type"], ebs["encrypted"], ebs["delete_on_termination"]) == (
        their_ebs["VolumeType"],
        their_ebs["Encrypted"],
        their_ebs["DeleteOnTermination"],
    )
    tagged_kinds = [spec["ResourceType"] for spec in data["TagSpecifications"]]
    assert [spec["resource_type"] for spec in ours["tag_specifications"]] == tagged_kinds
    assert "iam_instance_profile" not in ours
    assert "IamInstanceProfile" not in data  # each job has its own


def test_nothing_comes_in(cloudformation: dict[str, Any], terraform: dict[str, Any]):
    theirs, ours = cloudformation["Resources"]["SecurityGroup"]["Properties"], terraform["aws_security_group"]
    assert "ingress" not in ours
    assert "SecurityGroupIngress" not in theirs
    (egress,), (their_egress,) = ours["egress"], theirs["SecurityGroupEgress"]
    assert (egress["protocol"], egress["cidr_blocks"]) == (their_egress["IpProtocol"], [their_egress["CidrIp"]])
    assert ours["description"] == theirs["GroupDescription"]


def test_the_outputs_are_the_same(cloudformation: dict[str, Any], terraform: dict[str, Any]):
    body = terraform["aws_cloudformation_stack"]["template_body"]
    named = re.findall(r"(\w+) = \{Value = ", body)
    assert set(named) == set(cloudformation["Outputs"])


def test_the_bucket_is_the_same(terraform: dict[str, Any]):
    """As racing_launchers.aws_spot.account.bucket makes it."""
    calls: dict[str, Any] = {}

    class Recorder:
        def __getattr__(self, name: str) -> Any:
            return lambda **arguments: calls.__setitem__(name, arguments)

    for apply in bucket.settings("BUCKET", "aws", "racing"):
        apply(Recorder())
    blocked = calls["put_public_access_block"]["PublicAccessBlockConfiguration"]
    ours = terraform["aws_s3_bucket_public_access_block"]
    assert {name.replace("_", "").lower() for name, value in ours.items() if value is True} == {
        name.lower() for name, value in blocked.items() if value
    }
    (rule,) = terraform["aws_s3_bucket_ownership_controls"]["rule"]
    assert [rule["object_ownership"]] == [
        one["ObjectOwnership"] for one in calls["put_bucket_ownership_controls"]["OwnershipControls"]["Rules"]
    ]
    (rule,) = terraform["aws_s3_bucket_server_side_encryption_configuration"]["rule"]
    (algorithm,) = rule["apply_server_side_encryption_by_default"]
    (theirs,) = calls["put_bucket_encryption"]["ServerSideEncryptionConfiguration"]["Rules"]
    assert algorithm["sse_algorithm"] == theirs["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"]
    (versioning,) = terraform["aws_s3_bucket_versioning"]["versioning_configuration"]
    assert versioning["status"] == calls["put_bucket_versioning"]["VersioningConfiguration"]["Status"]
    rules = {one["ID"]: one for one in calls["put_bucket_lifecycle_configuration"]["LifecycleConfiguration"]["Rules"]}
    old, code = terraform["aws_s3_bucket_lifecycle_configuration"]["rule"]
    (versions,), (unfinished,) = old["noncurrent_version_expiration"], old["abort_incomplete_multipart_upload"]
    assert rules["racing-old"]["NoncurrentVersionExpiration"] == {
        "NoncurrentDays": versions["noncurrent_days"],
        "NewerNoncurrentVersions": versions["newer_noncurrent_versions"],
    }
    days = rules["racing-old"]["AbortIncompleteMultipartUpload"]["DaysAfterInitiation"]
    assert days == unfinished["days_after_initiation"]
    assert rules["racing-code"]["Expiration"] == {"Days": code["expiration"][0]["days"]}
    assert rules["racing-code"]["Filter"] == {"Prefix": code["filter"][0]["prefix"]}
    (deny,) = encoded(terraform["aws_s3_bucket_policy"]["policy"])["Statement"]
    (their_deny,) = bucket.tls_only("${Bucket}", "${AWS::Partition}")["Statement"]
    assert deny == their_deny


def test_the_example_sets_what_has_no_default(load: Callable[[TextIO], Any]):
    with (TERRAFORM / "variables.tf").open() as file:
        variables = {name: about for one in plain(load(file))["variable"] for name, about in one.items()}
    with (TERRAFORM / "terraform.tfvars.example").open() as file:
        example = plain(load(file))
    assert set(example) == {name for name, about in variables.items() if "default" not in about}
