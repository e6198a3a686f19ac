"""What a campaign has found, in its run in MLflow: that of its trainings' sweep, the parent of the entries' runs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from racing.campaigns.plan import Campaign
from racing.campaigns.results import ALL, FILES
from racing_launchers.sweep import Sweep
from racing_launchers.sweep_record import SweepRun


def record(campaign: Campaign, found: Mapping[str, Any], deployed: Mapping[str, Any] | None = None) -> bool:
    """Append results to the journal, and wait until MLflow has them; False if it has not yet.

    found: what results.json holds. deployed: what deployment.json does.
    """
    sweep = Sweep(campaign.path)
    if not sweep.exists or not sweep.manifest.get("recorded"):
        return True
    run = SweepRun(sweep)
    with run:
        run.begin()
        tags = {"racing.campaign": campaign.choice}
        tags |= {f"racing.winner/{tracks(winner)}": winner["name"] for winner in found["winners"]}
        tags |= {f"racing.deployed/{name}": one["verdict"] for name, one in (deployed or {}).items()}
        run.note(tags, [f"validation/{name}" for name in FILES], "validation")
        run.end(sweep.jobs, figures(found))
    return run.complete


def tracks(winner: Mapping[str, Any]) -> str:
    """What a winner is best at, for the name of a tag."""
    return "generalist" if winner["role"] == "generalist" else safe(winner["tracks"][0])


def safe(name: str) -> str:
    """A name in MLflow's alphabet, as part of another one: a track may be a path."""
    return re.sub(r"[^A-Za-z0-9_.\- ]+", "_", name).strip("._") or "track"


def figures(found: Mapping[str, Any]) -> dict[str, float]:
    """Metrics: rating/ENTRY on all tracks, TRACK/rating/ENTRY, TRACK/win_share/A/B, TRACK/alone/..., spent/..."""
    out: dict[str, float] = {}
    for place, rows in found["ratings"].items():
        before = "" if place == ALL else f"{safe(place)}/"
        out |= {f"{before}rating/{safe(row['name'])}": row["value"] for row in rows}
    for pair in found["pairs"]:
        name = f"{safe(pair['track'])}/win_share/{safe(pair['a'])}/{safe(pair['b'])}"
        out[name] = pair["win_share"]
    for entry in found["entries"]:
        for track, alone in entry["alone"].items():
            known = {name: alone[name] for name in ("finish_rate", "lap_ratio") if alone and alone[name] is not None}
            out |= {f"{safe(track)}/alone/{name}/{safe(entry['name'])}": value for name, value in known.items()}
    spent = {name: value for name, value in found["spent"].items() if isinstance(value, int | float)}
    return out | {f"spent/{name}": value for name, value in spent.items()}
