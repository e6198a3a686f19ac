"""`racing evaluate launcher=...`, `racing export launcher=...`: a verb run where the run lies."""

from __future__ import annotations

import hashlib
import importlib
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from racing.errors import ExitCode, require
from racing_launchers.backend import launcher_config, make_backend
from racing_launchers.job import JobStatus
from racing_launchers.launch import LaunchRequest, PlannedJob, launch
from racing_launchers.payload import CommandJob
from racing_launchers.sweep import Sweep
from racing_launchers.watch import report_failures


def submit(verb: str, argv: Sequence[str]) -> int:
    """Run a verb as the one job of a sweep, and print its output; returns the exit code.

    Raises InputError if the verb or the launcher refuses, before anything is written; JobsFailed if the job fails,
    Stopped after Ctrl-C.
    """
    module = importlib.import_module(f"racing.commands.{verb}")
    choice = next((value for key, _, value in parts(argv) if key == "launcher"), "local")
    overrides = [f"{key.removeprefix('launcher.')}={value}" for key, _, value in parts(argv) if "launcher." in key]
    arguments = [argument for argument in argv if not argument.startswith(("launcher=", "launcher."))]
    outputs = Path(next((value for key, _, value in parts(arguments) if key == "paths.outputs"), "outputs")).resolve()
    launcher = launcher_config(choice, overrides)
    backend = make_backend(launcher)
    options = module.parse(arguments)
    if options is None:
        return ExitCode.DONE
    rule = f"launcher={choice} takes one run, got {options['run']!r}; give the command once for each"
    require(not isinstance(options["run"], list), rule)
    if backend.shared:  # else what is named lies where the job runs: the backend looks there
        module.check_there(options)
    identity = hashlib.sha256(chr(0).join([verb, *arguments]).encode()).hexdigest()[:8]
    sweep = Sweep(outputs / "sweeps" / f"{verb}-{identity}")
    payload = CommandJob([verb, *arguments])
    payload.move(outputs, sweep.path)
    request = LaunchRequest(command=f"racing {verb} {shlex.join(argv)}", launcher=launcher, outputs=outputs, fresh=True)
    before = len(list(backend.log(sweep, sweep.job(0))))
    jobs = launch(sweep, backend, [PlannedJob(0, arguments, payload)], request)
    if jobs and jobs[0].ended == JobStatus.REFUSED:
        print("\n".join(list(backend.log(sweep, jobs[0]))[before:-1]), file=sys.stderr)
        return ExitCode.WRONG_INPUT
    if jobs and jobs[0].ended == JobStatus.DONE:
        print("\n".join(list(backend.log(sweep, jobs[0]))[before:]))
    report_failures(sweep, jobs, max_resubmits=backend.max_resubmits)
    return ExitCode.DONE


def parts(argv: Sequence[str]) -> list[tuple[str, str, str]]:
    """Key, =, value of each argument."""
    return [argument.partition("=") for argument in argv]
