"""Objects of one bucket of S3: read, written on conditions, listed."""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from racing.errors import InputError, require
from racing.files import atomic_path, is_inside
from racing_launchers.aws_spot.account.client import answered, code_of
from racing_launchers.remote.files import RemoteFile

SCHEME = "s3://"
NAME = re.compile(r"(?!\d+\.\d+\.\d+\.\d+$)(?!xn--)[a-z0-9](?:[a-z0-9-]{1,61})[a-z0-9]")  # without dots: TLS knows them
ABSENT = ("404", "NoSuchKey", "NoSuchVersion", "NotFound")
CONFLICT = ("PreconditionFailed", "412", "ConditionalRequestConflict", "409")
PIECE = 1 << 20  # [bytes]
LARGEST = 5_000_000_000  # [bytes] that S3 takes in one request


class Conflict(Exception):
    """Somebody else has written the object meanwhile."""


class Written(NamedTuple):
    """An object as it was written: ETag, and its version, '' in a bucket that keeps none."""

    etag: str
    version: str


def require_bucket_name(key: str, name: Any) -> None:
    """Raise InputError unless that is the name of a bucket. key: of the configuration."""
    rule = f"{key} must be the name of a bucket, 3 to 63 of a-z, 0-9 and -, got {name!r}"
    require(isinstance(name, str) and NAME.fullmatch(name) is not None, f"{rule}; correct it")


class Objects:
    """A bucket. Every method raises InputError where it cannot be reached or refuses."""

    def __init__(self, client: Any, bucket: str) -> None:
        """client: boto3's, of S3."""
        self.client, self.bucket = client, bucket

    def read(self, key: str, version: str = "") -> bytes | None:
        """Content of an object; None where there is none."""
        found = self.read_tagged(key, version)
        return found[0] if found else None

    def read_tagged(self, key: str, version: str = "") -> tuple[bytes, str] | None:
        """Content of an object, and its ETag; None where there is none."""
        from botocore.exceptions import ClientError

        options = {"VersionId": version} if version else {}
        with answered(f"s3://{self.bucket}/{key}"):
            try:
                answer = self.client.get_object(Bucket=self.bucket, Key=key, **options)
                return answer["Body"].read(), answer["ETag"]
            except ClientError as error:
                if code_of(error) in ABSENT:
                    return None
                raise

    def fetch(self, key: str, place: Path, version: str = "") -> str:
        """Copy an object to `place`, which is replaced once all of it is here; returns its sha256, '' if it is gone."""
        from botocore.exceptions import ClientError

        options = {"VersionId": version} if version else {}
        digest = hashlib.sha256()
        place.parent.mkdir(parents=True, exist_ok=True)
        with answered(f"s3://{self.bucket}/{key}"), atomic_path(place, sync=False) as part:
            try:
                body = self.client.get_object(Bucket=self.bucket, Key=key, **options)["Body"]
            except ClientError as error:
                if code_of(error) in ABSENT:
                    return ""
                raise
            with part.open("wb") as target:
                while piece := body.read(PIECE):
                    digest.update(piece)
                    target.write(piece)
            return digest.hexdigest()

    def write(self, key: str, content: Any, *, if_match: str = "", if_absent: bool = False) -> Written:
        """Write an object, bytes or an open file. Raises Conflict if a condition does not hold.

        if_match: only over the object of this ETag. if_absent: only where there is none.
        """
        from botocore.exceptions import ClientError

        condition = {"IfMatch": if_match} if if_match else {"IfNoneMatch": "*"} if if_absent else {}
        with answered(f"s3://{self.bucket}/{key}"):
            try:
                answer = self.client.put_object(Bucket=self.bucket, Key=key, Body=content, **condition)
            except ClientError as error:
                if condition and code_of(error) in CONFLICT:
                    raise Conflict(key) from error
                raise
        return Written(answer["ETag"], str(answer.get("VersionId") or ""))

    def copy(self, source: str, key: str) -> Written:
        """Copy an object, inside of S3. Raises InputError where there is none."""
        from botocore.exceptions import ClientError

        with answered(f"s3://{self.bucket}/{source}"):
            try:
                answer = self.client.copy_object(
                    Bucket=self.bucket, Key=key, CopySource={"Bucket": self.bucket, "Key": source}
                )
            except ClientError as error:
                if code_of(error) in ABSENT:
                    raise InputError(f"s3://{self.bucket}/{source} is missing; submit the job again") from error
                raise
        return Written(answer["CopyObjectResult"]["ETag"], str(answer.get("VersionId") or ""))

    def remove(self, key: str) -> None:
        """Delete an object, if it is there."""
        with answered(f"s3://{self.bucket}/{key}"):
            self.client.delete_object(Bucket=self.bucket, Key=key)

    def list(self, prefix: str = "") -> Iterator[RemoteFile]:
        """Every object whose key begins so."""
        with answered(f"s3://{self.bucket}/{prefix}"):
            for page in self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix):
                for entry in page.get("Contents", []):
                    changed = int(entry["LastModified"].timestamp())
                    yield RemoteFile(entry["Key"], int(entry["Size"]), changed)


