"""What validation drives: matches of two, and each entry alone. All that is driven is kept, and never driven twice.

Each is prepared of plain data, so that a process beside ours drives the same; its result is a file of
`<outputs>/matches`, named by what it depends on: the policies' sha256, the track, the car, the rules.
"""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from racing import __version__
from racing.campaigns.plan import Validation
from racing.errors import InputError
from racing.evaluation.evaluate import Diverged, Task, evaluate
from racing.evaluation.seeds import TEST_SEEDS
from racing.files import read_json, write_json
from racing.league.contenders import find_contenders
from racing.league.estimate import drive, estimate_match
from racing.league.match import (
    Contender,
    Match,
    Terms,
    geometry_sha256,
    keep_match,
    kept_match,
    match_file,
    match_key,
    senses_of,
)
from racing.policies.loading import LoadedPolicy, evaluation_task_for, load_policy, tracks_and_vehicle
from racing.sim.track import Track
from racing.tracks.catalog import load_tracks
from racing.tracks.reference_lap import reference_lap

SCHEMA = 1  # of the file of one who drives alone
MATCHES = "matches"  # in the outputs folder; those of racing compare, too
ALONE = ("finish_rate", "finish_rate_low", "finish_rate_high", "lap_time_s", "lap_ratio", "off_track_m")


@dataclass(frozen=True, kw_only=True)
class Driver:
    """Who takes part. name: in the campaign. spec: an ONNX file, or line@PACE."""

    name: str
    spec: str


@dataclass(frozen=True, kw_only=True)
class Drive:
    """Something to be driven on a track: a match of two drivers, or one alone. number of games, or of starts."""

    who: tuple[Driver, ...]
    track: str
    number: int
    laps: int
    start: str
    seed: int
    outputs: Path

    @property
    def kept(self) -> Path:
        """Folder of all results."""
        return self.outputs / MATCHES

    @property
    def title(self) -> str:
        """For people: who drives where."""
        return f"{' - '.join(driver.name for driver in self.who)} on {self.track}"


def drive_of(who: tuple[Driver, ...], track: str, validation: Validation, outputs: Path, games: int = 0) -> Drive:
    """A drive as a campaign's validation has it. games: of a match, 0: as many as it says."""
    number = (games or validation.games) if len(who) > 1 else validation.episodes
    size = {"laps": validation.laps, "start": validation.start, "seed": validation.seed}
    return Drive(who=who, track=track, number=number, outputs=outputs, **size)  # type: ignore[arg-type]


@dataclass
class Prepared(ABC):
    """A drive whose files are read. key: names all that its result depends on."""

    drive: Drive
    key: str

    @property
    def file(self) -> Path:
        """Where its result is kept."""
        return match_file(self.drive.kept, self.key)

    @abstractmethod
    def result(self) -> Any:
        """The result as it was kept; None if it is not, or damaged."""

    @abstractmethod
    def run(self) -> None:
        """Drive, and keep the result. Raises InputError for a policy whose actions are no numbers."""

    @abstractmethod
    def estimate(self) -> tuple[float, float]:
        """How long it takes [s], and decisions/s."""


@dataclass
class PreparedMatch(Prepared):
    """A match of two."""

    contenders: tuple[Contender, Contender]
    terms: Terms

    def result(self) -> Match | None:
        """See Prepared: told from the first one's side."""
        a, b = self.contenders
        return kept_match(self.drive.kept, a.identity, b.identity, self.terms.record())

    def run(self) -> None:
        """See Prepared."""
        keep_match(self.drive.kept, drive(*self.contenders, self.terms))

    def estimate(self) -> tuple[float, float]:
        """See Prepared; from about a second."""
        return estimate_match(*self.contenders, self.terms)


@dataclass
class PreparedAlone(Prepared):
    """A policy that has the road for itself."""

    policy: LoadedPolicy
    task: Task
    reference: float

    def result(self) -> dict[str, Any] | None:
        """See Prepared: ALONE."""
        try:
            found = read_json(self.file)
            whole = found.get("schema") == SCHEMA and found["key"] == self.key and set(found["alone"]) == set(ALONE)
        except (ValueError, KeyError, TypeError, OSError):
            return None
        return dict(found["alone"]) if whole else None

    def run(self) -> None:
        """See Prepared."""
        try:
            summary = evaluate(self.policy.predict, self.task, [self.reference], telemetry=False).summary
        except Diverged as error:
            raise InputError(f"{self.drive.who[0].name}: {error}") from error
        self.drive.kept.mkdir(parents=True, exist_ok=True)
        alone = {name: summary.get(name) for name in ALONE}
        write_json(self.file, {"schema": SCHEMA, "key": self.key, "alone": alone})

    def estimate(self) -> tuple[float, float]:
        """See Prepared. It is little beside the matches."""
        return 0.0, 0.0


def prepare(one: Drive, threads: int = 1) -> Prepared:
    """Read the policies and the track. threads: of the world. Raises InputError for policies that cannot meet."""
    return _prepared_alone(one, threads) if len(one.who) == 1 else _prepared_match(one, threads)


@cache
def read_track(name: str) -> Track:
    """A track by its name or path, read once: that takes longest of all. Raises InputError."""
    (track,) = load_tracks(name)
    return track


def _prepared_match(one: Drive, threads: int) -> PreparedMatch:
    found, place = find_contenders([driver.spec for driver in one.who], one.outputs, read_track(one.track))
    named = [replace(contender, name=driver.name) for contender, driver in zip(found, one.who, strict=True)]
    size: Mapping[str, Any] = {"games": one.number, "laps": one.laps, "seed": one.seed, "start": one.start}
    terms = Terms(place=place, threads=threads, **size)
    key = match_key(named[0].identity, named[1].identity, terms.record())
    return PreparedMatch(one, key, (named[0], named[1]), terms)


def _prepared_alone(one: Drive, threads: int) -> PreparedAlone:
    policy = load_policy(one.who[0].spec, one.outputs)
    tracks, vehicle = tracks_and_vehicle(policy, read_track(one.track))
    reference = reference_lap(tracks[0], vehicle).time_s
    size = {"races": one.number, "laps": one.laps, "seed": TEST_SEEDS + one.seed}
    task = evaluation_task_for(policy, tracks, vehicle, [reference], threads=threads, **size)
    facts = {
        "schema": SCHEMA,
        "racing": __version__,
        "alone": policy.sha256,
        "track": [tracks[0].name, geometry_sha256(tracks[0])],
        "vehicle": asdict(vehicle),
        "env": senses_of(policy.config["env"]),
        "reference_lap_s": round(reference, 6),
        **size,
    }
    key = hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()
    return PreparedAlone(one, key, policy, task, reference)
