"""What another machine needs to do a job: the packages of this one, and its code."""

from __future__ import annotations

import functools
import importlib.metadata
from pathlib import Path


def noise(path: Path) -> bool:
    """Files that Python and editors leave."""
    return "__pycache__" in path.parts or path.suffix in (".pyc", ".nbi", ".nbc") or path.name.startswith(".")


def metadata(scratch: Path) -> Path | None:
    """What racing's installation says of itself: with it a container knows which packages racing asks for."""
    try:
        text = importlib.metadata.distribution("racing").read_text("METADATA")
    except importlib.metadata.PackageNotFoundError:
        return None
    (scratch / "METADATA").write_text(text or "")
    return scratch / "METADATA"


@functools.cache
def pinned(package: str) -> list[str]:
    """Everything that a package needs, in the versions of this machine: `numpy==2.4.1`.

    Builds of torch for one kind of hardware (2.13.0+cpu) are named without it: the other machine gets the usual one.
    """
    from packaging.requirements import Requirement

    found: dict[str, str] = {}
    seen: set[tuple[str, ...]] = set()  # names with extras
    waiting = [Requirement(package)]
    while waiting:
        requirement = waiting.pop()
        key = (requirement.name, *sorted(requirement.extras))
        if key in seen:
            continue
        seen.add(key)
        try:
            distribution = importlib.metadata.distribution(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            continue  # of other hardware, or of no use here
        name = distribution.metadata["Name"]
        found[name] = distribution.version.partition("+")[0]
        for line in distribution.requires or ():
            needed = Requirement(line)
            extras = requirement.extras or {""}
            if needed.marker is None or any(needed.marker.evaluate({"extra": extra}) for extra in extras):
                waiting.append(needed)
    found.pop(package, None)
    return sorted((f"{name}=={version}" for name, version in found.items()), key=str.lower)
