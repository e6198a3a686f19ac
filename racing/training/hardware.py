"""Which device a run uses, and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from racing.errors import InputError, require, warn_once

DEVICES = {"gpu": "cuda", "cpu": "cpu"}  # config name -> torch's


@dataclass(frozen=True)
class Hardware:
    """device: torch's name. reason: one line for the record. torch_threads, sim_threads: for the CPU."""

    device: str
    reason: str
    torch_threads: int
    sim_threads: int

    @property
    def where(self) -> str:
        """For people: ` on cpu (no gpu here)`, ` on cuda (NVIDIA H200)`."""
        why = self.reason.removeprefix(f"{self.device}").removeprefix("; ")
        return f" on {self.device} ({why})" if why else f" on {self.device}"

    def facts(self) -> dict[str, str]:
        """What of it can change the bits of a result (the simulator's threads cannot)."""
        return {"device": f"{self.device} ({self.reason})", "torch threads": str(self.torch_threads)}


def choose(config: Mapping[str, Any]) -> Hardware:
    """Choose the first device of config["prefer"] that is usable, and set torch's thread count.

    Where none is, the CPU, with a warning. Raises InputError if a device name is unknown, or the first one is missing
    and config["fallback"] is false.
    """
    import torch

    prefer = list(config["prefer"])
    for name in prefer:
        require(name in DEVICES, f"hardware.prefer may hold {', '.join(DEVICES)}, got {name!r}; remove it")
    for key in ("torch_threads", "sim_threads"):
        value = config[key]
        require(
            isinstance(value, int) and 1 <= value <= 256, f"hardware.{key} must be in 1..256, got {value!r}; 1 is usual"
        )
    torch.set_num_threads(config["torch_threads"])
    usable = {"cpu": "cpu", **({"gpu": torch.cuda.get_device_name()} if torch.cuda.is_available() else {})}
    if config["fallback"] and not usable.keys() & set(prefer):
        warn_once(f"warning: no {' nor '.join(prefer)} here, torch sees no CUDA device: this runs on the CPU")
        prefer.append("cpu")
    for position, name in enumerate(prefer):
        if name in usable:
            missing = f"; no {' nor '.join(prefer[:position])} here" if position else ""
            return Hardware(DEVICES[name], f"{usable[name]}{missing}", config["torch_threads"], config["sim_threads"])
        if not config["fallback"]:
            break
    raise InputError(
        f"hardware.prefer={prefer} must be usable without fallback, torch sees no CUDA device; "
        "install torch's CUDA build, or use hardware=cpu"
    )
