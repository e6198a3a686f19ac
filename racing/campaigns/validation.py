"""Every two entries of a campaign race on every track, and each drives alone; what is kept is not repeated."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

from racing.campaigns.drives import Drive, Driver, drive_of, prepare
from racing.campaigns.driving import Estimate, drive_all, estimate
from racing.campaigns.plan import Campaign
from racing.campaigns.training import Trained
from racing.league.match import Contender, Match
from racing.league.ratings import Meeting, Rating, rate, win_share
from racing.league.table import match_rows


@dataclass
class Validated:
    """What was driven. matches: by track, then numbers a < b of the drivers. alone: by track, then name."""

    drivers: Sequence[Driver]
    contenders: Sequence[Contender]
    matches: dict[str, dict[tuple[int, int], Match]]
    alone: dict[str, dict[str, dict[str, Any]]]
    spent: dict[str, Any] = field(default_factory=dict)

    def meetings(self, track: str | None = None) -> list[Meeting]:
        """What ratings need, of one track or all."""
        tracks = self.matches if track is None else [track]
        return [match.meeting(a, b) for name in tracks for (a, b), match in self.matches[name].items()]

    def ratings(self, anchor: str | None, track: str | None = None) -> dict[str, Rating]:
        """By name. anchor: of the drivers."""
        names = [driver.name for driver in self.drivers]
        found = self.meetings(track)
        if not found:
            return {}
        number = names.index(anchor) if anchor in names else None
        return dict(zip(names, rate(found, len(names), number), strict=True))

    def pairs(self) -> Iterator[dict[str, Any]]:
        """A row for each match, from both sides; see racing.league.table.match_rows."""
        for track, matches in self.matches.items():
            for a, b in matches:
                sides = {(a, b): matches[a, b], (b, a): matches[a, b].swapped()}
                for row in match_rows(self.contenders, sides):
                    yield {"track": track, **row}

    def shares(self) -> dict[tuple[str, str], tuple[float, float, float]]:
        """Win share of each against each on all tracks, by names, with its 95 % interval."""
        met: dict[tuple[int, int], list[Meeting]] = {}
        for matches in self.matches.values():
            for (a, b), match in matches.items():
                met.setdefault((a, b), []).append(match.meeting(a, b))
                met.setdefault((b, a), []).append(match.swapped().meeting(b, a))
        names = [driver.name for driver in self.drivers]
        return {(names[a], names[b]): win_share(found) for (a, b), found in met.items()}


def drives_of(campaign: Campaign, trained: Sequence[Trained], only: str | None = None) -> list[Drive]:
    """All that is to be driven; on each track those alone, then the matches. only: of this entry alone."""
    rules, out = campaign.validation, []
    entries = [Driver(name=one.entry.name, spec=str(one.run.path)) for one in trained]
    anchors = [] if rules.line is None else [Driver(name=rules.line, spec=rules.line)]
    for track in rules.tracks:
        groups: list[tuple[Driver, ...]] = [*((driver,) for driver in entries), *combinations([*entries, *anchors], 2)]
        wanted = [who for who in groups if only is None or only in [driver.name for driver in who]]
        out += [drive_of(who, track, rules, campaign.outputs) for who in wanted]
    return out


def validate(
    campaign: Campaign, trained: Sequence[Trained], sequential: bool | str, only: str | None = None
) -> Validated:
    """Drive what is not kept, and gather all. sequential, only: see conf/verbs/campaign.yaml, `drives_of`.

    Raises InputError for entries that cannot meet, before anything is driven.
    """
    found: dict[Drive, Any] = {}
    missing: dict[str, Drive] = {}
    identities: dict[str, Contender] = {}
    every = drives_of(campaign, trained)
    wanted = set(drives_of(campaign, trained, only))
    for one in every:
        prepared = prepare(one)
        for contender in getattr(prepared, "contenders", ()):
            identities[contender.name] = contender
        found[one] = prepared.result()
        if found[one] is None and one in wanted:
            missing.setdefault(prepared.key, one)
    spent = drive_missing(list(missing.values()), len(every), sequential)
    for one in every:
        if found[one] is None and one in wanted:
            found[one] = prepare(one).result()
    return gathered(campaign, trained, found, identities, spent)


def drive_missing(missing: Sequence[Drive], count: int, sequential: bool | str) -> dict[str, Any]:
    """Say how long it takes, drive, say how long it took. count: of all. Returns what was spent."""
    if not missing:
        print(f"validation: all {count} matches and drives alone are kept", flush=True)
        return {"driven": 0}
    planned: Estimate = estimate(missing, sequential)
    print(f"validation: {count - len(missing)} of {count} kept; {planned.text()}", flush=True)
    took = drive_all(missing, planned.processes)
    print(f"driven in {took:.0f} s", flush=True)
    spent = {"driven": len(missing), "games": planned.games, "processes": planned.processes}
    return spent | {"estimate_s": round(planned.duration, 2), "actual_s": round(took, 2)}


def gathered(
    campaign: Campaign,
    trained: Sequence[Trained],
    found: Mapping[Drive, Any],
    identities: Mapping[str, Contender],
    spent: dict[str, Any],
) -> Validated:
    """Sort results by track and driver."""
    names = list(identities) or [one.entry.name for one in trained]
    order = [one.entry.name for one in trained] + [name for name in names if name == campaign.validation.line]
    specs = {driver.name: driver.spec for one in found for driver in one.who}
    drivers = [Driver(name=name, spec=specs[name]) for name in order]
    number = {name: k for k, name in enumerate(order)}
    tracks = campaign.validation.tracks
    out = Validated(drivers, [identities[name] for name in order if name in identities], {}, {}, spent)
    out.matches, out.alone = {track: {} for track in tracks}, {track: {} for track in tracks}
    for one, result in found.items():
        if result is None:
            continue
        if len(one.who) == 1:
            out.alone[one.track][one.who[0].name] = result
        else:
            out.matches[one.track][number[one.who[0].name], number[one.who[1].name]] = result
    return out