class BucketFiles:
    """A folder of a bucket, `s3://bucket/folder`, as other disks are seen: see racing_launchers.remote.files."""

    def __init__(self, objects: Objects, folder: str = "") -> None:
        """folder: below which everything is; '': all of the bucket."""
        self.objects, self.folder = objects, folder.strip("/")
        self.name = "-".join([objects.bucket, *self.folder.split("/")]).rstrip("-")

    @property
    def address(self) -> str:
        """See RemoteFiles."""
        return f"{SCHEME}{self.objects.bucket}/{self.folder}".rstrip("/")

    def files(self, folder: str = "", *, recursive: bool = True) -> list[RemoteFile]:
        """See RemoteFiles."""
        place = self._key(folder)
        found = [file for file in self.objects.list(place) if _below(file.path, place)]
        inside = [RemoteFile(self._inside(file.path), file.size, file.changed) for file in found]
        for file in inside:
            require(is_inside(file.path), f"{file.path[:80]!r} leads out of {self.address}; remove it there")
        deep = len(folder.strip("/").split("/")) + 1 if folder.strip("/") else 1
        return [file for file in inside if recursive or file.path.count("/") < deep]

    def read(self, path: str) -> bytes | None:
        """See RemoteFiles."""
        return self.objects.read(self._key(path))

    def fetch(self, file: RemoteFile, place: Path) -> bool:
        """See RemoteFiles."""
        with contextlib.suppress(FileNotFoundError):
            return self.objects.fetch(self._key(file.path), place) != ""
        return False

    def put(self, files: Mapping[str, Path | bytes]) -> None:
        """See WritableFiles."""
        for path, content in files.items():
            self.objects.write(self._key(path), content if isinstance(content, bytes) else content.read_bytes())

    def remove(self, path: str) -> None:
        """See WritableFiles."""
        for file in self.files(path):
            self.objects.remove(self._key(file.path))

    def _key(self, path: str) -> str:
        return "/".join(part for part in (self.folder, path.strip("/")) if part)

    def _inside(self, key: str) -> str:
        return key.removeprefix(f"{self.folder}/") if self.folder else key


def _below(key: str, place: str) -> bool:
    """Whether an object is that file, or lies in that folder; the empty objects that stand for folders are none."""
    return (not place or key == place or key.startswith(f"{place}/")) and not key.endswith("/")


def split_address(address: str) -> tuple[str, str]:
    """Bucket and folder of `s3://bucket/folder`. Raises InputError for anything else."""
    if not address.startswith(SCHEME):
        raise InputError(f"{address!r} must be s3://BUCKET or s3://BUCKET/FOLDER; `racing cloud status` names yours")
    bucket, _, folder = address.removeprefix(SCHEME).partition("/")
    require_bucket_name(f"{address}:", bucket)
    require(is_inside(folder), f"{address!r} must not lead out of the bucket; correct it")
    return bucket, folder.strip("/")
