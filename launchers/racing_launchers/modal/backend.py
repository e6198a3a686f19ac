"""Jobs of a sweep in Modal containers, one call for each.

Calls are spawned in a detached app and their ids written down, so that any process with the same token can go on with
the sweep. Jobs work on a volume, from which results are fetched.
"""

from __future__ import annotations

import builtins
import contextlib
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from racing.errors import InputError, require, require_number
from racing_launchers.backend import TIME_LIMIT, Backend, JobInfo, JobState, begin_attempt, insists_on_gpu
from racing_launchers.modal.app import ResourceRequest, check_parts, describe, make_app
from racing_launchers.modal.gpus import Prices, listed_prices, live_prices, normalize
from racing_launchers.modal.needs import check_needs
from racing_launchers.modal.volume import Volume, answered, brief, library
from racing_launchers.modal.worker import RemoteJobSpec
from racing_launchers.payload import HydraJob
from racing_launchers.remote.needs import extra_packages, needs_own_files
from racing_launchers.remote.sync import fetch_job, fetch_log
from racing_launchers.remote.tracks import files_of_config, required, track_specs, tracks_of_command
from racing_launchers.remote.usage import usage_of
from racing_launchers.sweep import CANCEL_FILE, Job, Sweep
from racing_launchers.worker import payload_content, read_payload

SAVE_TIME = 60.0  # [s] that a cancelled job has to save its state
MAX_REQUESTS = 16  # at a time
DAY = 24 * 60  # [min] Modal lets no attempt be longer
NUMBERS = {  # key of conf/launcher/modal.yaml: lowest, highest, whole numbers only, unit
    "cpu": (0.125, 64, False, "cores"),
    "memory": (128, 344_064, True, "MiB"),
    "timeout_min": (1 / 60, DAY, False, "min"),
    "max_restarts": (0, 10, True, ""),
    "commit_every": (0.1, 3600, False, "s"),
    "max_containers": (1, 10_000, True, ""),
}
NAMES, PATHS = ("app", "runs_volume", "tracks_volume"), ("runs_path", "tracks_path")
LISTS, TABLES = ("secrets", "packages", "env_passthrough", "python_source"), ("env", "extra")
AS_THEY_ARE = ("environment", "gpu", "region", "image")
OPTIONAL = ("max_containers", "tracks_volume")  # null is fine


