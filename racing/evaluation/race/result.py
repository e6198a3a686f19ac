"""What races say of each entrant: places, overtakes, contacts, with 95 % intervals."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from racing.evaluation.intervals import difference_interval, mean_interval, wilson
from racing.evaluation.race.driving import RaceLog, incident_points, order_of, overtakes, race_columns
from racing.files import write_atomic
from racing.sim.records import Ending

Array = npt.NDArray[Any]
OUT = (Ending.OFF_TRACK, Ending.STALLED, Ending.WRONG_WAY, Ending.RETIRED)


def car_rows(log: RaceLog, names: Sequence[str], reference: float | None = None) -> list[dict[str, Any]]:
    """One dict for each car of each race.

    names: of the entrants. reference: reference lap [s].

    race, car (slot), entrant, grid (starting place from 1), position (at the end), ended
    (racing.sim.records.Ending.label), finished (neither left the road nor gave up), time_s (None if it did not come
    home), lap_time_s (mean flying lap) and its lap_ratio, distance_m; overtakes and overtaken; contacts, at_fault (sum
    of the blame for them), incident_points, closing (fastest [m/s]); presence (share of steps with another car near);
    where something changes while cars drive, tyre_wear, fuel_kg and damage at the end; randomize_NAME of what was drawn
    for it.
    """
    order, (made, lost) = order_of(log), overtakes(log)
    points, touches, rows = incident_points(log), log.contacts, []
    for r, c in np.ndindex(*log.who.shape):
        mine = (touches["race"] == r) & (touches["car"] == c)
        laps, time = log.laps[r][c], float(log.time[r, c])
        lap = float(np.mean(laps)) if laps else None
        rows.append(
            {
                "race": r,
                "car": c,
                "entrant": names[int(log.who[r, c])],
                "grid": int(log.place[r, c]) + 1,
                "position": int(order[r, c]),
                "ended": Ending(int(log.ended[r, c])).label,
                "finished": bool(log.ended[r, c] not in OUT),
                "time_s": time if np.isfinite(time) else None,
                "lap_time_s": lap,
                "lap_ratio": lap / reference if lap and reference else None,
                "distance_m": float(log.driven[r, c]),
                "overtakes": int(made[r, c]),
                "overtaken": int(lost[r, c]),
                "contacts": int(mine.sum()),
                "at_fault": float(touches["blame"][mine].sum()),
                "incident_points": int(points[mine].sum()),
                "closing": float(touches["closing"][mine].max(initial=0)),
                "presence": float(log.near[r, c] / max(log.steps[r, c], 1)),
                **_condition(log, r, c),
                **{f"randomize_{name}": float(values[r, c]) for name, values in log.drawn.items()},
            }
        )
    return rows


def _condition(log: RaceLog, race: int, car: int) -> dict[str, float]:
    """How a car was at the end; empty where nothing changes."""
    last = race_columns(log.telemetry[log.steps[race, car], race, car])
    names = {"tyre_wear": "tyre_wear", "fuel": "fuel_kg", "damage": "damage"}
    return {new: float(last[name]) for name, new in names.items() if name in last}


def summarise_races(
    rows: Sequence[dict[str, Any]], alone: Mapping[str, Sequence[float]] | None = None
) -> dict[str, dict[str, Any]]:
    """By entrant; NAME_low and NAME_high bound a 95 % interval, None where there is nothing to average.

    alone: laps [s] of entrants that had the road for themselves, by name.

    races, cars (in all of them); win_share (of the races that it took part in, by any of its cars) and finish_rate
    (Wilson); overtake_rate (share of its cars that overtook at least once), clean_rate (that were not at fault in any
    contact) and success_rate (that overtook, were not at fault and finished), likewise; position, overtakes, overtaken,
    lap_ratio (means of its cars, Student's t); time_lost_s (its cars' laps less those alone, [s] per lap, Welch's t);
    per km driven contacts_per_km, faults_per_km, incidents_per_km;
    closing_p95 [m/s] over its cars; presence (mean); damage (mean) and retired_rate, where cars take any.
    """
    out = {}
    for name in dict.fromkeys(row["entrant"] for row in rows):
        mine = [row for row in rows if row["entrant"] == name]
        races = sorted({row["race"] for row in mine})
        won = len({row["race"] for row in mine if row["position"] == 1})
        kilometres = max(sum(max(row["distance_m"], 0.0) for row in mine) / 1000, 1e-6)
        values: dict[str, Any] = {"races": len(races), "cars": len(mine)}
        values |= _rate("win_share", won, len(races))
        values |= _rate("finish_rate", sum(row["finished"] for row in mine), len(mine))
        values |= _rate("overtake_rate", sum(row["overtakes"] > 0 for row in mine), len(mine))
        values |= _rate("clean_rate", sum(row["at_fault"] == 0 for row in mine), len(mine))
        good = sum(row["overtakes"] > 0 and row["at_fault"] == 0 and row["finished"] for row in mine)
        values |= _rate("success_rate", good, len(mine))
        for key in ("position", "overtakes", "overtaken", "lap_ratio"):
            mean, low, high = mean_interval([row[key] for row in mine if row[key] is not None])
            values |= {key: mean, f"{key}_low": low, f"{key}_high": high}
        laps = [row["lap_time_s"] for row in mine if row["lap_time_s"] is not None]
        lost = difference_interval(laps, (alone or {}).get(name, ()))
        values |= dict(zip(("time_lost_s", "time_lost_s_low", "time_lost_s_high"), lost, strict=True))
        for key, counted in (("contacts", "contacts"), ("faults", "at_fault"), ("incidents", "incident_points")):
            values[f"{key}_per_km"] = sum(row[counted] for row in mine) / kilometres
        values["closing_p95"] = float(np.percentile([row["closing"] for row in mine], 95))
        values["presence"] = float(np.mean([row["presence"] for row in mine]))
        if "damage" in mine[0]:
            values["damage"] = float(np.mean([row["damage"] for row in mine]))
            values |= _rate("retired_rate", sum(row["ended"] == Ending.RETIRED.label for row in mine), len(mine))
        out[name] = values
    return out


def _rate(name: str, successes: int, trials: int) -> dict[str, float]:
    low, high = wilson(successes, trials)
    return {name: successes / trials, f"{name}_low": low, f"{name}_high": high}


def write_races(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Write one CSV row per car and race."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_atomic(path, text.getvalue())
