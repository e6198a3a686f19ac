"""Shell completion of `racing`: `--shell-completion install=bash` prints what the shell must evaluate.

Hydra's scripts complete programs of one word, and `racing train` is two: so these are our own. What can be typed next
is Hydra's answer, without the files of conf/ that are no choices.
"""

from __future__ import annotations

import contextlib
import io
import os
import shlex
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import yaml

from racing.commands import command_line
from racing.config import NOT_GROUPS, choices, conf_directory, config_directories, hint
from racing.errors import ExitCode, InputError, require
from racing.runs.identity import flatten

# Candidates are whole words. Bash replaces only what follows the last = or : of the word, zsh and fish all of it.
BASH = r"""_racing_candidates() {
    if [ "$2" -eq 1 ]; then
        "$1" --help 2>/dev/null | sed -n 's/^  \([a-z]*\) .*/\1/p' | grep "^$4"
    else
        COMP_LINE=$3 "$1" train --shell-completion query=bash 2>/dev/null
    fi
}
_racing_completion() {
    local IFS=$'\n' line=${COMP_LINE:0:$COMP_POINT}
    local word=${line##*[[:space:]]}
    COMPREPLY=($(_racing_candidates "${COMP_WORDS[0]}" "$COMP_CWORD" "$line" "$word"))
    if [ -n "$BASH_VERSION" ] && [[ $COMP_WORDBREAKS == *=* && $word == *[=:]* ]]; then
        COMPREPLY=("${COMPREPLY[@]#"${word%"${word##*[=:]}"}"}")
    fi
}
complete -o nospace -o default -F _racing_completion racing
"""
FISH = r"""function _racing_completion
    set -lx COMP_LINE (commandline -cp)
    set -l words (commandline -cpo)
    if test (count $words) -le 1
        $words[1] --help 2>/dev/null | string replace -rf '^  ([a-z]+) .*' '$1'
    else
        $words[1] train --shell-completion query=fish 2>/dev/null
    end
end
complete -c racing -f -a '(_racing_completion)'
"""
INSTALL = {
    "bash": BASH,
    "zsh": "autoload -Uz compinit bashcompinit && compinit && bashcompinit\n" + BASH,
    "fish": FISH,
}
UNINSTALL = {
    "bash": "complete -r racing\nunset -f _racing_completion _racing_candidates",
    "zsh": "compdef -d racing\nunfunction _racing_completion _racing_candidates",
    "fish": "complete -e -c racing\nfunctions -e _racing_completion",
}
RunHydra = Callable[[Sequence[str]], int]  # prints what Hydra answers to these arguments


def shell_completion(arguments: Sequence[str], run_hydra: RunHydra) -> int:
    """Do what stands after --shell-completion: install=SHELL, uninstall=SHELL, query=SHELL; returns the exit code."""
    shells = ", ".join(INSTALL)
    rule = "--shell-completion must be followed by one of install=SHELL, uninstall=SHELL, query=SHELL"
    require(len(arguments) == 1, f"{rule}; shells: {shells}")
    action, _, shell = arguments[0].partition("=")
    require(action in ("install", "uninstall", "query"), f"{rule}; shells: {shells}")
    require(shell in INSTALL, f"{action}={shell} must name a shell; {hint(shell, list(INSTALL))}")
    if action != "query":
        print({"install": INSTALL, "uninstall": UNINSTALL}[action][shell])
        return ExitCode.DONE
    require("COMP_LINE" in os.environ, "query=SHELL answers a shell, which sets COMP_LINE; use install=SHELL")
    print("\n".join(candidates(os.environ["COMP_LINE"], run_hydra)))
    return ExitCode.DONE


def candidates(line: str, run_hydra: RunHydra) -> list[str]:
    """The words that can stand at the end of a line, such as `racing train algo=p`; none where it is wrong."""
    try:
        words = shlex.split(line)
    except ValueError:  # in the middle of a quoted word
        return []
    current = words.pop() if words and not line[-1].isspace() else ""
    verb, before = (words[1] if len(words) > 1 else ""), words[2:]
    found = _of_train(before, current, run_hydra) if verb == "train" else _keys_of_verb(verb)
    return sorted({word for word in found if word.startswith(current)})


def _keys_of_verb(verb: str) -> list[str]:
    """The keys of another verb."""
    path = conf_directory() / "verbs" / f"{verb}.yaml"
    return [f"{key}=" for key in flatten(yaml.safe_load(path.read_text()))] if path.is_file() else []


def _of_train(before: Sequence[str], current: str, run_hydra: RunHydra) -> list[str]:
    """What `racing train` can have after the words `before`."""
    if before and (values := command_line.values_of(before[-1])) is not None:
        return list(values)
    if current.startswith("-"):
        return list(command_line.OPTIONS)
    try:
        line = command_line.parse(before)
        line.options = {name: value for name, value in line.options.items() if name.startswith("--config")}
        arguments = command_line.hydra_arguments(line)
        directories = config_directories(arguments)
        before_comma, comma, _ = current.rpartition(",")
        if comma:
            return [f"{before_comma},{name}" for name in choices(current.partition("=")[0], directories)]
        found = _ask_hydra(arguments, current, run_hydra)
    except InputError:  # a slip further to the left: nothing can be said
        return []
    return [word for word in map(partial(_as_choice, directories=directories), found) if word]


def _ask_hydra(arguments: Sequence[str], current: str, run_hydra: RunHydra) -> list[str]:
    """Hydra's answer, which it prints."""
    # It splits the line at spaces: what has some is left out.
    line = ["racing", *(word for word in arguments if not word.startswith("--") and " " not in word), current]
    before, out = os.environ["COMP_LINE"], io.StringIO()
    os.environ["COMP_LINE"] = " ".join(line)
    options = [word for word in arguments if word.startswith("--")]
    try:
        with contextlib.redirect_stdout(out):
            run_hydra([*options, "--shell-completion", "query=fish"])  # one word a line
    finally:
        os.environ["COMP_LINE"] = before
    return out.getvalue().splitlines()


def _as_choice(word: str, directories: Sequence[Path]) -> str | None:
    """A word of Hydra's as it should be offered; None for files of conf/ that are no choices."""
    key, equals, value = word.partition("=")
    group = key.rstrip("/")
    names = choices(group, directories)
    if group in NOT_GROUPS or not names:
        return None if group in NOT_GROUPS else word
    if equals and value:
        return word if value in names or value[0] in "./" else None
    return word if key.endswith(".") else f"{group}="
