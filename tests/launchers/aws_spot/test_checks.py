"""Wrong input, an account that lacks something, wrong credentials: one line, exit code 2, nothing is started."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from racing.cli import main
from racing.errors import InputError
from racing_launchers import preflight
from racing_launchers.aws_spot.checks import refuse_what_cannot_be
from racing_launchers.backend import launcher_config, make_backend
from tests.launchers.aws_spot.conftest import EXPIRED
from tests.launchers.modal_box.server import free_ports

TRAIN = ["train", "launcher=aws_spot", "debug=fast", "tracking=none", "launcher.instance_types=[c7i.xlarge]"]


@pytest.fixture
def refused(
    tmp_path: Path, client: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., str]:
    """refused(SETTING, ...): the one line that a command which is refused says; its job is not built before."""
    monkeypatch.setattr(preflight, "check_buildable", lambda *_, **__: None)  # see tests/launchers/test_sweep.py

    def run(*arguments: str) -> str:
        capsys.readouterr()
        assert main([*TRAIN, *arguments, f"paths.outputs={tmp_path / 'out'}"]) == 2
        (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("racing train: ")]
        assert not list(tmp_path.glob("out/sweeps/*"))
        return line.removeprefix("racing train: ")

    return run


def nothing_was_started(client: Any) -> bool:
    return client("ec2").describe_instances()["Reservations"] == []


NOT_THERE = [
    (
        ["launcher.instance_types=[g5.tiny]"],
        "launcher.instance_types has 'g5.tiny', which is not in us-east-1;",
    ),
    (
        ["launcher.instance_types=[c7g.xlarge]"],
        "'c7g.xlarge', whose processor is arm64; take one of Intel's",
    ),
    (["launcher.subnets=[subnet-0123abcd]"], "launcher.subnets: subnet-0123abcd is not in us-east-1; correct it"),
    (["launcher.image=ami-01234567"], "launcher.image: ami-01234567 is not in us-east-1; correct it"),
    (["launcher.stack=other"], "launcher.stack=other is not in us-east-1; racing cloud up other region=us-east-1"),
    (["launcher.region=eu-west-1"], "launcher.stack=racing is not in eu-west-1; racing cloud up racing"),
    (["launcher.region=mars-north-1"], "'mars-north-1' is no region of AWS; did you mean"),
    (["launcher.profile=nobody"], "launcher.profile=nobody is not in ~/.aws/config"),
    (["hardware=gpu", "hardware.fallback=false"], "hardware.fallback=false wants a GPU, c7i.xlarge has none;"),
    (
        ["+launcher.secrets.A=ssm:/none"],
        "launcher.secrets.A=ssm:/none is not in this region; aws ssm put-parameter --type SecureString",
    ),
    (["+launcher.secrets.A=ssm:/open"], "launcher.secrets.A=ssm:/open must be a SecureString, it is a String;"),
    (
        ["+launcher.secrets.A=secretsmanager:none"],
        "launcher.secrets.A=secretsmanager:none is not in this region;",
    ),
    (
        ["launcher.supervise=asg", "launcher.max_cost=0.03", "seed=1,2"],
        "launcher.max_cost=0.03 USD leaves each of 2 jobs 5 min at the full price; raise it, or submit fewer jobs",
    ),
    (["track=file", "track.file=[nowhere.png]"], "nowhere.png"),
]


def test_what_the_account_does_not_have(stack: str, client: Any, refused: Callable[..., str]):
    """One account for all of them: none changes anything."""
    client("ssm").put_parameter(Name="/open", Type="String", Value="x")
    for settings, text in NOT_THERE:
        assert text in refused(*settings), settings
        assert nothing_was_started(client)


@pytest.mark.parametrize(
    ("setting", "text"),
    [
        (
            "instance_types=g5.xlarge",
            "launcher.instance_types must be names of instance types, such as [g6.xlarge]",
        ),
        ("instance_types=[]", "launcher.instance_types must be names of instance types"),
        ("instance_types=[large]", "launcher.instance_types must be names of instance types"),
        ("subnets=[a]", "launcher.subnets must be ids of subnets, [subnet-...], or null, got ['a']"),
        ("image=ubuntu", "launcher.image must be the id of an image, ami-..., or null, got 'ubuntu'"),
        ("timeout_min=0", "launcher.timeout_min must be a number in [0.05, 43200] min, got 0"),
        ("max_cost=0", "launcher.max_cost must be a number in [0.01, 1000000] USD, got 0"),
        ("max_instances=1.5", "launcher.max_instances must be a whole number in [1, 10000], got 1.5"),
        ("on_demand=maybe", "launcher.on_demand must be true or false, got 'maybe'"),
        ("setup=true", "launcher.setup must be a list of texts, got True"),
        ("stack=a_b", "launcher.stack must be 2 to 21 of a-z, 0-9 and -, a letter first, got 'a_b'"),
        (
            "env={WANDB_API_KEY: abc}",
            "launcher.env.WANDB_API_KEY looks like a secret, and launcher.env lies in",
        ),
        ("env={MY-VAR: abc}", "launcher.secrets and launcher.env name variables, got 'MY-VAR'"),
        ("secrets={A: hush-hush}", "launcher.secrets.A must be ssm:NAME or secretsmanager:NAME, it is not"),
        ("secrets=hush-hush", "launcher.secrets must be keys and values; write +launcher.secrets.NAME=VALUE"),
    ],
)
def test_settings_that_are_wrong_without_asking_aws(setting: str, text: str):
    with pytest.raises(InputError) as told:
        make_backend(launcher_config("aws_spot", [setting]))
    assert text in str(told.value)
    assert "hush" not in str(told.value)


def test_credentials(
    stack: str,
    client: Any,
    monkeypatch: pytest.MonkeyPatch,
    refused: Callable[..., str],
    answering: Callable[[int, str], str],
):
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", answering(403, EXPIRED))
    said = "AWS refused the credentials: the token has expired (ExpiredToken); `aws configure`, `aws sso login`, or "
    assert refused().startswith(said)
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", answering(403, EXPIRED.replace("ExpiredToken", "InvalidClientTokenId")))
    assert refused().startswith("AWS refused the credentials: no such key (InvalidClientTokenId);")
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", answering(403, EXPIRED.replace("ExpiredToken", "AccessDenied")))
    assert "`racing cloud doctor` prints the rights that are needed" in refused()
    (port,) = free_ports(1)
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", f"http://127.0.0.1:{port}")
    assert refused().startswith("AWS cannot be reached for the credentials (Could not connect to the endpoint URL")
    assert nothing_was_started(client)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    assert refused().startswith("AWS credentials are not there (Unable to locate credentials); `aws configure`")


@pytest.mark.parametrize(("quota", "fits"), [(0.0, False), (3.0, False), (4.0, True)])
def test_new_accounts_may_have_no_gpus(
    quota: float,
    fits: bool,
    stack: str,
    client: Any,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    answering: Callable[[int, str], str],
    capsys: pytest.CaptureFixture[str],
):
    monkeypatch.setenv("AWS_ENDPOINT_URL_SERVICE_QUOTAS", answering(200, json.dumps({"Quota": {"Value": quota}})))
    arguments = ["launcher.instance_types=[g5.xlarge]", "launcher.dry_run=true", f"paths.outputs={tmp_path}"]
    code = main([*TRAIN, *arguments])
    said = capsys.readouterr().err
    assert code == (0 if fits else 2)
    words = f"g5.xlarge needs 4 vCPUs, the quota is {quota:g}: the account may have no more vCPUs of 'All G and VT Spot"
    assert (words in said) is not fits
    assert nothing_was_started(client)


def test_the_bucket_must_be_there_and_keep_versions(stack: str, client: Any, refused: Callable[..., str]):
    client("s3").put_bucket_versioning(Bucket=stack, VersioningConfiguration={"Status": "Suspended"})
    assert refused().startswith(f"bucket {stack} must keep versions, or two instances could overwrite each other")
    for page in client("s3").get_paginator("list_object_versions").paginate(Bucket=stack):
        for one in page.get("Versions", []):
            client("s3").delete_object(Bucket=stack, Key=one["Key"], VersionId=one["VersionId"])
    client("s3").delete_bucket(Bucket=stack)
    assert refused().startswith(f"bucket {stack} is not there (Not Found); racing cloud up makes one")


def test_a_dry_run_tells_all_and_starts_nothing(
    stack: str, client: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    dry = ["launcher.dry_run=true", "launcher.timeout_min=60", "seed=1,2", "launcher.max_cost=3"]
    dry += ["+launcher.secrets.A=ssm:/a", "+launcher.env.B=1", f"paths.outputs={tmp_path}"]
    client("ssm").put_parameter(Name="/a", Type="SecureString", Value="x")
    before = len(client("s3").list_objects_v2(Bucket=stack).get("Contents", []))
    assert main([*TRAIN, *dry]) == 0
    said = capsys.readouterr()
    assert "nothing was submitted" in said.out
    assert "  0  seed=1  new" in said.err
    assert "of c7i.xlarge in 2 subnets of us-east-1" in said.err
    assert f"at most {2 * 0.1785:.2f} USD whatever spot prices do, the same for each of up to 20 further" in said.err
    assert "nothing is launched beyond 3.00 USD" in said.err
    assert f"bucket s3://{stack}, launch template lt-" in said.err
    assert "60 min for an attempt; variables A, B" in said.err
    assert nothing_was_started(client)
    assert len(client("s3").list_objects_v2(Bucket=stack).get("Contents", [])) == before
    assert client("iam").list_roles(PathPrefix="/racing/")["Roles"] == []


def test_what_would_be_missing_on_an_instance():
    with pytest.raises(InputError, match=r"tuning.workers=2 share a study, and instances share no disk"):
        refuse_what_cannot_be([{"tuning": {"workers": 2}}] * 2, [], {})
    refuse_what_cannot_be([{"tuning": {"workers": 1}}], [], {})
    config = {"paths": {"outputs": "out"}, "init_from": "c-12345678", "tracking": {"uri": None}}
    with pytest.raises(InputError, match="init_from=c-12345678 must be a run of out, or of an MLflow server that an"):
        refuse_what_cannot_be([config], [], {})
    refuse_what_cannot_be([config | {"tracking": {"uri": "http://tracker:5000"}}], [], {})
    with pytest.raises(InputError, match="init_from=models:/kart@champion must be a run of out, or of an"):
        refuse_what_cannot_be([config | {"init_from": "models:/kart@champion"}], [], {})
    refuse_what_cannot_be([config | {"init_from": "models:/kart@champion"}], [], {"MLFLOW_TRACKING_URI": "http://t"})
