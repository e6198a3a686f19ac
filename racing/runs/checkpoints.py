"""Checkpoints of a run on disk: whole or not there, checked when read, pruned by rule.

    checkpoints/000500000/    policy.npz optimizer.npz rng.npz world.npz counters.npz monitor.npz + COMPLETE
    replay/000000000-000031250.npz    rows of a replay buffer: written once, needed by every checkpoint that names them;
                                      of several buffers, <name>-000000000-000031250.npz

A checkpoint is written under a temporary name, forced to the disk, and renamed (`files.atomic_path`); COMPLETE, written
last, holds the sha256 of each file and of itself. What a kill leaves behind is therefore either a checkpoint or
temporary files without meaning, which the next save removes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from racing.errors import InputError, require
from racing.files import atomic_path, move_aside, read_json, remove_leftovers, remove_tree
from racing.reading import read_regular
from racing.runs.archive import dump_tree, load_tree
from racing.runs.paths import RunPaths, step_name

MARKER = "COMPLETE"
DAMAGED = ".damaged"  # behind the name of a checkpoint that is not whole
FORMAT = 1
MOST_STATE = 1 << 38  # [bytes] of one file

Rows = Callable[[int, int], dict[str, Any]]  # rows from .. to of a log, as arrays by name


@dataclass(frozen=True)
class Log:
    """Something that only grows and of which the newest rows count, such as a replay buffer.

    added: rows so far. capacity: rows that count. read: gives the rows from .. to, as copies.
    """

    added: int
    capacity: int
    read: Rows


@dataclass(frozen=True)
class Checkpoint:
    """One complete checkpoint. notes: its COMPLETE: `step`, `files` (sha256 by name), `logs`, and the saver's own."""

    path: Path
    notes: dict[str, Any]

    @property
    def step(self) -> int:
        """Environment steps so far, of all cars."""
        return int(self.notes["step"])

    def load(self, part: str) -> Any:
        """Load the state called `part`. Raises InputError if its file is missing or damaged."""
        name = f"{part}.npz"
        return load_tree(_checked(self.path / name, self.notes["files"].get(name)), str(self.path / name))

    @property
    def logs(self) -> dict[str, dict[str, Any]]:
        """What is noted of each log by its name: rows `added`, and `chunks`, the files that make it up."""
        only = self.notes.get("replay")  # as earlier versions noted a single one
        return self.notes.get("logs") or ({"": only} if only else {})

    @property
    def log_files(self) -> dict[str, str]:
        """sha256 of the files of all logs, by name."""
        return {entry["file"]: entry["sha256"] for log in self.logs.values() for entry in log["chunks"]}

    def load_log(self, name: str = "") -> tuple[int, list[tuple[int, int, dict[str, Any]]]]:
        """Load a log as (rows added, [(from, to, arrays), ...]). Raises KeyError without it, InputError as `load`."""
        log, chunks = self.logs[name], []
        for entry in log["chunks"]:
            path = self._replay / entry["file"]
            chunks.append((entry["from"], entry["to"], load_tree(_checked(path, entry["sha256"]), str(path))))
        return int(log["added"]), chunks

    def check(self) -> None:
        """Raise InputError unless every file is there with the content that it was written with."""
        for name, digest in self.notes["files"].items():
            _checked(self.path / name, digest)
        for name, digest in self.log_files.items():
            _checked(self._replay / name, digest)

    @property
    def _replay(self) -> Path:
        return RunPaths.of_checkpoint(self.path).replay


