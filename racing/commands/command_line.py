"""The command line of `racing train`: Hydra's options in any place, the other arguments as Hydra takes them."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from racing.config import (
    PRIMARY,
    added_directories,
    config_directories,
    config_name,
    for_hydra,
    hint,
    searchpath,
)
from racing.errors import require
from racing.naming import CONFIG_NAME, SEARCH_PATH
from racing.renamed_keys import key_of

# Options of Hydra -> the values that they take: None for none, () for any.
OPTIONS: dict[str, tuple[str, ...] | None] = {
    "--help": None,
    "--hydra-help": None,
    "--version": None,
    "--run": None,
    "--multirun": None,
    "--cfg": ("job", "hydra", "all"),
    "--resolve": None,
    "--package": (),
    "--info": ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath"),
    "--shell-completion": None,
    "--config-dir": (),
    "--config-name": (),
    "--config-path": (),
}
SHORT = {
    "-h": "--help",
    "-r": "--run",
    "-m": "--multirun",
    "-c": "--cfg",
    "-p": "--package",
    "-i": "--info",
    "-sc": "--shell-completion",
    "-cd": "--config-dir",
    "-cn": "--config-name",
    "-cp": "--config-path",
}
LONGEST = 10_000  # characters of an override: Hydra's grammar takes seconds for more
COMMANDS = ("--run", "--multirun", "--cfg", "--info", "--shell-completion")  # of which there is one at most


@dataclass
class CommandLine:
    """Arguments of `racing train`, sorted.

    options: long name -> value, '' where it takes none. overrides: all others. directories: of --config-dir.
    """

    options: dict[str, str] = field(default_factory=dict)
    overrides: list[str] = field(default_factory=list)
    directories: list[Path] = field(default_factory=list)


def parse(argv: Sequence[str], only: Sequence[str] = tuple(OPTIONS)) -> CommandLine:
    """Sort the arguments. Raises InputError for options that Hydra does not have, or takes in another way.

    only: those that the verb has, by their long names.
    """
    line, rest = CommandLine(), list(argv)
    while rest:
        argument = rest.pop(0)
        if not argument.startswith("-"):
            long = f"{argument[:40]!r}... has {len(argument):,} characters, at most {LONGEST:,} are read"
            require(len(argument) <= LONGEST, f"{long}; write it into a file of your own, see --config-dir")
            line.overrides.append(argument)
            continue
        given, equals, value = argument.partition("=")
        name = SHORT.get(given, given)
        require(name in only, f"unrecognized argument {argument!r}; {_remedy(given, only)}")
        values = OPTIONS[name]
        if values is None:
            require(not equals, f"{argument!r} must stand without a value; write {given}")
        elif not equals and name == "--info" and not (rest and rest[0] in values):
            value = "all"
        elif not equals:
            require(len(rest) > 0, f"{given} must have a value after it; {hint('', values) if values else 'give one'}")
            value = rest.pop(0)
        require(not values or value in values, f"{given} must not be {value!r}; {hint(value, values or ())}")
        if name == "--config-dir":
            line.directories.append(Path(value))
        line.options[name] = value
    _check(line.options)
    return line


def values_of(argument: str) -> tuple[str, ...] | None:
    """The values of which one must follow an option; None where none must."""
    return OPTIONS.get(SHORT.get(argument, argument))


def _remedy(wrong: str, only: Sequence[str]) -> str:
    """What to write instead of an option that is none."""
    near = difflib.get_close_matches(wrong, only, 1)
    return f"did you mean {near[0]}?" if near else "write key=value, see --help"


def _check(options: dict[str, str]) -> None:
    """Raise InputError for options that cannot stand together, which Hydra answers with a traceback."""
    several = [name for name in COMMANDS if name in options]
    require(len(several) < 2, f"{' and '.join(several)} cannot be combined; leave one of them away")
    require(
        "--resolve" not in options or "--cfg" in options, "--resolve must come with --cfg; write --cfg job --resolve"
    )
    rule = "--config-path would take racing's own conf/ away, on which every verb and record relies"
    remedy = "use --config-dir to add a folder to it, --config-name for another primary file"
    require("--config-path" not in options, f"{rule}; {remedy}")


def hydra_arguments(line: CommandLine) -> list[str]:
    """The arguments for Hydra: options first (it takes none after an override), then overrides as it takes them.

    Raises InputError for a group without a choice, or a folder that is not there.
    """
    overrides = with_sources(line)
    directories = config_directories(overrides)
    options = {name: value for name, value in line.options.items() if name not in ("--config-dir", "--config-name")}
    written = [part for override in overrides for part in _for_hydra(override, directories)]
    name = config_name(overrides)
    if name != PRIMARY:
        options["--config-name"] = name
    added = directories[1:]
    if added:  # Hydra reads the search path after the primary configuration, which may lie in one of them
        holding = [folder for folder in added if (folder / f"{name}.yaml").is_file()]
        options["--config-dir"] = str([*holding, *added][0])
    several = ["-m"] if options.pop("--multirun", None) is not None else []
    return [*several, *(f"{option}={value}" if value else option for option, value in options.items()), *written]


def with_sources(line: CommandLine) -> list[str]:
    """The overrides, with --config-dir and --config-name as overrides before them.

    So whoever composes the configuration again, a record, a search or another process, composes the same.
    Raises InputError for a folder that is not there.
    """
    overrides = list(line.overrides)
    if line.directories:
        folders = [*added_directories(overrides), *line.directories]
        overrides = [searchpath(folders), *(o for o in overrides if key_of(o) != SEARCH_PATH)]
        added_directories(overrides)
    if "--config-name" in line.options:
        name = line.options["--config-name"].removesuffix(".yaml")
        overrides = [f"{CONFIG_NAME}={name}", *(o for o in overrides if key_of(o) != CONFIG_NAME)]
    return overrides


def _for_hydra(override: str, directories: Sequence[Path]) -> list[str]:
    if not override.startswith("tuning."):
        return for_hydra(override, directories)
    from racing.tuning.space import search_for_hydra

    return search_for_hydra(override)
