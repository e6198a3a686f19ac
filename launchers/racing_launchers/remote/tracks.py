"""Tracks on another disk: `racing tracks push | pull | list --to ADDRESS`, and what jobs need there.

    <name>/              the files of a track, as they lie beside each other here
    manifest.json        name -> file -> sha256, of all of them

The circuits that ship travel with the code and are not among them.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from racing.config import parse_override, plain
from racing.errors import InputError, require
from racing.files import atomic_path, is_file_name, quoted_paths
from racing.runs.directory import find_run
from racing_launchers.payload import CommandJob, HydraJob, Payload
from racing_launchers.remote.files import RemoteFile, RemoteFiles, WritableFiles

MANIFEST = "manifest.json"
Files = dict[str, str]  # file name -> sha256


def track_files(path: Path) -> list[Path]:
    """Every file that a track is read from, given the one that stands for it (racing.tracks.catalog.locate).

    Raises InputError if they do not lie in one folder.
    """
    from racing.tracks.catalog import MAPS, TABLES
    from racing.tracks.formats.map_settings import read_settings
    from racing.tracks.formats.native import gates_file

    if path.suffix.lower() in MAPS:
        table = path.with_name(f"{path.stem.removesuffix('_map')}_centerline.csv")
        found = [path, read_settings(path).image, *([table] if table.is_file() else [])]
    elif path.suffix.lower() in TABLES:
        found = [path]
    else:
        gates = gates_file(path.parent)
        found = [path, *([gates] if gates is not None else [])]
    apart = [file for file in found if file.resolve().parent != path.resolve().parent]
    require(not apart, f"{', '.join(map(str, apart))} must lie beside {path}; move the files of a track together")
    return found


def hashes(files: Iterable[Path]) -> Files:
    """sha256 of files by their names."""
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def name_of(path: Path) -> str:
    """What a track is called on a volume: its folder's name where that is the picture's, else the file's."""
    return path.stem.removesuffix("_map") or path.stem


def read_manifest(volume: RemoteFiles) -> dict[str, Files]:
    """The tracks of a volume. Raises InputError if its manifest was damaged."""
    text = volume.read(MANIFEST)
    try:
        found = json.loads(text) if text else {}
        return {str(name): {str(k): str(v) for k, v in files.items()} for name, files in found.items()}
    except (ValueError, AttributeError) as error:
        raise InputError(f"{MANIFEST} of {volume.address} was damaged ({error}); push the tracks again") from error


def push(volume: WritableFiles, specs: Sequence[str], name: str | None = None) -> dict[str, str]:
    """Bring tracks, names, paths or folders of several, to a volume; returns what was done to each, by name.

    name: for a single one. Raises InputError for a track that cannot be raced on, or two of one name, before anything
    is sent.
    """
    from racing.tracks.catalog import TABLES, load_track, locate_all

    paths = [path for spec in specs for path in locate_all(spec)]
    require(name is None or len(paths) == 1, "--name is for one track; push the others by themselves")
    manifest = read_manifest(volume)
    sent: dict[str, Path | bytes] = {}
    done: dict[str, str] = {}
    for path in paths:
        if path.suffix.lower() not in TABLES:  # a table may need to be told its width
            load_track(path)
        own = name or name_of(path)
        require(is_file_name(own, dots=False), f"--name {own!r} must be letters, digits, _ and -; choose another")
        files = track_files(path)
        new = hashes(files)
        require(own not in done, f"{path} is the second track called {own}; push it by itself, with --name")
        done[own] = "is the same there" if manifest.get(own) == new else "replaced" if own in manifest else "sent"
        if done[own] != "is the same there":
            sent |= {f"{own}/{file.name}": file for file in files}
            for stale in set(manifest.get(own, {})) - set(new):
                volume.remove(f"{own}/{stale}")
        manifest[own] = new
    if sent:
        volume.put(sent)
        volume.put({MANIFEST: json.dumps(manifest, indent=2, sort_keys=True).encode()})  # last: it vouches for the rest
    return done


def pull(volume: RemoteFiles, names: Sequence[str], out: Path, *, force: bool = False) -> list[Path]:
    """Copy tracks to folders below `out`, each whole or not at all; all of them if none is named. Raises InputError."""
    manifest = read_manifest(volume)
    placed = []
    for name in names or sorted(manifest):
        known = ", ".join(sorted(manifest)) or "none"
        require(name in manifest, f"track {name!r} is not on {volume.address}; it has {known}")
        require(is_file_name(name), f"track {name!r} on {volume.address} is no file name; push it again")
        target = out / name
        same = target.is_dir() and hashes(file for file in target.iterdir() if file.is_file()) == manifest[name]
        require(same or force or not target.exists(), f"{target} is there already; choose another --out, or --force")
        if not same:
            out.mkdir(parents=True, exist_ok=True)
            with atomic_path(target) as temporary:
                _fetch(volume, name, manifest[name], temporary)
        placed.append(target)
    return placed


