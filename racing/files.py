"""Atomic files and folders: the only place that writes under a temporary name and renames.

Temporary names are hidden and differ for every process and call, so that several that write the same file at once never
see each other's: the last to finish wins. They keep the suffix, which many libraries look at.

And file names in Hydra overrides: a file may have any name, also one that Hydra's grammar takes for something else.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import re
import secrets
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from racing.reading import read_regular

PLAIN = re.compile(r"[A-Za-z_./~-][A-Za-z0-9_./~-]*")  # what Hydra's grammar takes for text as it stands
WORDS = ("true", "false", "null", "nan", "inf", "yes", "no", "on", "off")
MOST_PARTS = 64  # between commas, of which names are put together again

AT_FDCWD, RENAME_EXCHANGE = -100, 2  # of Linux's renameat2

MOST_JSON = 64 << 20  # [bytes] the manifest of a sweep with a hundred thousand jobs has a tenth of it


def read_json(path: Path, most_bytes: int = MOST_JSON) -> dict[str, Any]:
    """Return the JSON object in `path`; {} where there is no such file.

    Raises ValueError for other content, OSError for a file that cannot be read, is none, or is larger than that.
    """
    try:
        value = json.loads(read_regular(path, most_bytes))
    except FileNotFoundError:
        return {}
    except RecursionError:
        raise ValueError(f"{path} is nested too deeply") from None
    if not isinstance(value, dict):
        raise ValueError(f"{path} must hold a JSON object")
    return value


def cache_root() -> Path:
    """Return the folder of what can be made anew: `RACING_CACHE`, by default ~/.cache/racing."""
    return Path(os.environ.get("RACING_CACHE") or Path.home() / ".cache" / "racing")


@contextlib.contextmanager
def atomic_path(path: Path, *, sync: bool = True, sync_parent: bool = False) -> Iterator[Path]:
    """Give a temporary path beside `path`; what the body makes there, a file or a folder, becomes `path` at its end.

    After an error in the body, or of the disk, nothing of it is left and `path` is as it was. What stood at `path` is
    replaced in one step; a folder by two renames where the system cannot exchange names.

    sync: force the content to the disk first: after a power cut the file is the old or the new one, never an empty one.
    sync_parent: force the new name to the disk, too: on return the file survives a power cut.
    """
    temporary = temporary_path(path)
    try:
        yield temporary
        if sync:
            sync_tree(temporary)
        _replace(path, temporary)
    except BaseException:
        with contextlib.suppress(OSError):
            _remove(temporary)  # on a full disk it would take what little is left
        raise
    if sync_parent:
        _sync(path.parent)


def write_atomic(path: Path, text: str) -> None:
    """Replace `path` by `text` so that no reader, and no power cut, ever sees a part of it."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_own(path: Path, content: bytes) -> None:
    """Replace `path` by bytes that only this user can read and write, as `write_atomic` does."""
    with atomic_path(path) as temporary:
        temporary.touch(0o600)
        temporary.write_bytes(content)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Replace `path` by `content` as JSON, as `write_atomic` does."""
    write_atomic(path, json.dumps(dict(content), indent=2) + "\n")


def is_file_name(name: str, *, dots: bool = True) -> bool:
    """Whether `name` is letters, digits and _-. (dots: the last one, too), and begins with a letter or a digit."""
    return re.fullmatch(rf"[A-Za-z0-9][A-Za-z0-9_{'.' if dots else ''}-]*", name) is not None


def is_inside(name: str) -> bool:
    """Whether a relative path that others have written, with / between its parts, stays below where it begins."""
    return not name.startswith("/") and ".." not in name.split("/") and "\\" not in name and "\0" not in name


def temporary_path(path: Path) -> Path:
    """Make up a hidden name beside `path` that nobody else uses; for `atomic_path`, and for tools that rename."""
    # Not the process id alone: another host on the same disk, or another thread, may have the same.
    return path.with_name(f".{path.stem}.{os.getpid()}-{secrets.token_hex(4)}.tmp{path.suffix}")


def remove_leftovers(folder: Path, stem: str = "*") -> None:
    """Remove what processes that were killed left in `folder` under temporary names.

    Only for who alone writes there: those of a process at work look the same. stem: of the names, without the suffix.
    """
    for path in folder.glob(f".{stem}.*.tmp*"):
        _remove(path)


def remove_tree(folder: Path) -> None:
    """Remove a folder so that a kill in the middle leaves no half of it under its name."""
    doomed = temporary_path(folder)
    folder.rename(doomed)
    shutil.rmtree(doomed)


def merge(source: Path, target: Path) -> None:
    """Move `source`, on the same disk, to `target`; in a folder, files of the same name are replaced, others stay."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir() and target.is_dir():
        for inside in sorted(source.iterdir()):
            merge(inside, target / inside.name)
    else:
        source.replace(target)


