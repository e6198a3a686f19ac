"""What a place of execution must offer."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from omegaconf import OmegaConf

from racing.config import build, choices, conf_directory, hint, plain
from racing.errors import require, require_number
from racing.files import write_json
from racing_launchers.sweep import Job, Sweep


class JobState(StrEnum):
    """Where a job's last attempt is, as its backend knows it."""

    PENDING = "pending"
    RUNNING = "running"
    LOST = "lost"  # nobody works on it any more: it has left a result, or never will


@dataclass(frozen=True)
class JobInfo:
    """What the backend knows of a job's last attempt.

    state: where it is.
    detail: a few words for people; for LOST the reason.
    """

    state: JobState
    detail: str = ""


class Backend(ABC):
    """Submits jobs and looks after them. It keeps nothing in memory: another process can go on with the sweep."""

    shared = True  # workers write to the disk that we read
    grace = 5.0  # [s] after which a job that nobody works on, and that left no result, is lost
    stops_with_us = False  # Ctrl-C in the terminal that waits also stops the jobs

    def __init__(self, *, name: str, wait: bool, retry: int, poll: float, send: str, dry_run: bool) -> None:
        """The keys that every file of conf/launcher has. Raises InputError."""
        for key, value in {"wait": wait, "dry_run": dry_run}.items():
            require(isinstance(value, bool), f"launcher.{key} must be true or false, got {value!r}; choose one")
        require_number("launcher.retry", retry, 0, 1000, whole=True)
        require_number("launcher.poll", poll, 0.05, 3600, unit="s")
        known = ("auto", "worker", "collector")
        require(send in known, f"launcher.send must be one of {', '.join(known)}, got {send!r}; auto is usual")
        self.name, self.wait, self.retry, self.poll_interval_s, self.send = name, wait, retry, poll, send
        self.dry_run = dry_run

    def check(self, jobs: Sequence[Mapping[str, Any]]) -> None:
        """Raise InputError if jobs could not run here; nothing was written yet. jobs: their configurations."""
        return

    def plan(self, count: int) -> list[str]:
        """Lines about what `count` jobs will be given, and what they can cost at most."""
        return []

    def workers_send(self, uri: str | None) -> bool:
        """Whether workers bring their own records to MLflow; else the process that watches does. uri: of the store."""
        if self.send != "auto":
            return self.send == "worker"
        reachable = (uri or "").startswith(("http://", "https://")) and not is_loopback(str(uri))
        return reachable or uri == "databricks"

    @abstractmethod
    def submit(self, sweep: Sweep, jobs: Sequence[Job]) -> None:
        """Submit jobs and write `attempt.json` of each (`begin_attempt`); returns at once. Raises InputError."""

    @abstractmethod
    def poll(self, sweep: Sweep, jobs: Sequence[Job]) -> dict[int, JobInfo]:
        """By number, where the last attempts of these jobs are."""

    @abstractmethod
    def cancel(self, sweep: Sweep, jobs: Sequence[Job]) -> None:
        """Have these jobs stop, whose `cancel_requested` is set; those that run save their state. Returns at once."""

    def fetch_results(self, sweep: Sweep, job: Job, *, last: bool = False) -> None:
        """Copy what the job has written to this machine. last: it has ended, everything is wanted."""
        return

    def log(self, sweep: Sweep, job: Job) -> Iterable[str]:
        """The job's log so far, line by line."""
        path = job.folder.log
        return path.read_text(errors="replace").splitlines() if path.exists() else []

    def results(self, sweep: Sweep) -> dict[str, float]:
        """Figures of the whole sweep, to be recorded, such as its cost."""
        return {}

    def close(self) -> None:
        """Close connections."""
        return


def begin_attempt(job: Job, launcher: str, handle: Mapping[str, Any] | None = None) -> int:
    """Note a submission of `job`; returns its number."""
    number = job.folder.attempts + 1
    content = {"number": number, "launcher": launcher, "handle": dict(handle or {})}
    write_json(job.folder.path / "attempt.json", content | {"submitted_ms": time.time_ns() // 1_000_000})
    return number


def launcher_config(choice: str, overrides: Sequence[str]) -> dict[str, Any]:
    """conf/launcher/<choice>.yaml with overrides such as `n_jobs=2`. Raises InputError for unknown ones."""
    require(choice in choices("launcher"), f"launcher={choice!r} is no choice; {hint(choice, choices('launcher'))}")
    node = OmegaConf.load(conf_directory() / "launcher" / f"{choice}.yaml")
    node = node.launcher if "launcher" in node else node
    keys = [str(key) for key in node if key != "_target_"]
    for key in (override.partition("=")[0] for override in overrides):
        require(key.partition(".")[0] in keys, f"launcher.{key} is no key of launcher={choice}; {hint(key, keys)}")
    return plain(OmegaConf.merge(node, OmegaConf.from_dotlist(list(overrides))))  # type: ignore[arg-type]


def make_backend(launcher: Mapping[str, Any]) -> Backend:
    """Build the backend that a launcher's configuration (conf/launcher/*.yaml) describes. Raises InputError."""
    return build({**launcher, "_convert_": "all"})  # type: ignore[no-any-return]


def insists_on_gpu(config: Mapping[str, Any]) -> bool:
    """Whether a job of that configuration ends with an error where there is no GPU."""
    hardware = config.get("hardware") or {}
    return not hardware.get("fallback", True) and list(hardware.get("prefer") or [])[:1] == ["gpu"]


def is_loopback(uri: str) -> bool:
    """Whether only this machine can reach that address."""
    from urllib.parse import urlsplit

    host = urlsplit(uri).hostname or ""
    return host in ("localhost", "::1") or host.startswith("127.") or not host
