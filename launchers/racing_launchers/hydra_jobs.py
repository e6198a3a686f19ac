"""The jobs of a Hydra sweep: composed here, handed to `launch`, their results returned as Hydra wants them."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping, Sequence
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
from racing_launchers.launch import Planned, Request, launch
from racing_launchers.payload import RETURN, HydraJob, hydra_returns
from racing_launchers.sweep import Job, Sweep
from racing_launchers.watch import report_failures


def launch_hydra_jobs(
    context: HydraContext,
    function: TaskFunction,
    config: DictConfig,
    settings: Mapping[str, Any] | None,
    several: Sequence[Sequence[str]],
    *,
    first: int,
) -> list[JobReturn]:
    """Run the jobs of a sweep, or submit them; returns one result each, of those that are submitted only None.

    config: of the sweep. settings: of the launcher; None: it is racing train's, which are `config.launcher`. several:
    the overrides of each job. first: number of the first one. Raises InputError before anything is submitted; for
    racing train also JobsFailed, Stopped.
    """
    setup_globals()
    ours = settings is None
    require(len(several) > 0, "the sweep has no jobs, an axis of it is empty; give each axis a value")
    known = plain(config.launcher) if settings is None else dict(settings)
    backend = make_backend(known)
    sweep = Sweep(Path(str(config.hydra.sweep.dir)))
    planned = [_plan(context, function, config, sweep, number, own) for number, own in enumerate(several, first)]
    request = _request(config, known, sweep, backend, planned) if ours else _foreign(known, sweep)
    jobs = launch(sweep, backend, planned, request)
    if ours and backend.wait:
        report_failures(sweep, jobs, retry=backend.retry)
    done = {job.number: _result(job) for job in jobs if job.ended}
    return [done.get(own.number) or _nothing(own) for own in planned]


def _plan(
    context: HydraContext,
    function: TaskFunction,
    config: DictConfig,
    sweep: Sweep,
    number: int,
    overrides: Sequence[str],
) -> Planned:
    """One job. What a folder is called must not depend on the job: `hydra.sweep.dir` holds it written out."""
    cfg = context.config_loader.load_sweep_config(config, list(overrides))
    with open_dict(cfg):
        cfg.hydra.sweep.dir = str(sweep.path)
        cfg.hydra.job.num = number
        cfg.hydra.job.id = f"{sweep.name}_{number}"
    return Planned(number, list(overrides), HydraJob(context, function, cfg))


def _request(
    config: DictConfig, settings: dict[str, Any], sweep: Sweep, backend: Backend, planned: Sequence[Planned]
) -> Request:
    """What is asked of a sweep of racing train. Where workers do not send their records, theirs say so."""
    outputs = Path(config.paths.outputs).resolve()
    tracking = plain(config.tracking)
    uri = resolve_uri(tracking["uri"], outputs)
    sends = backend.workers_send(uri)
    for own in planned:
        own.payload.move(outputs, sweep.path)
        own.settle(quiet=not sends)
    return Request(
        command=f"racing train {shlex.join(sys.argv[1:])}",
        launcher=settings,
        outputs=outputs,
        tracking=tracking,
        workers_send=sends,
        fresh=bool(config.fresh),
        recorded=True,
        checked=True,
    )


def _foreign(settings: dict[str, Any], sweep: Sweep) -> Request:
    """What is asked of a sweep of another program: its jobs are always run."""
    return Request(command=shlex.join(sys.argv), launcher=settings, outputs=sweep.path.parent, fresh=True)


def _nothing(own: Planned) -> JobReturn:
    """The result of a job that nobody waits for."""
    result = JobReturn(overrides=own.overrides, status=HydraStatus.COMPLETED)
    result.return_value = None
    return result


def _result(job: Job) -> JobReturn:
    """Hydra's result of a job; one that died has failed."""
    found = hydra_returns(job.folder.path / RETURN) if job.ended == JobStatus.DONE else None
    if found is not None:
        return found
    failed = JobReturn(overrides=job.folder.about.get("overrides"), status=HydraStatus.FAILED)
    failed.return_value = RuntimeError(f"job {job.number} ({job.label}): {job.folder.result.get('error')}")
    return failed
