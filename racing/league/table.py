"""What matches say of each contender: ratings, win shares, how they raced. Plain data."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from racing.evaluation.race.result import summarise_races
from racing.league.match import Contender, Match
from racing.league.ratings import Field, rate, win_share

Matches = Mapping[tuple[int, int], Match]  # by the numbers of the contenders a < b
Shares = dict[tuple[str, str], tuple[float, float, float]]  # of row and column: win share, its 95 % interval
HOW = (  # of racing.evaluation.race.result.summarise_races
    *("position", "finish_rate", "finish_rate_low", "finish_rate_high", "overtakes", "lap_ratio"),
    *("contacts_per_km", "faults_per_km", "incidents_per_km", "closing_p95", "presence"),
)


def standings(contenders: Sequence[Contender], matches: Matches, anchor: int | None = None) -> list[dict[str, Any]]:
    """One dict for each contender, the best first. anchor: see racing.league.ratings.rate.

    name, identity; rating [Elo points], games, wins, draws, losses, win_share (draws are half won), with 95 % intervals
    NAME_low and NAME_high; and how it raced, HOW.
    """
    meetings = [match.meeting(a, b) for (a, b), match in matches.items()]
    ratings = rate(meetings, len(contenders), anchor)
    rows = []
    for number, (contender, rating) in enumerate(zip(contenders, ratings, strict=True)):
        mine = [match if a == number else match.swapped() for (a, b), match in matches.items() if number in (a, b)]
        who = {"name": contender.name, "identity": contender.identity}
        rows.append(who | rating.record() | _score(mine) | _how(mine, 0))
    return sorted(rows, key=lambda row: -row["rating"])


def match_rows(contenders: Sequence[Contender], matches: Matches) -> list[dict[str, Any]]:
    """One dict for each match: a, b (names), key, distinct (games), those of `standings` of a; of b NAME_b of HOW."""
    rows = []
    for (a, b), match in matches.items():
        who = {"a": contenders[a].name, "b": contenders[b].name, "key": match.key, "distinct": match.distinct}
        other = {f"{name}_b": value for name, value in _how([match], 1).items()}
        rows.append(who | _score([match]) | _how([match], 0) | other)
    return rows


def share_matrix(contenders: Sequence[Contender], matches: Matches) -> Shares:
    """Win share of each against each, by names, with its 95 % interval."""
    out: Shares = {}
    for (a, b), match in matches.items():
        names = contenders[a].name, contenders[b].name
        out[names] = win_share([match.meeting(a, b)])
        out[names[::-1]] = win_share([match.swapped().meeting(b, a)])
    return out


def matrix_csv(names: Sequence[str], shares: Shares) -> str:
    """Win shares of rows against columns as comma-separated values; empty where two did not meet."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["win share of the row", *names])
    cells = {pair: round(share[0], 6) for pair, share in shares.items()}
    writer.writerows([a, *(cells.get((a, b), "") for b in names)] for a in names)
    return text.getvalue()


def race_ratings(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> dict[str, dict[str, float]]:
    """By name rating, rating_low and rating_high [Elo points], 1000 on average; of races of several entries.

    rows: racing.evaluation.race.result.car_rows, of races in which each of two or more `names` takes part. What counts
    is when the first car of each came home.
    """
    number = {name: column for column, name in enumerate(names)}
    race = {key: row for row, key in enumerate(dict.fromkeys(row["race"] for row in rows))}
    times = np.full((len(race), len(names)), np.inf)
    for row in rows:
        if row["time_s"] is not None:
            at = race[row["race"]], number[row["entrant"]]
            times[at] = min(times[at], row["time_s"])
    found = rate([Field(entries=tuple(range(len(names))), times=times)], len(names))
    return {name: rating.record() for name, rating in zip(names, found, strict=True)}


def _score(matches: Sequence[Match]) -> dict[str, Any]:
    """Games, and what a won of them. matches: told from one side."""
    points = np.concatenate([match.points() for match in matches])
    share, low, high = win_share([match.meeting(0, 1) for match in matches])
    counts = {name: int((points == value).sum()) for name, value in (("wins", 1), ("draws", 0.5), ("losses", 0))}
    return {"games": len(points), **counts, "win_share": share, "win_share_low": low, "win_share_high": high}


def _how(matches: Sequence[Match], side: int) -> dict[str, Any]:
    """How a (side 0) or b (side 1) raced."""
    rows = [
        {**row, "race": (number, row["race"]), "entrant": side}
        for number, match in enumerate(matches)
        for row in match.rows[side::2]
    ]
    (summary,) = summarise_races(rows).values()
    return {name: summary[name] for name in HOW}