class ModalBackend(Backend):
    """See conf/launcher/modal.yaml."""

    shared = False
    grace = 2.0  # results are on the volume before a call ends
    start_s = 60.0

    def __init__(self, **keys: Any) -> None:
        """Raises InputError for values off range, and for GPUs that Modal does not offer."""
        values = {key: keys.pop(key) for key in (*NUMBERS, *NAMES, *PATHS, *LISTS, *TABLES, *AS_THEY_ARE)}
        super().__init__(**keys)
        check_values(values)
        self.commit_every = values.pop("commit_every")
        self.resources = ResourceRequest(
            **values
            | {"gpu": normalize(values["gpu"]), "timeout_s": round(values.pop("timeout_min") * 60)}
            | {key: values[key].rstrip("/") for key in PATHS}
            | {"env": {str(key): str(value) for key, value in values["env"].items()}}
        )
        self._runs: Volume | None = None
        self._prices: Prices | None = None

    def check(self, jobs: Sequence[Mapping[str, Any]], commands: Sequence[Sequence[str]] = ()) -> None:
        """See Backend: a needed GPU is asked for; the server answers, takes the token, has the tracks and the runs."""
        futile = not self.resources.gpu and any(insists_on_gpu(config) for config in jobs)
        require(not futile, "hardware.fallback=false wants a GPU, launcher.gpu=null is none; launcher.gpu=[L40S,T4]")
        rule = "--config-dir is not in a container, where phases, a search or a teacher would need it"
        require(not any(map(needs_own_files, jobs)), f"{rule}; use another launcher, or put the files into conf/")
        with answered("the request"):
            library().Client.from_env().hello()
        check_parts(self.resources)
        tracks = [spec for config in jobs for spec in files_of_config(config)]
        self._tracks(tracks + [spec for arguments in commands for spec in tracks_of_command(arguments)])
        check_needs(jobs, commands, self.resources, self._runs_there)
        self._with_packages(jobs)

    def _runs_there(self) -> Volume | None:
        """The volume that jobs write to; None before the first sweep, which makes it."""
        try:
            return Volume(self.resources.runs_volume, environment=self.resources.environment)
        except InputError as error:
            if isinstance(error.__cause__, library().exception.NotFoundError):
                return None
            raise

    def _with_packages(self, jobs: Sequence[Mapping[str, Any]]) -> None:
        """Have the image hold what the settings of these jobs need, too."""
        more = [package for package in extra_packages(jobs) if package not in self.resources.packages]
        self.resources = replace(self.resources, packages=[*self.resources.packages, *more])

    def plan(self, count: int) -> list[str]:
        """See Backend."""
        resources, prices = self.resources, self.prices
        dearest = max(resources.gpu, key=prices.gpu, default="")
        attempt = prices.second(dearest, resources.cpu, resources.memory) * resources.timeout_s
        gpus = f"the first free of {', '.join(resources.gpu)}" if resources.gpu else "no GPU"
        once, ever = count * attempt, count * attempt * (1 + resources.max_restarts)
        lines = [
            f"Modal containers with {gpus}, {resources.cpu:g} cores, {resources.memory / 1024:g} GiB",
            f"at most {once:,.2f} USD if each job takes its {resources.timeout_s / 60:g} min once, "
            f"{ever:,.2f} USD if it takes all {resources.max_restarts} restarts; {prices.source}",
        ]
        if resources.max_restarts:
            lines.append(
                f"why {1 + resources.max_restarts} x: a job whose time is over, or whose container is lost, resumes in "
                "another; launcher.max_restarts=0 gives it up instead, launcher.timeout_min makes each try shorter"
            )
        if self.dry_run:
            lines += describe(resources, Path())
        return lines

    def price_text(self, hours: float) -> str | None:
        """See Backend: with the GPU that is asked for first."""
        resources = self.resources
        first = next(iter(resources.gpu), "")
        second = self.prices.second(first, resources.cpu, resources.memory)
        return f"{3600 * hours * second:,.2f} USD"

    def page(self, sweep: Sweep) -> str | None:
        """See Backend."""
        return str((sweep.manifest.get("modal") or {}).get("page") or "") or None

    @property
    def prices(self) -> Prices:
        """Today's prices, if Modal publishes them."""
        if self._prices is None:
            self._prices = live_prices(listed_prices())
        return self._prices

    def _tracks(self, specs: Sequence[str]) -> dict[str, dict[str, Any]]:
        """What must be on the tracks volume. Raises InputError if it is not."""
        if not specs:
            return {}
        named = f"track {specs[0]!r} does not travel with the code"
        require(self.resources.tracks_volume is not None, f"{named}; name a volume with launcher.tracks_volume=NAME")
        volume = Volume(str(self.resources.tracks_volume), environment=self.resources.environment)
        return required(list(dict.fromkeys(specs)), volume)

    def submit(self, sweep: Sweep, jobs: Sequence[Job]) -> None:
        """See Backend."""
        payloads = [read_payload(job.folder) for job in jobs]  # jobs may be submitted again by another process
        specs = {job.number: track_specs(payload) for job, payload in zip(jobs, payloads, strict=True)}
        self._with_packages([payload.config for payload in payloads if isinstance(payload, HydraJob)])
        tracks = self._tracks([spec for job_specs in specs.values() for spec in job_specs])
        with tempfile.TemporaryDirectory(prefix="racing-modal-") as scratch, answered("the app"):
            app, function = make_app(self.resources, Path(scratch), with_tracks=bool(tracks))
            with app.run(detach=True, environment_name=self.resources.environment):
                handle = {"app": app.app_id, "page": app.get_dashboard_url()}
                sweep.write_manifest(modal=handle)  # before anything runs: whoever comes later can stop it
                for job in jobs:
                    needed = {spec: tracks[spec] for spec in specs[job.number]}
                    call = function.spawn(self._job_spec(sweep, job, needed).plain())
                    begin_attempt(job, self.name, {"call": call.object_id, **handle})

    def _job_spec(self, sweep: Sweep, job: Job, tracks: dict[str, dict[str, Any]]) -> RemoteJobSpec:
        resources = self.resources
        return RemoteJobSpec(
            sweep=sweep.name,
            number=job.number,
            attempt=job.folder.attempts + 1,
            payload=payload_content(job.folder),
            job=job.folder.spec,
            volume=resources.runs_volume,
            runs_path=resources.runs_path,
            tracks_path=resources.tracks_path if tracks else None,
            tracks=tracks,
            gpus=resources.gpu,
            commit_every=self.commit_every,
            keep_runs=bool(job.folder.runs),
            keep_log=job.folder.log.exists(),
        )

    def poll(self, sweep: Sweep, jobs: Sequence[Job]) -> dict[int, JobInfo]:
        """See Backend."""
        volume = self.runs
        with ThreadPoolExecutor(MAX_REQUESTS) as pool:
            infos = pool.map(lambda job: self._info(volume, sweep, job), jobs)
            return {job.number: info for job, info in zip(jobs, infos, strict=True)}

    def _info(self, volume: Volume, sweep: Sweep, job: Job) -> JobInfo:
        ended = self._ended(job)
        if not job.folder.started:
            fetch_job(volume, sweep, job, last=False)
        started = job.folder.started
        if ended is None:
            if not started:
                return JobInfo(JobState.PENDING, "waiting for a container")
            return JobInfo(JobState.RUNNING, container_of(job))
        cancel = job.folder.path / CANCEL_FILE
        if cancel.exists() and started and not job.folder.result and time.time() - cancel.stat().st_mtime < SAVE_TIME:
            return JobInfo(JobState.RUNNING, "cancelled, saving its state")
        return JobInfo(JobState.LOST, ended)

    def _ended(self, job: Job) -> str | None:
        """How the job's call ended; None while it goes on."""
        from modal import exception

        call = job.folder.attempt.get("handle", {}).get("call")
        if not call:
            return "it was never sent"
        try:
            with answered(f"call {call}"):
                library().FunctionCall.from_id(call).get(timeout=0)
            return "has ended"
        except builtins.TimeoutError:
            return None
        except exception.OutputExpiredError:
            return f"Modal no longer knows call {call}"
        except exception.FunctionTimeoutError:
            return f"{TIME_LIMIT} (launcher.timeout_min), {self.resources.max_restarts} restarts included"
        except exception.InternalFailure as error:
            return f"its containers were lost: {brief(error)}"
        except (exception.InputCancellation, exception.RemoteError) as error:
            return "cancelled" if "cancel" in str(error).lower() or not str(error) else brief(error)
        except InputError:
            raise
        except Exception as error:  # what the container raised before or beside the job
            return f"{type(error).__name__}: {brief(error)}"

    def cancel(self, sweep: Sweep, jobs: Sequence[Job]) -> None:
        """See Backend."""
        for job in jobs:
            call = job.folder.attempt.get("handle", {}).get("call")
            if call:
                with answered(f"call {call}"):
                    library().FunctionCall.from_id(call).cancel()

    def fetch_results(self, sweep: Sweep, job: Job, *, last: bool = False) -> None:
        """See Backend."""
        fetch_job(self.runs, sweep, job, last=last)

    @property
    def runs(self) -> Volume:
        """The Modal volume that jobs write to."""
        if self._runs is None:
            self._runs = Volume(self.resources.runs_volume, create=True, environment=self.resources.environment)
        return self._runs

    def log(self, sweep: Sweep, job: Job) -> Iterable[str]:
        """See Backend. Where the job has written nothing, what Modal has of its container."""
        if job.folder.attempts:
            fetch_log(self.runs, sweep, job)
        return super().log(sweep, job) or self._container_log(job)

    def _container_log(self, job: Job) -> list[str]:
        call = job.folder.attempt.get("handle", {}).get("call")
        if not call:
            return []
        with answered(f"call {call}"):
            entries = library().FunctionCall.from_id(call).logs.tail(1000)
        return "".join(entry.data for entry in entries).splitlines()

    def results(self, sweep: Sweep) -> dict[str, float]:
        """See Backend: what the containers of all jobs have cost, and for how long they worked."""
        hours = cost = 0.0
        with contextlib.suppress(InputError):  # without the server the listed prices do
            self._prices = self.prices
        prices = self._prices or listed_prices()
        for job in sweep.jobs:
            for used in usage_of(job.folder.path):
                seconds = max(0.0, float(used["until"]) - float(used["began"]))
                hours += seconds / 3600
                cost += seconds * prices.second(str(used["gpu"]), self.resources.cpu, self.resources.memory)
        return {"cost_usd": round(cost, 6), "container_hours": round(hours, 6)}


