"""What a stint did to a car, and what that cost: where something changes while cars drive (racing.sim.conditions)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from racing.evaluation.intervals import named_mean

MEANS = ("mean_lap_s", "degradation_s", "tyre_wear", "fuel_kg", "damage")
LEAST_LAPS = 4  # of an episode that says how lap times change


def stint_facts(condition: Any, laps: Sequence[float]) -> dict[str, Any]:
    """What an episode's end and its lap times say.

    mean_lap_s: mean [s] of the laps but the first one, which began from the start. degradation_s: by how much [s] each
    lap was slower than the one before: the slope of a line through the same laps by least squares, without stops at the
    pit. tyre_wear, tyre_temperature [degrees C], fuel_kg, wetness, damage: at the end. pit_stops: their number.

    condition: the car's record then. laps: all lap times [s]. None where too few laps were driven.
    """
    flying = list(laps[1:])
    steady = len(laps) >= LEAST_LAPS and condition["stops"] == 0
    return {
        "mean_lap_s": float(np.mean(flying)) if flying else None,
        "degradation_s": float(np.polyfit(np.arange(len(flying)), flying, 1)[0]) if steady else None,
        "tyre_wear": float(condition["wear"]),
        "tyre_temperature": float(condition["temperature"]),
        "fuel_kg": float(condition["fuel"]),
        "wetness": float(condition["wetness"]),
        "damage": float(condition["damage"]),
        "pit_stops": int(condition["stops"]),
    }


def stint_means(episodes: Sequence[dict[str, Any]]) -> dict[str, float | None]:
    """Means of MEANS with 95 % intervals over the finished episodes, where lap times are, else over all.

    Empty where nothing changes while cars drive.
    """
    out: dict[str, float | None] = {}
    for name in MEANS if "tyre_wear" in episodes[0] else ():
        timed = name.endswith("_s")
        values = [e[name] for e in episodes if e[name] is not None and (e["finished"] or not timed)]
        out |= named_mean(name, values)
    return out
