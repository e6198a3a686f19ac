"""Volumes: a directory of committed files each; a container works on a copy of its own until it commits."""

from __future__ import annotations

import asyncio
import os
import shutil
import threading
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from google.protobuf.empty_pb2 import Empty
from grpclib import GRPCError, Status
from modal_proto import api_pb2

from tests.launchers.modal_box.registry import known_file

if TYPE_CHECKING:
    from tests.launchers.modal_box.server import Box

BLOCK = 8 << 20
Stamp = tuple[int, int, int]


@dataclass
class Volume:
    """path: its committed files."""

    id: str
    name: str
    version: int
    path: Path
    lock: threading.Lock = field(default_factory=threading.Lock)


@dataclass
class Copy:
    """A container's own view of a volume. known: its files when it last agreed with the volume."""

    volume: Volume
    path: Path
    read_only: bool
    known: dict[str, Stamp] = field(default_factory=dict)
    folders: set[str] = field(default_factory=set)


class Volumes:
    """All of them."""

    def __init__(self, box: Box) -> None:
        self.box = box
        self.all: dict[str, Volume] = {}
        self.named: dict[str, str] = {}

    def path(self, name: str) -> Path:
        """The committed files of the volume of that name, for asserts."""
        return self.all[self.named[name]].path

    def write(self, name: str, files: dict[str, bytes]) -> None:
        """A volume with these files, as if somebody had put them there."""
        volume = self.make(name, api_pb2.VOLUME_FS_VERSION_V2) if name not in self.named else self.all[self.named[name]]
        for path, content in files.items():
            place = volume.path / path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content)

    def make(self, name: str, version: int) -> Volume:
        volume = self.box.id("vo")
        place = self.box.folder / "volumes" / volume
        place.mkdir(parents=True)
        self.all[volume] = Volume(volume, name, version, place)
        if name:
            self.named[name] = volume
        return self.all[volume]

    # names

    async def VolumeGetOrCreate(self, request: Any, task: str) -> Any:
        found = self.box.registry.known(self.named, request, "Volume")
        volume = self.all[found] if found else self.make(request.deployment_name, request.version or 1)
        metadata = api_pb2.VolumeMetadata(version=volume.version, name=volume.name)
        return api_pb2.VolumeGetOrCreateResponse(volume_id=volume.id, version=volume.version, metadata=metadata)

    async def VolumeGetById(self, request: Any, task: str) -> Any:
        volume = self.all[request.volume_id]
        metadata = api_pb2.VolumeMetadata(version=volume.version, name=volume.name)
        return api_pb2.VolumeGetByIdResponse(volume_id=volume.id, metadata=metadata)

    async def VolumeHeartbeat(self, request: Any, task: str) -> Empty:
        return Empty()

    async def VolumeList(self, request: Any, task: str) -> Any:
        items = [api_pb2.VolumeListItem(label=v.name, volume_id=v.id) for v in self.all.values()]
        return api_pb2.VolumeListResponse(items=items, environment_name="main")

    async def VolumeDelete(self, request: Any, task: str) -> Empty:
        volume = self.all.pop(request.volume_id)
        self.named.pop(volume.name, None)
        return Empty()

    # files, from outside

    async def VolumePutFiles(self, request: Any, task: str) -> Empty:
        """Version 1: contents are known by their hash."""
        volume = self.all[request.volume_id]
        self._refuse(volume, [file.filename for file in request.files], request.disallow_overwrite_existing_files)
        for file in request.files:
            content = known_file(file.sha256_hex).read_bytes()
            await asyncio.to_thread(put, volume, inside(volume.path, file.filename), content)
        return Empty()

    async def VolumePutFiles2(self, request: Any, task: str) -> Any:
        """Version 2: blocks that nobody has put yet are asked for first."""
        volume = self.all[request.volume_id]
        self._refuse(volume, [file.path for file in request.files], request.disallow_overwrite_existing_files)
        missing = [
            api_pb2.VolumePutFiles2Response.MissingBlock(
                file_index=number, block_index=index, put_url=f"{self.box.web.url}/block/{block.contents_sha256.hex()}"
            )
            for number, file in enumerate(request.files)
            for index, block in enumerate(file.blocks)
            if not self.box.web.content(block.contents_sha256.hex()).exists()
        ]
        if not missing:
            for file in request.files:
                blocks = [self.box.web.content(block.contents_sha256.hex()).read_bytes() for block in file.blocks]
                content = b"".join(blocks).ljust(file.size, b"\0")
                await asyncio.to_thread(put, volume, inside(volume.path, file.path), content)
        return api_pb2.VolumePutFiles2Response(missing_blocks=missing)

    def _refuse(self, volume: Volume, paths: list[str], keep: bool) -> None:
        for path in paths if keep else ():
            if inside(volume.path, path).exists():
                raise GRPCError(Status.ALREADY_EXISTS, f"{path}: already exists")

    async def VolumeListFiles(self, request: Any, task: str) -> AsyncIterator[Any]:
        yield api_pb2.VolumeListFilesResponse(entries=self._entries(request))

    async def VolumeListFiles2(self, request: Any, task: str) -> AsyncIterator[Any]:
        yield api_pb2.VolumeListFiles2Response(entries=self._entries(request))

    def _entries(self, request: Any) -> list[Any]:
        volume = self.all[request.volume_id]
        with volume.lock:
            return self._entries_of(volume, request)

    def _entries_of(self, volume: Volume, request: Any) -> list[Any]:
        place = inside(volume.path, request.path)
        if not place.exists():
            raise GRPCError(Status.NOT_FOUND, f"{request.path}: No such file or directory")
        found = [place] if place.is_file() else sorted(place.rglob("*") if request.recursive else place.iterdir())
        entries = []
        for path in found:
            kind = api_pb2.FileEntry.DIRECTORY if path.is_dir() else api_pb2.FileEntry.FILE
            about = path.stat()
            name = path.relative_to(volume.path).as_posix()
            entries.append(api_pb2.FileEntry(path=name, type=kind, mtime=int(about.st_mtime), size=about.st_size))
        return entries

    async def VolumeGetFile2(self, request: Any, task: str) -> Any:
        volume = self.all[request.volume_id]
        place = inside(volume.path, request.path)
        try:
            content = await asyncio.to_thread(place.read_bytes)
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):  # perhaps it went since it was listed
            raise GRPCError(Status.NOT_FOUND, f"{request.path}: No such file or directory") from None
        end = min(len(content), request.start + request.len) if request.len else len(content)
        urls = []
        for start in range(request.start, end, BLOCK):
            urls.append(self.box.web.keep(content[start : min(start + BLOCK, end)]))
        size = end - request.start
        return api_pb2.VolumeGetFile2Response(get_urls=urls, size=len(content), start=request.start, len=size)

    async def VolumeRemoveFile(self, request: Any, task: str) -> Empty:
        return await self.VolumeRemoveFile2(request, task)

    async def VolumeRemoveFile2(self, request: Any, task: str) -> Empty:
        place = inside(self.all[request.volume_id].path, request.path)
        if not place.exists():
            raise GRPCError(Status.NOT_FOUND, f"{request.path}: No such file or directory")
        shutil.rmtree(place) if place.is_dir() else place.unlink()
        return Empty()

    # from inside a container

    async def VolumeCommit(self, request: Any, task: str) -> Any:
        await asyncio.to_thread(commit, self.box.containers.copy(task, request.volume_id))
        return api_pb2.VolumeCommitResponse(skip_reload=True)

    async def VolumeReload(self, request: Any, task: str) -> Empty:
        copy = self.box.containers.copy(task, request.volume_id)
        if self.box.containers.has_open_files(task, copy):
            raise GRPCError(Status.FAILED_PRECONDITION, "there are open files preventing the operation")
        await asyncio.to_thread(refresh, copy)
        return Empty()


