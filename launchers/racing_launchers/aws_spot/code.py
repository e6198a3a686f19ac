"""What is sent to instances: an archive of the code and the names of packages, the same bytes for the same."""

from __future__ import annotations

import gzip
import hashlib
import importlib.metadata
import importlib.util
import io
import json
import re
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from racing.config import PACKAGE, conf_directory
from racing.runs.provenance import CODE_FILE, git_state
from racing.tracks.catalog import shipped
from racing_launchers.remote.code import metadata, noise, pinned

LAUNCHERS = Path(__file__).resolve().parents[1]
REQUIREMENTS = "requirements.txt"
LOCK = PACKAGE.parent / "requirements.lock"  # of a checkout
NAME = re.compile(r"^([A-Za-z0-9_.-]+)==([^ ;\\]+)")


def archive(packages: Sequence[str]) -> tuple[bytes, str]:
    """The archive and its sha256. packages: more than racing needs, as pip names them."""
    plain = io.BytesIO()
    with tempfile.TemporaryDirectory(prefix="racing-code-") as scratch, tarfile.open(fileobj=plain, mode="w") as tar:
        for name, path in sorted(_files(Path(scratch), packages)):
            about = tarfile.TarInfo(name)
            about.size, about.mode = path.stat().st_size, 0o644
            with path.open("rb") as file:
                tar.addfile(about, file)
    content = gzip.compress(plain.getvalue(), 6, mtime=0)
    return content, hashlib.sha256(content).hexdigest()


def _files(scratch: Path, packages: Sequence[str]) -> Iterator[tuple[str, Path]]:
    """Name in the archive, and file, of all that travels; scratch: a folder for those that are made for it."""
    yield from _tree(PACKAGE, "racing")
    yield from _tree(LAUNCHERS, "racing_launchers")
    (scratch / CODE_FILE).write_text(json.dumps(git_state(PACKAGE)))
    yield f"racing/{CODE_FILE}", scratch / CODE_FILE
    (scratch / REQUIREMENTS).write_text("\n".join([*requirements(), *packages, ""]))
    yield REQUIREMENTS, scratch / REQUIREMENTS
    plugin = importlib.util.find_spec("hydra_plugins.racing_launcher")
    if plugin is not None and plugin.origin:
        for path in Path(plugin.origin).parent.glob("racing_*.py"):  # others' plugins lie beside them
            yield f"hydra_plugins/{path.name}", path
    if PACKAGE not in conf_directory().parents:  # in a wheel they are inside the package, as they are to be there
        yield from _tree(conf_directory(), "racing/_conf")
        yield from _tree(next(iter(shipped().values())).parent, "racing/_tracks")
    about = metadata(scratch)
    if about is not None:
        yield f"racing-{importlib.metadata.version('racing')}.dist-info/METADATA", about


def _tree(folder: Path, name: str) -> Iterator[tuple[str, Path]]:
    for path in folder.rglob("*"):
        inside = path.relative_to(folder)
        if path.is_file() and not noise(path) and not any(part.startswith(".") for part in inside.parts):
            yield f"{name}/{inside.as_posix()}", path


def requirements() -> list[str]:
    """What racing and its worker need, in the versions of this machine, with the hashes that the lock has."""
    hashes = _hashes()
    return [f"{line} {hashes[line.lower()]}".rstrip() if line.lower() in hashes else line for line in _pins()]


def _pins() -> list[str]:
    return sorted({*pinned("racing"), *pinned("boto3"), _boto3()}, key=str.lower)


def _boto3() -> str:
    return f"boto3=={importlib.metadata.version('boto3')}"


def _hashes() -> dict[str, str]:
    """`name==version` -> `--hash=... --hash=...`, as the lock of a checkout says."""
    if not LOCK.is_file():
        return {}
    found: dict[str, str] = {}
    for line in LOCK.read_text().replace("\\\n", " ").splitlines():
        pin = NAME.match(line)
        if pin:
            found[f"{pin[1]}=={pin[2]}".lower()] = " ".join(re.findall(r"--hash=\S+", line))
    return found
