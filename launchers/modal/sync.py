"""Files of a sweep from the runs volume to the outputs folder: what is new, whole files only, as often as one likes."""

from __future__ import annotations

import contextlib
import json
import tempfile
from pathlib import Path, PurePosixPath

from launchers.modal.worker import OWN
from launchers.sweep import Job, Sweep
from racing.errors import require
from racing.runs.directory import RunDirectory, aside
from racing.volumes import RemoteFile, Volume

JOURNAL = "journal.jsonl"
DOCUMENTS = ("config.yaml", "overrides.yaml", "provenance.json", "diff.patch")  # of a run, from its beginning
OURS = ("mlflow.json", "journal.cursor")  # of who brings a run to MLflow
SETTLED = 5  # [s] after which a file on the volume cannot change unnoticed


def bring(volume: Volume, sweep: Sweep, job: Job, *, last: bool) -> None:
    """Copy what the job has written, and its runs; `last`: all of it, else what shows how far it is.

    Nothing is shortened, and nothing of another job's, or of an earlier attempt's, is taken for this one's.
    """
    here, there = job.folder.path, f"sweeps/{sweep.name}/jobs/{job.number}"
    files = {PurePosixPath(file.path).relative_to(there).as_posix(): file for file in volume.files(there)}
    call = job.folder.attempt.get("handle", {}).get("call")
    said = json.loads(volume.read(f"{there}/attempt.json") or b"{}") if "attempt.json" in files else {}
    if call is None or said.get("call") != call:
        return  # its container has not begun
    live = (*OWN, "log.txt")
    for name, file in files.items():
        if name != "result.json" and (name in live or name.startswith("usage/") or (last and _wanted(name))):
            _fetch(volume, file, here / name)
    for run in job.folder.runs:
        _bring_run(volume, sweep, run, last=last)
    if last:
        _bring_sweep(volume, sweep)
    if "result.json" in files:  # the last: it says that the others are there
        _fetch(volume, files["result.json"], here / "result.json")


def bring_log(volume: Volume, sweep: Sweep, job: Job) -> None:
    """Copy what a job has said so far."""
    for file in volume.files(f"sweeps/{sweep.name}/jobs/{job.number}/log.txt"):
        _fetch(volume, file, job.folder.log)


def _wanted(name: str) -> bool:
    return name not in (*OWN, "job.json", "job.pkl", "attempt.json", "cancel") and not hidden(name)


def hidden(name: str) -> bool:
    """Temporary files and folders, locks."""
    parts = PurePosixPath(name).parts
    return any(part.startswith(".") and part != ".hydra" for part in parts) or name.endswith((".lock", ".tmp"))


def _bring_run(volume: Volume, sweep: Sweep, run: str, *, last: bool) -> None:
    """A run directory: while it goes on its journal, and what the journal names; at the end everything.

    The journal comes last, as the run itself writes it: who reads there of a file finds the file.
    """
    here = sweep.outputs / run
    files = {PurePosixPath(file.path).relative_to(run).as_posix(): file for file in volume.files(run)}
    ours = () if sweep.manifest.get("workers_send") else OURS
    files = {name: file for name, file in files.items() if not hidden(name) and name not in ours}
    with tempfile.TemporaryDirectory(prefix=".bringing-", dir=_made(here.parent)) as folder:
        journal = Path(folder) / JOURNAL
        new = _new_lines(volume, files.pop(JOURNAL, None), journal, here)
        named = tuple(f"{path}/" for path in artifacts_of(new))
        for name in sorted(files, key=lambda name: (PurePosixPath(name).name == "COMPLETE", name)):
            if last or name in DOCUMENTS or f"{name}/".startswith(named):
                _fetch(volume, files[name], here / name)
        if new:
            _made(here)
            journal.replace(here / JOURNAL)


def _new_lines(volume: Volume, file: RemoteFile | None, part: Path, run: Path) -> bytes:
    """Fetch the journal to `part`; returns what it has beyond ours. Ours only grows.

    One that has another beginning is that of another run: ours is moved aside first.
    """
    place = run / JOURNAL
    if file is None or _same(file, place) or not volume.fetch(file, part):
        return b""
    before, now = place.read_bytes() if place.exists() else b"", part.read_bytes()
    known = before[: before.rfind(b"\n") + 1]  # a last line that was torn is mended by whoever goes on
    if now.startswith(known):
        return now[len(known) :]
    if not known.startswith(now[: now.rfind(b"\n") + 1]):
        rule = f"{run} is in use here, and on modal://{volume.name} there is another run of that name"
        require(not RunDirectory(run).in_use, f"{rule}; wait for it, or give one of them another name=")
        run.rename(aside(run))
        return now
    return b""  # ours is newer than what we were given


def artifacts_of(lines: bytes) -> list[str]:
    """Files and folders of the run directory that lines of a journal name."""
    found = []
    for line in lines.splitlines():
        if b'"kind":"artifact"' in line or b'"kind":"model"' in line:
            with contextlib.suppress(ValueError, KeyError):
                found.append(str(json.loads(line)["path"]))
    return found


def _bring_sweep(volume: Volume, sweep: Sweep) -> None:
    """What jobs have written into the sweep's folder outside their own, such as those of another program."""
    root = f"sweeps/{sweep.name}"
    ours = ("sweep.json", "journal.jsonl", "journal.cursor", "mlflow.json")
    for file in volume.files(root):
        name = PurePosixPath(file.path).relative_to(root)
        if name.parts[0] != "jobs" and name.as_posix() not in ours and not hidden(name.as_posix()):
            _fetch(volume, file, sweep.path / name)


def _fetch(volume: Volume, file: RemoteFile, place: Path) -> None:
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
