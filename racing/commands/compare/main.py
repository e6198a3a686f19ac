"""`racing compare`: drivers against each other, by their laps over distance or in matches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from racing.commands.options import verb_options
from racing.errors import require, require_number
from racing.league.rules import BLOCK, SEQUENTIAL, STARTS, require_games, require_several
from racing.training.sizes import check_evaluation_size

EXAMPLES = """usage: racing compare run=[FIRST,SECOND,...] [match=true] [key=value ...]

Compare drivers: their best laps over distance, or, with match=true, how they race each other.

examples:
  racing compare run=[first,second]                              best laps: where is time won, and how
  racing compare run=[first,optimal]                             against a controller at the physical limit
  racing compare run=[latest,human:latest]                       against your newest drive (racing play, then E)
  racing compare run=[a.onnx,b.onnx,drive.parquet] track=oval    files, and telemetry of a drive
  racing compare run=[first,second] log=true                     and put the result into MLflow
  racing compare run=[first,second] match=true                   two runs, and a line follower that sets the scale
  racing compare run=[mine] match=true                           of a run of several agents: they, and they half-trained
  racing compare run=[a.onnx,models:/kart@champion] match=true games=400
  racing compare run=[new,old] match=true games=sprt             until it is told whether new is stronger
  racing compare run=[first,line@0.9,line@1] match=true track=oval laps=3
  racing compare run=[first,second] match=true anchor=null       nobody else takes part
"""

MOST = 12  # drivers whose laps are compared at once: two lines of each colour


def main(argv: Sequence[str]) -> int:
    """Entry point of the verb; returns the exit code."""
    options = parse(argv)
    if options is None:
        return 0
    if options["match"]:
        from racing.commands.compare.matches import compare_in_matches

        compare_in_matches(options)
    else:
        from racing.commands.compare.laps import compare_over_distance

        compare_over_distance(options)
    return 0


def parse(argv: Sequence[str]) -> dict[str, Any] | None:
    """The options of conf/verbs/compare.yaml, checked; None after printing help. Raises InputError."""
    options = verb_options("compare", argv, EXAMPLES, lists=["run"])
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
    for name in ("match", "trust", "log"):
        require(isinstance(options[name], bool), f"{name} must be true or false, got {options[name]!r}; choose one")
    few = len(runs) <= MOST or options["match"]
    require(few, f"run must name at most {MOST} drivers, got {len(runs)}; compare fewer, or let them race: match=true")
    line = next((run for run in runs if run.startswith("line@")), None)
    require(options["match"] or line is None, f"{line} only races; write match=true, or compare with optimal")
    person = next((run for run in runs if run.startswith("human:")), "human:latest")
    require(person == "human:latest", f"{person} must be human:latest, the newest drive; or name its telemetry.parquet")
    for name in ("optimal", "human:latest") if options["match"] else ():
        require(name not in runs, f"{name} races nobody; leave match=true away, or name line@1")
    if games != SEQUENTIAL:
        require_games("games", games)
    require_number("sectors", options["sectors"], 2, 200, whole=True, remedy="20 is the default")
    require_number("episodes", options["episodes"], 1, 1000, whole=True, remedy="100 is the default")
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
