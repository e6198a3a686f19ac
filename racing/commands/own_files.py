"""What is wrong with the files of conf/ that are chosen, a user's own above all: said with the file's name.

Hydra tells of them what its composition came across, at times nothing: a file without its package line changes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import yaml
from omegaconf import OmegaConf

from racing.config import (
    PRIMARY,
    choices,
    config_directories,
    config_name,
    default_choices,
    for_hydra,
    hint,
    key_hint,
    keys_of,
)
from racing.errors import InputError
from racing.renamed_keys import key_of

GLOBAL = ("experiment", "debug", "tuning", "local")  # groups whose files change others: they need their package line
PACKAGE_LINE = re.compile(r"^#\s*@package\s+_global_\s*$", re.MULTILINE)
PLAIN_GROUPS = ("eval", "checkpoint", "tracking", "hardware", "paths")  # those that no class is built of
ENTRY = "write entries as `- override /GROUP: CHOICE`"


@dataclass(frozen=True)
class ConfigFile:
    """A file of conf/ or of a user's folder. group: '' for a primary one."""

    path: Path
    group: str

    @property
    def name(self) -> str:
        """As a defaults list names it from anywhere."""
        return f"{self.group}/{self.path.stem}".lstrip("/")

    def refuse(self, wrong: str, remedy: str) -> NoReturn:
        """Raise InputError."""
        raise InputError(f"{self.path}: {wrong}; {remedy}")

    def content(self) -> dict[str, Any]:
        """What the file holds, not resolved. Raises InputError if that is no YAML mapping."""
        try:
            found: Any = OmegaConf.to_container(OmegaConf.load(self.path), resolve=False)
        except yaml.YAMLError as error:
            mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None) or str(error)
            line = f" in line {mark.line + 1}" if mark else ""
            self.refuse(
                f"{problem}{line}", "correct the YAML, with spaces before keys and quotes around special characters"
            )
        except (OSError, UnicodeDecodeError, ValueError) as error:
            self.refuse(f"cannot be read ({error})", "give YAML in UTF-8")
        if not isinstance(found, dict):
            self.refuse("must be keys and values", "write KEY: VALUE")
        return found


def check(overrides: Sequence[str]) -> None:
    """Raise InputError for the first mistake in a file that these overrides choose, or in one that it is made of."""
    directories = config_directories(overrides)
    seen: set[str] = set()
    for file in _chosen(overrides, directories):
        _visit(file, directories, [], seen)


def _chosen(overrides: Sequence[str], directories: Sequence[Path]) -> Iterator[ConfigFile]:
    """The files that are named: the primary one, and each choice, also those of a sweep."""
    primary = _find("", config_name(overrides), directories)
    if primary is not None and config_name(overrides) != PRIMARY:
        yield primary
    for override in [*overrides, "local=default"]:
        group = key_of(override)
        if not choices(group, directories) or override.startswith("~"):
            continue
        for written in for_hydra(override, directories):
            for name in re.findall(r"[^,()\[\]'\"]+", written.partition("=")[2]):
                file = _find(group, name, directories)
                if key_of(written) == group and file is not None:
                    yield file


def _find(group: str, name: str, directories: Sequence[Path]) -> ConfigFile | None:
    paths = [folder / group / f"{name.removesuffix('.yaml')}.yaml" for folder in directories]
    found = next((path for path in paths if path.is_file()), None) if "\0" not in name and len(name) < 256 else None
    return (
        None
        if found is None
        else ConfigFile(found, found.parent.relative_to(_root(found, directories)).as_posix().strip("."))
    )


def _root(path: Path, directories: Sequence[Path]) -> Path:
    return next(folder for folder in directories if path.is_relative_to(folder))


def _visit(file: ConfigFile, directories: Sequence[Path], above: Sequence[str], seen: set[str]) -> None:
    """Check a file and those that its defaults name. above: those that lead here."""
    if file.name in above:
        circle = " > ".join([*above[above.index(file.name) :], file.name])
        file.refuse(f"its defaults lead back to it ({circle})", "take one of them out of the defaults")
    if file.name in seen:
        return
    content = file.content()
    if not file.group or file.group in GLOBAL:
        _check_keys(file, content)
    for needed in _defaults(file, content.get("defaults"), directories):
        _visit(needed, directories, [*above, file.name], seen)
    seen.add(file.name)


