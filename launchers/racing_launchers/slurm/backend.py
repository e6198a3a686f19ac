"""Jobs of a sweep as a job array on a SLURM cluster, submitted by submitit.

What travels with a job is the environment of the process that submits it, whole, as sbatch does by default.
"""

from __future__ import annotations

import contextlib
import shlex
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from racing.config import hint
from racing.errors import InputError, require, require_number
from racing.files import read_json
from racing.processes import import_path, python
from racing_launchers.backend import Backend, JobInfo, JobState, NoAnswer, begin_attempt, insists_on_gpu
from racing_launchers.slurm.job import SlurmJob
from racing_launchers.slurm.queue_watcher import QueueEntry, Unanswered, command, largest_array, partitions, poll_queue
from racing_launchers.sweep import Job, Sweep
from racing_launchers.worker import payload_digest

NUMBERS = {  # key: lowest, highest, whole numbers only, unit; null is fine where the file says so
    "timeout_min": (1, 525_600, True, "min"),
    "cpus_per_task": (1, 4096, True, ""),
    "mem_gb": (0.1, 65_536, False, "GB"),
    "gpus_per_node": (0, 64, True, ""),
    "array_parallelism": (1, 1_000_000, True, ""),
    "signal_delay_s": (1, 86_400, True, "s"),
    "max_num_timeout": (0, 1_000_000, True, ""),
}
OPTIONAL = ("mem_gb", "gpus_per_node")
TEXTS = ("partition", "account", "qos", "constraint", "gres")
# As sbatch calls them.
SBATCH_NAMES = {"cpus_per_task": "cpus-per-task", "gpus_per_node": "gpus-per-node", "timeout_min": "time"}
FOLDER = "slurm"  # in the sweep's: what submitit and SLURM write
KILL_AFTER = 60.0  # [s] after which a job that was asked to stop, and has not, is ended when asked again
NOT_AVAILABLE = "node configuration is not available"  # the request is too large, or large nodes are drained just now