def check_values(values: Mapping[str, Any]) -> None:
    """Raise InputError unless the values of conf/launcher/modal.yaml are of the right kind and in their ranges."""
    given = {key: value for key, value in values.items() if value is not None or key not in OPTIONAL}
    for key, (low, high, whole, unit) in NUMBERS.items():
        if key in given:
            require_number(f"launcher.{key}", given[key], low, high, whole=whole, unit=unit)
    for key in NAMES:
        value = given.get(key, "-")
        require(isinstance(value, str) and value != "", f"launcher.{key} must be a name, got {value!r}; give one")
    for key in PATHS:
        value = given[key]
        rule = f"launcher.{key} must be an absolute path in the container, got {value!r}; /{key.partition('_')[0]}"
        require(isinstance(value, str) and value.startswith("/") and value.strip("/") != "", rule)
    for key in LISTS:
        fits = isinstance(given[key], list) and all(isinstance(text, str) for text in given[key])
        require(fits, f"launcher.{key} must be a list of texts, got {given[key]!r}; write [a, b]")
    for key in TABLES:
        rule = f"launcher.{key} must be keys and values, got {given[key]!r}; write {{a: b}}"
        require(isinstance(given[key], Mapping), rule)


def container_of(job: Job) -> str:
    """Where a job runs, for people."""
    used = usage_of(job.folder.path)
    return f"{used[-1]['gpu'] or 'no GPU'}, container {len(used)}" if used else "running"
