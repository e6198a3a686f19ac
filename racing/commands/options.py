"""`key=value` arguments of the verbs."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from racing.config import compose, conf_directory, hint, parse_override, plain
from racing.errors import InputError, require
from racing.files import quoted_paths


def key_values(argv: Sequence[str], defaults: Mapping[str, str]) -> dict[str, str]:
    """`defaults`, updated from arguments such as `port=5001`. Raises InputError on a key that is not in `defaults`."""
    values = dict(defaults)
    for argument in argv:
        key, equals, value = argument.partition("=")
        known = " or ".join(f"{name}=VALUE" for name in defaults)
        require(bool(equals) and key in defaults, f"{argument!r} must be {known}; see --help")
        values[key] = value
    return values


def action_options(
    verb: str,
    argv: Sequence[str],
    examples: str,
    keys: Mapping[str, Sequence[str]],
    short: str,
    quoted: Callable[[str], str] = str,
) -> tuple[dict[str, Any], set[str]] | None:
    """As `verb_options`, for `racing <verb> <action> [VALUE] [key=value ...]`; also which keys were given.

    keys: action -> the keys that it takes besides paths.outputs; the options get `action`. short: the key that VALUE is
    of. quoted: what Hydra is given for an argument.
    """
    arguments = list(argv)
    if set(arguments) & {"-h", "--help"}:
        verb_options(verb, ["--help"], examples)
        return None
    action = arguments.pop(0) if arguments else ""
    require_action(action, list(keys))
    if arguments and "=" not in arguments[0] and not arguments[0].startswith("-"):
        arguments[0] = f"{short}={arguments[0]}"
    known = (*keys[action], "paths.outputs")
    given = {argument.partition("=")[0] for argument in arguments}
    for key in given:
        require(not key.startswith("-"), f"unrecognized argument {key!r}; write key=value, see racing {verb} --help")
        require(key in known, f"unknown key {key!r}; racing {verb} {action} takes {', '.join(known)}")
    options = verb_options(verb, [quoted(argument) for argument in arguments], examples)
    assert options is not None
    return options | {"action": action}, given


def require_action(action: str, known: Sequence[str]) -> None:
    """Raise InputError unless `action` is one that the verb has."""
    require(action != "", f"missing action; one of {', '.join(known)}")
    require(action in known, f"unknown action {action!r}; {hint(action, known)}")


def with_quoted_paths(argument: str) -> str:
    """Quote the value of `key=value` where it is the path of a file whose name Hydra's grammar would not take."""
    key, equals, value = argument.partition("=")
    paths = quoted_paths(value) if equals else None
    return argument if paths is None else f"{key}={paths}"


def with_list(argument: str, lists: Sequence[str]) -> str:
    """Write `key=a,b` as the list that is meant, where `key` is one of `lists`."""
    key, _, value = argument.partition("=")
    if key not in lists or "," not in value:
        return argument
    parsed = parse_override(argument)
    return f"{key}=[{value}]" if parsed is not None and parsed.is_sweep_override() else argument


def verb_options(verb: str, argv: Sequence[str], examples: str, *, lists: Sequence[str] = ()) -> dict[str, Any] | None:
    """conf/verbs/<verb>.yaml with `argv` as Hydra overrides; None after printing the help that was asked for.

    lists: keys of which several values, separated by commas, are a list, beside those that are one by default.
    Raises InputError for unknown keys, also where Hydra would take them (+key=value).
    """
    if any(argument in ("-h", "--help") for argument in argv):
        keys = (conf_directory() / "verbs" / f"{verb}.yaml").read_text().partition("\n")[2]
        print(f"{examples}\nkeys (conf/verbs/{verb}.yaml):\n{keys.rstrip()}")
        return None
    for argument in argv:
        known = not argument.startswith("-")
        require(known, f"unrecognized argument {argument!r}; write key=value, see racing {verb} --help")
        plain_key = argument[:1].isalpha() and "=" in argument
        require(plain_key, f"{argument!r} must be key=value with a key of `racing {verb} --help`")
    several = [*lists, *(key for key, value in usual_options(verb).items() if isinstance(value, list))]
    written = [with_list(with_quoted_paths(argument), several) for argument in argv]
    options = plain(compose(verb, written, folder="verbs"))
    whole = isinstance(options["paths"], dict) and isinstance(options["paths"]["outputs"], str)
    require(whole, f"paths.outputs must be a folder, got {options['paths']!r}; give paths.outputs=FOLDER")
    return options


def usual_options(verb: str) -> Any:
    """What conf/verbs/<verb>.yaml says, where nothing is typed."""
    return OmegaConf.to_container(OmegaConf.load(conf_directory() / "verbs" / f"{verb}.yaml"))


def made_folder(folder: Path) -> Path:
    """The folder of `out`, made if missing. Raises InputError if it cannot be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"out={folder} must be a writable folder, {error.strerror}; name another") from error
    return folder


def short_hash(value: Any) -> str:
    """Eight letters for a value that is too long for a name."""
    return hashlib.sha256(str(value).encode()).hexdigest()[:8]
