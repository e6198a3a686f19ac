"""Instances are taken away while they train: when, and how, and how far the job was."""

from __future__ import annotations

import random
import re
import subprocess
import time
from collections import Counter

from racing_launchers.aws_spot.account.objects import Objects
from racing_launchers.aws_spot.place import Place, Snapshot
from tests.launchers.aws_spot.instances.host import Host, Machine, wait

AWS = ["launcher=aws_spot", "launcher.poll_interval_s=0.5", "launcher.upload_every=0.3"]
AWS += ["launcher.instance_types=[g5.xlarge,g4dn.xlarge]"]
NOTICE, REBALANCE, CUT, CUT_AFTER_NOTICE = "notice", "rebalance", "power cut", "power cut after a notice"
ROUND = [NOTICE, CUT, REBALANCE, NOTICE, CUT, CUT_AFTER_NOTICE]  # how often each comes


def newest(objects: Objects) -> Snapshot | None:
    """What the job has committed; None before there is a job."""
    for file in objects.list("runs/"):
        if file.path.endswith("/latest.json"):
            return Place(objects, file.path.removeprefix("runs/").removesuffix("/latest.json")).snapshot()
    return None


def committed_steps(objects: Objects) -> int:
    """How far the journal is that the newest commit has."""
    snapshot = newest(objects)
    for found in snapshot.files("runs") if snapshot else []:
        if found.path.endswith("journal.jsonl"):
            steps = re.findall(rb'"kind":"metrics","step":(\d+)', snapshot.read(found.path) or b"")
            return int(steps[-1]) if steps else 0
    return 0


class Trouble:
    """Takes the instances of a training away, one after the other, at random moments spread over its steps."""

    def __init__(self, host: Host, objects: Objects, total: int, count: int, seed: int) -> None:
        """total: steps of the training. count: times that an instance is taken away."""
        self.host, self.objects, self.total, self.count = host, objects, total, count
        self.random = random.Random(seed)
        self.kinds = (ROUND * count)[:count]
        self.random.shuffle(self.kinds)
        self.done: Counter[str] = Counter()

    def cause(self, command: subprocess.Popen[bytes]) -> None:
        """Do it, all the while the command that waits for the training goes on."""
        for number in range(self.count):
            wait(lambda number=number: len(self.host.machines) > number or ended(command), "the next instance")
            if ended(command):
                return
            machine = list(self.host.machines.values())[number]
            if self.random.random() < 0.2:
                time.sleep(self.random.uniform(0, 4))
            else:
                self._wait_for_step(machine, self.total * (number + self.random.uniform(0.1, 0.5)) / self.count)
            if not machine.ending:
                self._take_away(machine, self.kinds[number])

    def _wait_for_step(self, machine: Machine, step: float) -> None:
        """Until this instance has brought the training there, or further where the one before had done so."""
        before = committed_steps(self.objects)
        wait(lambda: machine.ending or committed_steps(self.objects) >= max(step, before + 1), "it gets on", 600)
        time.sleep(self.random.uniform(0, 0.5))

    def _take_away(self, machine: Machine, kind: str) -> None:
        snapshot = newest(self.objects)
        began = snapshot is not None and snapshot.commit.instance == machine.id
        when = "at work" if began else "while setting up"
        step = committed_steps(self.objects)
        if kind == REBALANCE:
            machine.metadata.values["events/recommendations/rebalance"] = '{"noticeTime": "2026-01-01T00:00:00Z"}'
        elif kind in (NOTICE, CUT_AFTER_NOTICE):
            machine.metadata.notice()
        if kind == CUT_AFTER_NOTICE:
            time.sleep(self.random.uniform(0, 4))
        if kind in (CUT, CUT_AFTER_NOTICE) and not machine.ending:
            self.host.cut_power(machine)
        wait(lambda: machine.ending, "the instance has ended")
        self.done[f"{kind}, {when}"] += 1
        print(f"{sum(self.done.values())} of {self.count}: {kind}, {when}, step {step:,} of {self.total:,}", flush=True)


def ended(command: subprocess.Popen[bytes]) -> bool:
    """Whether the command has."""
    return command.poll() is not None
