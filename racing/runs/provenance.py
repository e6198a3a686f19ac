"""Where a result comes from: code, packages, machine, tracks."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.metadata
import json
import os
import platform
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from racing import __version__
from racing.config import PACKAGE
from racing.errors import requirements
from racing.runs.git import git_output, is_tracked, own_tree, problem

if TYPE_CHECKING:
    from racing.sim.track import Track

# A diff that `git apply` takes, pictures included, whatever the user's settings of git are.
DIFF = (
    "--binary",
    "--no-color",
    "--no-ext-diff",
    "--no-textconv",
    "--no-relative",
    "--src-prefix=a/",
    "--dst-prefix=b/",
)
CODE_FILE = "_code.json"  # `git_state` of the machine that a copy of the package comes from


def collect(tracks: Iterable[Track] = ()) -> dict[str, Any]:
    """Collect what a later reader needs to know to get the same result; plain data, ready for JSON.

    `commit`, `dirty`, `untracked` and `diff` (against the commit, as text) describe the source tree; they are null and
    empty where racing was installed without git.
    """
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "racing": __version__,
        **git_state(PACKAGE),
        "packages": packages(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu": cpu_model(),
        "cores": os.cpu_count(),
        "tracks": {track.name: {"sha256": track_sha256(track), "source": track.source} for track in tracks},
    }


def git_state(package: Path) -> dict[str, Any]:
    """Return `commit`, `dirty`, `untracked` and `diff` of the work tree that holds `package`; null outside git.

    `git_problem`, where they are null in a clone: what git says, and the remedy.

    A copy that was sent to another machine (launchers/modal) knows what it is a copy of.
    """
    nothing: dict[str, Any] = {"commit": None, "dirty": None, "untracked": [], "diff": ""}
    with contextlib.suppress(FileNotFoundError):
        known: dict[str, Any] = json.loads((package / CODE_FILE).read_text())
        return nothing | known
    if not is_tracked(package):
        return nothing | problem(package)
    ask = functools.partial(git_output, trusted=own_tree(package))
    commit = ask(package, "rev-parse", "HEAD")
    diff = ask(package, "diff", "HEAD", *DIFF)
    root = ask(package, "rev-parse", "--show-toplevel")
    if commit is None or diff is None or root is None:
        return nothing | problem(package)
    untracked = (ask(Path(root.strip()), "ls-files", "--others", "--exclude-standard") or "").splitlines()
    return {"commit": commit.strip(), "dirty": bool(diff or untracked), "untracked": untracked, "diff": diff}


def differences(recorded: Mapping[str, Any], present: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """List where two results of `collect` differ in what can change a result: (what, recorded, present)."""
    before, now = facts(recorded), facts(present)
    rows = [(what, before.get(what, "none"), now.get(what, "none")) for what in before | now]
    return [row for row in rows if row[1] != row[2]]


def facts(found: Mapping[str, Any]) -> dict[str, str]:
    """Pick what of `collect` can change a result, as short texts by name."""
    diff = str(found.get("diff") or "")
    facts = {
        "commit": str(found.get("commit") or "not from git")[:12],
        "uncommitted changes": f"sha256 {hashlib.sha256(diff.encode()).hexdigest()[:12]}" if diff else "none",
        "files unknown to git": ", ".join(found.get("untracked") or []) or "none",
        **{name: str(found.get(name)) for name in ("racing", "python", "platform", "cpu")},
    }
    facts |= {f"package {name}": str(number) for name, number in (found.get("packages") or {}).items()}
    tracks = (found.get("tracks") or {}).items()
    return facts | {f"track {name}": f"sha256 {track['sha256'][:12]}" for name, track in tracks}


def packages() -> dict[str, str | None]:
    """Return the version of each package that racing asks for directly; null where it is missing."""
    return {name: version(name) for name in direct_dependencies()}


def direct_dependencies() -> list[str]:
    """Name the packages that racing asks for directly, without those of its extras; none if not installed."""
    return sorted(name for name, extra in requirements().items() if not extra)


def version(package: str) -> str | None:
    """Return the installed version of `package`, None if it is missing."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def cpu_model() -> str:
    """Return the processor's name, as exact as the system tells."""
    try:
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        found = None
    return found.group(1).strip() if found else platform.processor() or platform.machine()


def track_sha256(track: Track) -> str:
    """Return the sha256 of the track's file as its reader noted it, else of its geometry."""
    if "sha256" in track.source:
        return str(track.source["sha256"])
    digest = hashlib.sha256()
    for array in (track.points, track.left, track.right, track.gates, track.start_position, track.clearance.values):
        digest.update(array.tobytes())
    digest.update(repr(track.start_angle).encode())
    if track.grip is not None:
        digest.update(track.grip.values.tobytes())
    return digest.hexdigest()
