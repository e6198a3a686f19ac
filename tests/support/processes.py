"""Trains in processes that are killed again and again, until the training is done."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from racing.config import compose_run
from racing.runs.directory import RunDirectory
from racing.runs.identity import config_hash
from racing.runs.journal import read_journal
from tests.support.faults import KINDS
from tests.support.fork_client import real_processes

PATIENCE = 120.0  # [s]
SAID = "said.txt"  # in the outputs: what the last training said
STATE = ("policy", "optimizer", "rng", "world", "counters")  # `monitor` holds wall-clock times, too


def train_command(outputs: Path, arguments: list[str]) -> list[str]:
    return [sys.executable, "-m", "racing", "train", *arguments, f"paths.outputs={outputs}"]


def run_of(outputs: Path, arguments: list[str]) -> RunDirectory:
    """Where these arguments train."""
    config = compose_run(arguments)
    return RunDirectory(outputs / "runs" / f"{config['name']}-{config_hash(config)[:8]}")


@dataclass
class Killer:
    """Kills the training of `arguments` `kills` times, at instants spread over its steps, and lets it finish then.

    arguments: settings of racing train. total: steps of the training.
    """

    outputs: Path
    arguments: list[str]
    total: int
    kills: int
    seed: int = 0
    killed: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self.run = run_of(self.outputs, self.arguments)
        self.environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONFAULTHANDLER": "1"}

    def torment(self, say: bool = False) -> None:
        for number in range(self.kills):
            early = number < 0.7 * self.kills  # sabotage takes some steps to strike, and may come too late
            kind = self.random.choices(["instant", "start", *KINDS], [10, 1, 2, 2, 2])[0] if early else "instant"
            if kind in KINDS:
                self._sabotage(kind)
            elif kind == "start":
                self._kill_while_starting()
            elif number == self.kills - 1:
                kind = "after learning"
                self._kill_at(lambda: b"racing.final_sha256" in self._tail(1 << 16), 1.0, kind)
            else:
                step = int(self.total * (number + 0.5) / self.kills)
                self._kill_at(lambda step=step: self._step() >= step, 0.08, kind)
            if say:
                print(
                    f"kill {number + 1} of {self.kills} ({kind}): step {self._step():,} of {self.total:,}", flush=True
                )
        done = subprocess.run(
            train_command(self.outputs, self.arguments), env=self.environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr

    def _start(self, *sabotage: str) -> subprocess.Popen[bytes]:
        command = train_command(self.outputs, self.arguments)
        if sabotage:
            command[2:3] = ["tests.support.faults", *sabotage]
        self.outputs.mkdir(parents=True, exist_ok=True)
        with (self.outputs / SAID).open("wb") as said:
            return subprocess.Popen(command, env=self.environment, stdout=said, stderr=said, start_new_session=True)

    def _sabotage(self, kind: str) -> None:
        count = self.random.randint(1, 3 if kind == "rename" else 12)
        process = self._start(kind, str(count))
        assert process.wait(PATIENCE) in (-signal.SIGKILL, 0), self._said()
        self.killed[kind] += process.returncode != 0

    def _kill_while_starting(self) -> None:
        """In a process of its own, from the first instruction on."""
        with real_processes():
            process = subprocess.Popen(
                train_command(self.outputs, self.arguments),
                env=self.environment,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        time.sleep(self.random.uniform(0.1, 3.0))
        self._kill(process, "start")
        process.wait()
        self.killed["start"] += process.returncode == -signal.SIGKILL

    def _said(self) -> str:
        return (self.outputs / SAID).read_text()

    def _kill_at(self, reached, spread: float, kind: str) -> None:
        process = self._start()
        deadline = time.monotonic() + PATIENCE
        started = f'"pid":{process.pid},'.encode()
        while not (started in self._tail(1 << 16) and reached()):
            assert time.monotonic() < deadline
            if process.poll() is not None:
                assert process.returncode == 0, self._said()
                return
            time.sleep(0.002)
        time.sleep(self.random.uniform(0, spread))
        self._kill(process, kind)
        process.wait()
        self.killed[kind] += process.returncode == -signal.SIGKILL

    def _kill(self, process: subprocess.Popen[bytes], kind: str) -> None:
        """SIGKILL for the trainer and, every other time, for the process that sends its journal."""
        sender = self._sender() if self.random.random() < 0.5 else None
        process.kill()
        if sender is not None:
            try:
                os.kill(sender, signal.SIGKILL)
            except ProcessLookupError:
                return
            self.killed["sender"] += 1

    def _sender(self) -> int | None:
        """The process that holds the sender's lock."""
        lock = self.run.path / "sender.lock"
        found = re.match(r"process (\d+) on", lock.read_text()) if lock.exists() else None
        return int(found[1]) if found and Path(f"/proc/{found[1]}").exists() else None

    def _tail(self, size: int) -> bytes:
        try:
            with (self.run.path / "journal.jsonl").open("rb") as file:
                file.seek(max(0, file.seek(0, 2) - size))
                return file.read()
        except FileNotFoundError:
            return b""

    def _step(self) -> int:
        found = re.findall(rb'"kind":"metrics","step":(\d+)', self._tail(1 << 14))
        return int(found[-1]) if found else 0


def state_bytes(run: RunDirectory, step: int) -> dict[str, bytes]:
    folder = run.path / "checkpoints" / f"{step:09d}"
    assert json.loads((folder / "COMPLETE").read_text())["step"] == step
    return {name: (folder / f"{name}.npz").read_bytes() for name in STATE}


def tags(run: RunDirectory) -> dict[str, str]:
    """As its journal has them; of several values the last."""
    found: dict[str, str] = {}
    for line in read_journal(run.path / "journal.jsonl"):
        found |= line.record.get("values", {}) if line.record["kind"] == "tags" else {}
    return found


def points(run: RunDirectory) -> Counter[tuple[str, int, str]]:
    """How often each point (name, step, value) stands in the journal; values of wall-clock metrics do not count."""
    found: Counter[tuple[str, int, str]] = Counter()
    for line in read_journal(run.path / "journal.jsonl"):
        record = line.record
        assert record is not None
        if record["kind"] == "metrics":
            found.update((n, record["step"], "" if "time/" in n else repr(v)) for n, v in record["values"].items())
    return found