def move_aside(path: Path, suffix: str = "") -> Path:
    """Rename `path` to `<path><suffix>`, or where that is taken to `<path><suffix>.1`, `.2`, ...; returns the name."""
    free = aside(path.with_name(path.name + suffix))
    path.rename(free)
    return free


def aside(path: Path) -> Path:
    """Find the first of `path`, `<path>.1`, `<path>.2`, ... that is free."""
    number, free = 0, path
    while free.exists():
        number += 1
        free = path.with_name(f"{path.name}.{number}")
    return free


def sync_tree(path: Path) -> None:
    """Force a file, or a folder with all that is in it, to the disk."""
    if path.is_dir():
        for inside in path.iterdir():
            sync_tree(inside)
    _sync(path)


def _sync(path: Path) -> None:
    """Force the content of a file, or the names in a folder, to the disk."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _replace(path: Path, temporary: Path) -> None:
    """Let `temporary` be `path`."""
    if not (temporary.is_dir() and path.is_dir()):
        temporary.replace(path)
        return
    if _exchange(path, temporary):
        _remove(temporary)  # what stood at `path`
        return
    before = temporary_path(path)  # a folder cannot be renamed onto one that holds something
    path.rename(before)
    try:
        temporary.rename(path)
    except BaseException:
        before.rename(path)
        raise
    _remove(before)


def _exchange(one: Path, other: Path) -> bool:
    """Exchange the names of two folders in one step; False where the system cannot, and nothing has happened."""
    if sys.platform != "linux":
        return False
    renameat2 = getattr(ctypes.CDLL(None), "renameat2", None)
    if renameat2 is None:  # an old C library
        return False
    return bool(renameat2(AT_FDCWD, os.fsencode(one), AT_FDCWD, os.fsencode(other), RENAME_EXCHANGE) == 0)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def quoted(text: str) -> str:
    """Write a text so that Hydra and OmegaConf take it letter by letter."""
    escaped = re.sub(r"(\\*)'", lambda found: found[1] * 2 + "\\'", text.replace("${", "\\${"))
    escaped = re.sub(r"(\\+)$", lambda found: found[1] * 2, escaped)
    return f"'{escaped}'"


def quoted_paths(value: str) -> str | None:
    """Quote the paths in the value of an override: one, several between commas, or a list of them in brackets.

    Commas, brackets, blanks, umlauts, `=`, `#`, `%` and quotes are letters of a name where there is a file of that
    name. None where all stands as it is: no such files, or names that Hydra takes as they are.
    """
    if is_there(value):
        return None if _is_plain(value) else quoted(value)
    listed = value.startswith("[") and value.endswith("]")
    pieces = _pieces((value[1:-1] if listed else value).split(","))
    if pieces is None or all(_is_plain(piece) for piece in pieces):
        return None
    joined = ",".join(piece if _is_plain(piece) else quoted(piece) for piece in pieces)
    return f"[{joined}]" if listed else joined


def _pieces(parts: list[str]) -> list[str] | None:
    """Put the parts between commas together to paths that are there, and plain names; None if some are neither."""
    pieces: list[str] = []
    while parts and len(parts) <= MOST_PARTS:
        for count in range(len(parts), 0, -1):
            piece = ",".join(parts[:count]).strip()
            if is_there(piece) or (count == 1 and _is_plain(piece)):
                pieces.append(piece)
                parts = parts[count:]
                break
        else:
            return None
    return None if parts else pieces


def _is_plain(text: str) -> bool:
    return PLAIN.fullmatch(text) is not None and text.lower() not in WORDS


def is_there(text: str) -> bool:
    """Whether there is a file or folder of this name; False also for names that none can have."""
    try:
        return text != "" and Path(text).expanduser().exists()
    except (OSError, ValueError, RuntimeError):
        return False
