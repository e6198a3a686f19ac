"""Files of a sweep from the disk of its jobs to the outputs folder: what is new, whole files only, at any time."""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Collection
from itertools import takewhile
from pathlib import Path, PurePosixPath

from racing.errors import require
from racing.files import merge, move_aside
from racing.runs.directory import RunDirectory
from racing.runs.paths import IN_RUN
from racing_launchers.job import WRITTEN_THERE
from racing_launchers.remote.files import RemoteFile, RemoteFiles
from racing_launchers.sweep import Job, Sweep

JOURNAL = IN_RUN.journal.name
DOCUMENTS = tuple(path.name for path in (IN_RUN.config, IN_RUN.overrides, IN_RUN.provenance, IN_RUN.patch))  # at once
OURS = (IN_RUN.mlflow.name, IN_RUN.cursor.name)  # of whoever uploads a run to MLflow
SETTLED = 5  # [s] after which a file on the volume cannot change unnoticed


def fetch_job(volume: RemoteFiles, sweep: Sweep, job: Job, *, last: bool) -> None:
    """Copy what the job has written, and its runs; `last`: all of it, else what shows how far it is.

    Nothing is shortened, and nothing of another job's, or of an earlier attempt's, is taken for this one's.
    """
    here, there = job.folder.path, f"sweeps/{sweep.name}/jobs/{job.number}"
    files = {PurePosixPath(file.path).relative_to(there).as_posix(): file for file in volume.files(there)}
    call = job.folder.attempt.get("handle", {}).get("call")
    attempt = json.loads(volume.read(f"{there}/attempt.json") or b"{}") if "attempt.json" in files else {}
    if call is None or attempt.get("call") != call:
        return  # its container has not begun
    live = (*WRITTEN_THERE, "log.txt")
    for name, file in files.items():
        if name != "result.json" and (name in live or name.startswith("usage/") or (last and _wanted(name))):
            _fetch_file(volume, file, here / name)
    for run in job.folder.runs:
        _fetch_run(volume, sweep, run, last=last)
    if last:
        _fetch_sweep(volume, sweep)
    if "result.json" in files:  # the last: it says that the others are there
        _fetch_file(volume, files["result.json"], here / "result.json")


def fetch_log(volume: RemoteFiles, sweep: Sweep, job: Job) -> None:
    """Copy a job's log so far."""
    for file in volume.files(f"sweeps/{sweep.name}/jobs/{job.number}/log.txt"):
        _fetch_file(volume, file, job.folder.log)


def _wanted(name: str) -> bool:
    return name not in (*WRITTEN_THERE, "job.json", "job.pkl", "attempt.json", "cancel") and not hidden(name)


def hidden(name: str) -> bool:
    """Temporary files and folders, locks."""
    parts = PurePosixPath(name).parts
    return any(part.startswith(".") and part != ".hydra" for part in parts) or name.endswith(".lock")


def _fetch_run(volume: RemoteFiles, sweep: Sweep, run: str, *, last: bool) -> None:
    """A run directory: while it goes on its journal, and what the journal names; at the end everything.

    The journal is read first and put in place last, and only as far as the files that it names are there: who reads
    there of a file finds the file. A volume need not show all files of one instant.
    """
    here = sweep.outputs / run
    with tempfile.TemporaryDirectory(prefix=".fetching-", dir=_made(here.parent)) as folder:
        part = Path(folder) / JOURNAL
        kept, new = _new_lines(volume, run, part, here)
        files = {PurePosixPath(file.path).relative_to(run).as_posix(): file for file in volume.files(run)}
        ours = () if sweep.workers_upload else OURS
        files = {name: file for name, file in files.items() if not hidden(name) and name not in (*ours, JOURNAL)}
        if not last:
            new = _backed(new, files)
        named = tuple(f"{path}/" for path in artifacts_of(new))
        for name in sorted(files, key=lambda name: (PurePosixPath(name).name == "COMPLETE", name)):
            if last or name in DOCUMENTS or f"{name}/".startswith(named):
                _fetch_file(volume, files[name], here / name)
        if new:
            _put(part, here / JOURNAL, kept + new)


