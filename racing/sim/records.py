"""The records that kernels work on. Every number of a car is a named field; a world's state is one array of them."""

from __future__ import annotations

from enum import IntEnum
from typing import Any

import numpy as np

from racing.sim.variation.config import LIMITS

RENAMED_FIELDS = {"advance": "progress_delta"}  # of saved records: what earlier versions called them


class Ending(IntEnum):
    """How an episode ended: the values of a car's `ended`."""

    RUNNING = 0  # it did not yet
    OFF_TRACK = 1
    LAPS_DONE = 2
    TIME_LIMIT = 3
    STALLED = 4
    WRONG_WAY = 5
    RETIRED = 6  # damaged, or disqualified while training

    @property
    def label(self) -> str:
        """Its text in tables and files, such as off_track."""
        return self.name.lower()


_CAR_REALS = (
    "x",  # [m] centre of gravity
    "y",
    "steer",  # [rad] road-wheel angle
    "v",  # [m/s] longitudinal speed (linear model: speed of the centre of gravity)
    "yaw",  # [rad] in [-pi, pi]
    "yaw_rate",  # [rad/s]
    "slip",  # [rad] angle between velocity and car, beta
    "ax",  # [m/s^2] acceleration in the car's frame at the end of the step
    "ay",
    "s",  # [m] arc length of the nearest centreline point, 0 at the start line
    "lateral",  # [m] offset from the centreline, positive to the left
    "heading_error",  # [rad] yaw - direction of the track
    "line_speed",  # [m/s] the followed line's speed at the nearest centreline point
    "half_width",  # [m] from the centreline to the road's edge on the car's side
    "progress_delta",  # [m] arc length won in the last step
    "progress",  # [m] arc length won since the start of the episode
    "furthest",  # [m] greatest progress so far
    "lap_started",  # [s] when the current lap began, in episode time
    "lap_time",  # [s] last complete lap, 0: none yet
    "best_lap",  # [s] best complete lap, 0: none yet
    "steering_command",  # [-1, 1] last action
    "throttle_command",
    "steering_change",  # [0, 2] |difference to the action before|
)
_CAR_INTS = (
    "track",  # index of the track in the world's track set
    "nearest",  # index of the nearest centreline point
    "next_gate",  # index of the gate to pass next
    "gates",  # gates passed since the start of the episode
    "laps",  # complete laps since the start of the episode
    "max_steps",  # environment steps that the episode may last, 0: any number
    "steps",  # environment steps since the start of the episode
    "slow_steps",  # consecutive steps below the stall speed
    "episode",  # number of the car's episode, from 0
    "ended",  # an Ending
)
_TRAFFIC_REALS = (
    "distance",  # [m] arc length since the race began, counted from the start line; orders cars that start together
    "gap_ahead",  # [m] along the track to the next car, a lap: there is none
    "gap_behind",
    "won",  # [m] on the cars within the window, in the last step
    "closing",  # [m/s] fastest contact of the last step, 0: none
    "ran_into",  # [m/s] likewise, of those with the own nose
    "blame",  # [0, 1] for the contacts of the last step
    "braking_needed",  # [m/s^2] not to run into a car ahead on the own path, after the last step
    "draft",  # [0, 1] of another car's slipstream, in the last step
    "faults",  # sum of the blame for all contacts since the start of the episode
)
_TRAFFIC_INTS = (
    "state",  # RACING, STOPPED or GONE (racing.sim.race.traffic)
    "rank",  # 1: leads
    "contact_with",  # bit per slot of the race: touched in the last step
    "contacts",  # contacts since the start of the episode; one that lasts counts once
    "steps_near",  # steps since the start of the episode after which another car was within the window
    "alone",  # 1: it neither sees nor touches others, nor they it. Whoever makes the world sets it; it stays
)
_VARIATION_REALS = (
    *LIMITS,  # what is drawn, see racing.sim.variation.config.VariationConfig
    "acceleration",  # [m/s^2] that drive or brakes give now, behind the throttle's lag; brake negative
)
_CONDITION_REALS = (
    "wear",  # [0, 1] of the tyres, 1: worn out
    "temperature",  # [degrees C] of the tyres
    "fuel",  # [kg]
    "damage",  # [0, 1]
    "wetness",  # [0, 1] of the road where the car is
    "wear_delta",  # in the last step
    "damage_delta",
    "sliding",  # [m/s] work of the tyres on the ground / weight, at the end of the last step
    "power",  # [MW] of the drive, likewise
    "grip",  # factor on the friction
    "mass",  # factor on mass and yaw inertia
    "drive",  # factor on the drive
    "drag",  # factor on the drag
    "offset",  # [rad] by which the wheels point to the left of what the steering says
    "tank",  # [kg] of fuel at the start, and after a stop
    "side",  # 1: damage turns the wheels to the left, -1: to the right
    "temperature_at_start",  # [degrees C] of the tyres, and after a stop
    "start_wetness",  # [0, 1] of the road
    "rain_start",  # [s] of the episode
    "rain_end",
)
_LIVING_REALS = (
    "wear_low wear_high wear_loss wear_per_metre temperature_low temperature_high optimal_temperature "
    "temperature_window temperature_loss ambient_temperature heating cooling_time "
    "fuel_low fuel_high consumption per_mass "
    "wetness_low wetness_high rain_start_low rain_start_high rain_duration_low rain_duration_high wetting_time "
    "drying_time line_drying_time line_width wet_loss "
    "per_closing_speed power_loss drag steering_offset retires_at stop_time"
).split()
_VEHICLE_REALS = (
    "mass yaw_inertia front_axle rear_axle cg_height friction stiffness_front stiffness_rear tyre_shape max_steer "
    "max_steer_rate max_drive max_brake switch_speed max_speed min_speed drag rolling drive_front brake_front "
    "kinematic_speed_threshold mass_per_length inv_mass inv_inertia pacejka_b_front pacejka_b_rear length width"
).split()
_TRACK_REALS = (
    "spacing length grid_x grid_y cells_per_metre cell last_u last_v "
    "grip_x grip_y grip_per_metre grip_last_u grip_last_v"
).split()
_TRACK_INTS = "point_start point_count grid_start grid_width gate_start gate_count grip_start grip_width".split()
_POINT_REALS = "x y heading curvature left right speed line_x line_y line_speed".split()
_GATE_REALS = "left_x left_y right_x right_y s".split()
_RULE_REALS = (
    "physics_dt field_of_view range margin stall_speed start_lateral_offset start_heading_error "
    "start_speed_low start_speed_high standing_start_prob"
).split()
_RULE_INTS = (
    "substeps laps max_steps min_steps stall_steps random_start seed first_car distinct_cars cars_per_race".split()
)

