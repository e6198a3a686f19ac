"""What systemd itself makes of the unit of an instance, one scenario after the other: `make torture ARGS=boot`."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from tests.launchers.aws_spot.driving import run
from tests.launchers.aws_spot.instances.booted import BootingHost
from tests.launchers.aws_spot.instances.host import Machine, wait
from tests.launchers.payloads import Act, endings

WORKER = "racing_launchers.aws_spot.instance.worker"


class Boots:
    """Scenarios on a host; each raises AssertionError where systemd does something else than what is expected."""

    def __init__(self, host: BootingHost, outputs: Path) -> None:
        self.host, self.outputs = host, outputs

    def scenarios(self) -> dict[str, Callable[[], str]]:
        """What happens -> what does it, and says what came of it."""
        return {
            "a job ends": self.ends,
            "the program crashes whenever it is started": self.crashes,
            "the program is killed once": self.killed,
            "AWS gives notice": self.notice,
            "AWS shuts the instance down": self.shut_down,
        }

    def _run(self, name: str, act: Act, *overrides: str, trouble: Callable[[Machine], Any] | None = None) -> Any:
        """The job, and the instances that it had. trouble: is caused to the first one when the job waits for it."""
        before = set(self.host.machines)

        def mine() -> list[Machine]:
            return [machine for id, machine in self.host.machines.items() if id not in before]

        def cause() -> None:
            wait(lambda: mine() and self._waits(mine()[0]), "the job waits")
            assert trouble is not None
            trouble(mine()[0])

        thread = threading.Thread(target=cause if trouble else lambda: None)
        thread.start()
        _, (job,) = run(self.outputs / name, [act], *overrides)
        thread.join()
        wait(lambda: not self.host.alive, "all instances have ended")
        assert [machine.ending for machine in mine()] == ["off"] * len(mine())
        for machine in mine():
            assert "Shutdown scheduled for" in log_of(machine)  # the dead man's switch: logind has taken it
        return job, mine()

    @staticmethod
    def _waits(machine: Machine) -> bool:
        return any((machine.folder / "opt/racing/outputs").rglob("attempts.txt"))

    def ends(self) -> str:
        job, (machine,) = self._run("ends", Act("work"))
        assert (endings([job]), job.folder.result["value"]) == (["DONE"], 0.5)
        return f"{starts_of(machine)} start, power off"

    def crashes(self) -> str:
        job, machines = self._run("crashes", Act("work"), "setup=['rm -r code/racing_launchers']")
        assert endings([job]) == ["FAILED"]
        error = job.folder.result["error"]
        assert "could not be set up" in error
        assert "No module named 'racing_launchers'" in error
        assert [starts_of(machine) for machine in machines] == [3, 3]
        return "3 starts, power off; 3 more on another instance, then the job has failed, and says why"

    def killed(self) -> str:
        kill = lambda machine: os.kill(machine.pid_of(WORKER), signal.SIGKILL)  # noqa: E731
        job, (machine,) = self._run("killed", Act("last", then="work"), trouble=kill)
        assert (endings([job]), starts_of(machine)) == (["DONE"], 2)
        return "it is started again, goes on, power off"

    def notice(self) -> str:
        job, machines = self._run("notice", Act("last", then="work"), trouble=lambda machine: machine.metadata.notice())
        assert endings([job]) == ["DONE"]
        assert [starts_of(machine) for machine in machines] == [1, 1]
        return "exit code 75, power off; another instance goes on"

    def shut_down(self) -> str:
        """systemd stops the unit before the network, and gives it the time to upload what the job has left."""

        def press(machine: Machine) -> None:
            inside = psutil.Process(machine.process.pid).children()
            next(one for one in inside if one.name() == "systemd-nspawn").terminate()  # it presses the button

        job, machines = self._run("shut down", Act("last", then="work"), trouble=press)
        assert endings([job]) == ["DONE"]
        assert "the instance is shut down (SIGTERM): the job is asked to save its state" in log_of(machines[0])
        assert [starts_of(machine) for machine in machines] == [1, 1]
        return "the job saves its state; another instance goes on"


def log_of(machine: Machine) -> str:
    """What its user data and unit have said."""
    return (machine.folder / "var/log/racing.log").read_text(errors="replace")


def starts_of(machine: Machine) -> int:
    """How often systemd has started the unit, as its journal says."""
    command = ["journalctl", f"--directory={machine.folder}/var/log/journal", "--unit=racing-job", "--output=cat"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return said.count("Started racing-job.service")
