"""Exit codes, InputError, and the checks that raise it."""

from __future__ import annotations

import functools
import math
import re
import sys
from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from enum import IntEnum
from pathlib import Path
from typing import Any, TypeVar

from racing.reading import read_regular

# Names of packages, where they are imported under another one.
DISTRIBUTIONS = {
    "PIL": "pillow",
    "cv2": "opencv-python-headless",
    "hydra": "hydra-core",
    "stable_baselines3": "stable-baselines3",
    "yaml": "pyyaml",
}
Config = TypeVar("Config")
DEVELOPMENT = "dev"  # the extra that users do not need


class ExitCode(IntEnum):
    """What a process leaves with."""

    DONE = 0
    FAILED = 1
    WRONG_INPUT = 2
    INTERRUPTED = 130  # Ctrl-C, by the shell's convention
    STOPPED = 75  # on request, with its state saved: the same command continues it (EX_TEMPFAIL of sysexits.h)


class InputError(ValueError):
    """Input from outside (config value, file, argument) breaks a rule.

    The message is one line that states the value, the rule and the remedy; the command line prints it without a
    traceback and leaves with exit code 2. Everything else that is raised is our own mistake and keeps its traceback.
    """


def require(condition: bool, message: str) -> None:
    """Raise `InputError(message)` unless `condition` holds."""
    if not condition:
        raise InputError(message)


def read_bytes(path: Path, most_bytes: int, what: str = "a file") -> bytes:
    """The content of a file from outside. Raises InputError unless it is a regular file of at most `most_bytes`.

    what: it should be.
    """
    try:
        return read_regular(path, most_bytes)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}; give {what}") from None
    except ValueError as error:  # a name that no file can have
        raise InputError(f"{str(path)[:80]!r} cannot be read: {error}; give {what}") from None


def is_file(path: Path) -> bool:
    """Whether `path` is a regular file; False also for names that no file can have."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def is_folder(path: Path) -> bool:
    """Whether `path` is a folder; False also for names that no folder can have."""
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def inside(folder: Path, name: str, where: str) -> Path:
    """folder/name. Raises InputError if that lies outside `folder`: a file from outside may not point elsewhere."""
    require(len(name) < 256, f"{where}: {name[:40]!r}... is {len(name)} characters long; correct the file's name")
    path = folder / name
    try:
        within = path.resolve().is_relative_to(folder.resolve())
    except (OSError, ValueError, RuntimeError):
        within = False
    require(within, f"{where}: {name[:80]!r} leads out of the folder; put the picture beside the file")
    return path


def is_number(value: Any) -> bool:
    """Whether `value` is a finite number; a truth value is none."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < math.inf


def require_number(
    name: str, value: Any, low: float, high: float, *, whole: bool = False, unit: str = "", remedy: str = ""
) -> None:
    """Raise InputError unless `value` is a number in [low, high]; whole: a whole one.

    name: the config key, such as algo.gamma. remedy: what to do instead; default: where the key is documented.
    """
    fits = is_number(value) and (isinstance(value, int) or not whole) and low <= value <= high
    if fits:
        return
    kind = "a whole number" if whole else "a number"
    if whole and is_number(value) and value == round(value):
        remedy = f"write {round(value)}" if low <= value <= high else remedy
    group = name.partition(".")[0]
    remedy = remedy or (f"see conf/{group}" if "." in name else "see conf/train.yaml")
    form = ".0f" if whole else ".7g"
    bounds = f"[{low:{form}}, {high:{form}}]{' ' + unit if unit else ''}"
    raise InputError(f"{name} must be {kind} in {bounds}, got {value!r}; {remedy}")


def require_range(
    name: str, value: Any, low: float, high: float, *, unit: str = "", remedy: str
) -> tuple[float, float]:
    """Read a number, or [lowest, highest] of what is drawn, as (lowest, highest). Raises InputError for others.

    low, high: what both must lie between. name, remedy: as in `require_number`.
    """
    ends = list(value) if isinstance(value, Sequence) and not isinstance(value, str) else [value]
    numbers = 1 <= len(ends) <= 2 and all(is_number(end) for end in ends)
    bounds = f"{low:g} <= low <= high <= {high:g}{' ' + unit if unit else ''}"
    fits = numbers and low <= ends[0] <= ends[-1] <= high
    require(fits, f"{name} must be a number or [low, high], {bounds}, got {value!r}; {remedy}")
    return float(ends[0]), float(ends[-1])


