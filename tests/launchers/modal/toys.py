"""Functions that the tests of the box run in its containers."""

import os
import signal
import sys
import time
from pathlib import Path

import modal


def double(number: int) -> dict:
    loaded = sorted(name for name in sys.modules if name.partition(".")[0] in ("racing", "racing_launchers", "tests"))
    here = {"pid": os.getpid(), "remote": os.environ["MODAL_IS_REMOTE"], "file": __file__, "path": sys.path}
    return here | {"twice": 2 * number, "loaded": loaded}


def fail(times: int) -> int:
    """Fails so often, counting on the volume."""
    counter = Path("/toys/count")
    count = int(counter.read_text()) if counter.exists() else 0
    counter.write_text(str(count + 1))
    modal.Volume.from_name("toys").commit()
    if count < times:
        raise ValueError(f"failure {count}")
    return count


def count_slowly(goal: int, pause: float) -> list[int]:
    """Counts on the volume, and goes on from there; returns where its attempts began."""
    number, starts = Path("/toys/number"), Path("/toys/starts")
    begin = int(number.read_text()) if number.exists() else 0
    with starts.open("a") as file:
        file.write(f"{begin}\n")
    for value in range(begin, goal + 1):
        part = number.with_suffix(".part")
        part.write_text(str(value))
        part.replace(number)
        time.sleep(pause)
    return [int(line) for line in starts.read_text().splitlines()]


def write_without_commit(text: str) -> str:
    Path("/toys/note").write_text(text)
    time.sleep(0.3)
    os.kill(os.getpid(), signal.SIGKILL)
    return text


def try_to_write() -> str:
    try:
        Path("/toys/note").write_text("no")
    except OSError as error:
        return type(error).__name__ + str(error.errno)
    return "written"
