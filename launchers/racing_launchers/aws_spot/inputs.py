"""Runs of this machine that a job begins from, or is about: their files lie at the job's place when it begins.

Content goes to the bucket once, as code/files/<sha256>, whatever jobs need it; from there S3 copies it to their places.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from racing.errors import InputError, require
from racing.files import is_there
from racing.runs.checkpoints import Checkpoints
from racing.runs.directory import RUNS, RunDirectory, find_run
from racing.runs.paths import IN_RUN, where
from racing_launchers.aws_spot.account.objects import Objects
from racing_launchers.aws_spot.place import Entry, Place
from racing_launchers.payload import CommandJob, HydraJob, Payload
from racing_launchers.remote.needs import RUN_ID, runs_of_commands, runs_of_jobs
from racing_launchers.remote.sync import hidden

Files = dict[str, Path]  # path in an outputs folder -> file of this machine
Sent = dict[str, list[Any]]  # path in an outputs folder -> size [bytes], changed [s since 1970], sha256; in the bucket
FRESH = 30 * 86_400.0  # [s] that content counts as there: the bucket forgets what lies in code/ after 90 days
STAYS = (IN_RUN.replay.name, IN_RUN.checkpoints.name, "tensorboard", "wandb", IN_RUN.sender_log.name)  # not needed
_PLACE = re.compile(r"(?P<run>.+)@(?P<what>\w+)")  # see racing.policies.init_from


def files_of_payload(payload: Payload, env: Mapping[str, Any]) -> Files:
    """What a job needs of this machine; see `files_needed`."""
    if isinstance(payload, HydraJob):
        return files_needed([payload.config], [], env)
    return files_needed([], [payload.arguments], env) if isinstance(payload, CommandJob) else {}


def files_needed(jobs: Sequence[Mapping[str, Any]], commands: Sequence[Sequence[str]], env: Mapping[str, Any]) -> Files:
    """What jobs and verbs need of this machine. Raises InputError for what an instance could not have.

    jobs: configurations. commands: arguments of verbs. env: launcher.env.
    """
    found: Files = {}
    for key, spec, outputs, reached in [*runs_of_jobs(jobs), *runs_of_commands(commands)]:
        tracked = reached or "MLFLOW_TRACKING_URI" in env
        found |= _of_run(key, spec, outputs, tracked=tracked, changes=key == "run")
    return found


def _of_run(key: str, spec: str, outputs: Path, *, tracked: bool, changes: bool) -> Files:
    """tracked: an instance asks MLflow for a run that is not here. changes: the job writes into the run."""
    base = spec.partition("#")[0]
    place = None if base.startswith("models:/") else _PLACE.fullmatch(base)
    name = place["run"] if place else base
    try:
        run = None if name.startswith("models:/") else find_run(name, outputs)
    except (InputError, OSError, ValueError):
        run = None
    if run is None:
        rule = f"{key}={spec} lies outside of {outputs / RUNS}, where an instance finds it"
        require(RUN_ID.fullmatch(name) is not None or not is_there(name), f"{rule}; name the run that it is of")
        rule = f"{key}={spec} must be a run of {outputs}, or of an MLflow server that an instance reaches"
        require(tracked, f"{rule}; racing runs list{where(outputs)}, or tracking.uri=http://...")
        return {}
    home = (outputs / RUNS).resolve()
    rule = f"{key}={spec} lies outside of {home}, where an instance finds it"
    require(run.path.parent == home, f"{rule}; give paths.outputs={run.path.parents[1]}, or move it")
    wanted = f"{run.name}@{place['what']}" if place else run.name
    rule = f"{key}={spec} is a folder of this machine, an instance knows names"
    require("/" not in name, f"{rule}; write {key}={wanted}")
    require(not (changes and run.in_use), f"{key}={spec} is being trained; wait until it has ended")
    step = int(place["what"]) if place and place["what"].isdigit() else None
    return {f"{RUNS}/{run.name}/{path.relative_to(run.path).as_posix()}": path for path in _files(key, run, step)}


def _files(key: str, run: RunDirectory, step: int | None) -> list[Path]:
    """The files of a run that say what it has learnt, at its end or at a checkpoint."""
    found = [path for path in run.path.rglob("*") if path.is_file()]
    inside = {path: path.relative_to(run.path) for path in found}
    kept = [path for path in found if inside[path].parts[0] not in STAYS and not hidden(inside[path].as_posix())]
    if step is None:
        learnt = any(inside[path].parts[0] == IN_RUN.export.name for path in kept)
        rule = f"{key}={run.name} has no policy yet"
        require(learnt, f"{rule}; train it to its end, or name one of its checkpoints as {run.name}@STEP")
        return kept
    saved = {checkpoint.step: checkpoint.path for checkpoint in Checkpoints(run.path).all()}
    known = ", ".join(map(str, saved)) or "none"
    require(step in saved, f"{key}={run.name}@{step} must be a checkpoint of it, it has {known}; choose one")
    return [*kept, *(path for path in saved[step].iterdir() if path.is_file())]


class Inputs:
    """What has been brought to the bucket."""

    def __init__(self, objects: Objects) -> None:
        """Nothing is asked yet."""
        self.objects = objects
        self._there: set[str] = set()

    def bring(self, files: Files) -> Sent:
        """Have the content of files in the bucket."""
        sent: Sent = {}
        for path, file in files.items():
            with file.open("rb") as content:
                digest = hashlib.file_digest(content, "sha256").hexdigest()
                size, changed = file.stat().st_size, int(file.stat().st_mtime)
                key = content_key(digest)
                if digest not in self._there and not lately(self.objects, key):
                    content.seek(0)
                    self.objects.write(key, content)
            self._there.add(digest)
            sent[path] = [size, changed, digest]
        return sent

    def place(self, place: Place, sent: Sent) -> dict[str, Entry]:
        """Copy them to a place; returns its files. Raises InputError for content that the bucket has forgotten."""
        return {
            path: Entry(size, changed, digest, self.objects.copy(content_key(digest), place.key(path)).version)
            for path, (size, changed, digest) in sent.items()
        }


def content_key(digest: str) -> str:
    """Where content lies."""
    return f"code/files/{digest}"


def lately(objects: Objects, key: str) -> bool:
    """Whether an object is there, and stays for long enough."""
    return any(file.path == key and time.time() - file.changed < FRESH for file in objects.list(key))
