"""Secrets of jobs: named here, read by the instance alone.

ssm:NAME is a SecureString of SSM's Parameter Store, secretsmanager:NAME one of Secrets Manager.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from racing.errors import InputError, require
from racing_launchers.aws_spot.account.client import answered, code_of

SSM, MANAGER = "ssm", "secretsmanager"
FORM = re.compile(rf"({SSM}|{MANAGER}):([A-Za-z0-9/_+=.@-]+)")
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
TELLING = re.compile(r"TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIAL|(^|_)KEY$|API_?KEY", re.IGNORECASE)
ABSENT = ("ParameterNotFound", "ResourceNotFoundException")

Client = Callable[[str], Any]  # name of a service -> its client


def split(name: str) -> tuple[str, str]:
    """Service and name of `ssm:/racing/wandb`."""
    service, _, rest = name.partition(":")
    return service, rest


def check_form(secrets: Mapping[str, Any], env: Mapping[str, Any]) -> None:
    """Raise InputError unless secrets are variables with names of secrets, and `env` holds no secret."""
    for variable in (*secrets, *env):
        fits = VARIABLE.fullmatch(str(variable)) is not None
        require(fits, f"launcher.secrets and launcher.env name variables, got {variable!r}; letters, digits and _")
    for variable, name in secrets.items():
        rule = f"launcher.secrets.{variable} must be ssm:NAME or secretsmanager:NAME, it is not"  # it may be a secret
        require(isinstance(name, str) and FORM.fullmatch(name) is not None, f"{rule}; the secret itself stays in AWS")
    for variable in env:
        rule = f"launcher.env.{variable} looks like a secret, and launcher.env lies in the bucket"
        require(
            TELLING.search(variable) is None, f"{rule}; +launcher.secrets.{variable}=ssm:/racing/{variable.lower()}"
        )


def check_there(secrets: Mapping[str, str], client: Client) -> None:
    """Raise InputError unless all of them are in this region; their values are not asked for."""
    from botocore.exceptions import ClientError

    for variable, name in secrets.items():
        service, rest = split(name)
        with answered(f"{name} of launcher.secrets.{variable}"):
            try:
                if service == SSM:
                    kind = client(SSM).get_parameter(Name=rest, WithDecryption=False)["Parameter"]["Type"]
                    rule = f"launcher.secrets.{variable}={name} must be a SecureString, it is a {kind}"
                    require(
                        kind == "SecureString", f"{rule}; aws ssm put-parameter --type SecureString --overwrite ..."
                    )
                else:
                    client(MANAGER).describe_secret(SecretId=rest)
            except ClientError as error:
                if code_of(error) not in ABSENT:
                    raise
                make = (
                    "aws ssm put-parameter --type SecureString --name"
                    if service == SSM
                    else "aws secretsmanager create-secret --name"
                )
                raise InputError(
                    f"launcher.secrets.{variable}={name} is not in this region; {make} {rest} ..."
                ) from error


def read(secrets: Mapping[str, str], client: Client) -> dict[str, str]:
    """On an instance: the values by variable. Raises InputError where the instance may not read one."""
    found = {}
    for variable, name in secrets.items():
        service, rest = split(name)
        with answered(f"{name} of launcher.secrets.{variable}"):
            if service == SSM:
                found[variable] = client(SSM).get_parameter(Name=rest, WithDecryption=True)["Parameter"]["Value"]
            else:
                found[variable] = client(MANAGER).get_secret_value(SecretId=rest)["SecretString"]
    return found
