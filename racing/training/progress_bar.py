"""Progress of a training: a live bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections import deque
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

PLAIN_EVERY = 5.0  # [s] between two plain lines
LATELY = 30.0  # [s] whose rate says how much time is left, as on a terminal: evaluations and faster starts pass
BESIDE_BAR = 64  # columns of a terminal that percentage, times, speed and lap time take


class ProgressBar:
    """Steps, time left, and what else is worth seeing. A context manager; `update` is cheap and may be called often."""

    def __init__(self, total: int, title: str, unit: str = "steps", where: str = "") -> None:
        """total: steps of the whole training. title: the run's name. unit: what is counted. where: as " on cpu"."""
        self.total, self.title, self.unit, self.where = total, title, unit, where
        self._console = Console(stderr=True)
        self._live: Progress | None = None
        self._last_plain = time.monotonic()
        self._lately = deque([(self._last_plain, 0)])  # when which step was done

    def __enter__(self) -> ProgressBar:
        self.log(f"{self.title}: {self.total:,} {self.unit}{self.where}")  # names are long: a line of its own
        if self._console.is_terminal:
            columns = (
                BarColumn(max(4, min(40, self._console.width - BESIDE_BAR))),
                TextColumn("{task.percentage:>3.0f} %"),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[note]}"),
            )
            self._live = Progress(*columns, console=self._console)
            self._live.start()
            self._task = self._live.add_task(self.title, total=self.total, note="")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if self._live is not None:
            self._live.stop()

    def begin(self, step: int) -> None:
        """The work resumes at `step`: what was done before says nothing about the time left."""
        self._lately = deque([(time.monotonic(), step)])
        if self._live is not None:
            self._live.reset(self._task, completed=step)

    def log(self, text: str) -> None:
        """Print a line without breaking the live one."""
        self._console.print(text, soft_wrap=True, highlight=False, markup=False)

    def update(self, step: int, note: str) -> None:
        """Show that `step` steps are done; note: what else is worth seeing."""
        if self._live is not None:
            self._live.update(self._task, completed=step, note=note)
            return
        now = time.monotonic()
        if now - self._last_plain >= PLAIN_EVERY:
            self._last_plain = now
            while len(self._lately) > 1 and now - self._lately[1][0] >= LATELY:
                self._lately.popleft()
            then, before = self._lately[0]
            self._lately.append((now, step))
            left = (now - then) / max(step - before, 1) * (self.total - step)
            done = f"{step:,}/{self.total:,} {self.unit}"
            print(f"{self.title}: {done}, {clock(left)} left, {note}", file=sys.stderr, flush=True)


def clock(seconds: float) -> str:
    """Seconds as 1:23 or 1:02:03."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