class Checkpoints:
    """The checkpoints of one run directory. Only the process that holds the run's lock may change them."""

    def __init__(self, run: Path) -> None:
        """run: the run directory."""
        self.paths = RunPaths(run)

    def all(self) -> list[Checkpoint]:
        """Return what is complete by its marker, oldest first; contents are not checked."""
        return [Checkpoint(path, notes) for path in self._folders() if (notes := _marker(path))]

    def newest(self) -> tuple[Checkpoint | None, list[str]]:
        """Return the newest one whose contents are whole, and what is wrong with those after it.

        Those are renamed to `<step>.damaged`. Raises InputError if there are some and all are damaged: to begin again
        at the start is for the user to decide.
        """
        problems: list[str] = []
        damaged: list[Path] = []
        for path in reversed(self._folders()):
            try:
                checkpoint = read_checkpoint(path)
                checkpoint.check()
            except InputError as error:
                problems.append(str(error))
                damaged.append(path)
                continue
            for later in damaged:
                move_aside(later, DAMAGED)
            return checkpoint, problems
        if problems:
            raise InputError(f"{problems[0]}; no checkpoint of the run is whole: restore one, or use fresh=true")
        return None, []

    def save(
        self,
        step: int,
        parts: Mapping[str, Any],
        notes: Mapping[str, Any],
        logs: Mapping[str, Log] | None = None,
    ) -> Checkpoint:
        """Write a checkpoint; it is on the disk on return. Raises OSError if it cannot be; those before it stay whole.

        parts: state by name, as `racing.runs.archive.dump_tree` takes it.
        notes: more for COMPLETE.
        logs: by name, which is a file's; a single one has none.
        """
        final = self.paths.checkpoint(step)
        final.parent.mkdir(exist_ok=True)
        self._remove_leftovers()
        about: dict[str, Any] = {"format": FORMAT, "step": step, **notes}
        try:
            with atomic_path(final, sync_parent=True) as temporary:
                temporary.mkdir()
                about["logs"] = {name: self._save_log(name, log) for name, log in (logs or {}).items()}
                about["files"] = {f"{n}.npz": _write(temporary / f"{n}.npz", dump_tree(t)) for n, t in parts.items()}
                _write(temporary / MARKER, seal(about))
                if final.exists():
                    move_aside(final, DAMAGED)
        except OSError as error:
            remedy = "the checkpoints before it are whole: free space, run the command again"
            raise OSError(error.errno, f"{final}: {error.strerror}; {remedy}") from error
        return Checkpoint(final, about)

    def surplus(self, *, keep_last: int, milestone_every: int, keep: Collection[int] = ()) -> list[Checkpoint]:
        """List what is neither among the last `keep_last`, nor one of `milestones`, nor in `keep` (steps), by age."""
        checkpoints = self.all()
        kept = {checkpoint.step for checkpoint in checkpoints[-keep_last:]} | set(keep)
        kept |= milestones([checkpoint.step for checkpoint in checkpoints], milestone_every)
        return [checkpoint for checkpoint in checkpoints if checkpoint.step not in kept]

    def prune(self, *, keep_last: int, milestone_every: int, keep: Collection[int] = ()) -> list[int]:
        """Remove the `surplus`; returns its steps."""
        surplus = self.surplus(keep_last=keep_last, milestone_every=milestone_every, keep=keep)
        for checkpoint in surplus:
            remove_tree(checkpoint.path)
        if surplus:
            self._prune_log()
        return [checkpoint.step for checkpoint in surplus]

    def _folders(self) -> list[Path]:
        """List the folders that should hold a checkpoint, by step."""
        found = self.paths.checkpoints.glob("[0-9]*")
        return sorted((path for path in found if path.name.isdigit()), key=lambda path: int(path.name))

    def _save_log(self, name: str, log: Log) -> dict[str, Any]:
        """Write the rows that no file holds yet; returns which files make up the log now."""
        oldest = max(0, log.added - log.capacity)
        chunks = [entry for entry in self._last_chunks(name) if oldest < entry["to"] <= log.added]
        begin = max(oldest, chunks[-1]["to"] if chunks else 0)
        if begin < log.added:
            path = self.paths.replay_rows(begin, log.added, name)
            path.parent.mkdir(exist_ok=True)
            with atomic_path(path, sync_parent=True) as temporary:
                digest = _write(temporary, dump_tree(log.read(begin, log.added)))
            chunks.append({"file": path.name, "from": begin, "to": log.added, "sha256": digest})
        return {"added": log.added, "chunks": chunks}

    def _last_chunks(self, name: str) -> list[dict[str, Any]]:
        checkpoints = self.all()
        return list(checkpoints[-1].logs.get(name, {"chunks": []})["chunks"]) if checkpoints else []

    def _remove_leftovers(self) -> None:
        """Remove what a save left that was killed."""
        remove_leftovers(self.paths.checkpoints)
        remove_leftovers(self.paths.replay)

    def _prune_log(self) -> None:
        """Remove the chunks that no checkpoint needs."""
        needed = {name for checkpoint in self.all() for name in checkpoint.log_files}
        for path in self.paths.replay.glob("*.npz"):
            if path.name not in needed:
                path.unlink()


def milestones(steps: Sequence[int], every: int) -> set[int]:
    """Return of `steps` (rising) the first at or after each multiple of `every`; none for 0."""
    found: dict[int, int] = {}
    for step in steps if every else ():
        found.setdefault(step // every, step)
    found.pop(0, None)
    return set(found.values())


def _write(path: Path, data: bytes) -> str:
    """Write `data` to `path`; returns its sha256."""
    path.write_bytes(data)
    return hashlib.sha256(data).hexdigest()


def _checked(path: Path, digest: str | None) -> bytes:
    """Read `path`. Raises InputError unless its sha256 is `digest`."""
    try:
        data = read_regular(path, MOST_STATE)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; the checkpoint is damaged") from error
    if hashlib.sha256(data).hexdigest() != digest:
        raise InputError(f"{path} must have the sha256 {digest}; it was changed: the checkpoint is damaged")
    return data


def read_checkpoint(path: Path) -> Checkpoint:
    """Read the checkpoint in the folder `path`; contents are not checked. Raises InputError if it is none."""
    notes = _marker(path)
    require(bool(notes), f"{path / MARKER} is missing or damaged; use another checkpoint")
    return Checkpoint(path, notes)


def seal(about: Mapping[str, Any]) -> bytes:
    """Return the bytes of COMPLETE with the content `about` and its own sha256."""
    return json.dumps({**about, "sha256": _digest(json.loads(json.dumps(about)))}, indent=1).encode()


def _digest(about: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()


def _marker(path: Path) -> dict[str, Any]:
    """Read COMPLETE of the checkpoint at `path`; {} if it is missing, changed, or another one's."""
    try:
        notes = read_json(path / MARKER)
    except (ValueError, OSError):
        return {}
    whole = notes.pop("sha256", None) == _digest(notes)
    return notes if whole and step_name(notes["step"]) == path.name else {}
