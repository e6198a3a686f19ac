"""Vehicle parameters. One instance = one yaml in conf/vehicle."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal

import numpy as np

from racing.errors import require

GRAVITY = 9.81  # [m/s^2]
MODELS = ("kinematic", "linear", "saturated")


@dataclass(frozen=True, kw_only=True)
class Vehicle:
    """A car and its tyre model.

    Models (equations in racing/sim/dynamics.py):
      kinematic  rolls without slip; lateral acceleration capped at friction * g.
      linear     linear single-track of CommonRoad/F1TENTH: tyres never saturate (published laps only compare with it).
      saturated  single-track with Pacejka-style tyres, friction ellipse, load transfer, drag and power limit.
    """

    name: str  # recorded with every result
    model: Literal["kinematic", "linear", "saturated"] = "saturated"  # tyres, see above
    mass: float  # [kg] with driver
    yaw_inertia: float  # [kg m^2]
    front_axle: float  # [m] centre of gravity to front axle
    rear_axle: float  # [m] centre of gravity to rear axle
    cg_height: float  # [m]
    length: float  # [m] bodywork
    width: float  # [m] bodywork
    friction: float  # [-] peak tyre friction coefficient, mu
    stiffness_front: float  # [1/rad] cornering stiffness / (mu * axle load), C_S
    stiffness_rear: float  # [1/rad]
    tyre_shape: float = 1.3  # [-] Pacejka's C: 1 rises for ever, 2 falls to nothing; saturated model only
    max_steer: float  # [rad] road-wheel angle
    max_steer_rate: float  # [rad/s]
    max_drive: float  # [m/s^2] below switch_speed
    max_brake: float  # [m/s^2] magnitude
    switch_speed: float  # [m/s] above it the power limit holds: max_drive * switch_speed / v
    max_speed: float  # [m/s]
    drag: float = 0.0  # [kg/m] 0.5 * air density * drag area
    rolling: float = 0.0  # [-] rolling resistance / weight
    drive_front: float = 0.0  # [-] share of the drive force at the front axle, 0..1
    brake_front: float = 0.5  # [-] share of the brake force at the front axle, 0..1
    kinematic_speed_threshold: float = 0.5  # [m/s] below it, and in reverse, the car rolls without slip
    physics_step: float  # [s] integration step (RK4)
    control_period: float  # [s] time between two commands
    sensor_range: float  # [m] default range of the rays
    reference_width: float  # [m] the reference line keeps half of it from the road's edge

    def __post_init__(self) -> None:
        """Refuse values that no car can have."""
        require(
            self.model in MODELS, f"vehicle.model must be one of {', '.join(MODELS)}, got {self.model!r}; choose one"
        )
        may_be_zero = {"drag", "rolling", "drive_front", "brake_front", "kinematic_speed_threshold", "cg_height"}
        for item in fields(self):
            value = getattr(self, item.name)
            if item.name in ("name", "model"):
                continue
            number = isinstance(value, int | float) and np.isfinite(value)
            low_ok = number and (value >= 0 if item.name in may_be_zero else value > 0)
            rule = ">= 0" if item.name in may_be_zero else "> 0"
            require(low_ok, f"vehicle.{item.name} must be a number {rule}, got {value!r}; set a physical value")
        require(
            1.0 <= self.tyre_shape < 2.0, f"vehicle.tyre_shape must be in [1, 2), got {self.tyre_shape}; 1.3 is usual"
        )
        require(
            self.max_steer < 1.5,
            f"vehicle.max_steer must be < 1.5 rad, got {self.max_steer}; give radians, not degrees",
        )
        for share in ("drive_front", "brake_front"):
            require(
                getattr(self, share) <= 1,
                f"vehicle.{share} must be in [0, 1], got {getattr(self, share)}; it is a share",
            )

    @property
    def wheelbase(self) -> float:
        """Distance between the axles [m]."""
        return self.front_axle + self.rear_axle

    @property
    def max_lateral(self) -> float:
        """Greatest steady lateral acceleration of the saturated tyres, friction * g [m/s^2]."""
        return self.friction * GRAVITY

    @property
    def min_radius(self) -> float:
        """Turning circle radius at full lock, rolling [m]."""
        return float(self.wheelbase / np.tan(self.max_steer))