def _new_lines(volume: RemoteFiles, run: str, part: Path, here: Path) -> tuple[bytes, bytes]:
    """Fetch the journal to `part`; returns what stays of ours, and the lines that come after it.

    Mostly ours grows. But a machine that is lost may take its last lines with it, which we have fetched; the next one
    measures the same again, so they are replaced (racing.tracking.mlflow_sink leaves out what MLflow has already).
    A journal with another id is that of another run: ours is moved aside first.
    """
    place = here / JOURNAL
    file = next(iter(volume.files(f"{run}/{JOURNAL}")), None)
    if file is None or _same(file, place) or not volume.fetch(file, part):
        return b"", b""
    known, now = _whole_lines(place), _whole_lines(part)
    if known.startswith(now):
        return b"", b""  # ours is newer than what we were given
    if known and _id(known) != _id(now):
        rule = f"{here} is in use here, and on {volume.address} there is another run of that name"
        require(not RunDirectory(here).in_use, f"{rule}; wait for it, or give one of them another name=")
        move_aside(here)
        return b"", now
    if now.startswith(known):
        return known, now[len(known) :]
    pairs = zip(known.splitlines(keepends=True), now.splitlines(keepends=True), strict=False)
    kept = b"".join(line for line, _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
    return kept, now[len(kept) :]


def _id(journal: bytes) -> str:
    """What tells the run of a journal from others; its first line where that does not say it."""
    first = journal.partition(b"\n")[0]
    with contextlib.suppress(ValueError, KeyError, TypeError):
        return str(json.loads(first)["id"])
    return first.decode(errors="replace")


def _whole_lines(journal: Path) -> bytes:
    """What is here; a last line that was torn is repaired by whoever resumes the run."""
    content = journal.read_bytes() if journal.exists() else b""
    return content[: content.rfind(b"\n") + 1]


def _backed(lines: bytes, files: Collection[str]) -> bytes:
    """The lines before the first one that names something which the volume does not show yet."""
    end = 0
    for line in lines.splitlines(keepends=True):
        named = artifacts_of(line)
        if any(not any(f"{name}/".startswith(f"{path}/") for name in files) for path in named):
            return lines[:end]
        end += len(line)
    return lines


def _put(part: Path, place: Path, wanted: bytes) -> None:
    """Put the journal in place. `part`: as it was fetched."""
    if part.read_bytes() != wanted:  # its time stays another than on the volume: it is looked at again
        part.write_bytes(wanted)
    merge(part, place)


def artifacts_of(lines: bytes) -> list[str]:
    """Files and folders of the run directory that lines of a journal name."""
    found = []
    for line in lines.splitlines():
        if b'"kind":"artifact"' in line or b'"kind":"model"' in line:
            with contextlib.suppress(ValueError, KeyError):
                found.append(str(json.loads(line)["path"]))
    return found


def _fetch_sweep(volume: RemoteFiles, sweep: Sweep) -> None:
    """What jobs have written into the sweep's folder outside their own, such as those of another program."""
    root = f"sweeps/{sweep.name}"
    ours = ("sweep.json", JOURNAL, *OURS)
    for file in volume.files(root):
        name = PurePosixPath(file.path).relative_to(root)
        if name.parts[0] != "jobs" and name.as_posix() not in ours and not hidden(name.as_posix()):
            _fetch_file(volume, file, sweep.path / name)


def _fetch_file(volume: RemoteFiles, file: RemoteFile, place: Path) -> None:
    """Copy a file unless it is here."""
    if not _same(file, place):
        volume.fetch(file, place)


def _same(file: RemoteFile, place: Path) -> bool:
    """Whether `place` is that file: size and time agree, and it was fetched when the file could no longer change."""
    try:
        here = place.stat()
    except FileNotFoundError:
        return False
    fetched_late = here.st_ctime - file.changed > SETTLED
    return (here.st_size, int(here.st_mtime)) == (file.size, file.changed) and fetched_late


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder
