"""What a Modal container does: one job, whose results are on the runs volume before it returns.

Modal calls the same input again, in another container, when it preempts the container (SIGINT), when the job's time is
over, or when the machine is lost: the job then continues from its last checkpoint on the volume. What the job itself
raises is no reason for that; it is returned.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import tarfile
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

CACHE = Path(tempfile.gettempdir()) / "racing-cache"
os.environ.setdefault("RACING_CACHE", str(CACHE))  # before the simulator is imported: a container's home is forgotten


@dataclass
class RemoteJobSpec:
    """One job as it is sent.

    sweep: its name.
    payload: see racing_launchers.worker.payload_content.
    job: job.json.
    volume: name of the one that is mounted at runs_path.
    tracks: see racing_launchers.remote.tracks.required.
    gpus: the GPUs that it may get.
    commit_every: [s]
    keep_runs, keep_log: runs.txt and log.txt of an earlier attempt, which are there, belong to the job.
    """

    sweep: str
    number: int
    attempt: int
    payload: bytes
    job: dict[str, Any]
    volume: str
    runs_path: str
    tracks_path: str | None = None
    tracks: dict[str, Any] = field(default_factory=dict)
    gpus: list[str] = field(default_factory=list)
    commit_every: float = 30.0
    keep_runs: bool = False
    keep_log: bool = False

    def plain(self) -> dict[str, Any]:
        """As a dictionary: what travels needs no class on the other side."""
        return asdict(self)


def run_job(spec: dict[str, Any]) -> dict[str, Any]:
    """Do a job; returns what result.json holds. Modal calls this."""
    return Container(RemoteJobSpec(**spec)).run()


class Container:
    """This container, and its job."""

    def __init__(self, spec: RemoteJobSpec) -> None:
        """Nothing is written yet."""
        import modal

        from racing_launchers.job import JobFolder

        self.spec = spec
        self.runs = Path(spec.runs_path)
        self.sweep = self.runs / "sweeps" / spec.sweep
        self.folder = JobFolder(self.sweep / "jobs" / str(spec.number))
        self.call = str(modal.current_function_call_id())
        self.task = os.environ.get("MODAL_TASK_ID", "")
        self.cancelled = False
        self._volume = modal.Volume.from_name(spec.volume)
        self._began = time.time()
        self._gpu = ""

    def run(self) -> dict[str, Any]:
        """Do all that the container is for."""
        from modal.exception import InputCancellation

        from racing_launchers.job import JobStatus

        self._prepare()
        before = signal.signal(signal.SIGUSR1, self._cancel)
        restore_kernels(self.runs)
        try:
            with tee_output(self.folder.log), self._commits():
                result = self._run_job()
        finally:
            signal.signal(signal.SIGUSR1, before)
            self._record_usage()
            self.commit()
        if result["status"] == JobStatus.STOPPED and not self.cancelled:
            raise KeyboardInterrupt  # the container is preempted: Modal shall call again
        self.folder.write("result", self.spec.attempt, result)
        save_kernels(self.runs)
        self.commit()
        if self.cancelled:
            raise InputCancellation("cancelled, its state is saved")
        return result

    def _prepare(self) -> None:
        """Make the job's folder this attempt's: nobody may take what an earlier one left for it."""
        from racing.files import read_json, write_json
        from racing_launchers.job import WRITTEN_THERE
        from racing_launchers.modal.gpus import gpu_here

        path = self.folder.path
        path.mkdir(parents=True, exist_ok=True)
        if read_json(path / "attempt.json").get("call") != self.call:
            kept = {"runs.txt": self.spec.keep_runs, "log.txt": self.spec.keep_log}
            for name in {*WRITTEN_THERE, *kept}:
                if not kept.get(name):
                    (path / name).unlink(missing_ok=True)
            (path / "attempt.json").unlink(missing_ok=True)
            self.commit()
            number = {"number": self.spec.attempt, "launcher": "modal", "call": self.call}
            write_json(path / "attempt.json", number)
        set_aside_ahead(self.runs, runs_below(self.runs, self.folder.runs))
        self._gpu = gpu_here()
        write_json(path / "job.json", {**self.spec.job, "tags": self._tags()})
        self._record_usage()
        self.commit()

    def _tags(self) -> dict[str, str]:
        """Tags of the job's runs: its own, and the GPU that it got."""
        gpu = f"{self._gpu or 'none'} (asked for {', '.join(self.spec.gpus) or 'none'})"
        return {**self.spec.job.get("tags", {}), "racing.gpu": gpu, "racing.modal_call": self.call}

    def _run_job(self) -> dict[str, Any]:
        from racing_launchers.worker import run

        facts = {"call": self.call, "task": self.task, "container_gpu": self._gpu}
        print(f"container {self.task}, {self._gpu or 'no GPU'}, {os.cpu_count()} cores", flush=True)
        return run(self.folder, self.spec.attempt, self._payload) | facts

    def _payload(self) -> ContainerPayload:
        from racing_launchers.worker import PAYLOAD, load_payload

        # Not from the volume, where others may write: as it came with the call.
        payload = load_payload(self.spec.payload, self.folder.path / PAYLOAD, paths=False)
        return ContainerPayload(payload, self)

    def _cancel(self, number: int, frame: FrameType | None) -> None:
        """Modal's signal for a call that was cancelled. Training saves its state; what cannot, stops here."""
        from racing.errors import Stopped

        self.cancelled = True
        stop = signal.getsignal(signal.SIGUSR2)
        if callable(stop):
            stop(signal.SIGUSR2, frame)
        else:
            raise Stopped("cancelled before it began to train; the same command begins anew")

    def _record_usage(self) -> None:
        """Note for how long this container has run, and on which GPU: it is paid for, however it ends."""
        from racing.files import write_json

        usage = self.folder.path / "usage"
        usage.mkdir(exist_ok=True)
        used = {"gpu": self._gpu, "began": self._began, "until": time.time(), "attempt": self.spec.attempt}
        write_json(usage / f"{self.task or self.call}.json", used)

    def commit(self) -> None:
        """Bring the volume up to date; others, and the next container, see only that."""
        self._volume.commit()

    @contextlib.contextmanager
    def _commits(self) -> Iterator[None]:
        """Commit now and then."""
        ended = threading.Event()

        def go_on() -> None:
            while not ended.wait(self.spec.commit_every):
                try:
                    self._record_usage()
                    self.commit()
                except Exception as error:  # the next one may do
                    print(f"commit of the volume failed: {error}", flush=True)

        thread = threading.Thread(target=go_on, daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()


class ContainerPayload:
    """A payload that finds its tracks and its folders in a container. See racing_launchers.payload.Payload."""

    def __init__(self, payload: Any, container: Container) -> None:
        """payload: as it was made on another machine."""
        self.payload, self.container = payload, container

    def move(self, outputs: Path, sweep: Path) -> None:
        """See Payload."""
        self.payload.move(outputs, sweep)

    def call(self, job: Path) -> Any:
        """See Payload."""
        from racing_launchers.remote.tracks import provide

        spec, sweep = self.container.spec, self.container.sweep
        if spec.tracks_path:
            provide(spec.tracks, Path(spec.tracks_path))
        self.move(self.container.runs, sweep)
        share_study(self.payload, sweep.name)
        return self.payload.call(job)


def share_study(payload: Any, sweep: str) -> None:
    """Keep a study of Optuna in a Modal dictionary: containers share no disk."""
    config = getattr(payload, "config", None)
    if config is not None and config.get("tuning") and config.tuning.get("storage", "") is None:
        config.tuning.storage = f"modal-dict://{sweep}"


def runs_below(outputs: Path, opened: list[str]) -> list[str]:
    """The run directories that a job has opened, also those of the jobs of a campaign that it is about."""
    from racing_launchers.sweep import Sweep

    return [run for path in opened for job in Sweep(outputs / path).jobs for run in job.folder.runs] + opened


def set_aside_ahead(outputs: Path, runs: list[str]) -> None:
    """Set aside checkpoints that are ahead of the journal.

    A volume need not commit all files at one instant. Such a checkpoint cannot be continued, the one before it can.
    """
    from racing.files import move_aside
    from racing.runs.checkpoints import Checkpoints
    from racing.runs.paths import RunPaths

    for run in runs:
        path = outputs / run
        journal = RunPaths(path).journal
        size = journal.stat().st_size if journal.is_file() else 0
        for checkpoint in Checkpoints(path).all() if path.is_dir() else ():
            with contextlib.suppress(OSError, ValueError, KeyError):
                if int(checkpoint.notes["journal"]) > size:
                    print(f"{checkpoint.path} is ahead of the journal on the volume; the one before it is used")
                    move_aside(checkpoint.path, ".ahead")


@contextlib.contextmanager
def tee_output(log: Path) -> Iterator[None]:
    """Copy the output of this process to a file, too, as it comes."""
    reading, writing = os.pipe()
    kept = [os.dup(number) for number in (1, 2)]
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def copy() -> None:
        while data := os.read(reading, 1 << 16):
            os.write(kept[0], data)
            os.write(file, data)

    thread = threading.Thread(target=copy, daemon=True)
    thread.start()
    for number in (1, 2):
        os.dup2(writing, number)
    os.close(writing)
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for number, old in zip((1, 2), kept, strict=True):
            os.dup2(old, number)
        thread.join(5)
        if not thread.is_alive():  # else a process that we began still speaks
            for number in (*kept, file, reading):
                os.close(number)


def kernels(runs: Path) -> tuple[Path, Path]:
    """Where compiled kernels lie here, and the file of them on the volume, which is of this kind of processor only."""
    from racing.runs.provenance import cpu_model
    from racing.sim.kernels.kernel import cache_directory

    kind = "".join(letter if letter.isalnum() else "_" for letter in cpu_model())
    here = cache_directory()
    return here, runs / ".kernels" / f"{here.name}-{kind}.tar"


def restore_kernels(runs: Path) -> None:
    """Take kernels that another container has compiled: it saves half a minute. What fails is compiled anew."""
    from racing.files import atomic_path

    here, there = kernels(runs)
    if there.is_file() and not here.exists():
        here.parent.mkdir(parents=True, exist_ok=True)
        with (
            contextlib.suppress(OSError, tarfile.TarError),
            atomic_path(here, sync=False) as part,
            tarfile.open(there) as archive,
        ):
            archive.extractall(part, filter="data")


def save_kernels(runs: Path) -> None:
    """Keep compiled kernels for later containers, as one file: files of several containers would not fit together."""
    from racing.files import atomic_path

    here, there = kernels(runs)
    if there.exists() or not here.is_dir():
        return
    there.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(there, sync=False) as part, tarfile.open(part, "w") as archive:
        archive.add(here, ".")
