"""The place of one job in the bucket, and who may write there.

    code/<sha256>.tar.gz                    code, and the packages it needs (code.py)
    code/<place>/<attempt>.json, .pkl       what an attempt shall do: its spec, its payload
    code/<place>/cancel                     it shall stop
    code/files/<sha256>                     what jobs need of the machine that submits them (inputs.py)
    runs/<place>/latest.json                the commit: attempt, instance, and every file with size, sha256, version
    runs/<place>/runs/..., sweeps/...       the files, as they lie in an outputs folder

<place> is <sweep>-<token>/<number>. A file counts only if latest.json names it, in the version that it names. An
instance writes latest.json only over the one that it has written itself, or found when it began (S3's IfMatch): of two
that are alive only one gets on, the other is `Fenced`, and nobody ever looks at what that one has still written. The
bucket keeps all versions, so nothing can be overwritten.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from racing.errors import InputError, require
from racing.files import is_inside
from racing_launchers.aws_spot.account.objects import Conflict, Objects
from racing_launchers.remote.files import RemoteFile

LATEST = "latest.json"
CANCEL = "cancel"
FORMAT = 1
TRIES = 5  # to take a job over from an instance that still commits


class Fenced(Exception):
    """Another instance does the job now: this one must not write any more."""


@dataclass(frozen=True)
class Entry:
    """A file of a commit. size [bytes]. changed: [s] since 1970. version: of its object."""

    size: int
    changed: int
    sha256: str
    version: str


@dataclass(frozen=True)
class Commit:
    """What a job has, at one instant.

    nonce: tells it from every other commit. passed: instances that had this attempt before, and have it no more.
    """

    attempt: int = 0
    instance: str = ""
    files: dict[str, Entry] = field(default_factory=dict)
    nonce: str = ""
    passed: tuple[str, ...] = ()

    def text(self) -> bytes:
        """As latest.json holds it."""
        files = {path: [e.size, e.changed, e.sha256, e.version] for path, e in sorted(self.files.items())}
        about = {"format": FORMAT, "attempt": self.attempt, "instance": self.instance, "nonce": self.nonce}
        about |= {"passed": list(self.passed)}
        return json.dumps(about | {"files": files}).encode()


def read_commit(text: bytes, where: str) -> Commit:
    """The commit in latest.json. Raises InputError where that was damaged."""
    try:
        about = json.loads(text)
        if about["format"] != FORMAT:
            raise ValueError(f"format {about['format']}")
        files = {
            str(path): Entry(int(size), int(changed), str(sha256), str(version))
            for path, (size, changed, sha256, version) in about["files"].items()
        }
        passed = tuple(map(str, about.get("passed", [])))
        commit = Commit(int(about["attempt"]), str(about["instance"]), files, str(about["nonce"]), passed)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{where} is damaged ({error!r}); bring an earlier version of it back") from error
    for path in commit.files:
        require(is_inside(path), f"{where} names {path[:80]!r}, which leads out of it; bring an earlier version back")
    return commit


class Place:
    """Of one job. name: <sweep>-<token>/<number>."""

    def __init__(self, objects: Objects, name: str) -> None:
        """Nothing is asked yet."""
        self.objects, self.name = objects, name
        self.latest_key = f"runs/{name}/{LATEST}"
        self.cancel_key = f"code/{name}/{CANCEL}"

    def make(self, files: Mapping[str, Entry] | None = None) -> None:
        """Begin it, if it is not there: an instance only ever writes over what it has found.

        files: that lie there already, as the job's first ones.
        """
        try:
            self.objects.write(self.latest_key, Commit(files=dict(files or {})).text(), if_absent=True)
        except Conflict:
            return

    def latest(self) -> tuple[Commit, str] | None:
        """The newest commit and its ETag; None before the place is made."""
        found = self.objects.read_tagged(self.latest_key)
        return (read_commit(found[0], f"s3://{self.objects.bucket}/{self.latest_key}"), found[1]) if found else None

    def snapshot(self) -> Snapshot | None:
        """What there is now, all of one instant."""
        found = self.latest()
        return Snapshot(self, found[0]) if found else None

    def key(self, path: str) -> str:
        """The key of a file."""
        return f"runs/{self.name}/{path}"


class Snapshot:
    """The files of a commit: see racing_launchers.remote.files."""

    def __init__(self, place: Place, commit: Commit) -> None:
        """commit: of that place."""
        self.place, self.commit = place, commit

    @property
    def name(self) -> str:
        """See RemoteFiles."""
        return self.place.name.replace("/", "-")

    @property
    def address(self) -> str:
        """See RemoteFiles."""
        return f"s3://{self.place.objects.bucket}/runs/{self.place.name}"

    def files(self, folder: str = "", *, recursive: bool = True) -> list[RemoteFile]:
        """See RemoteFiles. All of them lie below, whatever `recursive` says."""
        inside = folder.strip("/")
        return [
            RemoteFile(path, entry.size, entry.changed)
            for path, entry in self.commit.files.items()
            if not inside or path == inside or path.startswith(f"{inside}/")
        ]

    def read(self, path: str) -> bytes | None:
        """See RemoteFiles."""
        entry = self.commit.files.get(path)
        return self.place.objects.read(self.place.key(path), entry.version) if entry else None

    def fetch(self, file: RemoteFile, place: Path) -> bool:
        """See RemoteFiles. Raises InputError for a file that is not what was committed."""
        entry = self.commit.files.get(file.path)
        digest = self.place.objects.fetch(self.place.key(file.path), place, entry.version) if entry else ""
        if entry is None or not digest:
            return False
        rule = f"{self.address}/{file.path} is not what was committed"
        require(digest == entry.sha256, f"{rule}; turn on versioning: racing cloud up, and train again")
        os.utime(place, (entry.changed, entry.changed))
        return True

    def restore(self, folder: Path) -> None:
        """Bring all files to `folder`. Raises InputError where one is missing or is not what was committed."""
        for file in self.files():
            whole = self.fetch(file, folder / file.path)
            require(whole, f"{self.address}/{file.path} is missing; bring it back, or submit the job with fresh=true")


class Writer:
    """What an instance may do at a place while the job is its own."""

    def __init__(self, place: Place, attempt: int, instance: str, *, succeeds: bool = False) -> None:
        """Take the job over. Raises Fenced where a later attempt, or another instance of this one, has it.

        succeeds: an attempt has one instance after the other, and each takes it from the one before.
        """
        self.place, self.attempt, self.instance = place, attempt, instance
        self.passed: tuple[str, ...] = ()
        for tries_left in reversed(range(TRIES)):
            found = place.latest()
            if found is None:
                raise Fenced(f"{place.name} was never made")
            self.found, self._etag = found
            same = self.found.attempt == attempt
            another = same and self.found.instance != instance
            if self.found.attempt > attempt or (another and not succeeds) or (same and instance in self.found.passed):
                raise Fenced(f"attempt {self.found.attempt} on {self.found.instance} has the job")
            self.passed = (*self.found.passed, *([self.found.instance] if another else [])) if same else ()
            try:
                self.commit(self.found.files)
                return
            except Fenced:  # that of an earlier attempt, which still lives, came in between
                if not tries_left:
                    raise

    def upload(self, path: str, source: Any, size: int, changed: int, sha256: str) -> Entry:
        """Write the object of a file, which counts from the next commit on. source: an open file, or bytes."""
        written = self.place.objects.write(self.place.key(path), source)
        return Entry(size, changed, sha256, written.version)

    def commit(self, files: dict[str, Entry]) -> None:
        """These are the job's files now. Raises Fenced if the job is another's."""
        commit = Commit(self.attempt, self.instance, files, secrets.token_hex(8), self.passed)
        try:
            self._etag = self.place.objects.write(self.place.latest_key, commit.text(), if_match=self._etag).etag
        except Conflict as error:
            found = self.place.latest()
            if found is None or found[0].nonce != commit.nonce:  # else our own: it was sent twice on a bad line
                owner = found[0].instance if found else "nobody"
                raise Fenced(f"{owner} has the job now") from error
            self._etag = found[1]
