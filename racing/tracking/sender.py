"""The senders: processes beside the trainer that copy the journal to MLflow and other sinks while training goes on.

Processes, not threads: importing MLflow takes seconds and its calls tens of milliseconds, none of which may come out of
training. One for each sink: none waits for another. Whatever happens to them or to a server, training does not notice;
`racing runs sync` completes the copies.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from racing.processes import end_of_log, import_path, print_any_text, python
from racing.runs.directory import RunDirectory
from racing.runs.journal import read_journal
from racing.runs.lock import FileLock
from racing.tracking.address import masked
from racing.tracking.errors import Refused, Unreachable
from racing.tracking.mlflow_sink import Delivery
from racing.tracking.sinks.configured import SINKS, wanted_sinks
from racing.tracking.store import ADDRESS, environment, resolve_uri

MLFLOW = "mlflow"  # name of the sink that is no other
POLL = 1.0  # [s] between two polls of the journal, at least
REST = 50  # times as long as it computed for the last delivery a sender sleeps: 2 % of a core
MAX_REST = 5.0  # [s]
MAX_WAIT = 30.0  # [s] between two attempts to reach a store that does not answer
NICE = 5  # of a sender: a third of the trainer's share; with less it would never finish on a busy machine
LINGER = 10.0  # [s] that an orphaned sender tries to reach such a store


class Sink(Protocol):
    """What takes a journal: MLflow's Delivery, or one of racing.tracking.sinks.configured."""

    run: RunDirectory
    lock: FileLock
    ended: bool  # of the lines `start` and `end` the last one taken was an `end`

    def deliver(self) -> bool:
        """Take what comes next; False if nothing is left. Raises Unreachable, Refused."""

    def mark_killed(self) -> None:
        """Record that the run's process ended without an `end`. Raises Unreachable, Refused."""


class Sender:
    """The trainer's handle on the senders of its run."""

    def __init__(self, run: RunDirectory, processes: Mapping[str, subprocess.Popen[bytes] | None]) -> None:
        """Use `start`. processes: by name of the sink; None where it could not be started."""
        self.run = run
        self.processes = dict(processes)
        self.incomplete: list[str] = []  # after `close`: sinks that do not have all of it

    @classmethod
    def start(cls, run: RunDirectory, tracking: Mapping[str, Any]) -> Sender:
        """Start sending the run's journal; returns at once.

        tracking: `enabled` (MLflow), `uri` (null: the embedded store), `experiment`, and the keys of
        `racing.tracking.sinks.configured`, which may be missing. Raises InputError if the URI is none.
        """
        outputs, uri = run.paths.outputs, ""
        commands = {name: ["--sink", name] for name in wanted_sinks(tracking)}
        if tracking["enabled"]:
            uri = resolve_uri(tracking["uri"], outputs)
            commands = {MLFLOW: ["--experiment", str(tracking["experiment"])], **commands}
        me = ["-m", "racing.tracking.sender", str(run.path)]
        return cls(run, {name: spawn(run, [*me, *rest], outputs, uri) for name, rest in commands.items()})

    @contextlib.contextmanager
    def attending(self, timeout: float) -> Iterator[None]:
        """`close` at the end of the body, however it ends; but after a second Ctrl-C nothing is waited for."""
        try:
            yield
        except KeyboardInterrupt:  # they see that we are gone, and end by themselves
            raise
        except BaseException:
            self.close(timeout)
            raise
        else:
            self.close(timeout)

    def close(self, timeout: float) -> bool:
        """Wait up to `timeout` [s] until all is delivered; False if it is not: `racing runs sync` completes it.

        Call it after the journal's `end`.
        """
        deadline = time.monotonic() + timeout
        for process in filter(None, self.processes.values()):
            if process.stdin is not None:
                process.stdin.close()
        self.incomplete = [name for name, process in self.processes.items() if not _finished(process, deadline)]
        return not self.incomplete

    @property
    def died(self) -> str | None:
        """After `close`: of a sender that ended before it began, what it left in the log; None if none did."""
        for name, process in self.processes.items():
            if process is None or not process.returncode or process.returncode < 0:
                continue
            lock = FileLock(self.run.paths.sender_lock if name == MLFLOW else self.run.paths.sink_lock(name))
            if not lock.owner.startswith(f"process {process.pid} "):
                log, last = self.run.paths.sender_log, end_of_log(self.run.paths.sender_log)
                return (
                    f"the process that sends to {name} ended at once, exit code {process.returncode}: {last}; see {log}"
                )
        return None


