"""The random numbers that Stable-Baselines3 draws: generators of the process, their state, and streams beside it."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch as th


def global_random_state() -> dict[str, Any]:
    """State of the process's generators."""
    return {
        "python": random.getstate(),
        "numpy": np.random.get_state(),
        "torch": th.get_rng_state(),
        "cuda": th.cuda.get_rng_state_all() if th.cuda.is_available() else [],
    }


def set_global_random_state(state: Mapping[str, Any]) -> None:
    """Put back what `global_random_state` took; CUDA's only where there are as many devices."""
    random.setstate(state["python"])
    np.random.set_state(state["numpy"])
    th.set_rng_state(state["torch"])
    if th.cuda.is_available() and len(state["cuda"]) == th.cuda.device_count():
        th.cuda.set_rng_state_all(state["cuda"])


class Stream:
    """Random numbers of its own: while it is entered, the process's generators give these.

    state: of the generators when they were left last; before the first time, the process's of then.
    """

    def __init__(self) -> None:
        """See the class."""
        self.state = global_random_state()
        self._outside: dict[str, Any] = {}

    def __enter__(self) -> None:
        self._outside = global_random_state()
        set_global_random_state(self.state)

    def __exit__(self, *error: object) -> None:
        self.state = global_random_state()
        set_global_random_state(self._outside)
