"""Jobs that end in every way a job can end, without training anything.

python -m tests.launchers.payloads OUTPUTS ACT ... SETTING=VALUE ...: a sweep of them.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

from racing.errors import InputError, Stopped
from racing.training.stop_flag import StopFlag
from racing_launchers.backend import launcher_config, make_backend
from racing_launchers.job import JobFolder
from racing_launchers.launch import LaunchRequest, PlannedJob, launch
from racing_launchers.sweep import Job, Sweep


@dataclass
class Act:
    """Does what its name says; `then` from the second attempt on."""

    what: str
    then: str = ""

    def move(self, outputs: Path, sweep: Path) -> None:
        pass

    def call(self, job: Path) -> Any:
        attempts = job / "attempts.txt"
        with attempts.open("a") as file:
            file.write(f"{self.what}\n")
        again = len(attempts.read_text().splitlines()) > 1
        return getattr(self, self.then if again and self.then else self.what)()

    def work(self) -> float:
        print("I work")
        return 0.5

    def who(self) -> str:
        return str(JobFolder.current().path)

    def told(self) -> str | None:
        return os.environ.get("TOLD_TO_JOBS")

    def fail(self) -> None:
        raise RuntimeError("the engine\nis broken")

    def refuse(self) -> None:
        raise InputError("fuel must be > 0, got 0; refuel")

    def leave(self) -> None:
        raise SystemExit(3)

    def die(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def last(self) -> None:
        """Until somebody asks it to stop."""
        with StopFlag() as stop:
            while not stop.signal:
                time.sleep(0.02)
        raise Stopped(f"stopped on {stop.signal}, state saved")


def local(*overrides: str) -> dict[str, Any]:
    return launcher_config("local", ["poll_interval_s=0.05", *overrides])


def run(outputs: Path, acts: Sequence[Act], *overrides: str, fresh: bool = False) -> tuple[Sweep, list[Job]]:
    """A sweep of these jobs on this machine."""
    known = local(*overrides)
    sweep = Sweep(outputs / "sweeps" / "acts")
    planned = [PlannedJob(number, [f"act={act.what}"], act) for number, act in enumerate(acts)]
    request = LaunchRequest(command="acts", launcher=known, outputs=outputs, fresh=fresh)
    return sweep, launch(sweep, make_backend(known), planned, request)


def endings(jobs: Sequence[Job]) -> list[str | None]:
    return [job.ended for job in jobs]


@dataclass
class Drive:
    """A training. In its first life it waits at step `hold`, until it gets a signal or is killed."""

    arguments: list[str]
    hold: int | None = None

    def move(self, outputs: Path, sweep: Path) -> None:
        pass

    def call(self, job: Path) -> Any:
        from racing.cli import main
        from racing.training.checkpoint_callback import CheckpointCallback

        real, held = CheckpointCallback._on_step, job / "held"
        first = not held.exists()

        def on_step(callback: CheckpointCallback) -> bool:
            if self.hold is not None and first and callback.model.num_timesteps >= self.hold:
                held.touch()
                while not callback._stop.signal:
                    time.sleep(0.02)
            return real(callback)

        with patch.object(CheckpointCallback, "_on_step", on_step):
            code = main(["train", *self.arguments])
        if code:
            raise SystemExit(code)
        return 0.5


if __name__ == "__main__":
    from tests.launchers.payloads import Act as Named  # pickled by this name, not as __main__.Act

    acts = [Named(argument) for argument in sys.argv[2:] if "=" not in argument]
    run(Path(sys.argv[1]), acts, *(argument for argument in sys.argv[2:] if "=" in argument))
