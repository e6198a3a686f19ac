"""What a car senses of the condition that it is in."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from racing.sim.conditions.config import ConditionsConfig
from racing.sim.vehicle import Vehicle

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
    values = {
        "tyre_wear": records["wear"],
        "tyre_temperature": (records["temperature"] - (tyres.optimal_temperature or 0)) / tyres.temperature_window,
        "fuel": records["fuel"] / (FULL_TANK * vehicle.mass),
        "wetness": records["wetness"],
        "damage": records["damage"],
    }
    out = np.empty((len(records), len(rules.sensed)), np.float32)
    for k, name in enumerate(rules.sensed):
        out[:, k] = values[name]
    return out
