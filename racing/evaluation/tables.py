"""What an evaluation of laps reports, as lines and tables for people."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from racing.runs.metrics import LAPS, SCORE

ROWS = {  # of the table -> digits
    "finish_rate": 3,
    "lap_time_s": 2,
    "lap_ratio": 3,
    "limit_ratio": 3,
    "off_track_m": 1,
    "max_lateral_g": 2,
    "mean_speed": 2,
    "mean_steps": 1,
    "mean_gates": 1,
    "steering_change": 3,
    "steering_spectrum": 4,
    "mean_lap_s": 2,  # this and those below: where something changes while cars drive
    "degradation_s": 3,
    "tyre_wear": 2,
    "fuel_kg": 2,
    "damage": 2,
    "reward": 2,
}


def episode_line(episode: Mapping[str, Any]) -> str:
    """One episode as a line of fixed columns."""
    lap = f"{episode['lap_time_s']:8.2f} s" if episode["lap_time_s"] is not None else "       - s"
    return (
        f"{episode['episode']:5d}  {episode['track']:<14}  reward {episode['reward']:8.2f}"
        f"  steps {episode['steps']:6d}  gates {episode['gates']:4d}  laps {episode['laps']:2d}"
        f"  lap {lap}  {episode['ended']}"
    )


def print_table(summary: Mapping[str, Any], policy: str) -> None:
    """The averages with their 95 % intervals, as a table."""
    heading = f"{policy}: {summary['episodes']} starts, {summary['vehicle']} ({summary['tyre_model']} tyres)"
    table = Table("", "mean", "95 % interval", "best", title=heading, title_justify="left")
    for column in table.columns[1:]:
        column.justify = "right"

    def add(label: str, values: Mapping[str, Any], key: str, digits: int) -> None:
        ends = [values.get(f"{key}_{end}") for end in ("low", "high", "best")]
        low, high, best = ("" if end is None else f"{end:.{digits}f}" for end in ends)
        mean = "-" if values[key] is None else f"{values[key]:.{digits}f}"
        table.add_row(label, mean, f"{low} .. {high}" if low else "", best)

    for key, digits in ROWS.items():
        if key in summary:
            add(key, summary, key, digits)
    for term, value in summary["reward_terms"].items():
        if value:
            add(f"  {term}", {term: value}, term, 2)
    for name, values in summary.get("per_track", {}).items():
        table.add_section()
        for key in LAPS:
            add(f"{name} {key}", values, key, ROWS[key])
    console = Console(soft_wrap=True)
    console.print(table)
    endings = ", ".join(f"{name.replace('_', ' ')} {count}" for name, count in summary["endings"].items())
    print(f"endings: {endings}")


def print_several(results: Sequence[tuple[str, Mapping[str, Any]]]) -> None:
    """One row for each policy, and of several tracks for each of them: who drives best where.

    results: name and averages of each.
    """
    rows = [
        (name, track, values)
        for name, summary in results
        for track, values in ({"": summary} | summary.get("per_track", {})).items()
    ]
    names = [name for name in (*LAPS, SCORE) if any(values.get(name) is not None for *_, values in rows)]
    table = Table("", "track", *(name.replace("_", " ") for name in names), title="all", title_justify="left")
    table.columns[0].overflow = "fold"  # names are there to be copied: never cut
    for column in table.columns[2:]:
        column.justify = "right"
    for policy, track, values in rows:
        cells = ["-" if values.get(name) is None else f"{values[name]:.{ROWS.get(name, 1)}f}" for name in names]
        several = "all" if values.get("per_track") else ", ".join(values.get("tracks", []))
        table.add_row(policy, track or several, *cells)
    Console(width=None if sys.stdout.isatty() else 200).print(table)
