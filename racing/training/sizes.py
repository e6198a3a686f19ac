"""Sizes that no machine, or nobody's patience, is up to: refused with an estimate, before anything is built.

The estimates are rough, and low: what they refuse cannot work.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil

from racing.errors import require

GIB = 1 << 30
PER_CAR = 1_500  # [bytes] of a car: its state, that of its episode, a step's results
PER_STEP = 48  # [bytes] of a step in a rollout or a replay buffer beside what was observed
OTHER_NUMBERS = 12  # that are observed beside rays and preview
ROW = 100  # [bytes] of a step's telemetry
STEPS_PER_LAP = 500  # of a short one
STEPS_PER_S = 1_000_000  # that are driven in an evaluation
MOST_HOURS = 12.0  # of one evaluation
MOST_ROLLOUTS = 10  # a rollout may be so many times as long as the training
COPIES = 4  # of a network: weights, gradients, two moments
_memory: ContextVar[int | None] = ContextVar("memory", default=None)


@contextmanager
def on_machine_with(memory: int) -> Iterator[None]:
    """While entered, sizes are judged for a machine with that memory [bytes], not for this one."""
    token = _memory.set(memory)
    try:
        yield
    finally:
        _memory.reset(token)


def memory_here() -> int:
    """Memory [bytes] of this machine, or of the container that this process is in."""
    found = int(psutil.virtual_memory().total)
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        with suppress(OSError, ValueError):  # not there, or "max"
            found = min(found, int(Path(path).read_text()))
    return found


def check_sizes(config: Mapping[str, Any]) -> None:
    """Raise InputError if a training of this configuration cannot fit. Its values were checked one by one."""
    algo, evaluation = config["algo"], config["eval"]
    rollout_steps = 1 if "buffer_size" in algo else _whole(algo.get("n_steps"), 1)  # else they are those of a return
    steps = algo["n_envs"] * rollout_steps
    longest = MOST_ROLLOUTS * algo["total_timesteps"]
    rollout = f"algo.n_envs={algo['n_envs']} makes a rollout of {steps:,} steps, algo.total_timesteps is "
    require(steps <= longest, f"{rollout}{algo['total_timesteps']:,}; lower algo.n_envs, or train longer")
    parts = {
        "algo.n_envs": algo["n_envs"] * PER_CAR + steps * _step_bytes(config),
        "algo.buffer_size": _buffers(algo) * _whole(algo.get("buffer_size"), 0) * _step_bytes(config),
        "algo.net_arch": _network_bytes(algo, config["env"]),
    }
    key = max(parts, key=lambda name: parts[name])
    require_memory(key, sum(parts.values()))
    check_evaluation_size("eval.episodes", "eval.laps", evaluation["episodes"], evaluation["laps"])


def check_evaluation_size(
    episodes_key: str, laps_key: str, episodes: int, laps: int, *, telemetry: bool = True
) -> None:
    """Raise InputError if an evaluation would take longer than half a day, or more memory than there is."""
    hours = episodes * laps * STEPS_PER_LAP / STEPS_PER_S / 3600
    asked = f"{episodes_key}={episodes} of {laps_key}={laps} laps"
    require(hours <= MOST_HOURS, f"{asked} would take {hours:,.0f} h or more to drive; lower one of them")
    if telemetry:
        require_memory(asked, episodes * laps * STEPS_PER_LAP * ROW)


def require_memory(what: str, needed: float) -> None:
    """Raise InputError unless that many bytes fit into memory. what: the key to lower."""
    there = _memory.get() or memory_here()
    rule = f"{what} is too large: about {needed / GIB:,.0f} GiB would be needed, there are {there / GIB:,.0f} GiB"
    require(needed <= there, f"{rule}; lower it")


def _buffers(algo: Mapping[str, Any]) -> int:
    """Number of replay buffers: of several agents each has one."""
    agents = 1 if algo.get("share") is True else algo.get("agents", 1)
    return len(agents) if isinstance(agents, Mapping) else max(_whole(agents, 1), 1)


def _step_bytes(config: Mapping[str, Any]) -> int:
    """What is kept of one step. A frame is kept once, however many are observed together."""
    env = config["env"]
    frame = _whole(env.get("width"), 0) * _whole(env.get("height"), 0) * (1 if env.get("grayscale") is True else 3)
    return PER_STEP + frame + 4 * (_numbers(env) if not frame else OTHER_NUMBERS)


def _numbers(env: Mapping[str, Any]) -> int:
    return OTHER_NUMBERS + _whole(env.get("rays"), 0) + 2 * _whole(env.get("preview"), 0)


def _network_bytes(algo: Mapping[str, Any], env: Mapping[str, Any]) -> int:
    """The layers between observation and action, of two networks."""
    sizes = algo.get("net_arch")
    if not isinstance(sizes, list):
        return 0
    layers = [_numbers(env), *(_whole(size, 0) for size in sizes)]
    weights = sum(before * after for before, after in pairwise(layers))
    return 2 * 4 * COPIES * weights


def _whole(value: Any, default: int) -> int:
    """`value`, or `default` for what is no whole number: the part that it is for refuses it."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else default