def spawn(run: RunDirectory, arguments: Sequence[str], outputs: Path, uri: str = "") -> subprocess.Popen[bytes] | None:
    """Start a process that sends the journal somewhere; None where it cannot be started.

    arguments: of Python; `--parent` with our process id is added.
    uri: MLflow's, which travels in the environment: everybody on the machine sees command lines.
    """
    command = python(*arguments, "--parent", str(os.getpid()))
    with run.paths.sender_log.open("ab") as log:
        # The pipe is never written to: its end means that the trainer has exited, however it did.
        # An own session keeps a Ctrl-C meant for the trainer away.
        try:
            return subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env=environment(outputs) | {"PYTHONPATH": import_path()} | ({ADDRESS: uri} if uri else {}),
                start_new_session=True,
            )
        except OSError as error:  # no memory or processes left: the journal is still complete
            run.journal.event("sender not started", error=str(error))
            return None


def _finished(process: subprocess.Popen[bytes] | None, deadline: float) -> bool:
    """Whether the sender has delivered all; waits until `deadline` (of time.monotonic)."""
    if process is None:
        return False
    try:
        return process.wait(max(0.0, deadline - time.monotonic())) == 0
    except subprocess.TimeoutExpired:
        process.kill()  # harmless at any instant: delivery is repeatable
        process.wait()
        return False


def serve(delivery: Sink, parent: int) -> bool:
    """Deliver until the journal's end, or until the trainer has exited and all is sent. True if complete."""
    wait, failing_since, orphaned = 0.0, 0.0, False
    while True:
        orphaned = orphaned or _parent_exited(parent, wait)
        began = time.process_time()
        try:
            while delivery.deliver():
                pass
            if delivery.ended:
                return True
            if orphaned:
                # If a new trainer has taken over, its sender waits for ours to end.
                if delivery.run.last_end() is None and _last_owner(delivery.run) == parent:
                    delivery.mark_killed()
                return True
            rest = REST * (time.process_time() - began)
            wait, failing_since = min(max(POLL, rest), MAX_REST), 0.0
        except Unreachable as error:
            failing_since = failing_since or time.monotonic()
            wait = min(MAX_WAIT, 2 * wait) or POLL
            log(f"{error}; again in {wait:.0f} s")
            if orphaned and time.monotonic() - failing_since > LINGER:
                return False
            if orphaned:
                time.sleep(POLL)
        except Refused as error:
            log(f"{error}; giving up")
            return False


def attend(delivery: Sink, parent: int) -> int:
    """Run a sender from begin to end; returns its exit code: 0 if all was delivered.

    parent: process id of who writes the journal.
    """
    # A scheduler signals every process of a job; this one exits when the trainer has and all is sent.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _lower_priority()
    while not delivery.lock.acquire():  # the sender of a killed predecessor may still be at work
        if _parent_exited(parent, POLL):
            if _last_owner(delivery.run) != parent:
                return 0  # a later trainer has a sender, too; this one would only wait
            time.sleep(POLL)
    return 0 if serve(delivery, parent) else 1


def log(message: str) -> None:
    """Write one line with the time to the run directory's sender.log."""
    with contextlib.suppress(OSError):  # a full disk
        print(datetime.now(UTC).isoformat(timespec="seconds"), masked(message), flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the process; returns 0 if all was delivered."""
    print_any_text()
    parser = argparse.ArgumentParser(prog="python -m racing.tracking.sender")
    parser.add_argument("run", type=Path)
    parser.add_argument("--parent", type=int, required=True)
    parser.add_argument("--sink", choices=[MLFLOW, *SINKS], default=MLFLOW)
    parser.add_argument("--experiment", help="of MLflow")
    options = parser.parse_args(argv)
    run, name = RunDirectory(options.run), options.sink
    return attend(
        Delivery(run, os.environ[ADDRESS], options.experiment) if name == MLFLOW else SINKS[name](run), options.parent
    )


def _last_owner(run: RunDirectory) -> int | None:
    """Return the process id of the last trainer that began or continued the run."""
    starts = (line.record for line in read_journal(run.paths.journal) if b'"kind":"start"' in line.raw)
    return next((record.get("pid") for record in reversed([*starts]) if record), None)


def _lower_priority() -> None:
    """Leave the processor to the trainer."""
    os.nice(NICE)
    with contextlib.suppress(OSError):  # where the kernel shares it out by session first, ours has to step back, too
        Path("/proc/self/autogroup").write_text(f"{NICE}\n")


def _parent_exited(parent: int, wait: float) -> bool:
    """Whether the trainer has exited (the pipe ended, or we are orphans); waits for that up to `wait` seconds."""
    readable, _, _ = select.select([sys.stdin], [], [], wait)
    return bool(readable) or os.getppid() != parent


if __name__ == "__main__":
    sys.exit(main())
