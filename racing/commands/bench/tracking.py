"""`racing bench tracking`: what tracking costs training.

The machine's speed changes by more than tracking costs, within seconds. So the sender of one and the same training is
frozen (SIGSTOP) and let go in turns, and the speed in each window is compared with that in the windows beside it.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import statistics
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from racing.commands.bench.report import Result, Row, say
from racing.errors import InputError
from racing.processes import python

if TYPE_CHECKING:
    import psutil

    from racing.runs.directory import RunDirectory

EMBEDDED, SERVER, KILLED = "embedded store", "server", "server killed"
KINDS = (EMBEDDED, SERVER, KILLED)
LINES, NAMES = 20_000, 10  # journal lines that are timed, metrics in each
LOOK = 0.1  # [s] between two looks at the training
LEAST = 4  # records in a window that counts
PATIENCE = 180  # [s] for a server to start, and for a sender to deliver something; on a busy machine it takes minutes
ENDLESS = 10**9  # steps: a training ends when it has been watched for long enough, on any machine
STOPPED = 75  # exit code of a training that was asked to leave

Windows = list[tuple[float, float, bool]]  # begin and end [s] of each, and whether the sender was frozen


def tracking(options: Mapping[str, Any]) -> Result:
    """Speed of learning with the sender at work as a share of that with the sender frozen, and what the sender used.

    At work it also sends what gathered while it was frozen: twice its usual load.
    """
    rows = []
    for kind in KINDS:
        measured: list[Row] = []
        for repeat in range(options["repeats"]):
            with tempfile.TemporaryDirectory(prefix="racing-bench-") as folder:
                measured.append(training(kind, Path(folder), options))
            say(f"{kind}, repeat {repeat + 1}: {measured[-1]['pairs']} pairs of windows")
        ratios = [ratio for row in measured for ratio in row["ratios"]]
        if not ratios:
            raise InputError("window must be some updates long, no two windows could be compared; give more seconds")
        low, high = (statistics.quantiles(medians(ratios), n=40)[place] for place in (0, -1))
        rows.append(
            {
                "name": kind,
                "ratio": statistics.median(ratios),
                "low": low,
                "high": high,
                "pairs": len(ratios),
                "steps_per_s": statistics.median(row["steps_per_s"] for row in measured),
                "sender_cpu_share": statistics.median(row["sender_cpu_s"] / row["learning_s"] for row in measured),
                "complete": all(row["complete"] for row in measured),
                "rates": ratios,
                "start": statistics.median(row["sender_start_cpu_s"] for row in measured),
            }
        )
    spent = {"us_per_journal_line": journal_line(options["repeats"]), "sender_start_cpu_s": rows[0]["start"]}
    return [{key: value for key, value in row.items() if key != "start"} for row in rows], spent


def medians(values: Sequence[float], draws: int = 1000) -> list[float]:
    """Medians of `draws` samples of `values` drawn with replacement: their spread is that of the median (bootstrap)."""
    random = Random(0)
    return [statistics.median(random.choices(values, k=len(values))) for _ in range(draws)]


def journal_line(repeats: int) -> float:
    """Microseconds that one line of the journal takes, with NAMES metrics."""
    from racing.runs.journal import Journal
    from racing.runs.paths import IN_RUN

    values = {f"train/metric_{number}": 0.1 * number for number in range(NAMES)}
    spent = []
    with tempfile.TemporaryDirectory(prefix="racing-bench-") as folder:
        journal = Journal(Path(folder) / IN_RUN.journal)
        for repeat in range(repeats):
            began = time.perf_counter()
            for step in range(LINES):
                journal.metrics(repeat * LINES + step, values)
            spent.append((time.perf_counter() - began) / LINES)
        journal.close()
    return 1e6 * statistics.median(spent)


def training(kind: str, folder: Path, options: Mapping[str, Any]) -> Row:
    """Train in a process of its own until it was watched for `windows` windows; its speed, and what its sender spent.

    Raises InputError if it fails.
    """
    from racing.runs.directory import all_runs

    overrides = ["eval.every_steps=0", "tracking.close_timeout=5", *options["train"]]
    overrides += [f"algo.total_timesteps={ENDLESS}", f"paths.outputs={folder}"]
    with mlflow_server(folder, wanted=kind != EMBEDDED) as (uri, server):
        overrides += ["tracking=mlflow", f"tracking.uri={uri or 'null'}"]
        command = python("-m", "racing", "train", *overrides)
        with (folder / "said").open("wb") as said:
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=said)
            watched, windows = watch(process, folder, options, server if kind == KILLED else None)
    if process.returncode != STOPPED:
        last = (folder / "said").read_text().strip().splitlines()[-1]
        raise InputError(f"train={options['train']} must train: {last}; correct it")
    run = all_runs(folder)[0]
    records = progress(run)
    if not windows or len(records) < LEAST:
        raise InputError(f"a training must begin and its sender deliver within {PATIENCE} s; look at train=")
    (began, first), (ended, final) = records[0], records[-1]
    numbers = {"learning_s": ended - began, "steps_per_s": (final - first) / (ended - began)}
    ratios = compared(windows, records)
    complete = run.sent == run.paths.journal.stat().st_size
    return numbers | watched | {"complete": complete, "ratios": ratios, "pairs": len(ratios)}


def watch(
    process: subprocess.Popen[bytes], folder: Path, options: Mapping[str, Any], server: subprocess.Popen[bytes] | None
) -> tuple[dict[str, float], Windows]:
    """Once cars drive and the sender has delivered something, kill `server`, then freeze the sender and let it go, for
    at least `window` seconds and LEAST records each; after `windows` of them ask the training to leave.

    It is also asked to where nothing was delivered in time.

    Returns CPU seconds of the sender: of all of its life, and until it had delivered the first lines; and the windows.
    """
    import psutil

    from racing.runs.directory import all_runs

    sender, spent, first = None, 0.0, 0.0
    trainer = psutil.Process(process.pid)
    windows: Windows = []
    started, began, frozen, asked = time.time(), 0.0, False, False
    while process.poll() is None:
        sender = sender or sender_of(trainer)
        spent = max(spent, cpu_seconds(sender))
        run = next(iter(all_runs(folder)), None)
        if not first and run and run.sent and progress(run):
            first, began = spent, time.time()
            if server:
                os.killpg(server.pid, signal.SIGKILL)
        long_enough = first and time.time() - began >= options["window"]
        if sender and run and long_enough and not asked and sum(at >= began for at, _ in progress(run)) >= LEAST:
            windows.append((began, time.time(), frozen))
            began, frozen = time.time(), not frozen
            signal_to(sender, signal.SIGSTOP if frozen else signal.SIGCONT)
        if not asked and (len(windows) == options["windows"] or (not first and time.time() - started > PATIENCE)):
            asked = True
            if sender:  # the end of a run waits for it
                signal_to(sender, signal.SIGCONT)
            process.terminate()
        time.sleep(LOOK)
    return {"sender_cpu_s": spent, "sender_start_cpu_s": first}, windows


def compared(windows: Windows, records: Sequence[tuple[float, int]]) -> list[float]:
    """For each window with the sender at work: its speed over the mean speed of the frozen windows beside it."""
    speeds: list[tuple[float | None, bool]] = []
    for begin, end, frozen in windows:
        inside = [(at, step) for at, step in records if begin <= at <= end]
        enough = len(inside) >= LEAST and inside[-1][0] > inside[0][0]
        speed = (inside[-1][1] - inside[0][1]) / (inside[-1][0] - inside[0][0]) if enough else None
        speeds.append((speed, frozen))
    ratios = []
    for (before, _), (speed, frozen), (after, _) in zip(speeds, speeds[1:], speeds[2:], strict=False):
        if not frozen and speed and before and after:
            ratios.append(2 * speed / (before + after))
    return ratios


def signal_to(process: psutil.Process, number: int) -> None:
    """Send a signal to a process that may be gone."""
    import psutil

    with suppress(psutil.Error):
        process.send_signal(number)


def sender_of(trainer: psutil.Process) -> psutil.Process | None:
    """The process that copies the trainer's journal to MLflow, None before there is one."""
    import psutil

    ends_with = ["--parent", str(trainer.pid)]
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            command = " ".join(process.cmdline())
            if "racing.tracking.sender" in command and command.split()[-2:] == ends_with:
                return process
    return None


def cpu_seconds(process: psutil.Process | None) -> float:
    """CPU time that a process has used; 0 if there is none."""
    import psutil

    try:
        times = process.cpu_times() if process else None
    except psutil.Error:
        return 0.0
    return float(times.user + times.system) if times else 0.0


def progress(run: RunDirectory) -> list[tuple[float, int]]:
    """Time [s] and step of each record of what the cars did."""
    lines = run.paths.journal.read_bytes().splitlines()
    records = [json.loads(line) for line in lines if line.endswith(b"}") and b'"time/fps"' in line]
    return [(record["ts"] / 1000, int(record["step"])) for record in records]


@contextmanager
def mlflow_server(folder: Path, *, wanted: bool) -> Iterator[tuple[str, subprocess.Popen[bytes] | None]]:
    """URI and process of an `mlflow server` on its own SQLite file in `folder`; '' and None if none is wanted."""
    if not wanted:
        yield "", None
        return
    from racing.tracking.store import environment

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = python("-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1")
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