def inside(root: Path, path: str) -> Path:
    """A path on a volume, which never leads out of it."""
    place = Path(os.path.normpath(root / path.strip("/")))
    if place != root and root not in place.parents:
        raise GRPCError(Status.INVALID_ARGUMENT, f"{path}: leads out of the volume")
    return place


def put(volume: Volume, place: Path, content: bytes) -> None:
    """Replace a committed file."""
    with volume.lock:
        place.parent.mkdir(parents=True, exist_ok=True)
        part = place.with_name(f".{place.name}.box")
        part.write_bytes(content)
        part.replace(place)


def stamps(root: Path) -> dict[str, Stamp]:
    """Every file below `root`: size, time of change, inode."""
    found = {}
    for folder, _, names in os.walk(root):
        for name in names:
            path = Path(folder, name)
            try:
                about = path.stat(follow_symlinks=False)
            except FileNotFoundError:  # it is being worked on
                continue
            found[path.relative_to(root).as_posix()] = (about.st_size, about.st_mtime_ns, about.st_ino)
    return found


def commit(copy: Copy) -> None:
    """Bring what a container changed into the volume; the last who writes a file wins."""
    if copy.read_only:
        return
    with copy.volume.lock:
        now = stamps(copy.path)
        for name, stamp in now.items():
            if copy.known.get(name) != stamp:
                place = copy.volume.path / name
                place.parent.mkdir(parents=True, exist_ok=True)
                part = place.with_name(f".{place.name}.box")
                try:
                    shutil.copy2(copy.path / name, part)
                except FileNotFoundError:  # it went while we looked
                    continue
                part.replace(place)
                copy.known[name] = stamp
        for name in set(copy.known) - set(now):
            (copy.volume.path / name).unlink(missing_ok=True)
            del copy.known[name]
        for folder in sorted(copy.folders - folders(copy.path), reverse=True):
            place = copy.volume.path / folder
            if place.is_dir() and not any(place.iterdir()):
                place.rmdir()
        copy.folders = folders(copy.path)
        for folder in copy.folders:
            (copy.volume.path / folder).mkdir(parents=True, exist_ok=True)


def folders(root: Path) -> set[str]:
    """Every folder below `root`; those that come and go meanwhile do not matter."""
    return {Path(folder, name).relative_to(root).as_posix() for folder, names, _ in os.walk(root) for name in names}


def refresh(copy: Copy) -> None:
    """Give a container what others have committed; what it changed itself stays."""
    with copy.volume.lock:
        mine = stamps(copy.path)
        for name in stamps(copy.volume.path):
            if mine.get(name) == copy.known.get(name):
                place = copy.path / name
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(copy.volume.path / name, place)
        copy.known = stamps(copy.path)


def private_copy(volume: Volume, path: Path, *, read_only: bool) -> Copy:
    """What a new container sees of a volume."""
    with volume.lock:
        shutil.copytree(volume.path, path, symlinks=True)
    return Copy(volume, path, read_only, stamps(path), folders(path))
