"""Files of runs where jobs have left them: `racing runs artifacts | fetch from=modal://VOLUME | s3://BUCKET`."""

from __future__ import annotations

import json
from pathlib import Path

from racing.commands.runs.files import size_text
from racing.errors import require
from racing.files import merge
from racing.runs.directory import RUNS
from racing.tracking.fetch import staging
from racing_launchers.remote.addresses import open_runs
from racing_launchers.remote.files import RemoteFile, RemoteFiles


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
