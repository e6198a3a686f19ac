"""From a list of jobs to a sweep that runs: decided, checked, shown, written down, submitted, watched."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf, open_dict

from racing.config import what_counts
from racing.errors import InputError, require
from racing.files import write_json
from racing_launchers.backend import Backend, JobState
from racing_launchers.job import JobStatus
from racing_launchers.payload import HydraJob, Payload
from racing_launchers.sweep import Job, Sweep, axes_of, jobs_text, label_of
from racing_launchers.sweep_record import Record, last_run
from racing_launchers.watch import watch
from racing_launchers.worker import write_payload

CHECKED = 8  # jobs whose parts are built before the sweep is submitted, at most
SHOWN = 20  # jobs that the plan shows; the others are counted


@dataclass(frozen=True)
class Planned:
    """A job that is wanted. overrides: what makes it."""

    number: int
    overrides: list[str]
    payload: Payload

    def settle(self, *, quiet: bool) -> None:
        """quiet: its process does not bring its record to MLflow."""
        if quiet and isinstance(self.payload, HydraJob):
            with open_dict(self.payload.config):
                self.payload.config.tracking.enabled = False

    @property
    def steps(self) -> int | None:
        """Decisions that its training takes, where that is known."""
        config = self.payload.config if isinstance(self.payload, HydraJob) else None
        if config is None or "algo" not in config or config.get("phases") or config.get("sweep"):
            return None
        return int(config.algo.total_timesteps)


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is wanted of a sweep.

    command: as typed. launcher: settings of the backend. outputs: where its jobs write. tracking: as in conf/tracking.
    workers_send: they bring their records to MLflow themselves. fresh: jobs that are done are done again. recorded: the
    sweep gets a run of its own. checked: its jobs are those of racing train, and are looked at before.
    """

    command: str
    launcher: dict[str, Any]
    outputs: Path
    tracking: dict[str, Any] = field(default_factory=dict)
    workers_send: bool = True
    fresh: bool = False
    recorded: bool = False
    checked: bool = False


def launch(sweep: Sweep, backend: Backend, planned: Sequence[Planned], request: Request) -> list[Job]:
    """Bring the jobs to the backend, and watch them unless `backend.wait` is false; returns them.

    A job that is done, or still at work from an earlier call, is left alone; others continue where they were. Raises
    InputError before anything is submitted if a job or the backend cannot do, and Stopped after Ctrl-C.
    """
    known = sweep.exists
    try:
        sweep.path.mkdir(parents=True, exist_ok=True)
        owner = f"{sweep.path} is watched by {sweep.lock.owner}"
        require(sweep.lock.acquire(), f"{owner}; wait for it, or look at it with racing jobs status {sweep.name}")
        return _launch(sweep, backend, planned, request)
    finally:
        backend.close()
        if not known and not sweep.exists:  # nothing came of it
            sweep.lock.path.unlink(missing_ok=True)
        sweep.lock.release()


def _launch(sweep: Sweep, backend: Backend, planned: Sequence[Planned], request: Request) -> list[Job]:
    decisions = decide(sweep, backend, planned, fresh=request.fresh)
    wanted = [own for own in planned if decisions[own.number].submits]
    if request.checked:
        check_jobs(wanted, here=backend.stops_with_us)
    backend.check([own.payload.config for own in wanted if isinstance(own.payload, HydraJob)])
    show_plan(sweep, backend, planned, decisions)
    if backend.dry_run:
        print("launcher.dry_run: nothing was submitted")
        return []
    jobs = [sweep.job(own.number) for own in planned]
    write_down(sweep, planned, decisions, request)
    record = Record(sweep)
    record.begin()
    try:
        backend.submit(sweep, [sweep.job(own.number) for own in wanted])
        if not backend.wait:
            print(f"submitted {jobs_text(len(wanted))}; racing jobs status | logs | collect | cancel {sweep.name}")
            return jobs
        watch(sweep, backend, jobs, record)
        return jobs
    finally:
        if not record.close():
            print(f"{sweep.name}: MLflow does not have all of it yet: racing jobs collect {sweep.name}")


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


