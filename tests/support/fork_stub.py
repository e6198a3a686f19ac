"""Stands for a fork where only a program can be started: python -I -S fork_stub.py ADDRESS COMMAND ...

A cluster's node starts it in place of the command `python ... -m MODULE ...`. The fork has its environment, directory
and streams, gets the signals that it gets, and ends with it; it ends as the fork ends. It imports nothing that takes
time.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY))

from tests.support.fork_server import answer, ask  # noqa: E402

PASSED_ON = (
    *(signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP),
    *(signal.SIGUSR1, signal.SIGUSR2, signal.SIGCONT),
)


def same_code() -> bool:
    """Whether Python would import the racing that is beside us."""
    path = filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
    found = (Path(part).resolve() for part in path if (Path(part) / "racing/__init__.py").exists())
    return next(found, None) == REPOSITORY


def main(address: str, command: list[str]) -> None:
    if not same_code():
        os.execv(command[0], command)
    stand_for(address, command)


def stand_for(address: str, command: list[str], mounts: str | None = None) -> None:
    """Have the command done by a fork, and end as it ends. mounts: see `fork_server.go_inside`."""
    signal.pthread_sigmask(signal.SIG_BLOCK, PASSED_ON)  # they wait until there is somebody who gets them
    server = ask(address, command[1:], str(Path.cwd()), os.environ, [0, 1, 2], bound=True, mounts=mounts)
    pid = answer(server)

    def pass_on(number: int, _: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)

    for number in PASSED_ON:
        signal.signal(number, pass_on)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, PASSED_ON)
    code = os.waitstatus_to_exitcode(answer(server))
    if code >= 0:
        os._exit(code)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # it is not our memory that is of interest
    if -code not in (signal.SIGKILL, signal.SIGSTOP):
        signal.signal(-code, signal.SIG_DFL)
    os.kill(os.getpid(), -code)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
