"""Drives are driven: one after another in this process, or side by side in several. The results are the same."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context

from racing.campaigns.drives import Drive, prepare
from racing.errors import JobsFailed
from racing.processes import die_with_parent, safe_children, usable_cores
from racing.training.progress_bar import ProgressBar

START = 6.0  # [s] that a process takes before it drives
WORTH = 60.0  # [s] of driving from which on processes side by side are worth their start


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What is going to be driven. seconds: one after another. rate: decisions/s. processes: side by side; 1: none."""

    matches: int
    games: int
    alone: int
    seconds: float
    rate: float
    processes: int

    @property
    def duration(self) -> float:
        """How long it takes [s]."""
        return self.seconds if self.processes == 1 else self.seconds / self.processes + START

    def text(self) -> str:
        """For people, in one line."""
        side = "one after another" if self.processes == 1 else f"{self.processes} at a time"
        what = f"{self.matches} matches, {self.games:,} games, and {self.alone} drives alone"
        return f"{what}: about {self.duration:.0f} s ({self.rate:,.0f} decisions/s), {side}"


def estimate(missing: Sequence[Drive], sequential: bool | str) -> Estimate:
    """How long they take, from about a second of one match on each track that has any.

    sequential: see conf/verbs/campaign.yaml.
    """
    known: dict[str, tuple[float, float]] = {}
    matches = [one for one in missing if len(one.who) > 1]
    for one in reversed(matches):  # the last ones are with the anchor: followers plan as they drive
        if one.track not in known:
            known[one.track] = prepare(one, usable_cores()).estimate()
    seconds = sum(known[one.track][0] for one in matches)
    rates = [rate for _, rate in known.values()]
    several = min(usable_cores(), len(missing))
    beside = seconds > WORTH if sequential == "auto" else not sequential
    return Estimate(
        matches=len(matches),
        games=sum(one.number for one in matches),
        alone=len(missing) - len(matches),
        seconds=seconds,
        rate=sum(rates) / len(rates) if rates else 0.0,
        processes=several if beside else 1,
    )


def drive_all(missing: Sequence[Drive], processes: int) -> float:
    """Drive them, and keep their results; returns how long it took [s]. Whoever interrupts it goes on where it was.

    Raises InputError for what cannot be driven, JobsFailed if a process was killed.
    """
    began = time.perf_counter()
    with ProgressBar(len(missing), "validation", "drives") as bar:
        done = 0

        def count(one: Drive) -> None:
            nonlocal done
            done += 1
            bar.update(done, one.title)

        if processes > 1:
            with safe_children():
                _side_by_side(missing, processes, count)
        else:
            for one in missing:
                drive_one(one, usable_cores())
                count(one)
    return time.perf_counter() - began


def _side_by_side(drives: Sequence[Drive], processes: int, count: Callable[[Drive], None]) -> None:
    """Have processes drive, which end when we do."""
    pool = ProcessPoolExecutor(processes, get_context("spawn"), _begin, (os.getpid(),))
    try:
        waiting = {pool.submit(drive_one, one): one for one in drives}
        for future in as_completed(waiting):
            future.result()
            count(waiting[future])
    except BrokenProcessPool as error:
        lost = "racing: a process that drove matches was killed, perhaps for want of memory; what is driven is kept"
        raise JobsFailed(f"{lost}: give the command again, with sequential=true") from error
    finally:
        pool.shutdown(cancel_futures=True)


def _begin(parent: int) -> None:
    """What each process does first: it leaves Ctrl-C to its parent, and ends when that one does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    die_with_parent()
    if os.getppid() != parent:
        os._exit(0)


def drive_one(one: Drive, threads: int = 1) -> None:
    """Drive, unless it is kept by now. threads: of the world."""
    prepared = prepare(one, threads)
    if prepared.result() is None:
        prepared.run()
