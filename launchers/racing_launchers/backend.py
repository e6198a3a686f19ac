"""What a place of execution must offer, and how a job goes on.

Whoever looks after a sweep reads it all from files, so one process may take over from another at any point:

    NEW --submit()--> WAITING --started.json--> RUNNING                      JobStatus, of the job
                      PENDING                   RUNNING                      JobState, of its attempt: poll()
                         |                         |
                         | cancelled               | the process ends, or disappears
                         v                         v
                        LOST: is result.json there within `grace` seconds?   JobState
                         |                                      |
                         | yes                                  | no: SweepWatcher marks the job
                         v                                      v
          DONE, FAILED, REFUSED or STOPPED        STOPPED if it was cancelled, else LOST
                                    |                           |
                                    `-------------+-------------'
                                                  | STOPPED or LOST, not cancelled, `max_resubmits` not used up
                                                  v
                                    submit(): WAITING, as the next attempt, which resumes the run

A place may restart a job by itself (SLURM requeues it, Modal starts another container): that is the same attempt.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from omegaconf import OmegaConf

from racing.config import build, choices, conf_directory, hint, key_hint, plain
from racing.errors import InputError, require, require_number
from racing.files import write_json
from racing.renamed_keys import RENAMED_KEYS
from racing_launchers.sweep import Job, Sweep

TIME_LIMIT = "time limit reached"  # how the reason begins for which a job was stopped then


class JobState(StrEnum):
    """Where a job's last attempt is, as its backend knows it."""

    PENDING = "pending"
    RUNNING = "running"
    LOST = "lost"  # nobody works on it any more: it has left a result, or never will


class NoAnswer(InputError):
    """The place does not answer just now, or not us. Its jobs are where they were; who waits for them asks again."""


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
    start_s = 0.0  # that a job typically takes to begin [s]
    stops_with_us = False  # Ctrl-C in the terminal that waits also stops the jobs

    def __init__(
        self,
        *,
        name: str,
        wait: bool,
        max_resubmits: int,
        poll_interval_s: float,
        upload_from: str,
        dry_run: bool,
    ) -> None:
        """The keys of conf/launcher/_base.yaml, and `name`. Raises InputError."""
        for key, value in {"wait": wait, "dry_run": dry_run}.items():
            require(isinstance(value, bool), f"launcher.{key} must be true or false, got {value!r}; choose one")
        require_number("launcher.max_resubmits", max_resubmits, 0, 1000, whole=True)
        require_number("launcher.poll_interval_s", poll_interval_s, 0.05, 3600, unit="s")
        known = ("auto", "worker", "collector")
        rule = f"launcher.upload_from must be one of {', '.join(known)}, got {upload_from!r}"
        require(upload_from in known, f"{rule}; auto is usual")
        self.name, self.wait, self.max_resubmits, self.dry_run = name, wait, max_resubmits, dry_run
        self.poll_interval_s, self.upload_from = poll_interval_s, upload_from

    def check(self, jobs: Sequence[Mapping[str, Any]], commands: Sequence[Sequence[str]] = ()) -> None:
        """Raise InputError if jobs could not run here; nothing was written yet.

        jobs: configurations of those that have one. commands: arguments of those that are a verb.
        """
        return

    def plan(self, count: int) -> list[str]:
        """Lines about what `count` jobs will be given, and what they can cost at most."""
        return []

    def workers_upload(self, uri: str | None) -> bool:
        """Whether workers upload their own records to MLflow; else the process that watches does. uri: of the store."""
        if self.upload_from != "auto":
            return self.upload_from == "worker"
        reachable = (uri or "").startswith(("http://", "https://")) and not is_loopback(str(uri))
        return reachable or uri == "databricks"

    @abstractmethod
    def submit(self, sweep: Sweep, jobs: Sequence[Job]) -> None:
        """Submit jobs and write `attempt.json` of each (`begin_attempt`); returns at once. Raises InputError."""

    @abstractmethod
    def poll(self, sweep: Sweep, jobs: Sequence[Job]) -> dict[int, JobInfo]:
        """By number, where the last attempts of these jobs are. Raises NoAnswer while that cannot be told."""

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

    def price_text(self, hours: float) -> str | None:
        """What so many hours of jobs probably cost, in words; None where nothing is paid, or nobody knows."""
        return None

    def page(self, sweep: Sweep) -> str | None:
        """Address of a page on which the place shows the sweep."""
        return None

    def results(self, sweep: Sweep) -> dict[str, float]:
        """Figures of the whole sweep, to be recorded: `cost_usd` and `..._hours` where something is paid."""
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
    from hydra._internal.config_loader_impl import ConfigLoaderImpl
    from hydra._internal.utils import create_config_search_path
    from hydra.types import RunMode

    require(choice in choices("launcher"), f"unknown choice launcher={choice}; {hint(choice, choices('launcher'))}")
    # Not hydra.compose, which is one for a process: the Hydra of another program may be at work.
    loader = ConfigLoaderImpl(create_config_search_path(str(conf_directory())))
    node = loader.load_configuration(f"launcher/{choice}", overrides=[], run_mode=RunMode.RUN).launcher
    OmegaConf.set_struct(node, False)
    keys = [str(key) for key in node if key != "_target_"]
    for key in (override.partition("=")[0] for override in overrides):
        old = f"launcher.{key}"
        remedy = key_hint(old) if old in RENAMED_KEYS else hint(key, keys)
        require(key.partition(".")[0] in keys, f"unknown key {old} of launcher={choice}; {remedy}")
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
