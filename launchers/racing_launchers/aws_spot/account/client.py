"""AWS's own client, boto3: opened once, with what it raises turned into one line for people."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from typing import Any

from racing.config import hint
from racing.errors import InputError, require
from racing_launchers.backend import NoAnswer

INSTALL = "pip install 'racing[aws]', in a checkout '.[aws]'"
CONNECT_TIMEOUT, READ_TIMEOUT = 5, 60  # [s]
ATTEMPTS = 4  # of a request that fails on its way, or is throttled
SIGN_IN = "`aws configure`, `aws sso login`, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
REFUSED = {  # what AWS calls a key or token that it does not take -> what is the matter
    **dict.fromkeys(("ExpiredToken", "ExpiredTokenException", "RequestExpired"), "the token has expired"),
    **dict.fromkeys(("InvalidClientTokenId", "UnrecognizedClientException", "InvalidAccessKeyId"), "no such key"),
    **dict.fromkeys(("SignatureDoesNotMatch", "AuthFailure", "InvalidSignatureException"), "the secret key is wrong"),
    "InvalidToken": "the session token is wrong",
}
DENIED = ("UnauthorizedOperation", "AccessDenied", "AccessDeniedException", "403")


def library() -> Any:
    """The package `boto3`. Raises InputError where it is not installed."""
    try:
        import boto3
    except ImportError as error:
        raise InputError(f"launcher=aws_spot needs the package boto3, {error}; {INSTALL}") from error
    return boto3


class Aws:
    """One account, as one profile sees it, in one region."""

    def __init__(self, region: str | None = None, profile: str | None = None) -> None:
        """Nothing is asked of AWS. region, profile: None: those of the environment, or of ~/.aws/config.

        Raises InputError for a profile or region that is not there.
        """
        from botocore.exceptions import ProfileNotFound

        boto3 = library()
        try:
            self._session = boto3.Session(profile_name=profile, region_name=region)
        except ProfileNotFound as error:
            known = boto3.Session().available_profiles
            raise InputError(
                f"launcher.profile={profile} is not in ~/.aws/config; {hint(str(profile), known)}"
            ) from error
        self.region = str(self._session.region_name or "")
        require(self.region != "", "AWS needs a region; set AWS_DEFAULT_REGION, or `aws configure`")
        known = [
            name
            for partition in self._session.get_available_partitions()
            for name in self._session.get_available_regions("ec2", partition)
        ]
        require(self.region in known, f"{self.region!r} is no region of AWS; {hint(self.region, known)}")
        self.client = functools.cache(self._client)

    def _client(self, service: str) -> Any:
        from botocore.config import Config

        settings = Config(
            connect_timeout=CONNECT_TIMEOUT,
            read_timeout=READ_TIMEOUT,
            retries={"mode": "standard", "max_attempts": ATTEMPTS},
            s3={"addressing_style": "path"},
        )
        with answered(service):
            return self._session.client(service, config=settings)

    @functools.cached_property
    def account(self) -> str:
        """Number of the account. The first question to AWS: it tells whether the credentials are any good."""
        with answered("the credentials"):
            return str(self.client("sts").get_caller_identity()["Account"])


def code_of(error: Any) -> str:
    """AWS's name for what went wrong; '' for what is no answer of AWS."""
    response = getattr(error, "response", None) or {}
    return str(response.get("Error", {}).get("Code", ""))


def said(error: Any) -> str:
    """What AWS says of it, on one line."""
    response = getattr(error, "response", None) or {}
    text = str(response.get("Error", {}).get("Message") or error)
    return " ".join(text.split())[:300]


@contextlib.contextmanager
def answered(what: str) -> Iterator[None]:
    """Turn what boto3 raises for missing or stale credentials, a region out of reach, a lack of rights into InputError.

    what: was asked for.
    """
    from botocore import exceptions

    try:
        yield
    except (exceptions.NoCredentialsError, exceptions.PartialCredentialsError) as error:
        raise InputError(f"AWS credentials are not there ({said(error)}); {SIGN_IN}") from error
    except (exceptions.TokenRetrievalError, exceptions.SSOError, exceptions.CredentialRetrievalError) as error:
        raise InputError(f"AWS credentials cannot be had ({said(error)}); {SIGN_IN}") from error
    except (exceptions.ConnectionError, exceptions.HTTPClientError) as error:
        raise NoAnswer(f"AWS cannot be reached for {what} ({said(error)}); check the network and the region") from error
    except exceptions.ClientError as error:
        raise InputError(explained(error, what)) from error


def explained(error: Any, what: str) -> str:
    """A refusal of AWS in one line."""
    code = code_of(error)
    if code in REFUSED:
        return f"AWS refused the credentials: {REFUSED[code]} ({code}); {SIGN_IN}"
    if code in DENIED:
        return f"AWS does not allow {what}: {said(error)}; `racing cloud doctor` prints the rights that are needed"
    return f"AWS refused {what}: {said(error)} ({code}); see docs/aws.md"
