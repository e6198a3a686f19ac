"""Leaving on request: a signal sets a flag, training looks at it where its state is whole, saves, and stops."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

# Ctrl-C; what schedulers, containers and `kill` send; what SLURM sends some time before it takes the node away.
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2)


class StopFlag:
    """While entered, the first signal of SIGNALS only notes its name; a second Ctrl-C interrupts as usual.

    Outside the main thread, where Python allows no handlers, it never becomes set. Who watches a training can ask it to
    leave, too: `pruned`.
    """

    def __init__(self) -> None:
        """Nothing is installed before it is entered."""
        self.signal = ""  # name of the signal that came
        self.pruned = False  # a search gives this training up
        self._before: dict[signal.Signals, Any] = {}

    @property
    def reason(self) -> str:
        """Why to leave; empty while there is no reason."""
        return self.signal or ("pruning" if self.pruned else "")

    def __enter__(self) -> StopFlag:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in SIGNALS}
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.signal and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.signal = self.signal or signal.Signals(number).name
