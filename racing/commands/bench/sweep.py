"""`racing bench sweep`: jobs side by side on this machine, beside the same jobs one after another."""

from __future__ import annotations

import json
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from racing.commands.bench.report import Result, Row, say
from racing.errors import InputError
from racing.processes import python

SHORT = ["debug=fast", "eval.episodes=2", "tracking=none"]


def sweeps(options: Mapping[str, Any]) -> Result:
    """The sweep `seed=range(0,jobs)` with one job at a time and with as many as there are `places`, in turns.

    Of each: wall-clock seconds, jobs per minute, and what the launcher adds to a job: the seconds of all places that
    were not spent in jobs' processes, shared out among the jobs. The throughput is the ratio of the medians.
    """
    rows: list[Row] = []
    for places in (1, options["places"]):
        took = [sweep(options, places) for _ in range(options["repeats"])]
        middle = sorted(took)[len(took) // 2]
        wall, added = middle
        say(f"{options['jobs']} jobs, {places} at a time: {wall:.1f} s, {added:.2f} s a job for the launcher")
        numbers = {"seconds": wall, "jobs_per_minute": 60 * options["jobs"] / wall, "launcher_s_per_job": added}
        rows.append({"name": f"{places} at a time", **numbers, "rates": [seconds for seconds, _ in took]})
    return rows, {"throughput": rows[0]["seconds"] / rows[1]["seconds"]}


def sweep(options: Mapping[str, Any], places: int) -> tuple[float, float]:
    """Run it once: seconds of the jobs, from the first one's start to the last one's end, and those added to a job.

    Raises InputError if a job fails.
    """
    seeds = f"seed=range(0,{options['jobs']})"
    # The sweep ends with its last result: who started that job may still be noting there how its process ended.
    with tempfile.TemporaryDirectory(prefix="racing-bench-", ignore_cleanup_errors=True) as folder:
        overrides = [*SHORT, *options["train"], seeds, f"launcher.n_jobs={places}", "launcher.poll_interval_s=0.2"]
        command = python("-m", "racing", "train", "-m", *overrides, f"paths.outputs={folder}")
        done = subprocess.run(command, capture_output=True, text=True)
        ended = time.time()
        if done.returncode:
            raise InputError(f"train={options['train']} must train: {done.stderr.strip().splitlines()[-1]}; correct it")
        jobs = [read(path) for path in Path(folder).glob("sweeps/*/jobs/*")]
    submitted = min(job["submitted"] for job in jobs)
    whole = ended - submitted
    inside = sum(job["ended"] - job["created"] for job in jobs)
    return whole, max(0.0, (places * whole - inside) / len(jobs))


def read(folder: Path) -> dict[str, float]:
    """When [s] a job was submitted, its process was made, and it had its result."""
    attempt, result = (json.loads((folder / f"{name}.json").read_text()) for name in ("attempt", "result"))
    made = result["created"]
    return {"submitted": attempt["submitted_ms"] / 1000, "created": made, "ended": result["ended_ms"] / 1000}
