"""A match: game pairs of two contenders, driven in one batch, kept, and never driven twice.

The games of a pair have the same start, with the seats exchanged. Whose name stands first makes no difference: the
contenders of a match have an order of their own.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from racing import __version__
from racing.envs.race import NOT_OF_SENSES
from racing.errors import read_group
from racing.evaluation.race.driving import Entrant, RaceLog, Task, drive_races, race_task
from racing.evaluation.race.result import car_rows
from racing.evaluation.race.suites import Place
from racing.evaluation.seeds import TEST_SEEDS
from racing.files import read_json, write_json
from racing.league.ratings import Meeting
from racing.sim.race.config import RaceConfig
from racing.sim.track import Track

SCHEMA = 1  # of a match's file
OF_TRAINING = (*NOT_OF_SENSES, "reward", "episodes", "randomize")  # keys of env that no race of two depends on
OF_STARTS = ("start", "wreck", "near", "disqualify", "spacing", "jitter")  # rules that a match has of its own
SEATS = ((0, 1), (1, 0))  # of a pair's games: who sits in which car
Watch = Callable[[int], None]  # see racing.evaluation.race.driving.drive_races


@dataclass(frozen=True, kw_only=True)
class Contender:
    """Who takes part in matches. name: for people. identity: exactly who: a sha256, or line@PACE."""

    name: str
    identity: str
    entrant: Entrant


@dataclass(frozen=True, kw_only=True)
class Terms:
    """What a match is about, beside who drives it.

    games: even. laps: of each. seed: of the starts. start: rolling (anywhere on the lap) or grid (standing, behind the
    start line). threads: the world's; results do not depend on them. first: number of the first pair's start, where
    these are some of a longer row of games.
    """

    place: Place
    games: int
    laps: int
    seed: int = 0
    start: str = "rolling"
    threads: int = 1
    first: int = 0

    def record(self) -> dict[str, Any]:
        """All that results depend on, as plain data."""
        track = {"name": self.place.track.name, "sha256": geometry_sha256(self.place.track)}
        drawn = {"games": self.games, "laps": self.laps, "seed": self.seed, "start": self.start}
        drawn |= {"first": self.first} if self.first else {}
        senses, rules = senses_of(self.place.env), rules_of(self.place.env)
        env = {"senses": senses, "race": rules, "reference_lap_s": round(self.place.reference, 6)}
        return {"racing": __version__, "track": track, **drawn, "vehicle": asdict(self.place.vehicle), **env}


@dataclass(frozen=True, kw_only=True)
class Match:
    """The result of a match. a, b: identities of the contenders.

    rows: two for each game, of a and of b: racing.evaluation.race.result.car_rows, with the number of the game as race;
    games 2k and 2k+1 are a pair. ways: of each game, equal numbers where the same was driven, whoever drove it.
    """

    a: str
    b: str
    terms: Mapping[str, Any]
    rows: Sequence[Mapping[str, Any]] = field(repr=False)
    ways: Sequence[int] = field(repr=False)

    @property
    def key(self) -> str:
        """See `match_key`."""
        return match_key(self.a, self.b, self.terms)

    def points(self) -> npt.NDArray[np.float64]:
        """(games,) of a: 1 for a win, 1/2 for a draw.

        Who comes home first wins; a game in which nobody does is drawn.
        """
        home = [[np.inf if row["time_s"] is None else row["time_s"] for row in self.rows[k::2]] for k in (0, 1)]
        first, second = np.array(home, float)
        return np.where(first == second, 0.5, first < second)

    @property
    def distinct(self) -> int:
        """How many games differ in what was driven."""
        return len(set(self.ways))

    def meeting(self, a: int, b: int) -> Meeting:
        """What ratings need of it. a, b: numbers of the entries."""
        pairs = np.unique(np.reshape(self.ways, (-1, 2)), axis=0, return_inverse=True)[1]
        return Meeting(a=a, b=b, points=self.points().reshape(-1, 2).sum(axis=1), same=pairs.reshape(-1))

    def swapped(self) -> Match:
        """The same match, told from b's side."""
        rows = [row for pair in zip(self.rows[1::2], self.rows[::2], strict=True) for row in pair]
        return replace(self, a=self.b, b=self.a, rows=rows)