_RACE_REALS = (
    "restitution body_friction near window disqualify jitter grace spacing slipstream draft_speed draft_time".split()
)
_RACE_INTS = "start wreck contact rays_see_cars together".split()


def _record(reals: Any, ints: Any, real: Any) -> np.dtype[Any]:
    return np.dtype([(name, real) for name in reals] + [(name, np.int32) for name in ints])


def car(real: Any) -> np.dtype[Any]:
    """State of one car. `real` is np.float32 (the world) or np.float64 (proofs)."""
    return _record(_CAR_REALS, _CAR_INTS, real)


def traffic(real: Any) -> np.dtype[Any]:
    """What one car of a race has to do with the others."""
    return _record(_TRAFFIC_REALS, _TRAFFIC_INTS, real)


def variation(real: Any) -> np.dtype[Any]:
    """What of one car differs from its vehicle in its present episode, number `episode`."""
    return _record(_VARIATION_REALS, ["episode"], real)


def condition(real: Any) -> np.dtype[Any]:
    """In what condition one car is, and what that makes of it; `stops`: at the pit in its episode."""
    return _record(_CONDITION_REALS, ["stops"], real)


def living(real: Any) -> np.dtype[Any]:
    """What changes while cars drive, and by how much; `on`: whether anything does. See racing.sim.conditions.config."""
    return _record(_LIVING_REALS, ["on", "stop_every"], real)


def race(real: Any) -> np.dtype[Any]:
    """Rules of races, the same for all of a world; names as in racing.sim.race.config."""
    return _record(_RACE_REALS, _RACE_INTS, real)


def vehicle(real: Any) -> np.dtype[Any]:
    """Parameters of a vehicle; names as in racing.sim.vehicle, `model` as index, and derived ones."""
    return _record(_VEHICLE_REALS, ["model"], real)


def track(real: Any) -> np.dtype[Any]:
    """Where one track's points, gates and clearance grid lie in the arrays that all tracks share."""
    return _record(_TRACK_REALS, _TRACK_INTS, real)


def point(real: Any) -> np.dtype[Any]:
    """A centreline point; `speed` [m/s] is what a rolling start there is scaled from; line_*: the line to follow."""
    return _record(_POINT_REALS, (), real)


def gate(real: Any) -> np.dtype[Any]:
    """A timing line and its arc length `s` [m]."""
    return _record(_GATE_REALS, (), real)


def rules(real: Any) -> np.dtype[Any]:
    """What holds for every car of a world: time step, sensors, start and end of episodes."""
    return _record(_RULE_REALS, _RULE_INTS, real)


def with_current_names(array: Any) -> Any:
    """Records as another version saved them, under today's names of their fields; other arrays as they are."""
    names = array.dtype.names
    if not names or not RENAMED_FIELDS.keys() & set(names):
        return array
    return array.view(np.dtype([(RENAMED_FIELDS.get(name, name), array.dtype[name]) for name in names]))
