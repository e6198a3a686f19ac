"""`racing bench startup`: seconds until something happens."""

from __future__ import annotations

import statistics
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from racing.commands.bench.report import Result, Row, say
from racing.errors import InputError
from racing.processes import python


def startup(options: Mapping[str, Any]) -> Result:
    """Wall-clock seconds from the start of a process: to its help, its imports, the first update of a training."""
    help_page = python("-m", "racing", "--help")
    tasks = {"racing --help": help_page} | {
        f"import {name}": python("-c", f"import {name}") for name in options["imports"]
    }
    tasks = {"python, nothing": python("-c", "pass")} | tasks
    rows = []
    for name, command in tasks.items():
        subprocess.run(command, capture_output=True, check=True)  # from now on its files are in memory
        rows.append(seconds_row(name, [wall(command) for _ in range(options["repeats"])]))
    first, whole = zip(*(first_update(options["train"]) for _ in range(options["repeats"])), strict=True)
    rows += [seconds_row("racing train debug=fast: first update", first), seconds_row("the whole of it", whole)]
    return rows, {"to_first_update_s": statistics.median(first)}


def seconds_row(name: str, seconds: Sequence[float]) -> Row:
    """Row of the median."""
    say(f"{name}: {statistics.median(seconds):.2f} s")
    return {"name": name, "seconds": statistics.median(seconds), "rates": list(seconds)}


def wall(command: Sequence[str]) -> float:
    """Seconds that a command takes."""
    began = time.perf_counter()
    subprocess.run(command, capture_output=True, check=True)
    return time.perf_counter() - began


def first_update(overrides: Sequence[str]) -> tuple[float, float]:
    """Seconds from the start of `racing train debug=fast` to its first recorded metrics, and to its end."""
    from racing.runs.directory import all_runs
    from racing.runs.journal import read_journal

    with tempfile.TemporaryDirectory(prefix="racing-bench-") as folder:
        command = python("-m", "racing", "train", "debug=fast", f"paths.outputs={folder}", *overrides)
        began = time.time()
        done = subprocess.run(command, capture_output=True, text=True)
        whole = time.time() - began
        if done.returncode:
            raise InputError(f"train={list(overrides)} must train: {done.stderr.strip().splitlines()[-1]}; correct it")
        records = (line.record or {} for line in read_journal(all_runs(Path(folder))[0].paths.journal))
        stamp = next(record["ts"] for record in records if record.get("kind") == "metrics")
    return stamp / 1000 - began, whole
