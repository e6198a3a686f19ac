"""What kernels read: vehicles, rules, points and gates as records; arrays of several things as one."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from racing.sim import records
from racing.sim.conditions.config import EVER, ConditionsConfig
from racing.sim.race.config import DRAFT_LENGTHS, DRAFT_SPEED, RaceConfig
from racing.sim.track import Raceline, Track
from racing.sim.vehicle import MODELS, Vehicle

Array = npt.NDArray[Any]


class Joined:
    """Arrays that become one, and how long it is so far."""

    def __init__(self, *parts: Array) -> None:
        """Begin with `parts`."""
        self._parts: list[Array] = []
        self._length = 0
        for part in parts:
            self.add(part)

    def add(self, part: Array) -> int:
        """Put `part` (K, ...) at the end; return where it begins."""
        start = self._length
        self._parts.append(part)
        self._length += len(part)
        return start

    def whole(self) -> Array:
        """Return the one array."""
        return np.concatenate(self._parts)


def pack_vehicle(vehicle: Vehicle, real: Any) -> Array:
    """The vehicle as a kernel record (0-d array)."""
    record = np.zeros((), records.vehicle(real))
    for name in record.dtype.names or ():
        if hasattr(vehicle, name):
            value = getattr(vehicle, name)
            record[name] = MODELS.index(value) if name == "model" else value
    record["mass_per_length"] = vehicle.mass / vehicle.wheelbase
    record["inv_mass"], record["inv_inertia"] = 1 / vehicle.mass, 1 / vehicle.yaw_inertia
    record["pacejka_b_front"] = vehicle.stiffness_front / vehicle.tyre_shape
    record["pacejka_b_rear"] = vehicle.stiffness_rear / vehicle.tyre_shape
    return record


def pack_race(race: RaceConfig, vehicle: Vehicle, real: Any) -> Array:
    """The rules of races as a kernel record (0-d array)."""
    record = np.zeros((), records.race(real))
    for name in record.dtype.names or ():
        if hasattr(race, name):
            record[name] = getattr(race, name)
    record["window"] = race.window or vehicle.sensor_range / 3
    record["jitter"] = race.jitter * vehicle.length
    record["spacing"] = race.spacing * vehicle.length
    record["draft_speed"] = min(DRAFT_SPEED, 2 / 7 * vehicle.max_speed)
    record["draft_time"] = DRAFT_LENGTHS * vehicle.length / vehicle.max_speed
    return record


def pack_conditions(conditions: ConditionsConfig, vehicle: Vehicle, real: Any) -> Array:
    """What changes while cars drive as a kernel record (0-d array)."""
    record = np.zeros((), records.living(real))
    tyres, fuel, weather, damage = conditions.tyres, conditions.fuel, conditions.weather, conditions.damage
    record["on"] = conditions.on
    ranges: dict[str, Any] = {
        "wear": tyres.start_wear,
        "temperature": tyres.start_temperature,
        "fuel": fuel.start,
        "wetness": weather.start_wetness,
        "rain_start": (EVER, EVER) if weather.rain_start is None else weather.rain_start,
        "rain_duration": (EVER, EVER) if weather.rain_duration is None else weather.rain_duration,
    }
    for name, (low, high) in ranges.items():
        record[f"{name}_low"], record[f"{name}_high"] = low, high
    record["wear_loss"], record["wet_loss"] = tyres.grip_loss, weather.grip_loss
    record["wear_per_metre"] = 0 if tyres.life is None else 1 / tyres.life
    for name in ("temperature_window", "ambient_temperature", "heating", "cooling_time"):
        record[name] = getattr(tyres, name)
    if tyres.optimal_temperature is not None:
        record["optimal_temperature"], record["temperature_loss"] = tyres.optimal_temperature, tyres.temperature_loss
    record["consumption"], record["per_mass"] = fuel.consumption if fuel.on else 0, 1 / vehicle.mass
    for name in ("wetting_time", "drying_time", "line_drying_time", "line_width"):
        record[name] = getattr(weather, name)
    record["per_closing_speed"] = 0 if damage.closing_speed is None else 1 / damage.closing_speed
    for name in ("power_loss", "drag", "steering_offset"):
        record[name] = getattr(damage, name)
    record["retires_at"] = damage.retires_at or 0
    record["stop_every"], record["stop_time"] = conditions.pit_stop.every, conditions.pit_stop.time
    return record


def pack_points(track: Track, speed: Array, line: Raceline, real: Any) -> Array:
    """The centreline as kernel records (M,)."""
    record = np.zeros(len(track.points), records.point(real))
    record["x"], record["y"] = track.points.T
    record["heading"], record["curvature"] = track.heading, track.curvature
    record["left"], record["right"], record["speed"] = track.left, track.right, speed
    record["line_x"], record["line_y"] = (track.points + line.offset[:, None] * track.normals).T
    record["line_speed"] = line.speed
    return record


def pack_gates(track: Track, real: Any) -> Array:
    """The gates as kernel records (G,), with their arc lengths, found in driving order (a track may cross itself)."""
    record = np.zeros(len(track.gates), records.gate(real))
    record["left_x"], record["left_y"] = track.gates[:, 0].T
    record["right_x"], record["right_y"] = track.gates[:, 1].T
    count, at = len(track.points), 0
    middles = track.gates.mean(axis=1)
    window = min(count, max(8, 3 * count // max(1, len(track.gates))))
    order = [len(middles) - 1, *range(len(middles) - 1)]  # the last gate is the start line, at arc length 0
    for g in order:
        span = np.arange(-4 if g != order[0] else -window, window)
        near = (at + span) % count
        at = int(near[np.argmin(np.sum((track.points[near] - middles[g]) ** 2, axis=1))])
        record["s"][g] = at * track.spacing
    return record
