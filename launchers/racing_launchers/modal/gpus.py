"""Modal's GPUs: their names, and what they cost."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from racing.config import conf_directory, hint
from racing.errors import InputError, require

# Modal does not refuse a name that it does not know before a job waits for it in vain.
# !: no better one instead; +: or a better one.
SMALL, A100, H100 = ("T4", "L4", "A10", "L40S", "RTX-PRO-6000"), ("A100", "A100-40GB", "A100-80GB"), ("H100", "H100!")
NAMES = (*SMALL, *A100, *H100, "H200", "B200", "B200+")
NEAREST = {  # GPUs that others offer -> what comes near
    **dict.fromkeys(("V100", "P100", "K80", "P4", "M60", "RTX2080", "GTX1080"), "T4 or L4"),
    **dict.fromkeys(("RTX3090", "RTX4090", "A30", "A40", "A5000", "A6000"), "A10 or L40S"),
    **dict.fromkeys(("H800", "GH200"), "H100 or H200"),
}
OLD = {"A10G": "A10", "RTX6000": "RTX-PRO-6000", "RTXPRO6000": "RTX-PRO-6000"}
MAX_COUNT = {"A10": 4}  # in one container; others 8
PRICED_AS = {"A100": "A100-80GB", "H100!": "H100", "B200+": "B200"}  # A100 may become the larger one
GIB = 1024  # [MiB]


def normalize(wanted: Any) -> list[str]:
    """GPUs in order of preference as Modal writes them, `L40S` or `A100:2`; empty for none.

    wanted: a name, a list of names, or null. Raises InputError for names that Modal does not have.
    """
    names = [] if wanted is None else [wanted] if isinstance(wanted, str) else wanted
    fits = isinstance(names, Sequence) and all(isinstance(name, str) and name for name in names)
    require(fits, f"launcher.gpu must be a name, a list of names or null, got {wanted!r}; e.g. [L40S, A100, A10, T4]")
    found: list[str] = []
    for one in names:
        name, colon, count = one.strip().upper().partition(":")
        name = OLD.get(name, name)
        near = NEAREST.get(re.sub(r"[\s_-]", "", name))
        remedy = f"{near} comes near" if near else hint(name, NAMES)
        require(name in NAMES, f"launcher.gpu has {one!r}, which Modal does not offer; {remedy}")
        most = MAX_COUNT.get(name, 8)
        whole = not colon or (count.isdigit() and 1 <= int(count) <= most)
        require(whole, f"launcher.gpu has {one!r}, there are 1 to {most} of {name} in a container; write {name}:{most}")
        entry = f"{name}:{count}" if colon and int(count) > 1 else name
        if entry not in found:
            found.append(entry)
    return found


def gpu_here() -> str:
    """The GPU of this container by Modal's name, `A100-80GB:2`, as its driver says; empty without one."""
    try:
        command = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    lines = done.stdout.strip().splitlines() if done.returncode == 0 else []
    if not lines:
        return ""
    short = modal_name(lines[0])
    count = f":{len(lines)}" if len(lines) > 1 else ""
    return f"{short}{count}"


def modal_name(driver: str) -> str:
    """`NVIDIA A100-SXM4-80GB` -> A100-80GB."""
    words = re.sub(r"[^A-Z0-9]+", " ", driver.upper()).split()
    if "A100" in words:
        return "A100-80GB" if "80GB" in words else "A100-40GB"
    if "RTX" in words and "6000" in words:
        return "RTX-PRO-6000"
    plain = {name: name for name in NAMES if name.isalnum()} | {"A10G": "A10"}
    return next((plain[word] for word in words if word in plain), driver.strip())


@dataclass(frozen=True)
class Prices:
    """[$/s] of a GPU by name, of a core, of a GiB of memory. source: where the figures are from."""

    gpus: Mapping[str, float] = field(default_factory=dict)
    core: float = 0.0
    memory: float = 0.0
    source: str = ""

    def gpu(self, name: str) -> float:
        """Of `A100:2`; nothing for none. Where the name is unknown, that of the dearest."""
        kind, _, count = name.partition(":")
        if not kind:
            return 0.0
        price = self.gpus.get(PRICED_AS.get(kind, kind), max(self.gpus.values()))
        return price * int(count or 1)

    def second(self, gpu: str, cores: float, memory: int) -> float:
        """Of a container [$/s]. memory [MiB]."""
        return self.gpu(gpu) + max(cores, 0.125) * self.core + memory / GIB * self.memory


def listed_prices() -> Prices:
    """conf/launcher/prices/modal.yaml."""
    import yaml

    path = conf_directory() / "launcher" / "prices" / "modal.yaml"
    table = yaml.safe_load(path.read_text())
    gpus = {str(name): float(price) for name, price in table["gpus"].items()}
    return Prices(gpus, float(table["core"]), float(table["memory"]), f"prices of {table['date']}")


def live_prices(listed: Prices) -> Prices:
    """Today's prices, if Modal publishes them, else the listed ones.

    Its keys and units are not documented. A rate counts only if its key names the thing and, per second or per hour, it
    is within a factor of three of the listed one.
    """
    from racing_launchers.modal.volume import answered, library

    try:
        with answered("rates"):
            rates = {
                str(key): float(value)
                for key, value in dict(library().Workspace.from_context().billing.rates()).items()
            }
    except InputError:
        raise
    except Exception:  # an old server, a token without the right: the table will do
        return listed

    def rate(name: str, known: float) -> float:
        wanted = words(name)
        named = [key for key in rates if f" {wanted} " in f" {words(key)} "]
        for key in sorted(named, key=len):
            for per in (1.0, 3600.0):
                if 1 / 3 <= rates[key] / per / known <= 3:
                    return rates[key] / per
        return known

    gpus = {name: rate(name, price) for name, price in listed.gpus.items()}
    found = Prices(gpus, rate("cpu", listed.core), rate("memory", listed.memory), "Modal's prices today")
    same = (found.gpus, found.core, found.memory) == (listed.gpus, listed.core, listed.memory)
    return listed if same else found


def words(text: str) -> str:
    """`gpu_A100-40GB` -> `gpu a100 40gb`."""
    return " ".join(re.findall(r"[a-z0-9]+", text.lower()))
