"""Files of runs where jobs have left them: `racing runs artifacts | fetch | push | prune`, with an address.

modal://VOLUME, or s3://BUCKET.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

from racing.commands.runs.files import size_text
from racing.errors import InputError, require
from racing.files import merge
from racing.runs.checkpoints import Checkpoints
from racing.runs.directory import RUNS, RunDirectory, find_run
from racing.runs.paths import IN_RUN, where
from racing.tracking.fetch import staging
from racing_launchers.job import JobStatus
from racing_launchers.remote.addresses import S3, open_jobs, open_runs, open_tracks
from racing_launchers.remote.files import JobFiles, RemoteFile, RemoteFiles
from racing_launchers.remote.sync import OURS, hidden
from racing_launchers.sweep import Sweep

STAYS = (IN_RUN.checkpoints.name, IN_RUN.replay.name, IN_RUN.sender_log.name, *OURS)  # of a run that is pushed
_AT = re.compile(r"(?P<run>.+)@(?P<step>\d+)")  # see racing.policies.init_from


def artifacts(address: str, run: str | None, path: str | None, *, as_json: bool = False) -> int:
    """Print the files of a run there, or below a path of it, or all; with their sizes."""
    volume = open_runs(address)
    place, files = find(volume, run, path)
    if as_json:
        print(json.dumps([{"path": file.path, "size": file.size} for file in files], indent=2))
        return 0
    for file in files:
        print(f"{size_text(file.size):>8}  {file.path}")
    print(f"{size_text(sum(file.size for file in files)):>8}  {len(files)} files in {address}/{place}")
    return 0


def fetch(address: str, run: str | None, path: str | None, to: str | None, outputs: Path) -> int:
    """Copy files from there to this machine, whole or not at all; prints where they are."""
    volume = open_runs(address)
    place, files = find(volume, run, path)
    require(place != "", f"name what to fetch from {address}: run=RUN or path=PATH; racing runs artifacts lists it")
    folder = Path(to) if to else outputs / "fetched" / volume.name
    target = folder / Path(place).name
    require(not target.exists(), f"{target} is there already; name another folder with to=FOLDER, or move it away")
    with staging(folder) as temporary:
        for file in files:
            inside = Path(file.path).relative_to(place)
            require(".." not in inside.parts, f"{file.path} leads out of {place}; it is not fetched")
            whole = volume.fetch(file, Path(temporary) / "it" / inside)
            require(whole, f"{file.path} went away meanwhile; run the command again")
        merge(Path(temporary) / "it", target)
    print(target)
    return 0


def find(volume: RemoteFiles, run: str | None, path: str | None) -> tuple[str, list[RemoteFile]]:
    """Find what is meant: a place there, and its files. Raises InputError if there are none.

    run: its name, the beginning of it, or `latest`; path: inside it, or of all where no run is said.
    """
    place = (path or "").strip("/")
    if run is not None:
        found = sorted({Path(file.path).parts[1] for file in volume.files(RUNS) if len(Path(file.path).parts) > 2})
        names = [name for name in found if name == run] or [name for name in found if name.startswith(run)]
        if run == "latest" and found:
            names = [newest(volume)]
        known = ", ".join(found) or "none"
        require(len(names) == 1, f"run {run!r} must be one of those on {volume.address}: {known}; give its full name")
        place = f"{RUNS}/{names[0]}/{place}".rstrip("/")
    files = volume.files(place)
    require(bool(files) or not place, f"{place} is not on {volume.address}; racing runs artifacts lists what is")
    return place, files


def newest(volume: RemoteFiles) -> str:
    """Find the run whose files were changed last."""
    inside = [file for file in volume.files(RUNS) if len(Path(file.path).parts) > 2]
    return Path(max(inside, key=lambda file: file.changed).path).parts[1]


def push(spec: str, address: str, outputs: Path) -> int:
    """Bring a run of this machine to a volume, for jobs that begin from it; with `RUN@STEP` that checkpoint, too.

    Raises InputError if there is another run of that name, or the same one has gone on there.
    """
    require(not address.startswith(S3), "jobs on AWS take along what they need of this machine; there is nothing to do")
    named = _AT.fullmatch(spec)
    run = find_run(named["run"] if named else spec, outputs)
    require(not run.in_use, f"run {run.name} is being trained; wait until it has ended")
    paths = {path.relative_to(run.path).as_posix(): path for path in run.path.rglob("*") if path.is_file()}
    files = {name: path for name, path in paths.items() if name.partition("/")[0] not in STAYS and not hidden(name)}
    if named:
        saved = {checkpoint.step: checkpoint for checkpoint in Checkpoints(run.path).all()}
        known = ", ".join(map(str, saved)) or "none"
        rule = f"{spec} must be a checkpoint of {run.name}, it has {known}"
        require(int(named["step"]) in saved, f"{rule}; choose one")
        inside = str(IN_RUN.checkpoint(int(named["step"])))
        files |= {name: path for name, path in paths.items() if name.startswith(f"{inside}/")}
    volume = open_tracks(address, create=True)
    place = f"{RUNS}/{run.name}"
    there = volume.read(f"{place}/{IN_RUN.journal}") or b""
    rule = f"{place} on {volume.address} is another run, or has gone on there"
    remedy = f"racing runs fetch {run.name} --from {volume.address}{where(outputs)}"
    require(run.paths.journal.read_bytes().startswith(there), f"{rule}; look at it: {remedy}")
    last = str(IN_RUN.journal)  # it says that the others are there
    volume.put({f"{place}/{name}": path for name, path in files.items() if name != last})
    volume.put({f"{place}/{last}": files[last]})
    size = sum(path.stat().st_size for path in files.values())
    print(f"{run.name}: {len(files)} files, {size_text(size)}, to {volume.address}/{place}")
    return 0


def prune(address: str, run: str | None, outputs: Path, *, dry: bool) -> int:
    """Delete what jobs have left there and is whole on this machine: runs that are finished, sweeps that are done.

    run: only what is of that run, its name. dry: only say what.
    """
    disk = open_jobs(address)
    removed = size = 0
    for part, files in sorted(disk.parts().items()):
        if run is not None and not any(f"{file.path}/".startswith(f"{RUNS}/{run}/") for file in files):
            continue
        why = _missing_here(disk, files, outputs)
        if why:
            print(f"kept     {part}: {why}")
            continue
        if not dry:
            disk.remove(part)
        removed, size = removed + 1, size + sum(file.size for file in files)
        print(f"{'would be ' if dry else ''}deleted  {part}")
    what = "would be deleted" if dry else "deleted"
    print(f"{disk.address}: {removed} folders {what} ({size_text(size)})")
    return 0


def _missing_here(disk: JobFiles, files: Sequence[RemoteFile], outputs: Path) -> str:
    """Why a part must stay: what of it is not here, or not at its end; '' where nothing is."""
    for name in sorted({file.path.split("/")[1] for file in files if file.path.startswith(f"{RUNS}/")}):
        run = RunDirectory(outputs / RUNS / name)
        if not run.exists:
            return f"not here; racing runs fetch {name} --from {disk.address}{where(outputs)}"
        if run.damage is not None or not run.finished:
            return f"{name} is not finished here; the command that trains it goes on from there"
        journal = f"{RUNS}/{name}/{IN_RUN.journal}"
        if not run.paths.journal.read_bytes().startswith(disk.read(journal) or b""):
            return f"{name} here is another run, or its record was changed"
        own = [file for file in files if file.path.startswith(f"{RUNS}/{name}/") and file.path != journal]
        wanted = [file for file in own if not hidden(file.path) and Path(file.path).name not in OURS]
        absent = [file for file in wanted if not _is_here(outputs / file.path, file.size)]
        if absent:
            return f"{len(absent)} files of {name} are not here, such as {absent[0].path}"
    for place in sorted({"/".join(file.path.split("/")[:2]) for file in files if not file.path.startswith(f"{RUNS}/")}):
        sweep = Sweep(outputs / place)
        try:
            jobs = sweep.jobs if sweep.exists else []
        except InputError:
            jobs = []
        if not jobs or any(job.ended != JobStatus.DONE for job in jobs):
            return f"{place} is not here, or not all of its jobs are done"
    return ""


def _is_here(path: Path, size: int) -> bool:
    return path.is_file() and path.stat().st_size == size