class SlurmBackend(Backend):
    """See conf/launcher/slurm.yaml."""

    grace = 10.0  # what a node has written may take a moment to be seen here

    def __init__(self, *, setup: list[str], additional_parameters: dict[str, Any], **keys: Any) -> None:
        """Raises InputError for values off range."""
        self.resources = {key: keys.pop(key) for key in (*NUMBERS, *TEXTS)}
        super().__init__(**keys)
        for key, (low, high, whole, unit) in NUMBERS.items():
            if self.resources[key] is not None or key not in OPTIONAL:
                require_number(f"launcher.{key}", self.resources[key], low, high, whole=whole, unit=unit)
        for key in TEXTS:
            value = self.resources[key]
            fits = value is None or (isinstance(value, str) and bool(value))
            require(fits, f"launcher.{key} must be a name, got {value!r}; null leaves it to the cluster")
        lines = isinstance(setup, list) and all(isinstance(line, str) for line in setup)
        require(lines, f"launcher.setup must be a list of shell lines, got {setup!r}; [] is none")
        fits = isinstance(additional_parameters, dict)
        require(fits, f"launcher.additional_parameters must be options of sbatch, got {additional_parameters!r}")
        longest = 60 * self.resources["timeout_min"]
        rule = f"launcher.signal_delay_s must be below launcher.timeout_min ({longest} s)"
        delay = self.resources["signal_delay_s"]
        require(delay < longest, f"{rule}, got {delay}; raise timeout_min")
        self.setup, self.sbatch_options = setup, additional_parameters
        self.notes: list[str] = []  # what `check` found that need not be wrong

    def check(self, jobs: Sequence[Mapping[str, Any]], commands: Sequence[Sequence[str]] = ()) -> None:
        """See Backend. The request is shown to the cluster, which says whether it could ever be met."""
        self.notes = []
        named = any("gpu" in str(key) for key in self.sbatch_options)
        wants_gpu = self.resources["gpus_per_node"] or self.resources["gres"] or named
        if not wants_gpu and any(insists_on_gpu(config) for config in jobs):
            note = "no GPU is asked for (launcher.gpus_per_node=1), and hardware.fallback=false: jobs fail"
            self.notes.append(f"{note} where the cluster shows them none")
        try:
            command("sbatch", "--version")
            command("srun", "--version")
            known, name = partitions(), self.resources["partition"]
            if name is not None:
                for part in name.split(","):
                    rule = f"launcher.partition={part!r} is none of the cluster's"
                    require(part in known, f"{rule}: {', '.join(known)}; {hint(part, known)}")
            command("sbatch", "--test-only", *self._options(), "--wrap=true")
        except Unanswered as error:
            if NOT_AVAILABLE not in str(error):
                raise InputError(f"the cluster refuses: {error}; see conf/launcher/slurm.yaml") from error
            self.notes += ["no node that is up is large enough for this: the jobs wait until one is"]

    def plan(self, count: int) -> list[str]:
        """See Backend."""
        if not count:
            return []
        resources = self.resources
        memory = f", {resources['mem_gb']:g} GB" if resources["mem_gb"] else ""
        gpus = f", {resources['gpus_per_node']} GPUs" if resources["gpus_per_node"] else ""
        gpus += f", {resources['gres']}" if resources["gres"] else ""
        hours = count * resources["cpus_per_task"] * resources["timeout_min"] / 60
        where = f"partition {resources['partition']}" if resources["partition"] else "the default partition"
        each = f"each {resources['cpus_per_task']} cores{memory}{gpus} for {resources['timeout_min']} min"
        return [f"{where}: {each}, at most {hours:,.1f} core hours before one is requeued", *self.notes]

    def price_text(self, hours: float) -> str | None:
        """See Backend: in hours of cores, of which many clusters keep accounts."""
        return f"{hours * self.resources['cpus_per_task']:,.1f} core hours"

    def submit(self, sweep: Sweep, jobs: Sequence[Job]) -> None:
        """See Backend. A job does nothing before its id is noted in its folder."""
        try:
            most = largest_array() if len(jobs) > 1 else 1
        except Unanswered as error:
            raise InputError(f"{error}; nothing was submitted") from error
        for first in range(0, len(jobs), most):
            part = jobs[first : first + most]
            for job, id in zip(part, self._submit(sweep, part), strict=True):
                begin_attempt(job, self.name, {"slurm": id})

    def poll(self, sweep: Sweep, jobs: Sequence[Job]) -> dict[int, JobInfo]:
        """See Backend."""
        ids = {job.number: id_of(job) for job in jobs}
        try:
            found = poll_queue([id for id in ids.values() if id])
        except Unanswered as error:
            raise NoAnswer(f"SLURM does not answer, {error}") from error
        return {job.number: self._info(sweep, job, found.get(ids[job.number] or "")) for job in jobs}

    def cancel(self, sweep: Sweep, jobs: Sequence[Job]) -> None:
        """See Backend. Whoever runs gets SIGTERM and the time that it needs; who is asked again later, KillWait."""
        ids = {id: time.time() - self._cancel_requested_at(job) > KILL_AFTER for job in jobs if (id := id_of(job))}
        try:
            known = poll_queue(list(ids))
        except Unanswered as error:
            raise InputError(f"{error}; those that have not begun will not, give the command again") from error
        late = [id for id in known if ids[id]]
        polite = [id for id in known if not ids[id]]
        for chosen, *options in (polite, "--state=PENDING"), (polite, "--state=RUNNING", "--signal=TERM"), (late,):
            with contextlib.suppress(Unanswered):  # it complains of those that have just ended
                if chosen:
                    command("scancel", *options, *chosen)

    def log(self, sweep: Sweep, job: Job) -> Iterable[str]:
        """See Backend: the job's log, and then SLURM's of it."""
        yield from super().log(sweep, job)
        path = slurm_log(sweep, job)
        lines = path.read_text(errors="replace").splitlines() if path and path.exists() else []
        yield from (line for line in lines if not line.startswith("submitit "))

    def _submit(self, sweep: Sweep, jobs: Sequence[Job]) -> list[str]:
        """Submit one array; returns the ids of its jobs."""
        import submitit

        resources = self.resources
        optional = {f"slurm_{key}": resources[key] for key in (*TEXTS, "gpus_per_node") if resources[key]}
        memory = {"mem_gb": resources["mem_gb"]} if resources["mem_gb"] else {}
        try:
            executor = submitit.AutoExecutor(
                folder=sweep.path / FOLDER,
                cluster="slurm",
                slurm_max_num_timeout=resources["max_num_timeout"],
                slurm_python=shlex.join(python()),
            )
            executor.update_parameters(
                name=sweep.name,
                timeout_min=resources["timeout_min"],
                cpus_per_task=resources["cpus_per_task"],
                tasks_per_node=1,
                slurm_signal_delay_s=resources["signal_delay_s"],
                slurm_array_parallelism=resources["array_parallelism"],
                slurm_setup=[f"export PYTHONPATH={shlex.quote(import_path())}", *self.setup],
                slurm_stderr_to_stdout=True,
                slurm_additional_parameters={"requeue": True, "chdir": sweep.manifest.get("cwd", str(Path.cwd()))}
                | self.sbatch_options,
                **optional,
                **memory,
            )
            tasks = [(str(job.folder.path), job.folder.attempts + 1, payload_digest(job.folder)) for job in jobs]
            done = executor.map_array(SlurmJob(), *zip(*tasks, strict=True))
        except (submitit.core.utils.FailedJobError, submitit.core.utils.FailedSubmissionError) as error:
            reason = (str(error).strip().splitlines() or ["no reason was given"])[-1]
            raise InputError(f"the cluster refuses: {reason}; see conf/launcher/slurm.yaml") from error
        return [str(job.job_id) for job in done]

    def _options(self) -> list[str]:
        """The request as options of sbatch."""
        resources = self.resources
        options = {SBATCH_NAMES.get(key, key): resources[key] for key in (*TEXTS, *SBATCH_NAMES) if resources[key]}
        options |= {"mem": f"{round(1024 * resources['mem_gb'])}M"} if resources["mem_gb"] else {}
        options |= {key.replace("_", "-"): value for key, value in self.sbatch_options.items()}
        return [f"--{key}" if value is True else f"--{key}={value}" for key, value in options.items()]

    def _info(self, sweep: Sweep, job: Job, entry: QueueEntry | None) -> JobInfo:
        """One job. entry: what SLURM knows, if it remembers the job."""
        if entry is None:
            return JobInfo(JobState.LOST, "SLURM does not know it any more, and nobody saw how it ended")
        info = entry.info
        if info.state != JobState.LOST or job.folder.started:
            return info
        if entry.state.startswith("CANCELLED"):
            return JobInfo(JobState.LOST, f"{info.detail} before it began")
        return JobInfo(JobState.LOST, f"{info.detail} before it began; SLURM's log: {slurm_log(sweep, job)}")

    def _cancel_requested_at(self, job: Job) -> float:
        """When the attempt was first asked to stop [s since 1970]: now, which is noted, if it was not before."""
        noted = read_json(job.folder.path / "cancel_requested.json")
        if noted.get("attempt") == job.folder.attempts:
            return float(noted["at"])
        now = time.time()
        job.folder.write("cancel_requested", job.folder.attempts, {"at": now})
        return now


def id_of(job: Job) -> str | None:
    """SLURM's id of a job's last attempt."""
    id = job.folder.attempt.get("handle", {}).get("slurm")
    return str(id) if id else None


def slurm_log(sweep: Sweep, job: Job) -> Path | None:
    """The output of the batch script and srun."""
    id = id_of(job)
    return sweep.path / FOLDER / f"{id}_0_log.out" if id else None
