"""What jobs have left in a bucket, as one outputs folder: `s3://bucket`, or `s3://bucket/runs/<place>` of one job."""

from __future__ import annotations

from pathlib import Path

from racing.errors import require
from racing_launchers.aws_spot.account.client import Aws
from racing_launchers.aws_spot.account.objects import BucketFiles, Objects, split_address
from racing_launchers.aws_spot.place import LATEST, Place, Snapshot
from racing_launchers.remote.files import RemoteFile, RemoteFiles

RUNS = "runs/"


class BucketRuns:
    """The files of all jobs of a bucket, each as its newest commit has it. See racing_launchers.remote.files."""

    def __init__(self, objects: Objects) -> None:
        """Reads every job's commit."""
        self.name, self.address, self._objects = objects.bucket, f"s3://{objects.bucket}", objects
        self._owner: dict[str, Snapshot] = {}
        made = [file for file in objects.list(RUNS) if file.path.endswith(f"/{LATEST}")]
        for file in sorted(made, key=lambda file: file.changed):  # of two jobs with the same run the later one counts
            snapshot = Place(objects, file.path.removeprefix(RUNS).removesuffix(f"/{LATEST}")).snapshot()
            if snapshot is not None:
                self._owner |= {inside.path: snapshot for inside in snapshot.files()}

    def files(self, folder: str = "", *, recursive: bool = True) -> list[RemoteFile]:
        """See RemoteFiles. All of them lie below, whatever `recursive` says."""
        snapshots = {id(snapshot): snapshot for snapshot in self._owner.values()}.values()
        found = [(snapshot, file) for snapshot in snapshots for file in snapshot.files(folder)]
        return [file for snapshot, file in found if self._owner[file.path] is snapshot]

    def parts(self) -> dict[str, list[RemoteFile]]:
        """See JobFiles: the places of jobs. A file of which a later job has another one is that job's."""
        found: dict[str, list[RemoteFile]] = {}
        for file in self.files():
            found.setdefault(f"{RUNS}{self._owner[file.path].place.name}", []).append(file)
        return found

    def remove(self, path: str) -> None:
        """See JobFiles. The bucket keeps earlier versions for some days."""
        for file in self._objects.list(f"{path}/"):
            self._objects.remove(file.path)

    def read(self, path: str) -> bytes | None:
        """See RemoteFiles."""
        return self._owner[path].read(path) if path in self._owner else None

    def fetch(self, file: RemoteFile, place: Path) -> bool:
        """See RemoteFiles."""
        return file.path in self._owner and self._owner[file.path].fetch(file, place)


def open_runs(address: str) -> RemoteFiles:
    """What jobs have left at `s3://bucket` or `s3://bucket/runs/<place>`. Raises InputError where nothing is there."""
    bucket, folder = split_address(address)
    objects = Objects(Aws().client("s3"), bucket)
    if not folder:
        return BucketRuns(objects)
    place = Place(objects, folder.removeprefix(RUNS))
    snapshot = place.snapshot() if folder.startswith(RUNS) else None
    files = BucketFiles(objects, folder) if snapshot is None else snapshot
    require(bool(files.files()), f"{address} is empty or not there; racing runs artifacts --from s3://{bucket}")
    return files


def open_jobs(address: str) -> BucketRuns:
    """What all jobs have left at `s3://bucket`. Raises InputError for one with a folder."""
    bucket, folder = split_address(address)
    require(not folder, f"{address} must be a whole bucket, s3://{bucket}; its jobs' places are looked at one by one")
    return BucketRuns(Objects(Aws().client("s3"), bucket))


def open_tracks(address: str) -> BucketFiles:
    """The tracks at `s3://bucket/folder`; jobs look for them in the folder `tracks`."""
    bucket, folder = split_address(address)
    return BucketFiles(Objects(Aws().client("s3"), bucket), folder)