def _check_keys(file: ConfigFile, content: dict[str, Any]) -> None:
    """Refuse a missing package line, and keys that nobody would look at."""
    text = file.path.read_text()
    if file.group and content and not PACKAGE_LINE.search(text):
        file.refuse("changes nothing as it is", "begin it with the line `# @package _global_`")
    groups = default_choices()
    top = {*keys_of(""), *groups, "defaults", "hydra"}
    for key, value in content.items():
        if key in groups and not isinstance(value, dict) and value is not None:
            file.refuse(
                f"{key}: {value} must be keys and values", f"to choose it: `- override /{key}: {value}` in defaults"
            )
        if key not in top and f"${{{key}" not in text and not choices(str(key), [file.path.parent.parent]):
            file.refuse(f"unknown key {str(key)!r}", key_hint(str(key)))
        if key in PLAIN_GROUPS and isinstance(value, dict):
            for name in value.keys() - keys_of(str(key)):
                file.refuse(f"unknown key '{key}.{name}'", key_hint(f"{key}.{name}"))


def _defaults(file: ConfigFile, entries: Any, directories: Sequence[Path]) -> Iterator[ConfigFile]:
    """The files that a defaults list names. Raises InputError for an entry that Hydra would not take."""
    if entries is None:
        return
    if not isinstance(entries, list):
        file.refuse("defaults must be a list", ENTRY)
    whole = not file.group and PRIMARY not in entries  # a primary file with a list of its own
    for entry in entries:
        if entry == "_self_":
            continue
        if isinstance(entry, str):
            yield _beside(file, entry, directories)
        elif isinstance(entry, dict) and len(entry) == 1:
            yield from _group_entry(file, *next(iter(entry.items())), directories, whole=whole)
        else:
            file.refuse(f"an entry of defaults must be one GROUP: CHOICE, got {entry}", ENTRY)


def _beside(file: ConfigFile, entry: str, directories: Sequence[Path]) -> ConfigFile:
    """The file that an entry without a choice names: one of the same group, or with / of any."""
    group, equals, choice = entry.partition("=")
    if equals:
        file.refuse(f"{entry!r} is no entry of defaults", f"write `- override /{group.lstrip('/')}: {choice}`")
    name = entry.partition("@")[0]
    place = Path((name if name.startswith("/") else f"{file.group}/{name}").lstrip("/"))
    found = _find(place.parent.as_posix().strip("."), place.name, directories)
    if found is None:
        known = choices(place.parent.as_posix(), directories)
        file.refuse(f"its defaults name {place.as_posix()!r}, which is not there", hint(place.name, known))
    return found


def _group_entry(
    file: ConfigFile, key: Any, choice: Any, directories: Sequence[Path], *, whole: bool
) -> Iterator[ConfigFile]:
    """The files that an entry `[override | optional] [/]GROUP: CHOICE` names."""
    words = str(key).split()
    name = words[-1].partition("@")[0] if words else ""
    group = name.lstrip("/") if name.startswith("/") else f"{file.group}/{name}".lstrip("/")
    ours, shown = list(default_choices()), f"`{key}: {choice}`"
    override = "override" in words
    if file.group and not name.startswith("/") and name in ours:
        file.refuse(f"{shown} in defaults names a group below {file.group}", f"write `- override /{name}: {choice}`")
    if group == file.group and group:
        file.refuse(f"{shown} cannot choose the {group} that is being composed", f"write `- {choice}` to build on it")
    if override and file.group in ours and group in ours[ours.index(file.group) + 1 :]:
        order = f"{shown} cannot choose {group}, which is composed after {file.group}"
        file.refuse(order, f"write {group}={choice} on the command line, or what that file sets")
    if not override and group in ours and not whole:
        file.refuse(f"{shown} would be a second choice of {group}", f"write `- override /{group}: {choice}`")
    if group.startswith("hydra") or "optional" in words:
        return
    known = choices(group, directories)
    if not known:
        there = [*ours, *(path.name for folder in directories for path in folder.iterdir() if path.is_dir())]
        file.refuse(f"{shown} in defaults names no group", hint(group, list(dict.fromkeys(there))))
    for one in choice if isinstance(choice, list) else [choice]:
        if one is None or "${" in str(one):
            continue
        found = _find(group, str(one), directories)
        if found is None and group == "track" and "/" in str(one):
            file.refuse(
                f"{shown} must be a name in a file", f"write `- override /track: file` and `track: {{file: {one}}}`"
            )
        if found is None:
            file.refuse(f"unknown choice {group}={one}", hint(str(one), known))
        yield found
