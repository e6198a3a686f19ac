"""In which ranges a car differs from its vehicle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from racing.errors import input_group, require, require_range
from racing.sim.vehicle import Vehicle

Range = Sequence[float] | float | None
# What varies -> (least, greatest value, that of the vehicle itself, unit). Draws go by place: append, never reorder.
LIMITS: dict[str, tuple[float, float, float, str]] = {
    "mass": (0.1, 10.0, 1.0, ""),
    "friction": (0.05, 5.0, 1.0, ""),
    "stiffness": (0.1, 10.0, 1.0, ""),
    "power": (0.0, 10.0, 1.0, ""),
    "drag": (0.0, 100.0, 1.0, ""),
    "steering_offset": (-0.5, 0.5, 0.0, "rad"),
    "command_delay": (0.0, 1.0, 0.0, "s"),
    "throttle_lag": (0.0, 10.0, 0.0, "s"),
    "ray_bias": (-0.9, 9.0, 0.0, ""),
    "ray_noise": (0.0, 1000.0, 0.0, "m"),
    "ray_dropout": (0.0, 1.0, 0.0, ""),
}
# What the equations of a model have no place for.
WITHOUT = {"kinematic": ("stiffness", "drag"), "linear": ("drag",), "saturated": ()}


@dataclass(frozen=True, kw_only=True)
class VariationConfig:
    """Ranges in which a car differs from its vehicle, drawn evenly for each of its episodes.

    Each is (low, high), a number for all episodes, or None: as the vehicle.

    mass: factor on mass and yaw inertia; forces of drive and brakes stay, those of the tyres grow with the load.
    friction: factor on the tyres' friction coefficient, whatever the ground.
    stiffness: factor on both axles' cornering stiffness.
    power: factor on the drive force.
    drag: factor on the drag.
    steering_offset: [rad] by which the wheels point further to the left than the steering says.
    command_delay: [s] from a command to its effect, of steering and throttle, to the nearest physics step.
    throttle_lag: [s] time constant with which drive and brakes follow the throttle.
    ray_bias: share by which range finders measure too far.
    ray_noise: [m] standard deviation of each ray. In metres, as data sheets have it: time of flight is as uncertain
    near as far.
    ray_dropout: probability that a ray has no echo and reads the greatest range.
    Raises InputError for values out of range.
    """

    mass: Range = None
    friction: Range = None
    stiffness: Range = None
    power: Range = None
    drag: Range = None
    steering_offset: Range = None
    command_delay: Range = None
    throttle_lag: Range = None
    ray_bias: Range = None
    ray_noise: Range = None
    ray_dropout: Range = None

    def __post_init__(self) -> None:
        """Refuse what no car has; a number becomes the range from it to itself."""
        for name, (least, greatest, _, unit) in LIMITS.items():
            value = getattr(self, name)
            if value is None:
                continue
            ends = require_range(name, value, least, greatest, unit=unit, remedy="null: the vehicle's own")
            object.__setattr__(self, name, ends)

    @property
    def names(self) -> list[str]:
        """What varies, or differs from the vehicle in all episodes alike."""
        return [name for name in LIMITS if getattr(self, name) is not None]

    def bounds(self, name: str) -> tuple[float, float]:
        """Lowest and highest value of what varies; the vehicle's own twice where that does not."""
        value = getattr(self, name)
        return (LIMITS[name][2],) * 2 if value is None else value

    def check_vehicle(self, vehicle: Vehicle) -> None:
        """Raise InputError where such a vehicle has nothing that could vary so."""
        for name in WITHOUT[vehicle.model]:
            rule = f"{name} must be null for {vehicle.name}: its {vehicle.model} model has none"
            require(getattr(self, name) is None, f"{rule}, got {getattr(self, name)}; leave it away")
        furthest = max(abs(end) for end in self.bounds("steering_offset"))
        rule = f"steering_offset must stay within the {vehicle.max_steer:g} rad that {vehicle.name} can steer"
        require(furthest <= vehicle.max_steer, f"{rule}, got {furthest:g}; lower it")


def make_variation(values: Mapping[str, Any], others: Sequence[str] = ()) -> VariationConfig:
    """Read the group `randomize` of a configuration. Raises InputError for unknown keys and wrong values.

    others: keys of the group that somebody else reads, to be named with the known ones.
    """
    require(isinstance(values, Mapping), f"randomize must be a group of keys, got {values!r}; see conf/env/mlp.yaml")
    known = [item.name for item in fields(VariationConfig)]
    for name in values:
        remedy = f"it has {', '.join([*known, *others])}; correct its spelling"
        require(name in known, f"randomize has no {name!r}, {remedy}")
    with input_group("randomize", known):
        return VariationConfig(**values)
