"""`racing compare` without match=true: the best lap of each driver over distance."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from string import ascii_uppercase
from typing import Any

import numpy as np

from racing.commands.compare.drivers import Driver, Place, find_drivers
from racing.commands.compare.matches import members
from racing.commands.compare.record import log_results
from racing.commands.options import made_folder, short_hash
from racing.evaluation.comparing.comparison import Comparison, compare_laps
from racing.evaluation.comparing.pictures import channels_picture, forces_picture, map_picture, style_of
from racing.evaluation.plots import speed_unit
from racing.evaluation.replay.laps import lap_car
from racing.evaluation.replay.replay import write_replay
from racing.files import write_json
from racing.runs.identity import flatten, identity
from racing.runs.journal import as_text
from racing.runs.paths import ComparisonPaths

SCHEMA = 1  # of comparison.json
SHOWN_KEYS = 10  # differing keys of the configurations that are printed; all are in the file
NOT_SHOWN = ("name",)
LETTERS = ascii_uppercase  # what drivers are called in tables, in their order
WIDE = 160  # columns that a table may take: a terminal wraps what it has not
LOGGED = ("lap_time_s", "gap_s", "top_speed", "least_speed", "max_lateral_g")  # metrics of log=true
WON = 3  # mini-sectors that are named as those where most of the time is won or lost


def compare_over_distance(options: Mapping[str, Any]) -> None:
    """Find the laps, compare, report. Raises InputError for drivers that cannot be compared."""
    specs = members(options["run"], Path(options["paths"]["outputs"]), halves=False)
    drivers, place = find_drivers(specs, options)
    found = compare_laps({driver.name: driver.lap for driver in drivers}, options["sectors"])
    differing = config_table(drivers)
    name = comparison_name(options, specs, place)
    paths = ComparisonPaths.named(Path(options["paths"]["outputs"]), name)
    paths = paths if options["out"] is None else ComparisonPaths(Path(options["out"]))
    made_folder(paths.folder)
    files = write_files(paths, found, drivers, place, differing)
    print_comparison(found, drivers, place, differing)
    for path in files:
        print(path)
    title = f"Best laps on {place.track.name} with {place.vehicle.name}"
    log_results(options, name, title, found.summary(), LOGGED, files)


def comparison_name(options: Mapping[str, Any], specs: Sequence[str], place: Place) -> str:
    """Name of a comparison, and of its folder: by who drove where."""
    asked = [list(specs), *(options[key] for key in ("track", "sectors", "episodes", "laps", "seed"))]
    return re.sub(r"[^\w.+\-]", "_", f"laps-{place.track.name}-{len(specs)}-{short_hash(asked)}")


def config_table(drivers: Sequence[Driver]) -> dict[str, list[str]]:
    """The keys in which the configurations of drivers who have one differ: what each has, '' for those without."""
    texts = [{key: as_text(value) for key, value in flatten(identity(driver.config)).items()} for driver in drivers]
    keys = dict.fromkeys(key for text in texts for key in text if key not in NOT_SHOWN)
    rows = {key: [text.get(key, "no such key") if text else "" for text in texts] for key in keys}
    return {key: row for key, row in rows.items() if len({cell for cell in row if cell}) > 1}


def write_files(
    paths: ComparisonPaths,
    found: Comparison,
    drivers: Sequence[Driver],
    place: Place,
    differing: Mapping[str, Sequence[str]],
) -> list[Path]:
    """Write results, tables, pictures and a replay; returns their paths."""
    rows = [row | {"lap_from": driver.source} for row, driver in zip(found.summary(), drivers, strict=True)]
    write_json(
        paths.results,
        {
            "schema_version": SCHEMA,
            "track": place.track.name,
            "length_m": place.track.length,
            "vehicle": place.vehicle.name,
            "drivers": rows,
            "sector_ends_m": [round(float(end), 3) for end in found.distance[found.bounds]],
            "sectors_s": {name: times.tolist() for name, times in zip(found.names, found.sectors, strict=True)},
            "config": {key: dict(zip(found.names, values, strict=True)) for key, values in differing.items()},
        },
    )
    title, facts = place.track.name, [f"{place.vehicle.name}, {place.vehicle.model} tyres"]
    cars = [lap_car(name, str(style_of(k)["color"]), lap) for k, (name, lap) in enumerate(found.laps.items())]
    return [
        paths.results,
        found.write(paths.channels),
        found.write_sectors(paths.sectors),
        channels_picture(found, title, paths.channels_picture, facts=facts),
        map_picture(found, place.track, title, paths.map_picture, facts=facts),
        forces_picture(found, title, paths.forces_picture, facts=facts),
        write_replay(paths.replay, place.track, cars, title, facts),
    ]


def print_comparison(
    found: Comparison, drivers: Sequence[Driver], place: Place, differing: Mapping[str, Sequence[str]]
) -> None:
    """Print who is how fast, where time is won, and how the configurations differ: about one screen."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console(width=WIDE)
    plain: dict[str, Any] = {"box": None, "pad_edge": False, "title_justify": "left"}
    scale, unit = speed_unit(found.channels["v"])
    title = f"{place.track.name}, {place.track.length:.0f} m, {place.vehicle.name}"
    table = Table("", "", title=escape(title), **plain)
    for name in ("lap [s]", "gap [s]", "fastest in", f"top [{unit}]", f"least [{unit}]", "lateral [g]", "braking"):
        table.add_column(escape(name), justify="right")
    table.add_column("lap of")
    for letter, row, driver in zip(LETTERS[: len(drivers)], found.summary(), drivers, strict=True):
        table.add_row(
            letter,
            escape(row["name"]),
            f"{row['lap_time_s']:.3f}",
            f"{row['gap_s']:+.3f}",
            f"{row['fastest_in']} of {len(found.bounds) - 1}",
            f"{row['top_speed'] * scale:.1f}",
            f"{row['least_speed'] * scale:.1f}",
            f"{row['max_lateral_g']:.2f}",
            f"{row['braking_share']:.0%}",
            escape(driver.source),
        )
    console.print(table)
    console.print(sector_table(found, plain))
    for line in verdicts(found):
        print(line)
    if not differing:
        return
    few = dict(list(differing.items())[:SHOWN_KEYS])
    more = f", {len(few)} of {len(differing)}; all in {ComparisonPaths(Path()).results}"
    title = f"\nconfigurations differ{more if len(few) < len(differing) else ''}"
    table = Table("", *LETTERS[: len(drivers)], title=title, **plain)
    for key, values in few.items():
        table.add_row(escape(key), *(escape(value if len(value) <= 40 else f"{value[:37]}...") for value in values))
    console.print(table)


