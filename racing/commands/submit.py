"""`racing evaluate launcher=...`, `racing export launcher=...`: a verb done where the run lies."""

from __future__ import annotations

import hashlib
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from racing.errors import ExitCode
from racing_launchers.backend import launcher_settings, make_backend
from racing_launchers.job import JobStatus
from racing_launchers.launch import Planned, Request, launch
from racing_launchers.payload import CommandJob
from racing_launchers.sweep import Sweep
from racing_launchers.watch import report_failures


def submit(verb: str, argv: Sequence[str]) -> int:
    """Do a verb as the one job of a sweep, and print what it said; returns the exit code.

    Raises InputError if the launcher refuses, JobsFailed if the job fails, Stopped after Ctrl-C.
    """
    choice = next((value for key, _, value in parts(argv) if key == "launcher"), "local")
    settings = [f"{key.removeprefix('launcher.')}={value}" for key, _, value in parts(argv) if "launcher." in key]
    own = [argument for argument in argv if not argument.startswith(("launcher=", "launcher."))]
    outputs = Path(next((value for key, _, value in parts(own) if key == "paths.outputs"), "outputs")).resolve()
    known = launcher_settings(choice, settings)
    backend = make_backend(known)
    identity = hashlib.sha256(chr(0).join([verb, *own]).encode()).hexdigest()[:8]
    sweep = Sweep(outputs / "sweeps" / f"{verb}-{identity}")
    payload = CommandJob([verb, *own])
    payload.move(outputs, sweep.path)
    request = Request(command=f"racing {verb} {shlex.join(argv)}", launcher=known, outputs=outputs, fresh=True)
    before = len(list(backend.log(sweep, sweep.job(0))))
    jobs = launch(sweep, backend, [Planned(0, own, payload)], request)
    if jobs and jobs[0].ended == JobStatus.REFUSED:
        print("\n".join(list(backend.log(sweep, jobs[0]))[before:-1]), file=sys.stderr)
        return ExitCode.WRONG_INPUT
    if jobs and jobs[0].ended == JobStatus.DONE:
        print("\n".join(list(backend.log(sweep, jobs[0]))[before:]))
    report_failures(sweep, jobs, retry=backend.retry)
    return ExitCode.DONE


def parts(argv: Sequence[str]) -> list[tuple[str, str, str]]:
    """Key, =, value of each argument."""
    return [argument.partition("=") for argument in argv]
