"""Files on another disk, as Modal's volumes and buckets of S3 show them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True)
class RemoteFile:
    """path: from the root of that disk. size [bytes]. changed: [s] since 1970, whole."""

    path: str
    size: int
    changed: int


class RemoteFiles(Protocol):
    """Files that lie there. Every method raises InputError where they cannot be reached."""

    @property
    def address(self) -> str:
        """How the command line names it, such as modal://NAME."""

    @property
    def name(self) -> str:
        """A name for folders of what is fetched from there."""

    def files(self, folder: str = "", *, recursive: bool = True) -> list[RemoteFile]:
        """Every file below a folder, or that file; none where there is no such thing."""

    def read(self, path: str) -> bytes | None:
        """Contents of a file; None where there is none."""

    def fetch(self, file: RemoteFile, place: Path) -> bool:
        """Copy a file to `place`, which is replaced once all of it is here; False if it is gone meanwhile."""


class JobFiles(RemoteFiles, Protocol):
    """What jobs have left: an outputs folder, in parts each of which is removed as a whole."""

    def parts(self) -> dict[str, list[RemoteFile]]:
        """The files of each part, by its name."""

    def remove(self, path: str) -> None:
        """Delete a part."""


class WritableFiles(RemoteFiles, Protocol):
    """Files that can be changed from here, too."""

    def put(self, files: Mapping[str, Path | bytes]) -> None:
        """Write files; what is there is replaced."""

    def remove(self, path: str) -> None:
        """Delete a file or a folder, if it is there."""
