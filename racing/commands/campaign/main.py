"""`racing campaign`: train several configurations, validate them against each other, deploy the winners."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from racing.commands import command_line
from racing.commands.options import action_options, verb_options
from racing.config import hint, searchpath
from racing.errors import ExitCode, require
from racing.naming import SEARCH_PATH
from racing.renamed_keys import key_of

EXAMPLES = """usage: racing campaign campaign=NAME [key=value ...] [--config-dir FOLDER]
       racing campaign list | show | deploy | fetch  [NAME] [key=value ...]

Train several configurations, validate them against each other, deploy the winners. The same command continues.

examples:
  racing campaign campaign=duel                         two small policies on the oval: the whole way in a minute
  racing campaign campaign=circuits mode=train launcher=modal    a container for each entry
  racing campaign campaign=circuits mode=validate       no training: who is stronger, of those that are trained
  racing campaign campaign=circuits mode=oval           one entry: train it, validate it, deploy it if it is better
  racing campaign campaign=circuits deploy=false        nothing is written to policies/
  racing campaign campaign=duel campaign.validation.tracks=[oval,circuit] games=200
  racing campaign campaign=mine --config-dir FOLDER     your own, FOLDER/campaign/mine.yaml
  racing campaign list                                  every campaign under outputs/, newest first
  racing campaign show duel                             its results
  racing campaign deploy duel                           its winners, if they pass the gate
  racing campaign fetch duel                            bring back what its jobs have written elsewhere
"""
ACTIONS = {  # action -> keys that it takes besides paths.outputs
    "list": (),
    "show": ("campaign",),
    "deploy": ("campaign", "policies"),
    "fetch": ("campaign",),
}
THROUGH = ("tracking", "hardware")  # keys of racing train that all entries are given: they change no result
OWN = ("campaign", "launcher", *THROUGH)  # keys that are composed elsewhere than in conf/verbs/campaign.yaml


def main(argv: Sequence[str]) -> int:
    """Entry point of the verb; returns the exit code."""
    if argv and argv[0] in ACTIONS:
        return act(argv)
    line = command_line.parse(argv, ("--help", "--config-dir"))
    if "--help" in line.options:
        verb_options("campaign", ["--help"], EXAMPLES)
        return ExitCode.DONE
    require(bool(line.overrides), f"campaign must be named; campaign=NAME, or an action: {', '.join(ACTIONS)}")
    first = line.overrides[0]
    require("=" in first, f"unknown action {first!r}; {hint(first, list(ACTIONS))}, or campaign=NAME")
    options, own = parse(line.overrides)
    from racing.commands.campaign.run import run_campaign

    sources = [searchpath(line.directories)] if line.directories else []
    return run_campaign(options, sources, own, f"racing campaign {shlex.join(argv)}")


def act(argv: Sequence[str]) -> int:
    """Do an action on what is there; returns the exit code."""
    parsed = action_options("campaign", argv, EXAMPLES, ACTIONS, "campaign")
    if parsed is None:
        return ExitCode.DONE
    options, _ = parsed
    from racing.commands.campaign import actions

    outputs = Path(options["paths"]["outputs"]).resolve()
    if options["action"] == "list":
        return actions.show_list(outputs)
    spec = str(options["campaign"] or "latest")
    if options["action"] == "deploy":
        return actions.deploy(spec, outputs, Path(options["policies"]))
    return {"show": actions.show, "fetch": actions.fetch}[options["action"]](spec, outputs)


def parse(arguments: Sequence[str]) -> tuple[dict[str, Any], dict[str, list[str]]]:
    """The options of conf/verbs/campaign.yaml, and overrides of what is composed elsewhere, by group of OWN."""
    own: dict[str, list[str]] = {group: [] for group in OWN}
    rest = []
    for argument in arguments:
        key = key_of(argument)
        require(key != SEARCH_PATH, f"{key} is written --config-dir FOLDER here")
        plain = argument[:1].isalpha() and "=" in argument
        group = key.partition(".")[0]
        if plain and group in OWN and key != "campaign":
            own[group].append(argument)
        else:
            rest.append(argument)
    options = verb_options("campaign", rest, EXAMPLES)
    assert options is not None
    check(options)
    return options, own


def check(options: Mapping[str, Any]) -> None:
    """Raise InputError unless the options are in their ranges."""
    named = isinstance(options["campaign"], str) and options["campaign"] != ""
    require(named, f"campaign must name a file of conf/campaign, got {options['campaign']!r}; e.g. campaign=duel")
    for name in ("mode", "policies"):
        fits = isinstance(options[name], str) and options[name] != ""
        require(fits, f"{name} must be a name, got {options[name]!r}; see racing campaign --help")
    require(isinstance(options["deploy"], bool), f"deploy must be true or false, got {options['deploy']!r}; choose one")
    known = options["sequential"] == "auto" or isinstance(options["sequential"], bool)
    require(known, f"sequential must be auto, true or false, got {options['sequential']!r}; choose one")
