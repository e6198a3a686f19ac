"""The sender: a process beside the trainer that copies the journal to MLflow while training goes on.

A process, not a thread: importing MLflow takes seconds and its calls tens of milliseconds, none of which may come out
of training. Whatever happens to it or to the server, training does not notice; `racing runs sync` completes the copy.
"""

from __future__ import annotations

import argparse
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from racing.runs.delivery import Delivery
from racing.runs.directory import RunDirectory
from racing.runs.failures import Refused, Unreachable
from racing.runs.store import environment, resolve_uri

POLL = 1.0  # [s] between two looks at the journal
MAX_WAIT = 30.0  # [s] between two attempts to reach a store that does not answer
LINGER = 10.0  # [s] that an orphaned sender tries to reach such a store


class Sender:
    """The trainer's handle on the sender of its run."""

    def __init__(self, run: RunDirectory, process: subprocess.Popen[bytes] | None, *, complete: bool = True) -> None:
        """Use `start`. process: None if there is none; `complete` says then whether none was wanted."""
        self.run = run
        self._process = process
        self._complete = complete

    @classmethod
    def start(cls, run: RunDirectory, tracking: Mapping[str, Any]) -> Sender:
        """Start sending the run's journal; returns at once.

        tracking: `enabled`, `uri` (null: the embedded store), `experiment`. Raises InputError if the URI is none.
        """
        if not tracking["enabled"]:
            return cls(run, None)
        outputs = run.path.parents[1]
        uri = resolve_uri(tracking["uri"], outputs)
        command = [sys.executable, "-m", "racing.runs.sender", str(run.path), "--uri", uri]
        command += ["--experiment", str(tracking["experiment"]), "--parent", str(os.getpid())]
        with (run.path / "sender.log").open("ab") as log:
            # The pipe is never written to: its end tells the sender that the trainer is gone, whatever way it went.
            # An own session keeps a Ctrl-C meant for the trainer away.
            try:
                process = subprocess.Popen(
                    command,
                    stdin=subprocess.PIPE,
                    stdout=log,
                    stderr=log,
                    env=environment(outputs),
                    start_new_session=True,
                )
            except OSError as error:  # no memory or processes left: the journal is still complete
                run.journal.event("sender not started", error=str(error))
                return cls(run, None, complete=False)
        return cls(run, process)

    def close(self, timeout: float) -> bool:
        """Wait up to `timeout` [s] until all is delivered; False if it is not: `racing runs sync` completes it.

        Call it after the journal's `end`.
        """
        if self._process is None or self._process.stdin is None:
            return self._complete
        self._process.stdin.close()
        try:
            return self._process.wait(timeout) == 0
        except subprocess.TimeoutExpired:
            self._process.kill()  # harmless at any instant: delivery is repeatable
            self._process.wait()
            return False


def serve(delivery: Delivery, parent: int) -> bool:
    """Deliver until the journal's end, or until the trainer is gone and all it wrote is sent. True if complete."""
    wait, failing_since, gone = 0.0, 0.0, False
    while True:
        gone = gone or _parent_gone(parent, wait)
        try:
            while delivery.deliver():
                pass
            if delivery.ended:
                return True
            if gone:
                if delivery.owner == parent:  # else a new trainer has taken over and its sender waits for ours to end
                    delivery.mark_killed()
                return True
            wait, failing_since = POLL, 0.0
        except Unreachable as error:
            failing_since = failing_since or time.monotonic()
            wait = min(MAX_WAIT, 2 * wait) or POLL
            log(f"{error}; again in {wait:.0f} s")
            if gone and time.monotonic() - failing_since > LINGER:
                return False
            if gone:
                time.sleep(POLL)
        except Refused as error:
            log(f"{error}; giving up")
            return False


def log(message: str) -> None:
    """One line with the time in the run directory's sender.log."""
    print(datetime.now(UTC).isoformat(timespec="seconds"), message, flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    """The process: 0 if all was delivered."""
    parser = argparse.ArgumentParser(prog="python -m racing.runs.sender")
    parser.add_argument("run", type=Path)
    parser.add_argument("--uri", required=True)
    parser.add_argument("--experiment", required=True)
    parser.add_argument("--parent", type=int, required=True)
    options = parser.parse_args(argv)
    # A scheduler signals every process of a job; this one goes when the trainer has gone and all is sent.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.nice(10)
    delivery = Delivery(RunDirectory(options.run), options.uri, options.experiment)
    delivery.lock.acquire(wait=True)  # the sender of a killed predecessor may still be at work
    return 0 if serve(delivery, options.parent) else 1


def _parent_gone(parent: int, wait: float) -> bool:
    """Whether the trainer is gone (the pipe ended, or we are orphans); looks for up to `wait` seconds."""
    readable, _, _ = select.select([sys.stdin], [], [], wait)
    return bool(readable) or os.getppid() != parent


if __name__ == "__main__":
    sys.exit(main())
