"""`racing compare`: policies against each other, in matches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from racing.commands.options import verb_options
from racing.errors import require, require_number
from racing.league.rules import BLOCK, SEQUENTIAL, STARTS, require_games, require_several
from racing.training.sizes import check_evaluation_size

EXAMPLES = """usage: racing compare run=[FIRST,SECOND,...] match=true [key=value ...]

Let policies race each other, every two of them, and rate them.

examples:
  racing compare run=[first,second] match=true                   two runs, and a line follower that sets the scale
  racing compare run=[mine] match=true                           of a run of several agents: they, and they half-trained
  racing compare run=[a.onnx,models:/kart@champion] match=true games=400
  racing compare run=[new,old] match=true games=sprt             until it is told whether new is stronger
  racing compare run=[first,line@0.9,line@1] match=true track=oval laps=3
  racing compare run=[first,second] match=true anchor=null       nobody else takes part
"""


def main(argv: Sequence[str]) -> int:
    """Entry point of the verb; returns the exit code."""
    options = parse(argv)
    if options is not None:
        from racing.commands.compare.matches import compare_in_matches

        compare_in_matches(options)
    return 0


def parse(argv: Sequence[str]) -> dict[str, Any] | None:
    """The options of conf/verbs/compare.yaml, checked; None after printing help. Raises InputError."""
    options = verb_options("compare", argv, EXAMPLES)
    if options is not None:
        check(options)
    return options


def check(options: Mapping[str, Any]) -> None:
    """Raise InputError unless the options are in their ranges."""
    runs, games, anchor = options["run"], options["games"], options["anchor"]
    listed = isinstance(runs, list) and all(isinstance(run, str) and run for run in runs)
    require(listed, f"run must be a list of runs, files or line@PACE, got {runs!r}; e.g. run=[first,second]")
    require(len(runs) > 0, "run must name two or more, got none; e.g. run=[first,second]")
    one_policy = runs[0].endswith((".onnx", ".zip")) or runs[0].startswith(("models:/", "line@")) or "@" in runs[0]
    require_several(len(runs) > 1 or not one_policy, runs[0])
    for name in ("match", "trust"):
        require(isinstance(options[name], bool), f"{name} must be true or false, got {options[name]!r}; choose one")
    require(options["match"], "match=false compares nothing yet; write match=true to let them race")
    if games != SEQUENTIAL:
        require_games("games", games)
    require_number("laps", options["laps"], 1, 1000, whole=True, remedy="2 is the default")
    require_number("seed", options["seed"], 0, (1 << 29) - 1, whole=True, remedy="0 is the default")
    check_evaluation_size("games", "laps", BLOCK if games == SEQUENTIAL else games, options["laps"])
    start = options["start"]
    require(start in STARTS, f"start must be one of {', '.join(STARTS)}, got {start!r}; choose one")
    for name, what in (("track", "a name or a path"), ("out", "a folder"), ("anchor", "one that takes part")):
        fits = options[name] is None or (isinstance(options[name], str) and options[name] != "")
        require(fits, f"{name} must be {what}, or null, got {options[name]!r}; see racing compare --help")
    known = anchor is None or anchor in runs or anchor.startswith("line@")
    require(known, f"anchor must be one of run, line@PACE or null, got {anchor!r}; add it to run")
