"""A sweep on disk: what it was made of, its jobs, and how far each is.

outputs/sweeps/<name>-<hash8>/        also a campaign's folder, outputs/campaigns/<name>-<hash8>/
  sweep.json           name, command, axes, launcher (its configuration), outputs, created; written before a job starts
  jobs/<number>/       see launchers/racing_launchers/job.py
  journal.jsonl        the sweep's own record, which becomes its run in MLflow (sweep_record.py)
  sweep.lock           held by the process that watches
"""

from __future__ import annotations

import hmac
import re
import shlex
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from racing.config import hint
from racing.errors import InputError, is_file, require
from racing.files import read_json, write_json
from racing.policies.foreign_code import refuse_foreign_code
from racing.renamed_keys import upgraded
from racing.runs.journal import LATEST
from racing.runs.lock import FileLock
from racing.runs.paths import where
from racing_launchers.job import JobFolder, JobStatus
from racing_launchers.signature import manifest_signature

PLACES = ("sweeps", "campaigns")  # folders of sweeps in the outputs folder
CANCEL_FILE = "cancel"  # in a job's folder: it shall stop, or not begin


@dataclass(frozen=True)
class Job:
    """One job of a sweep."""

    number: int
    folder: JobFolder

    @property
    def label(self) -> str:
        """What varies: `algo=sac seed=2`; the job's number where nothing does."""
        return str(self.folder.spec.get("label") or f"job {self.number}")

    @property
    def cancel_requested(self) -> bool:
        """Whether somebody wants it to stop, or not to begin."""
        return (self.folder.path / CANCEL_FILE).exists()

    def request_cancel(self) -> None:
        """Note that the job shall stop, or not begin."""
        (self.folder.path / CANCEL_FILE).touch()

    def withdraw_cancel(self) -> None:
        """Forget `request_cancel`."""
        (self.folder.path / CANCEL_FILE).unlink(missing_ok=True)

    @property
    def ended(self) -> JobStatus | None:
        """How the last attempt ended; None while it has not."""
        status = self.folder.result.get("status") if self.folder.attempts else None
        return JobStatus(status) if status else None

    def end(self, status: JobStatus, error: str) -> None:
        """Note that the attempt ended without saying so itself."""
        self.folder.write(
            "result", self.folder.attempts, {"status": status, "error": error, "ended_ms": time.time_ns() // 1_000_000}
        )


class Sweep:
    """A view of the sweep at `path`; nothing is created."""

    def __init__(self, path: Path) -> None:
        """path: its folder."""
        self.path = path.resolve()
        self.lock = FileLock(self.path / "sweep.lock")

    @property
    def name(self) -> str:
        """Name of the folder."""
        return self.path.name

    @property
    def named(self) -> str:
        """How `racing jobs` is told which one is meant: by its name, and where to look for it."""
        below = self.path.parent.name in PLACES
        return f"{self.name}{where(self.path.parents[1])}" if below else shlex.quote(str(self.path))

    @property
    def manifest(self) -> dict[str, Any]:
        """sweep.json; empty where there is none. Raises InputError where it is damaged."""
        try:
            manifest = read_json(self.path / "sweep.json")
            require_known(manifest)
        except (OSError, ValueError) as error:
            problem = getattr(error, "strerror", None) or error
            raise InputError(f"sweep {self.name}: sweep.json is damaged, {problem}; restore it") from error
        return manifest

    @property
    def launcher(self) -> dict[str, Any]:
        """Configuration of the launcher; what earlier versions wrote, with today's names."""
        launcher: dict[str, Any] = upgraded({"launcher": self.manifest["launcher"]})["launcher"]
        launcher.pop("job", None)
        target = re.sub(r"^launchers\.", "racing_launchers.", str(launcher.get("_target_")))
        refuse_foreign_code({"launcher": launcher | {"_target_": target}}, f"sweep {self.name}", ("launcher",))
        return launcher | {"_target_": target}

    def require_ours(self) -> None:
        """Raise InputError unless this user has made the sweep: what its manifest says is run with its jobs."""
        signed = str(self.manifest.get("signature", ""))
        ours = hmac.compare_digest(manifest_signature(self.manifest), signed)
        rule = f"{self.path / 'sweep.json'} must bear your signature, it is somebody else's or of an earlier version"
        require(ours, f"{rule}; submit its jobs with a command of your own")

    @property
    def workers_upload(self) -> bool:
        """Whether jobs bring their records to MLflow themselves."""
        manifest = self.manifest
        return bool(manifest.get("workers_upload", manifest.get("workers_send")))  # as earlier versions called it

    @property
    def exists(self) -> bool:
        """Whether this is a sweep."""
        return is_file(self.path / "sweep.json")

    @property
    def outputs(self) -> Path:
        """Folder of everything that its jobs write, as this machine knows it."""
        return Path(self.manifest["outputs"])

    @property
    def jobs(self) -> list[Job]:
        """All jobs by number."""
        found = [path.parent for path in (self.path / "jobs").glob("*/job.json")]
        return [Job(int(path.name), JobFolder(path)) for path in sorted(found, key=lambda path: int(path.name))]

    def job(self, number: int) -> Job:
        """The job of that number, which may not be there yet."""
        return Job(number, JobFolder(self.path / "jobs" / str(number)))

    def write_manifest(self, **fields: Any) -> None:
        """Write these fields of sweep.json; the others stay as they are."""
        self.path.mkdir(parents=True, exist_ok=True)
        created = {"created_ms": time.time_ns() // 1_000_000}
        write_json(self.path / "sweep.json", created | self.manifest | {"name": self.name} | fields)


def axes_of(job_overrides: Sequence[Sequence[str]]) -> dict[str, list[str]]:
    """What varies between jobs: key -> its values in order, from the overrides of each; also what only some have."""
    values: dict[str, list[str]] = {}
    jobs = Counter(override.partition("=")[0] for overrides in job_overrides for override in overrides)
    for overrides in job_overrides:
        for override in overrides:
            key, _, value = override.partition("=")
            if value not in values.setdefault(key, []):
                values[key].append(value)
    return {key: found for key, found in values.items() if len(found) > 1 or jobs[key] < len(job_overrides)}


def label_of(overrides: Sequence[str], axes: Mapping[str, Sequence[str]]) -> str:
    """`algo=sac seed=2`: the overrides that tell a job from the others."""
    return " ".join(override for override in overrides if override.partition("=")[0] in axes)


def require_known(manifest: Mapping[str, Any]) -> None:
    """Raise ValueError unless what a manifest says is of the right kind, and its time is there."""
    kinds = {"created_ms": int, "outputs": str, "axes": dict, "launcher": dict}
    for name, kind in kinds.items():
        if not isinstance(manifest.get(name, kind()), kind):
            raise ValueError(f"{name} must be a {kind.__name__}, it is {str(manifest[name])[:40]!r}")
    if manifest and not 0 <= manifest.get("created_ms", -1) <= LATEST:
        raise ValueError("it lacks its time")


def all_sweeps(outputs: Path) -> list[Sweep]:
    """The sweeps under `outputs`, newest first, and at the end those that are damaged."""
    found = [Sweep(path.parent) for place in PLACES for path in (outputs / place).glob("*/sweep.json")]

    def age(sweep: Sweep) -> int:
        try:
            return int(sweep.manifest.get("created_ms", 0))
        except InputError:
            return -1

    return sorted(found, key=lambda sweep: (age(sweep), sweep.name), reverse=True)


def find_sweep(spec: str, outputs: Path) -> Sweep:
    """The sweep meant by `spec`: its folder, the folder's name, or `latest`. Raises InputError if there is none."""
    for path in (*(outputs / place / spec for place in PLACES), Path(spec)):
        if Sweep(path).exists:
            return Sweep(path)
    known = all_sweeps(outputs)
    if spec == "latest" and known:
        return known[0]
    require(
        bool(known), f"sweep {spec!r} is not there, no sweep is under {outputs / 'sweeps'}; set paths.outputs=FOLDER"
    )
    raise InputError(f"sweep {spec!r} is not under {outputs / 'sweeps'}; {hint(spec, [sweep.name for sweep in known])}")


def jobs_text(count: int) -> str:
    """`1 job`, `2 jobs`."""
    return f"{count} job{'' if count == 1 else 's'}"
