"""What a car senses of the condition that it is in."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from racing.sim.conditions.config import ConditionsConfig
from racing.sim.vehicle import Vehicle

FIELDS = {  # of condition records, by what is sensed
    "tyre_wear": "wear",
    "tyre_temperature": "temperature",
    "fuel": "fuel",
    "wetness": "wetness",
    "damage": "damage",
}
FULL_TANK = 0.1  # [vehicle masses] of fuel that are scaled to 1


def sense_conditions(
    records: npt.NDArray[Any] | None, rules: ConditionsConfig, vehicle: Vehicle
) -> npt.NDArray[np.float32] | float:
    """(n, S) of condition records (n,): the values that `rules.sensed` names, scaled to about [-1, 1].

    tyre_wear, wetness, damage: as they are, 0 to 1. tyre_temperature: from the optimal one, in temperature_windows.
    fuel: in tenths of the vehicle's mass.
    records: None where nothing changes: 0, a car as it starts by default.
    """
    if records is None:
        return 0.0
    tyres = rules.tyres
    zero = {"tyre_temperature": tyres.optimal_temperature or 0.0}
    one = {"tyre_temperature": tyres.temperature_window, "fuel": FULL_TANK * vehicle.mass}
    columns = [(records[FIELDS[name]] - zero.get(name, 0.0)) / one.get(name, 1.0) for name in rules.sensed]
    return np.stack(columns, axis=1).astype(np.float32)


def condition_facts(record: Any) -> dict[str, float]:
    """What one car's condition record says, by name."""
    return {name: float(record[field]) for name, field in FIELDS.items()}