def sector_table(found: Comparison, plain: Mapping[str, Any]) -> Any:
    """The mini-sectors in two columns of rows: place, time of the first driver, how much longer the others took."""
    from rich.markup import escape
    from rich.table import Table

    ends, letters = found.distance[found.bounds], LETTERS[: len(found.names)]
    head = ["", "from [m]", f"{letters[0]} [s]", *letters[1:]]
    table = Table(title="\nmini-sectors", **plain)
    for text in [*head, "  ", *head]:
        table.add_column(escape(text), justify="right")
    gaps = found.sectors - found.sectors[:1]

    def cells(k: int) -> list[str]:
        if k >= len(ends) - 1:
            return [""] * len(head)
        own = [f"{gap:+.3f}" for gap in gaps[1:, k]]
        return [str(k + 1), f"{ends[k]:.0f}", f"{found.sectors[0, k]:.3f}", *own]

    half = -(-(len(ends) - 1) // 2)
    for k in range(half):
        table.add_row(*cells(k), "", *cells(k + half))
    return table


def verdicts(found: Comparison) -> list[str]:
    """In words, for each driver but the first: how much faster or slower, and where most of it comes from."""
    lines = []
    for k in range(1, len(found.names)):
        gaps = found.sectors[k] - found.sectors[0]
        total = float(gaps.sum())
        sign = -1 if total < 0 else 1
        most = [int(s) for s in np.argsort(-sign * gaps)[:WON] if sign * gaps[s] > 0]
        share = float(gaps[most].sum())
        where = ", ".join(str(s + 1) for s in sorted(most))
        how = f"{abs(total):.3f} s {'faster' if sign < 0 else 'slower'} than {LETTERS[0]}"
        mostly = f"{share:+.3f} s of it in mini-sectors {where}" if most else "the same everywhere"
        lines.append(f"{LETTERS[k]} is {how}: {mostly}")
    return lines
