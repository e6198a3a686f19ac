"""Who takes part in matches, where, and whether they can meet: policies by what they observe, line followers."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from racing.errors import InputError, require
from racing.evaluation.race.driving import line_entrant, policy_entrant, race_task
from racing.evaluation.race.suites import Place
from racing.league.match import Contender, rules_of, senses_of
from racing.observations import VECTOR, shapes_of
from racing.policies.loading import LoadedPolicy, batch_text, load_policy, tracks_and_vehicle, vehicle_of
from racing.policies.opponents import check_sensors
from racing.policies.scored import is_scored_policy
from racing.sim.track import Track
from racing.tracks.reference_lap import reference_lap

LINE = re.compile(r"line@(\d*\.?\d+)")
PACES = 0.3, 1.0  # of a line follower, lowest and highest


def find_contenders(
    specs: Sequence[str], outputs: Path, track: str | Track | None = None, *, trust: bool = False
) -> tuple[list[Contender], Place]:
    """The contenders that `specs` mean, in their order, and where they meet.

    specs: what `load_policy` takes, or line@PACE, a follower of the optimal lap's line; at least one is a policy.
    track: name or path, or one that is read; None: the policies' own.
    trust: see `load_policy`.

    They meet in the environment of the policy that observes most, of those that remember theirs; of several the first.
    The others observe what it does, or its sensors alone.
    Raises InputError for what is none, and for policies that cannot meet.
    """
    paces = [pace_of(spec) for spec in specs]
    policies = {k: load_policy(spec, outputs, trust=trust) for k, spec in enumerate(specs) if paces[k] is None}
    for policy in policies.values():
        rule = f"matches are of cars on tracks, policy {policy.name} drives none"
        require(not is_scored_policy(policy), f"{rule}; racing evaluate run=[...] says what each costs")
    require(len(policies) > 0, f"run must name a policy, got {', '.join(specs)}; add a run or a file")
    lead = max(policies.values(), key=lambda policy: (bool(policy.config.get("env")), _size(policy)))
    tracks, vehicle = tracks_and_vehicle(lead, track)
    require(len(tracks) == 1, f"track must be one to race on, got {len(tracks)}; name one by track=")
    place = Place(
        track=tracks[0],
        vehicle=vehicle,
        reference=reference_lap(tracks[0], vehicle).time_s,
        env=lead.config["env"],
    )
    for policy in policies.values():
        _check(policy, lead, place, own_track=track is None)
    sizes = _sizes(policies, lead, place)
    found: list[Contender] = []
    for k, spec in enumerate(specs):
        pace = paces[k]
        name = canonical(spec) if pace is not None else policies[k].name
        again = 1 + sum(re.sub(r" #\d+$", "", one.name) == name for one in found)
        name = f"{name} #{again}" if again > 1 else name
        if pace is not None:
            found.append(Contender(name=name, identity=canonical(spec), entrant=line_entrant(pace)))
            continue
        entrant = policy_entrant(name, policies[k].predict, sizes[k])
        found.append(Contender(name=name, identity=policies[k].sha256, entrant=entrant))
    return found, place


def pace_of(spec: str) -> float | None:
    """The pace of line@PACE; None for others. Raises InputError for a pace that no follower has."""
    found = LINE.fullmatch(spec)
    require(found is not None or not spec.startswith("line@"), f"{spec} must be line@PACE; e.g. line@0.85")
    if found is None:
        return None
    low, high = PACES
    pace = float(found[1])
    require(low <= pace <= high, f"{spec} must have a pace in [{low:g}, {high:g}] of the optimal lap's; e.g. line@0.85")
    return pace


def canonical(spec: str) -> str:
    """A spec as it is always written: line@0.850 and line@.85 are line@0.85."""
    pace = pace_of(spec)
    return spec if pace is None else f"line@{pace:g}"


def _size(policy: LoadedPolicy) -> int:
    """How many numbers it observes."""
    return sum(math.prod(shape) for shape in policy.shapes.values())


def _check(policy: LoadedPolicy, lead: LoadedPolicy, place: Place, *, own_track: bool) -> None:
    """Raise InputError if a policy was trained with another car, on another track (own_track), or under other rules."""
    vehicle, track, env = vehicle_of(policy), policy.config.get("track"), policy.config.get("env") or {}
    if vehicle is not None:
        _require_same("vehicle.", asdict(vehicle), asdict(place.vehicle), policy, lead)
    same = not own_track or track is None or track == lead.config["track"]
    require(same, f"run: {policy.name} and {lead.name} have tracks of their own; name the one to race on by track=")
    if "race" in env and "race" in place.env:
        _require_same("env.race.", rules_of(env), rules_of(place.env), policy, lead)
    if policy.shapes == lead.shapes and env:
        _require_same("env.", senses_of(env), senses_of(place.env), policy, lead)


def _require_same(
    group: str, theirs: Mapping[str, Any], own: Mapping[str, Any], policy: LoadedPolicy, lead: LoadedPolicy
) -> None:
    """Raise InputError where a group of a policy's configuration differs from the lead's, in keys that both have."""
    for key in own:
        if theirs.get(key, own[key]) != own[key]:
            differs = f"its {group}{key} is {theirs[key]}, not {own[key]}"
            rule = f"run: {policy.name} must have the car and environment of {lead.name}, {differs}"
            raise InputError(f"{rule}; compare policies that were trained alike")


def _sizes(policies: Mapping[int, LoadedPolicy], lead: LoadedPolicy, place: Place) -> dict[int, int | None]:
    """How many of the observation's values each policy reads, None for all. Raises InputError where it can't."""
    size = {"races": 1, "cars": 2, "start": "grid", "laps": 1, "seed": 0, "reference": place.reference}
    try:
        probe: Any = race_task(place.env, place.track, place.vehicle, **size)  # type: ignore[arg-type]
    except TypeError as error:  # a keyword that this version does not know
        message = f"policy {lead.name}: its env does not fit this version, {error}; train it again"
        raise InputError(message) from error
    given, alone = shapes_of(probe.observation_space), getattr(probe, "size_alone", None)
    gives = f"reads observations {batch_text(lead.shapes)}, its environment gives {batch_text(given)}"
    require(lead.shapes == given, f"policy {lead.name} {gives}; export it again")
    out: dict[int, int | None] = {}
    for k, policy in policies.items():
        rule = f"run: {policy.name} must observe what {lead.name} does, {batch_text(given)}"
        rule += f", or its sensors alone, {batch_text({VECTOR: (alone,)})}" if alone is not None else ""
        fits = policy.shapes in (given, {VECTOR: (alone,)})
        require(fits, f"{rule}, got {batch_text(policy.shapes)}; compare policies that observe the same")
        out[k] = None if policy.shapes == given else alone
        if out[k] is not None:
            check_sensors(policy, place.env, "run")
    return out