def _fetch(volume: RemoteFiles, name: str, files: Files, folder: Path) -> None:
    for file, sha256 in files.items():
        require(Path(file).name == file, f"{file!r} of {volume.address} is no file name; push {name} again")
        here = volume.fetch(RemoteFile(f"{name}/{file}", 0, 0), folder / file)
        whole = here and hashes([folder / file])[file] == sha256
        require(whole, f"{name}/{file} on {volume.address} is not what was pushed; push {name} again")


def files_of_config(config: Mapping[str, Any]) -> list[str]:
    """The tracks of a configuration that do not travel with the code: names or paths as they stand there."""
    from racing.tracks.catalog import shipped

    track = config.get("track") or {}
    given = track.get("file") if "load_tracks" in str(track.get("_target_")) else None
    several = [given] if isinstance(given, str) else list(given or [])
    return [str(spec) for spec in several if str(spec) not in shipped()]


def track_specs(payload: Payload) -> list[str]:
    """The tracks of a job that do not travel with the code, as its configuration or its arguments name them."""
    if isinstance(payload, HydraJob):
        config = payload.config
        return files_of_config({"track": plain(config.track)}) if "track" in config else []
    return tracks_of_command(payload.arguments) if isinstance(payload, CommandJob) else []


def tracks_of_command(arguments: Sequence[str]) -> list[str]:
    """The tracks of a verb, given its arguments, that do not travel with the code."""
    from racing.tracks.catalog import shipped

    given = {key: value for key, _, value in (argument.partition("=") for argument in arguments[1:])}
    if given.get("track", "null") != "null":
        parsed = parse_override(f"track={quoted_paths(given['track']) or given['track']}")
        named = given["track"] if parsed is None else parsed.value()
        return [str(name) for name in (named if isinstance(named, list) else [named]) if str(name) not in shipped()]
    return [spec for spec in tracks_of_run(given) if Path(spec).exists()]  # elsewhere the run that is there decides


def tracks_of_run(given: Mapping[str, str]) -> list[str]:
    """The tracks of the run that a command is about, where that run is here, too."""
    with contextlib.suppress(InputError, KeyError):
        return files_of_config(find_run(given["run"], Path(given["paths.outputs"])).config)
    return []


def required(specs: Sequence[str], volume: RemoteFiles) -> dict[str, dict[str, Any]]:
    """What a job must find on the volume: spec -> its name and files there, and the file that stands for it here.

    Raises InputError if a track is missing there, or is not the same.
    """
    from racing.tracks.catalog import available, locate

    manifest = read_manifest(volume)
    found: dict[str, dict[str, Any]] = {}
    for spec in specs:
        path = locate(spec)
        here = hashes(track_files(path))
        same = [name for name, files in manifest.items() if files == here]
        own = name_of(path)
        name = own if own in same or not same else same[0]
        push_it = f"racing tracks push {spec} --to {volume.address}"
        require(bool(same) or own in manifest, f"track {spec!r} is not on {volume.address}; {push_it}")
        if not same:
            differ = [file for file in here if manifest[own].get(file) != here[file]] or sorted(manifest[own])
            raise InputError(f"track {spec!r} differs on {volume.address} in {', '.join(differ)}; {push_it}")
        home = Path("tracks") / spec if spec in available() else Path(spec)
        home = home if home.is_dir() else home.parent
        found[spec] = {"name": name, "files": here, "home": str(home)}
    return found


def provide(needed: Mapping[str, Mapping[str, Any]], mounted: Path) -> None:
    """In a container: check the tracks, and put each where the configuration looks for it.

    needed: see `required`. mounted: where the volume is. Raises InputError if a track is missing or not the same.
    """
    for spec, track in needed.items():
        home = Path(track["home"])
        for file, sha256 in track["files"].items():
            place = mounted / track["name"] / file
            remedy = f"racing tracks push {spec} again"
            require(place.is_file(), f"track {spec!r}: {place} is missing on the volume; {remedy}")
            require(hashes([place])[file] == sha256, f"track {spec!r}: {place} differs from what it was; {remedy}")
            own = home / file
            home.mkdir(parents=True, exist_ok=True)
            if not own.exists():
                shutil.copyfile(place, own)  # no link: a reader refuses files that lead out of their folder
            require(hashes([own])[file] == sha256, f"track {spec!r}: {own} is another file in the container; move it")