def geometry_sha256(track: Track) -> str:
    """The sha256 of where a track's road is, and of its grip."""
    digest = hashlib.sha256()
    for array in (track.points, track.left, track.right, track.gates):
        digest.update(np.ascontiguousarray(array).tobytes())
    if track.grip is not None:
        digest.update(track.grip.values.tobytes() + np.array([*track.grip.origin, track.grip.resolution]).tobytes())
    return digest.hexdigest()


def senses_of(env: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of a config group `env` that say what its cars sense, and how often they act."""
    return {key: value for key, value in env.items() if key not in OF_TRAINING and not key.startswith("_")}


def rules_of(env: Mapping[str, Any]) -> dict[str, Any]:
    """The rules of races in a config group `env` that hold in matches, too."""
    rules = asdict(read_group("race", env.get("race") or {}, RaceConfig))
    return {name: value for name, value in rules.items() if name not in OF_STARTS}


def match_key(a: str, b: str, terms: Mapping[str, Any]) -> str:
    """Name a match by what its result depends on, whoever is named first. terms: of `Terms.record`."""
    text = json.dumps({"schema": SCHEMA, "who": sorted([a, b]), **terms}, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def task_of(terms: Terms) -> Task:
    """One game of each pair, for `drive_races`."""
    place, settings = terms.place, {"start": terms.start, "laps": terms.laps, "threads": terms.threads}
    settings |= {"races": terms.games // 2, "cars": 2, "seed": TEST_SEEDS + terms.seed, "reference": place.reference}
    settings |= {"first_race": terms.first}
    return race_task(place.env, place.track, place.vehicle, **settings)  # type: ignore[arg-type]


def drive_match(a: Contender, b: Contender, terms: Terms, watch: Watch | None = None) -> Match:
    """Drive a match. Raises Diverged for actions that are no numbers."""
    if b.identity < a.identity:
        return drive_match(b, a, terms, watch).swapped()
    task, pairs = task_of(terms), terms.games // 2
    logs = [drive_races(task, [a.entrant, b.entrant], np.tile(seats, (pairs, 1)), watch) for seats in SEATS]
    told = [car_rows(log, ["a", "b"], terms.place.reference) for log in logs]
    rows = [{**row, "race": 2 * row["race"] + k} for k, of_seats in enumerate(told) for row in of_seats]
    rows.sort(key=lambda row: (row["race"], row["entrant"]))
    rows = [{name: value for name, value in row.items() if name != "entrant"} for row in rows]
    return Match(a=a.identity, b=b.identity, terms=terms.record(), rows=rows, ways=ways_of(logs))


def ways_of(logs: Sequence[RaceLog]) -> list[int]:
    """Number the games of a match, the races of two logs in turn, by what was driven in them: equal ones alike."""
    games = [(log, race) for race in range(len(logs[0].who)) for log in logs]
    driven = [log.telemetry[:, race][~np.isnan(log.distance[:, race])].tobytes() for log, race in games]
    known = {way: number for number, way in enumerate(dict.fromkeys(driven))}
    return [known[way] for way in driven]


def match_file(folder: Path, key: str) -> Path:
    """Where a match is kept, in the folder of all."""
    return folder / f"{key[:32]}.json"


def keep_match(folder: Path, match: Match) -> Path:
    """Write a match to the folder of all, made if missing; returns its file."""
    columns = {name: [row[name] for row in match.rows] for name in match.rows[0]}
    folder.mkdir(parents=True, exist_ok=True)
    path = match_file(folder, match.key)
    write_json(path, {"schema": SCHEMA, **asdict(replace(match, rows=[])), "rows": columns})
    return path


def kept_match(folder: Path, a: str, b: str, terms: Mapping[str, Any]) -> Match | None:
    """The match of a and b on these terms, as it was kept; None if there is none, or its file is damaged."""
    try:
        found = read_json(match_file(folder, match_key(a, b, terms)))
        columns = found["rows"]
        rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
        match = Match(a=found["a"], b=found["b"], terms=found["terms"], rows=rows, ways=found["ways"])
        whole = found["schema"] == SCHEMA and match.key == match_key(a, b, terms) and len(rows) == 2 * terms["games"]
        match.meeting(0, 1)
    except (KeyError, TypeError, ValueError, AttributeError, OSError):
        return None
    if not whole:
        return None
    return match if match.a == a else match.swapped()