def decide(sweep: Sweep, backend: Backend, planned: Sequence[Planned], *, fresh: bool) -> dict[int, Decision]:
    """By number, what is to become of a job. Raises InputError where one runs elsewhere, or with other overrides."""
    before = [job for own in planned if (job := sweep.job(own.number)).folder.attempts]
    going = [job for job in before if not job.ended]
    for job in going:
        place = job.folder.attempt["launcher"]
        rule = f"job {job.number} of {sweep.name} was submitted with launcher={place} and has not ended there"
        remedy = f"racing jobs collect {sweep.name} or racing jobs cancel {sweep.name} first"
        require(place == backend.name, f"{rule}; {remedy}")
    infos = backend.poll(sweep, going) if going else {}
    decisions = {}
    for own in planned:
        job = sweep.job(own.number)
        same = what_counts(job.folder.about.get("overrides") or []) == what_counts(own.overrides)
        if job in going and infos[job.number].state != JobState.LOST:
            rule = f"job {job.number} of {sweep.name} is running"
            remedy = f"wait, or racing jobs cancel {sweep.name}"
            require(same and not fresh, f"{rule}, {'fresh=true' if fresh else 'its settings differ'}; {remedy}")
            decisions[own.number] = Decision.RUNNING
        elif not fresh and same and job.ended == JobStatus.DONE and _kept(sweep, job):
            decisions[own.number] = Decision.ALREADY_DONE
        else:
            resumes = same and bool(job.folder.runs) and not fresh
            decisions[own.number] = Decision.RESUMING if resumes else Decision.NEW
    return decisions


def _kept(sweep: Sweep, job: Job) -> bool:
    """Whether the run of a job that is done is still there."""
    run = last_run(sweep, job)
    return run is None or run.finished


def show_plan(sweep: Sweep, backend: Backend, planned: Sequence[Planned], decisions: Mapping[int, Decision]) -> None:
    """Print what is going to happen, before it does."""
    axes = axes_of([own.overrides for own in planned])
    print(f"{sweep.name}: {jobs_text(len(planned))} on {backend.name}", file=sys.stderr)
    for own in planned[:SHOWN]:
        print(f"  {own.number:>3}  {label_of(own.overrides, axes)}  {decisions[own.number]}", file=sys.stderr)
    if len(planned) > SHOWN:
        print(f"  ... and {len(planned) - SHOWN} more", file=sys.stderr)
    for line in backend.plan(sum(decision.submits for decision in decisions.values())):
        print(f"  {line}", file=sys.stderr)


def write_down(sweep: Sweep, planned: Sequence[Planned], decisions: Mapping[int, Decision], request: Request) -> None:
    """The manifest, and the folders of the jobs to be submitted: all that another process needs to go on."""
    axes = axes_of([own.overrides for own in planned])
    sweep.describe(
        command=request.command,
        axes=axes,
        launcher=request.launcher,
        outputs=str(request.outputs),
        tracking=request.tracking,
        workers_send=request.workers_send,
        recorded=request.recorded,
        cwd=str(Path.cwd()),
    )
    for own in planned:
        job = sweep.job(own.number)
        if not decisions[own.number].submits:
            continue
        job.folder.path.mkdir(parents=True, exist_ok=True)
        label = label_of(own.overrides, axes)
        tags = {"racing.sweep": sweep.name, "racing.job": str(own.number)} | (
            {"mlflow.runName": label} if label else {}
        )
        about = {"number": own.number, "overrides": own.overrides, "label": label, "tags": tags, "steps": own.steps}
        if decisions[own.number] == Decision.NEW:
            job.folder.forget()
        write_payload(job.folder, own.payload)
        write_json(job.folder.path / "job.json", about)
        job.ask(stop=False)


def check_jobs(planned: Sequence[Planned], *, here: bool) -> None:
    """Raise InputError if a job's configuration is wrong, before any is submitted.

    here: they will run on this machine, with its hardware; elsewhere a GPU may be there that is none here.
    """
    from racing_launchers.preflight import check_job

    axes = axes_of([own.overrides for own in planned])
    built = {own.number for own in different(planned)[:CHECKED]}
    for own in planned:
        assert isinstance(own.payload, HydraJob)
        config = OmegaConf.masked_copy(own.payload.config, [str(k) for k in own.payload.config if k != "hydra"])
        chosen = own.payload.config.hydra.runtime.choices
        try:
            check_job(config, own.overrides, chosen, here=here, build=own.number in built)
        except InputError as error:
            label = label_of(own.overrides, axes)
            raise InputError(f"{label}: {error}" if label else str(error)) from error


def different(planned: Sequence[Planned]) -> list[Planned]:
    """Jobs, at least one, in which each setting of any job occurs, but for seeds."""
    seen: set[str] = set()
    chosen: list[Planned] = []
    for own in planned:
        settings = {setting for setting in own.overrides if not setting.startswith("seed=")}
        if not chosen or settings - seen:
            seen |= settings
            chosen.append(own)
    return chosen
