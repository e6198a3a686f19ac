"""`racing compare match=true`: drive the matches that are not kept yet, and rate who takes part."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

from racing.commands.compare.record import log_results
from racing.commands.compare.report import print_tables, write_results
from racing.commands.options import made_folder
from racing.league.contenders import canonical, find_contenders
from racing.league.estimate import drive, estimate_match, steps_of_match
from racing.league.match import Contender, Terms, Watch, keep_match, kept_match
from racing.league.rules import BLOCK, MOST_GAMES, SEQUENTIAL, require_several
from racing.league.sprt import Told, Verdict, drive_until_told
from racing.league.table import Matches, match_rows, standings
from racing.policies.loading import agents_of
from racing.processes import usable_cores
from racing.runs.paths import ComparisonPaths
from racing.tracking.run_record import local_run
from racing.training.progress_bar import ProgressBar

TOLD = {
    Verdict.STRONGER: "stronger than",
    Verdict.NOT_STRONGER: "not stronger than",
    Verdict.UNDECIDED: "neither surely stronger nor surely not stronger than",
}


def compare_in_matches(options: Mapping[str, Any]) -> None:
    """Drive, rate, report. Raises InputError for policies that cannot meet."""
    anchor = None if options["anchor"] is None else canonical(options["anchor"])
    outputs = Path(options["paths"]["outputs"])
    specs = [canonical(spec) for spec in members(options["run"], outputs)]
    specs += [anchor] if anchor is not None and anchor not in specs else []
    contenders, place = find_contenders(specs, outputs, options["track"], trust=options["trust"])
    sequential = options["games"] == SEQUENTIAL
    size = {name: options[name] for name in ("laps", "seed", "start")}
    size["games"] = BLOCK if sequential else options["games"]
    terms = Terms(place=place, threads=usable_cores(), **size)
    told = terms.record() | {"games": options["games"], "anchor": anchor}
    folder = output_folder(options, contenders, told)
    tests: dict[tuple[int, int], Told] = {}
    if sequential:
        matches, spent, tests = play_until_told(contenders, terms, outputs / "matches")
    else:
        matches, spent = play(contenders, terms, outputs / "matches")
    rows = standings(contenders, matches, None if anchor is None else specs.index(anchor))
    met = match_rows(contenders, matches)
    met = [
        row | ({"sprt": tests[pair].record()} if pair in tests else {}) for row, pair in zip(met, matches, strict=True)
    ]
    files = write_results(folder, contenders, matches, rows, met, told, spent)
    print_tables(rows, met)
    for path in files:
        print(path)
    name, title = match_name(contenders, told), f"Matches on {told['track']['name']} with {told['vehicle']['name']}"
    log_results(options, name, title, rows, ("rating", "win_share", "finish_rate"), files)


def members(runs: Sequence[str], outputs: Path, *, halves: bool = True) -> Sequence[str]:
    """Who takes part: of a single run its agents, as they are and (halves) as they were half-trained; else those named.

    Raises InputError for a single run without agents.
    """
    if len(runs) > 1:
        return runs
    agents = agents_of(local_run(runs[0], outputs))
    require_several(bool(agents), runs[0])
    return [f"{runs[0]}@{agent}{half}" for half in ("", "@half")[: 1 + halves] for agent in agents]


def play(contenders: Sequence[Contender], terms: Terms, kept: Path) -> tuple[Matches, dict[str, float]]:
    """The match of every two, as it was kept in a folder, else driven and kept there; and the time that was spent.

    The time: matches_driven, estimate_s, actual_s. Whoever interrupts it goes on where it was.
    """
    known = kept_matches(contenders, terms, kept)
    pairs = list(combinations(range(len(contenders)), 2))
    named = {frozenset(contenders[k].identity for k in pair): pair for pair in pairs if pair not in known}
    missing = list(named.values())  # without those of the same two once more
    before = f"{len(known)} of {len(pairs)} matches were driven before"
    if not missing:
        print(before)
        return known, {"matches_driven": 0}
    steps = steps_of_match(terms)
    # With the anchor, where it takes part: followers plan as they drive.
    each, rate = estimate_match(contenders[missing[-1][0]], contenders[missing[-1][1]], terms)
    estimate = each * len(missing)
    size = f"{len(missing)} to drive, of {terms.games} games each"
    print(f"{before}; {size}: about {estimate:.0f} s ({rate:,.0f} decisions/s)", flush=True)
    began = time.perf_counter()
    with ProgressBar(len(missing) * steps, "matches") as bar:
        for number, (first, second) in enumerate(missing):
            a, b = contenders[first], contenders[second]
            keep_match(kept, drive(a, b, terms, shown(bar, number * steps, steps, f"{a.name} - {b.name}")))
    took = time.perf_counter() - began
    print(f"driven in {took:.0f} s")
    spent = {"matches_driven": len(missing), "estimate_s": round(estimate, 2), "actual_s": round(took, 2)}
    return kept_matches(contenders, terms, kept), spent


def play_until_told(
    contenders: Sequence[Contender], terms: Terms, kept: Path
) -> tuple[Matches, dict[str, float], dict[tuple[int, int], Told]]:
    """As `play`, each match as long as it takes to tell whether the first of the two is stronger; also what was told.

    The time that was spent: actual_s alone, nobody knows before.
    """
    pairs = list(combinations(range(len(contenders)), 2))
    count = f"{len(pairs)} match{'es' if len(pairs) > 1 else ''}"
    most = f"{BLOCK} games at a time, {MOST_GAMES:,} at most"
    print(f"{count}, each until it is told whether the first named is stronger: {most}", flush=True)
    began = time.perf_counter()
    matches, tests = {}, {}
    for a, b in pairs:
        first, second = contenders[a], contenders[b]
        match, tested = drive_until_told(first, second, terms, kept)
        matches[a, b], tests[a, b] = match, tested
        games = f"{len(match.ways)} games, {tested.pairs} pairs that differ, ratio {tested.ratio:+.2f}"
        print(f"{first.name} is {TOLD[tested.verdict]} {second.name}: {games}", flush=True)
    return matches, {"actual_s": round(time.perf_counter() - began, 2)}, tests


def kept_matches(contenders: Sequence[Contender], terms: Terms, kept: Path) -> Matches:
    """Those of the matches of every two that are kept in a folder."""
    record, found = terms.record(), {}
    for a, b in combinations(range(len(contenders)), 2):
        match = kept_match(kept, contenders[a].identity, contenders[b].identity, record)
        if match is not None:
            found[a, b] = match
    return found


def shown(bar: ProgressBar, before: int, steps: int, title: str) -> Watch:
    """Shows the steps of a match on the bar. before: steps of those before it; steps: that it takes, about."""
    done = 0

    def watch(cars: int) -> None:
        nonlocal done
        done = min(done + 1, steps)
        bar.update(before + done, title)

    return watch


def output_folder(options: Mapping[str, Any], contenders: Sequence[Contender], told: Mapping[str, Any]) -> Path:
    """Where the results go, made if missing; named by who met where. Raises InputError if it cannot be made.

    told: the terms, as they are recorded.
    """
    named = ComparisonPaths.named(Path(options["paths"]["outputs"]), match_name(contenders, told)).folder
    return made_folder(named if options["out"] is None else Path(options["out"]))


def match_name(contenders: Sequence[Contender], told: Mapping[str, Any]) -> str:
    """Name of a comparison in matches, and of its folder: by who met where. told: the terms, as they are recorded."""
    who = [contender.identity for contender in contenders]
    label = hashlib.sha256(json.dumps([who, told], default=str).encode()).hexdigest()[:8]
    return f"{told['track']['name']}-{len(contenders)}-{label}"
