"""From a list of jobs to a sweep that runs: decided, checked, shown, written down, submitted, watched."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf, open_dict

from racing.config import composed_from
from racing.errors import InputError, JobsFailed, require
from racing.files import write_json
from racing.naming import what_counts
from racing_launchers.backend import Backend, JobState
from racing_launchers.estimate import typical_lines
from racing_launchers.job import JobStatus
from racing_launchers.payload import CommandJob, HydraJob, Payload, computed
from racing_launchers.signature import manifest_signature
from racing_launchers.sweep import Job, Sweep, axes_of, jobs_text, label_of
from racing_launchers.sweep_record import SweepRun, last_run
from racing_launchers.watch import watch
from racing_launchers.worker import write_payload

CHECKED = 8  # jobs whose experiment is built before the sweep is submitted, at most
SHOWN = 20  # jobs that the plan shows; the others are counted


@dataclass(frozen=True)
class PlannedJob:
    """A job to be launched. overrides: what makes it. label: what it is called; None: what varies between the jobs."""

    number: int
    overrides: list[str]
    payload: Payload
    label: str | None = None

    def disable_tracking(self) -> None:
        """Have its process write its journal only: another one brings that to MLflow."""
        if isinstance(self.payload, HydraJob):
            with open_dict(self.payload.config):
                self.payload.config.tracking.enabled = False

    @property
    def steps(self) -> int | None:
        """Steps that its training takes, where that is known."""
        config = self.payload.config if isinstance(self.payload, HydraJob) else None
        if config is None or "algo" not in config or config.get("phases") or config.get("tuning"):
            return None
        return int(config.algo.total_timesteps)


@dataclass(frozen=True, kw_only=True)
class LaunchRequest:
    """What concerns all jobs of a sweep.

    command: as typed.
    launcher: configuration of the backend.
    outputs: where the jobs write.
    tracking: as in conf/tracking.
    workers_upload: jobs bring their records to MLflow themselves.
    fresh: jobs that are done are done again.
    recorded: the sweep gets a run of its own.
    checked: its jobs are those of racing train, and are checked before any is submitted.
    axes: what varies between its jobs; None: what varies between those that are launched.
    """

    command: str
    launcher: dict[str, Any]
    outputs: Path
    tracking: dict[str, Any] = field(default_factory=dict)
    workers_upload: bool = True
    fresh: bool = False
    recorded: bool = False
    checked: bool = False
    axes: Mapping[str, list[str]] | None = None


def launch(sweep: Sweep, backend: Backend, planned_jobs: Sequence[PlannedJob], request: LaunchRequest) -> list[Job]:
    """Bring the jobs to the backend, and watch them unless `backend.wait` is false; returns them.

    A job that is done, or runs from an earlier launch, is left alone; others resume where they were. Raises InputError
    before anything is submitted if a job or the backend cannot do, and Stopped after Ctrl-C.
    """
    known = sweep.exists
    made = [path for path in (sweep.path, *sweep.path.parents) if not path.exists()]
    try:
        try:
            sweep.path.mkdir(parents=True, exist_ok=True)
            free = sweep.lock.acquire()
        except OSError as error:
            place = f"{error.filename or sweep.path}: {error.strerror}"
            raise InputError(f"{place}; set paths.outputs=FOLDER to a writable one") from error
        owner = f"{sweep.path} is watched by {sweep.lock.owner}"
        require(free, f"{owner}; wait for it, or see racing jobs status {sweep.named}")
        return _launch(sweep, backend, planned_jobs, request)
    finally:
        backend.close()
        nothing = not known and not sweep.exists  # came of it
        with contextlib.suppress(OSError):  # what is not ours stays
            if nothing:
                sweep.lock.path.unlink(missing_ok=True)
        sweep.lock.release()
        with contextlib.suppress(OSError):
            for path in made if nothing else ():
                path.rmdir()


def _launch(sweep: Sweep, backend: Backend, planned_jobs: Sequence[PlannedJob], request: LaunchRequest) -> list[Job]:
    decisions = decide(sweep, backend, planned_jobs, fresh=request.fresh)
    to_submit = [planned for planned in planned_jobs if decisions[planned.number].submits]
    if request.checked:
        check_jobs(to_submit, here=backend.stops_with_us, place=sweep.path)
    payloads = [planned.payload for planned in to_submit]
    configs = [payload.config for payload in payloads if isinstance(payload, HydraJob)]
    backend.check(configs, [payload.arguments for payload in payloads if isinstance(payload, CommandJob)])
    show_plan(sweep, backend, planned_jobs, decisions)
    jobs_and_steps = [(p.payload.config, p.steps) for p in to_submit if isinstance(p.payload, HydraJob)]
    for line in typical_lines(jobs_and_steps, request.outputs, backend) if request.checked else ():
        print(f"  {line}", file=sys.stderr)
    if backend.dry_run:
        print("launcher.dry_run: nothing was submitted")
        return []
    jobs = [sweep.job(planned.number) for planned in planned_jobs]
    write_down(sweep, planned_jobs, decisions, request)
    sweep_run = SweepRun(sweep)
    try:
        with sweep_run:
            sweep_run.begin()
            backend.submit(sweep, [sweep.job(planned.number) for planned in to_submit])
            page = backend.page(sweep)
            if page and to_submit:
                print(f"page     {page}")
            if not backend.wait:
                hint = f"racing jobs status | logs | collect | cancel {sweep.named}"
                print(f"submitted {jobs_text(len(to_submit))}; {hint}")
                return jobs
            watch(sweep, backend, jobs, sweep_run)
            return jobs
    finally:
        if not sweep_run.complete:
            print(f"{sweep.name}: upload to mlflow incomplete: racing jobs collect {sweep.named}")
        if sweep_run.died and sys.exc_info()[0] is None:
            raise JobsFailed(f"racing: {sweep_run.died}; racing jobs collect {sweep.named} sends what is missing")


class Decision(StrEnum):
    """What becomes of a job when its sweep is launched."""

    NEW = "new"
    RESUMING = "resuming"
    RUNNING = "running"  # from an earlier launch: left alone
    ALREADY_DONE = "already done"

    @property
    def submits(self) -> bool:
        """Whether the job is submitted."""
        return self in (Decision.NEW, Decision.RESUMING)


def decide(sweep: Sweep, backend: Backend, planned_jobs: Sequence[PlannedJob], *, fresh: bool) -> dict[int, Decision]:
    """By number, what becomes of each job. Raises InputError where one runs elsewhere, or with other overrides."""
    before = [job for planned in planned_jobs if (job := sweep.job(planned.number)).folder.attempts]
    unfinished = [job for job in before if not job.ended]
    for job in unfinished:
        place = job.folder.attempt["launcher"]
        rule = f"job {job.number} of {sweep.name} was submitted with launcher={place} and has not ended there"
        remedy = f"racing jobs collect {sweep.named} or racing jobs cancel {sweep.named} first"
        require(place == backend.name, f"{rule}; {remedy}")
    infos = backend.poll(sweep, unfinished) if unfinished else {}
    decisions = {}
    for planned in planned_jobs:
        job = sweep.job(planned.number)
        spec = job.folder.spec
        same = what_counts(spec.get("overrides") or []) == what_counts(planned.overrides)
        same = same and spec.get("computes") in (None, computed(planned.payload))  # earlier versions did not note it
        if job in unfinished and infos[job.number].state != JobState.LOST:
            rule = f"job {job.number} of {sweep.name} is running"
            remedy = f"wait, or racing jobs cancel {sweep.named}"
            require(same and not fresh, f"{rule}, {'fresh=true' if fresh else 'its overrides differ'}; {remedy}")
            decisions[planned.number] = Decision.RUNNING
        elif not fresh and same and job.ended == JobStatus.DONE and _run_is_there(sweep, job):
            decisions[planned.number] = Decision.ALREADY_DONE
        else:
            resumes = same and bool(job.folder.runs) and not fresh
            decisions[planned.number] = Decision.RESUMING if resumes else Decision.NEW
    return decisions


def _run_is_there(sweep: Sweep, job: Job) -> bool:
    """Whether nobody has removed the run of a job that is done."""
    run = last_run(sweep, job)
    return run is None or run.finished


def show_plan(
    sweep: Sweep, backend: Backend, planned_jobs: Sequence[PlannedJob], decisions: Mapping[int, Decision]
) -> None:
    """Print what is going to happen, before it does."""
    axes = axes_of([planned.overrides for planned in planned_jobs])
    print(f"{sweep.name}: {jobs_text(len(planned_jobs))} on {backend.name}", file=sys.stderr)
    for planned in planned_jobs[:SHOWN]:
        label = planned.label or label_of(planned.overrides, axes)
        print(f"  {planned.number:>3}  {label}  {decisions[planned.number]}", file=sys.stderr)
    if len(planned_jobs) > SHOWN:
        print(f"  ... and {len(planned_jobs) - SHOWN} more", file=sys.stderr)
    for line in backend.plan(sum(decision.submits for decision in decisions.values())):
        print(f"  {line}", file=sys.stderr)


def write_down(
    sweep: Sweep, planned_jobs: Sequence[PlannedJob], decisions: Mapping[int, Decision], request: LaunchRequest
) -> None:
    """Write the manifest, and the folders of the jobs to be submitted: all that another process needs to go on."""
    axes = axes_of([planned.overrides for planned in planned_jobs]) if request.axes is None else dict(request.axes)
    runs = {"launcher": request.launcher, "cwd": str(Path.cwd())}
    sweep.write_manifest(
        command=request.command,
        axes=axes,
        outputs=str(request.outputs),
        tracking=request.tracking,
        workers_upload=request.workers_upload,
        recorded=request.recorded,
        signature=manifest_signature(runs),
        **runs,
    )
    for planned in planned_jobs:
        if not decisions[planned.number].submits:
            continue
        job = sweep.job(planned.number)
        job.folder.path.mkdir(parents=True, exist_ok=True)
        label = planned.label or label_of(planned.overrides, axes)
        tags = {"racing.sweep": sweep.name, "racing.job": str(planned.number)}
        tags |= {"mlflow.runName": label} if label else {}
        spec = {"number": planned.number, "overrides": planned.overrides, "label": label, "tags": tags}
        spec |= {"computes": computed(planned.payload), "first_attempt": job.folder.attempts + 1}
        if decisions[planned.number] == Decision.NEW:
            job.folder.forget()
        write_payload(job.folder, planned.payload)
        write_json(job.folder.path / "job.json", spec | {"steps": planned.steps})
        job.withdraw_cancel()


def check_jobs(planned_jobs: Sequence[PlannedJob], *, here: bool, place: Path) -> None:
    """Raise InputError if a job's configuration is wrong, before any is submitted.

    here: they will run on this machine, with its hardware; elsewhere a GPU may be there that is none here.
    place: the sweep's folder.
    """
    from racing_launchers.preflight import check_job

    axes = axes_of([planned.overrides for planned in planned_jobs])
    built = {planned.number for planned in covering_jobs(planned_jobs)[:CHECKED]}
    for planned in planned_jobs:
        assert isinstance(planned.payload, HydraJob)
        config = planned.payload.config
        cfg = OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])
        chosen, overrides = config.hydra.runtime.choices, composed_from(config.hydra.overrides)
        try:
            check_job(cfg, overrides, chosen, here=here, build=planned.number in built, place=place)
        except InputError as error:
            label = planned.label or label_of(planned.overrides, axes)
            raise InputError(f"{label}: {error}" if label else str(error)) from error


def covering_jobs(planned_jobs: Sequence[PlannedJob]) -> list[PlannedJob]:
    """Jobs, at least one, in which each override of any job occurs, but for seeds."""
    seen: set[str] = set()
    chosen: list[PlannedJob] = []
    for planned in planned_jobs:
        overrides = {override for override in planned.overrides if not override.startswith("seed=")}
        if not chosen or overrides - seen:
            seen |= overrides
            chosen.append(planned)
    return chosen
