"""The jobs of a Hydra sweep: composed here, handed to `launch`, their results returned as Hydra wants them."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn, setup_globals
from hydra.core.utils import JobStatus as HydraStatus
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict

from racing.config import plain
from racing.errors import require
from racing.tracking.store import resolve_uri
from racing_launchers.backend import Backend, make_backend
from racing_launchers.job import JobStatus
from racing_launchers.launch import LaunchRequest, PlannedJob, launch
from racing_launchers.payload import HydraJob, is_racing
from racing_launchers.sweep import Job, Sweep
from racing_launchers.watch import report_failures

PATIENCE = 5.0  # [s] between two lines about jobs that are being composed


def launch_hydra_jobs(
    context: HydraContext,
    function: TaskFunction,
    config: DictConfig,
    launcher: Mapping[str, Any] | None,
    job_overrides: Sequence[Sequence[str]],
    *,
    first: int,
) -> list[JobReturn]:
    """Run the jobs of a sweep, or submit them; returns one result each, of those that are submitted only None.

    context, function: Hydra's, of the program.
    config: of the sweep.
    launcher: its configuration; None: the program is racing train, which has it in `config.launcher`.
    job_overrides: the overrides of each job.
    first: number of the first job.

    Raises InputError before anything is submitted; for racing train also JobsFailed, Stopped.
    """
    setup_globals()
    require(len(job_overrides) > 0, "the sweep has no jobs, an axis of it is empty; give each axis a value")
    is_racing_train = launcher is None
    launcher = plain(config.launcher) if launcher is None else dict(launcher)
    backend = make_backend(launcher)
    sweep = Sweep(Path(str(config.hydra.sweep.dir)))
    planned_jobs = [
        plan_job(context, function, config, sweep, number, overrides)
        for number, overrides in _counted(job_overrides, first)
    ]
    if is_racing_train:
        command = f"racing train {shlex.join(sys.argv[1:])}"
        request = training_request(config, launcher, sweep, backend, planned_jobs, command)
    else:  # its jobs are always run
        request = LaunchRequest(command=shlex.join(sys.argv), launcher=launcher, outputs=sweep.path.parent, fresh=True)
    jobs = launch(sweep, backend, planned_jobs, request)
    if is_racing_train and backend.wait:
        report_failures(sweep, jobs, max_resubmits=backend.max_resubmits)
    ended = {job.number: job for job in jobs if job.ended}
    return [_result(planned, ended.get(planned.number)) for planned in planned_jobs]


def _counted(job_overrides: Sequence[Sequence[str]], first: int) -> Iterator[tuple[int, Sequence[str]]]:
    """Number the jobs; where it takes long to compose them, say on stderr how far that is."""
    said = time.monotonic()
    for number, overrides in enumerate(job_overrides, first):
        if time.monotonic() - said > PATIENCE:
            said = time.monotonic()
            print(f"composed {number - first:,} of {len(job_overrides):,} jobs", file=sys.stderr, flush=True)
        yield number, overrides


def plan_job(
    context: HydraContext,
    function: TaskFunction,
    config: DictConfig,
    sweep: Sweep,
    number: int,
    overrides: Sequence[str],
    label: str | None = None,
) -> PlannedJob:
    """Compose one job. label: see PlannedJob.

    What a folder is called must not depend on the job: `hydra.sweep.dir` holds it written out.
    """
    cfg = context.config_loader.load_sweep_config(config, list(overrides))
    with open_dict(cfg):
        cfg.hydra.sweep.dir = str(sweep.path)
        if is_racing(cfg):
            cfg.hydra.job.chdir = False  # what is relative is relative to the folder of the command
        cfg.hydra.job.num = number
        cfg.hydra.job.id = f"{sweep.name}_{number}"
    return PlannedJob(number, list(overrides), HydraJob(context, function, cfg), label)


def training_request(
    config: DictConfig,
    launcher: dict[str, Any],
    sweep: Sweep,
    backend: Backend,
    planned_jobs: Sequence[PlannedJob],
    command: str,
) -> LaunchRequest:
    """What concerns all jobs of racing train. Where workers do not send their records, their tracking is disabled."""
    outputs = Path(config.paths.outputs).resolve()
    tracking = plain(config.tracking)
    uri = resolve_uri(tracking["uri"], outputs)
    workers_upload = backend.workers_upload(uri)
    for planned in planned_jobs:
        planned.payload.move(outputs, sweep.path)
        if not workers_upload:
            planned.disable_tracking()
    return LaunchRequest(
        command=command,
        launcher=launcher,
        outputs=outputs,
        tracking=tracking,
        workers_upload=workers_upload,
        fresh=bool(config.fresh),
        recorded=True,
        checked=True,
    )


def _result(planned: PlannedJob, job: Job | None) -> JobReturn:
    """Hydra's result of a job; one that was lost has failed. job: None where nobody waits for it."""
    if job is None:
        result = JobReturn(overrides=planned.overrides, status=HydraStatus.COMPLETED)
        result.return_value = None
        return result
    if job.ended == JobStatus.DONE:
        assert isinstance(planned.payload, HydraJob)
        return planned.payload.hydra_return(job.folder.result.get("value"))
    failed = JobReturn(overrides=planned.overrides, status=HydraStatus.FAILED)
    failed.return_value = RuntimeError(f"job {job.number} ({job.label}): {job.folder.result.get('error')}")
    return failed