def require_numbers(group: str, values: Mapping[str, Any], rules: Mapping[str, tuple[float, float, bool]]) -> None:
    """`require_number` for several keys of a config group; rules: name -> (lowest, highest, whole numbers only)."""
    for name, (low, high, whole) in rules.items():
        require_number(f"{group}.{name}", values[name], low, high, whole=whole)


@contextmanager
def input_group(group: str, names: Container[str]) -> Iterator[None]:
    """Put `group.` before the message of an InputError raised inside, if it begins with one of `names`.

    Constructors check their own parameters and know of no configuration; who fills them from a group of one adds its
    name: "rays must be ..." comes out as "env.rays must be ...".
    """
    try:
        yield
    except InputError as error:
        name = re.match(r"\w+", str(error))
        if name is None or name[0] not in names:
            raise
        raise InputError(f"{group}.{error}") from error.__cause__


def read_group(group: str, values: Any, kind: type[Config]) -> Config:
    """Read a group of a configuration as `kind`, a dataclass, whose defaults hold for what is not given.

    values: by key; an instance of `kind` comes out as it is. Raises InputError for other keys and for wrong values.
    """
    if isinstance(values, kind):
        return values
    known = [field.name for field in fields(kind)]  # type: ignore[arg-type]
    rule = f"{group} must be a group of keys, got {values!r}; its keys: {', '.join(known)}"
    require(isinstance(values, Mapping), rule)
    for name in values:
        require(name in known, f"{group}.{name} is no key; use: {', '.join(known)}")
    with input_group(group, known):
        return kind(**values)


def input_error(error: BaseException) -> InputError | None:
    """The InputError behind `error`, looking through the exceptions that Hydra wraps around it."""
    return next((seen for seen in _behind(error) if isinstance(seen, InputError)), None)


def requirements() -> dict[str, str]:
    """Name each package that racing asks for, with the extra of racing that it belongs to; '' for none."""
    from importlib.metadata import PackageNotFoundError, requires

    try:
        wanted = requires("racing") or []
    except PackageNotFoundError:
        return {}
    found: dict[str, str] = {}
    for line in wanted:
        extra = re.search(r"extra\s*==\s*['\"]([^'\"]+)", line)
        name = re.split(r"[^A-Za-z0-9._-]", line)[0].lower()
        if name not in found or found[name] == DEVELOPMENT:
            found[name] = extra[1] if extra else ""
    return found


def missing_package(error: BaseException) -> str | None:
    """Say which package of racing is missing behind `error`, in one line with its remedy; None if none is."""
    for seen in _behind(error):
        if isinstance(seen, ModuleNotFoundError) and seen.name and "." not in seen.name:  # not a mere part of one
            module = seen.name
            name, known = DISTRIBUTIONS.get(module, module), requirements()
            if name.lower() in known:
                extra = known[name.lower()]
                remedy = f"'racing[{extra}]', in a checkout '.[{extra}]'" if extra else name
                return f"the package {name} must be there, it is not installed; pip install {remedy}"
    return None


def _behind(error: BaseException) -> Iterator[BaseException]:
    """Yield `error` and those that it was raised from; who raises an old one again makes a circle of them."""
    seen: list[BaseException] = []
    following: BaseException | None = error
    while following is not None and following not in seen:
        seen.append(following)
        yield following
        following = following.__cause__ or following.__context__


class Stopped(BaseException):
    """A run, or a sweep, left on request with its state saved: the same command continues it.

    No Exception: Hydra prints a report of its own about those.
    """


class JobsFailed(BaseException):
    """Some jobs of a sweep failed; the message says which, and why."""


@functools.cache
def warn_once(text: str) -> None:
    """Print a warning, once in a process: several runs of it may find the same."""
    print(text, file=sys.stderr, flush=True)
