"""`racing bench tracking`: what tracking costs training."""

from __future__ import annotations

import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from racing.bench.report import Result, Row, say
from racing.errors import InputError

if TYPE_CHECKING:
    import psutil

    from racing.runs.directory import RunDirectory

NONE, EMBEDDED, SERVER, KILLED = "tracking=none", "embedded store", "server", "server killed halfway"
KINDS = (NONE, EMBEDDED, SERVER, KILLED)
LINES, NAMES = 20_000, 10  # journal lines that are timed, metrics in each
LOOK = 0.25  # [s] between two looks at the training
PATIENCE = 120  # [s] for a server to start


def tracking(options: Mapping[str, Any]) -> Result:
    """Learning steps per second without tracking and with it; trainings take turns, so that a change of the machine's
    load meets them all. The server runs on this machine, too, and takes its part of it.
    """
    measured: dict[str, list[Row]] = {kind: [] for kind in KINDS}
    for repeat in range(options["repeats"]):
        for kind in KINDS:
            with tempfile.TemporaryDirectory(prefix="racing-bench-") as folder:
                measured[kind].append(training(kind, Path(folder), options))
            say(f"{kind}, repeat {repeat + 1}: {measured[kind][-1]['steps_per_s']:,.0f} steps/s")
    base = statistics.median(row["steps_per_s"] for row in measured[NONE])
    rows = []
    for kind, repeats in measured.items():
        middle = {key: statistics.median(row[key] for row in repeats) for key in ("steps_per_s", "sender_cpu_s")}
        share = statistics.median(row["sender_cpu_s"] / row["learning_s"] for row in repeats)
        complete = None if kind == NONE else all(row["complete"] for row in repeats)
        ratio = middle["steps_per_s"] / base
        rates = [row["steps_per_s"] for row in repeats]
        rows.append(
            {"name": kind, "ratio": ratio, **middle, "sender_share": share, "complete": complete, "rates": rates}
        )
    first = statistics.median(row["sender_start_cpu_s"] for row in measured[EMBEDDED])
    return rows, {"us_per_journal_line": journal_line(options["repeats"]), "sender_start_cpu_s": first}


def journal_line(repeats: int) -> float:
    """Microseconds that one line of the journal takes, with NAMES metrics."""
    from racing.runs.journal import Journal

    values = {f"train/metric_{number}": 0.1 * number for number in range(NAMES)}
    spent = []
    with tempfile.TemporaryDirectory(prefix="racing-bench-") as folder:
        journal = Journal(Path(folder) / "journal.jsonl")
        for repeat in range(repeats):
            began = time.perf_counter()
            for step in range(LINES):
                journal.metrics(repeat * LINES + step, values)
            spent.append((time.perf_counter() - began) / LINES)
        journal.close()
    return 1e6 * statistics.median(spent)


def training(kind: str, folder: Path, options: Mapping[str, Any]) -> Row:
    """Train once in a process of its own; its speed, and what its sender spent. Raises InputError if it fails."""
    from racing.runs.directory import all_runs

    settings = ["eval.every=0", "tracking.close_timeout=5", *options["train"]]
    settings += [f"algo.total_timesteps={options['tracked_steps']}", f"paths.outputs={folder}"]
    with mlflow_server(folder, wanted=kind in (SERVER, KILLED)) as (uri, server):
        settings += ["tracking=none" if kind == NONE else "tracking=mlflow", f"tracking.uri={uri or 'null'}"]
        command = [sys.executable, "-m", "racing.cli", "train", *settings]
        with (folder / "said").open("wb") as said:
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=said)
            watched = watch(process, folder, options["tracked_steps"] // 2, server if kind == KILLED else None)
    if process.returncode:
        last = (folder / "said").read_text().strip().splitlines()[-1]
        raise InputError(f"train={options['train']} must train: {last}; correct it")
    run = all_runs(folder)[0]
    numbers = {key: run.summary[key] for key in ("learning_s", "steps_per_s")}
    return numbers | watched | {"complete": delivered(run) == (run.path / "journal.jsonl").stat().st_size}


def watch(
    process: subprocess.Popen[bytes], folder: Path, halfway: int, server: subprocess.Popen[bytes] | None
) -> dict[str, float]:
    """Wait for the training to end and kill `server` when `halfway` steps are done.

    Returns CPU seconds of the sender: of all of its life, and until it had delivered the first lines.
    """
    import psutil

    from racing.runs.directory import all_runs

    sender, spent, first = None, 0.0, 0.0
    trainer = psutil.Process(process.pid)
    while process.poll() is None:
        sender = sender or sender_of(trainer)
        spent = max(spent, cpu_seconds(sender))
        run = next(iter(all_runs(folder)), None)
        if not first and run and delivered(run):
            first = spent
        if server and run and last_step(run) >= halfway:
            os.killpg(server.pid, signal.SIGKILL)
            server = None
        time.sleep(LOOK)
    return {"sender_cpu_s": spent, "sender_start_cpu_s": first}


def sender_of(trainer: psutil.Process) -> psutil.Process | None:
    """The process that copies the trainer's journal to MLflow, None before there is one."""
    import psutil

    try:
        return next((p for p in trainer.children() if "racing.runs.sender" in p.cmdline()), None)
    except psutil.Error:
        return None


def cpu_seconds(process: psutil.Process | None) -> float:
    """CPU time that a process has used; 0 if there is none."""
    import psutil

    try:
        times = process.cpu_times() if process else None
    except psutil.Error:
        return 0.0
    return float(times.user + times.system) if times else 0.0


def delivered(run: RunDirectory) -> int:
    """Bytes of the journal that MLflow has."""
    from racing.runs.directory import read_json

    return int(read_json(run.path / "journal.cursor").get("offset", 0))


def last_step(run: RunDirectory) -> int:
    """The last step that the journal has metrics of."""
    tail = (run.path / "journal.jsonl").read_bytes().splitlines()[-3:]
    records = [json.loads(line) for line in tail if line.endswith(b"}")]
    return max((int(record.get("step", 0)) for record in records), default=0)


@contextmanager
def mlflow_server(folder: Path, *, wanted: bool) -> Iterator[tuple[str, subprocess.Popen[bytes] | None]]:
    """URI and process of an `mlflow server` on its own SQLite file in `folder`; '' and None if none is wanted."""
    if not wanted:
        yield "", None
        return
    from racing.runs.store import environment

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{folder}/server.db", "--artifacts-destination", f"{folder}/server"]
    settings = environment(folder) | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    settings.pop("_MLFLOW_SERVER_ARTIFACT_ROOT")
    quiet = subprocess.DEVNULL
    server = subprocess.Popen(command, env=settings, stdout=quiet, stderr=quiet, start_new_session=True)
    try:
        wait_for(f"http://127.0.0.1:{port}/health")
        yield f"http://127.0.0.1:{port}", server
    finally:
        if server.poll() is None:
            os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def wait_for(url: str) -> None:
    """Return when `url` answers. Raises TimeoutError."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            time.sleep(0.1)
    raise TimeoutError(f"{url} did not answer for {PATIENCE} s")
