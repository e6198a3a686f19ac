"""The files of a suite of races: table, telemetry of every car, pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from racing.evaluation.race.driving import RACE_COLUMNS, RaceLog, race_columns
from racing.evaluation.race.result import write_races
from racing.evaluation.replay.replay import CHANNELS, REPLAY, ReplayCar, write_replay
from racing.evaluation.telemetry import CONDITION_COLUMNS, write_parquet
from racing.sim.records import Ending
from racing.sim.track import Track


def write_race_files(
    label: str,
    log: RaceLog,
    rows: Sequence[Mapping[str, Any]],
    names: Sequence[str],
    track: Track,
    folder: Path,
    *,
    telemetry: bool,
) -> list[Path]:
    """Write LABEL.csv, a row per car and race, and with telemetry LABEL.parquet, pictures, a replay; returns the paths.

    LABEL.parquet: racing.evaluation.race.driving.RaceLog.telemetry; `episode` is the number of the row in LABEL.csv.
    LABEL_positions.png: positions over time in the liveliest race, LABEL_replay.html: that race. LABEL_contacts.png:
    where cars touched, in all.
    rows: of racing.evaluation.race.result.car_rows. names: of the entrants.
    """
    sheet = folder / f"{label}.csv"
    write_races(rows, sheet)
    if not telemetry:
        return [sheet]
    from racing.evaluation.plots import COLOURS
    from racing.evaluation.race.plots import contacts_picture, positions_picture

    ends = (".parquet", "_positions.png", "_contacts.png", f"_{REPLAY}")
    table, positions, contacts, replay = (folder / f"{label}{end}" for end in ends)
    units = {**RACE_COLUMNS, **CONDITION_COLUMNS}
    write_parquet([telemetry_of_car(log, *place) for place in np.ndindex(*log.who.shape)], table, units)
    race = liveliest(log, rows)
    positions_picture(log, race, names, label, positions)
    contacts_picture(track, log, label, contacts)
    cars = [
        ReplayCar(
            name=names[int(log.who[race, car])],
            colour=COLOURS[car % len(COLOURS)],
            columns=_from_start(telemetry_of_car(log, race, car)),
            note=Ending(log.ended[race, car]).label.replace("_", " "),
        )
        for car in range(log.who.shape[1])
    ]
    write_replay(replay, track, cars, label, [f"race {race + 1} of {len(log.who)}", "the one with most overtakes"])
    return [sheet, table, positions, contacts, replay]


def _from_start(table: Mapping[str, Any]) -> dict[str, Any]:
    """What a replay shows: without the place on the lap, over which several laps would lie on each other."""
    columns = {name: table[name] for name in CHANNELS if name != "s"}
    return columns | {"yaw": np.unwrap(columns["yaw"])}


def liveliest(log: RaceLog, rows: Sequence[Mapping[str, Any]]) -> int:
    """The race with most overtakes; of several the one with most contacts, then the first."""
    score = np.zeros((len(log.who), 2))
    for row in rows:
        score[row["race"]] += row["overtakes"], row["contacts"]
    return int(np.lexsort((-score[:, 1], -score[:, 0]))[0])


def telemetry_of_car(log: RaceLog, race: int, car: int) -> dict[str, Any]:
    """Columns of a car's race, start to end: time_s [s] and those of its telemetry."""
    way = log.telemetry[: log.steps[race, car] + 1, race, car]
    time = (np.arange(len(way)) * log.step_dt).astype(np.float32)
    return {"time_s": time} | race_columns(way)
