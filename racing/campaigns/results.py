"""The files of a campaign's validation, each written whole:

results.json   schema_version, campaign, entries, pairs (each match from both sides), ratings (of all tracks, of each),
               winners, regret (of the generalist: its lap ratio alone minus the specialist's, by track), terms, spent
summary.txt    the same for people
config.toml    what the campaign is made of
matrix.csv     win shares of rows against columns on all tracks, the best first; matrix.png: a picture of it

All but `spent` (times and costs) is the same whoever drove it, in what order.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from racing.campaigns.plan import GENERALIST, Campaign, home_among
from racing.campaigns.training import Trained
from racing.campaigns.validation import Validated
from racing.campaigns.winners import Winner, find_winners
from racing.files import read_json, write_atomic, write_json
from racing.league.picture import matrix_picture
from racing.league.table import matrix_csv

SCHEMA = 1  # of results.json
FILES = ("results.json", "summary.txt", "config.toml", "matrix.csv", "matrix.png")
ALL = "all"  # ratings of all tracks together
CLOSE = 0.1  # win shares that a hundred games tell apart


def results_of(campaign: Campaign, trained: Sequence[Trained], validated: Validated) -> dict[str, Any]:
    """What results.json holds, but for `spent`."""
    anchor, tracks = campaign.validation.line, campaign.validation.tracks
    winners = find_winners(trained, validated, anchor)
    ratings = {ALL: validated.ratings(anchor)} | {track: validated.ratings(anchor, track) for track in tracks}
    rows = {
        place: [{"name": name, **asdict(rating)} for name, rating in sorted(found.items(), key=lambda r: -r[1].value)]
        for place, found in ratings.items()
    }
    return {
        "schema_version": SCHEMA,
        "campaign": campaign.name,
        "entries": [_entry(one, validated, tracks) for one in trained],
        "pairs": list(validated.pairs()),
        "ratings": rows,
        "winners": [asdict(winner) | {"tracks": list(winner.tracks)} for winner in winners],
        "regret": regret(winners, validated),
        "terms": asdict(campaign.validation) | {"tracks": list(tracks)},
    }


def _entry(one: Trained, validated: Validated, tracks: Sequence[str]) -> dict[str, Any]:
    alone = {track: found.get(one.entry.name) for track, found in validated.alone.items()}
    config, summary = one.run.config, one.run.summary
    return {
        "name": one.entry.name,
        "run": one.run.name,
        "run_id": one.run.mlflow.get("run_id", ""),
        "sha256": hashlib.sha256(one.policy.read_bytes()).hexdigest(),
        "algo": str((config.get("algo") or {}).get("_target_", "")).rpartition(".")[2].removeprefix("make_"),
        "home": home_among(config, tracks),
        "steps": summary.get("total_steps") or summary.get("steps"),
        "alone": alone,
    }


def regret(winners: Sequence[Winner], validated: Validated) -> dict[str, float]:
    """By track, the best generalist's lap ratio alone minus the best specialist's, where both have one."""
    general = [winner.name for winner in winners if winner.role == GENERALIST]
    out = {}
    for winner in winners:
        track = winner.tracks[0]
        told = [validated.alone[track].get(name, {}).get("lap_ratio") for name in (*general[:1], winner.name)]
        ratios = [ratio for ratio in told if ratio is not None]
        if winner.role != GENERALIST and len(ratios) == 2:
            out[track] = round(ratios[0] - ratios[1], 6)
    return out


def write_results(
    campaign: Campaign, trained: Sequence[Trained], validated: Validated, spent: Mapping[str, Any]
) -> bool:
    """Write FILES; False if they hold the same already. spent: times and costs."""
    found = json.loads(json.dumps(results_of(campaign, trained, validated)))
    folder = campaign.results
    before = known_results(campaign)
    same = {key: value for key, value in before.items() if key != "spent"} == found
    order = [row["name"] for row in found["ratings"][ALL]]  # nobody, where one is alone
    if same and all((folder / name).is_file() for name in FILES if order or name != "matrix.png"):
        return False
    folder.mkdir(parents=True, exist_ok=True)
    shares = validated.shares()
    write_atomic(folder / "matrix.csv", matrix_csv(order, shares))
    write_atomic(folder / "config.toml", toml(campaign.record()))
    write_atomic(folder / "summary.txt", summary_text(found | {"spent": dict(spent)}))
    if order:
        rated = [
            {"name": row["name"], "rating": row["value"], "rating_low": row["low"], "rating_high": row["high"]}
            for row in found["ratings"][ALL]
        ]
        rules = campaign.validation
        facts = [", ".join(rules.tracks), f"{rules.games} games of {rules.laps} laps on each"]
        matrix_picture(rated, shares, folder / "matrix.png", facts=facts)
    write_json(folder / "results.json", found | {"spent": dict(spent)})  # the last one: whoever sees it sees all
    return True


def known_results(campaign: Campaign) -> dict[str, Any]:
    """results.json as it is; {} where there is none, or it is damaged."""
    try:
        return read_json(campaign.results / "results.json")
    except (OSError, ValueError):
        return {}


def summary_text(found: Mapping[str, Any]) -> str:
    """summary.txt. found: what results.json holds."""
    terms = found["terms"]
    lines = [f"campaign {found['campaign']}", ""]
    several = len(terms["tracks"]) > 1
    for place, rows in found["ratings"].items():
        if place == ALL and not several:  # the same as that of the track
            continue
        title = f"all {len(terms['tracks'])} tracks" if place == ALL else place
        lines += [f"ratings, {title}"] if rows else []
        lines += [f"  {row['value']:6.0f}  ({row['low']:.0f} .. {row['high']:.0f})  {row['name']}" for row in rows]
    lines += ["", "alone: finish rate, lap ratio"]
    for entry in found["entries"]:
        for track, alone in entry["alone"].items():
            if alone is not None:
                ratio = "-" if alone["lap_ratio"] is None else f"{alone['lap_ratio']:.3f}"
                lines.append(f"  {entry['name']:<20} {track:<16} {alone['finish_rate']:.2f}  {ratio}")
    lines += ["", "winners"]
    lines += [
        f"  {winner['role']:<12} {winner['name']:<20} {', '.join(winner['tracks'])}" for winner in found["winners"]
    ]
    lines += [
        f"  the generalist laps {value:+.3f} against the specialist of {track}"
        for track, value in found["regret"].items()
    ]
    spent = ", ".join(f"{key} {value}" for key, value in found["spent"].items())
    lines += ["", f"spent: {spent}"]
    games = terms["games"] * max(1, len(terms["tracks"]))
    within = CLOSE * (100 / games) ** 0.5
    lines += [f"{games} games of two, on all tracks, tell win shares apart within about {within:.2f}"]
    return "\n".join(lines) + "\n"


def toml(content: Mapping[str, Any]) -> str:
    """Plain data as TOML, which has no null: keys of that value are left out."""
    plain: list[str] = []
    tables: list[str] = []

    def add(node: Mapping[str, Any], name: str) -> None:
        own = {key: value for key, value in node.items() if value is not None and not isinstance(value, Mapping)}
        lines = [f"{json.dumps(key)} = {json.dumps(value)}" for key, value in own.items()]
        (tables if name else plain).extend([*([f"\n[{name}]"] if name and lines else []), *lines])
        for key, value in node.items():
            if isinstance(value, Mapping):
                add(value, f"{name}.{json.dumps(key)}" if name else json.dumps(key))

    add(content, "")
    return "\n".join([*plain, *tables]) + "\n"
