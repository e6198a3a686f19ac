"""What changes while a car drives, and by how much. The numbers are engineering choices; see docs/conditions.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from racing.errors import read_group, require, require_number, require_range
from racing.sim.vehicle import Vehicle

Range = Sequence[float] | float
SENSES = ("tyre_wear", "tyre_temperature", "fuel", "wetness", "damage")
SEE = "see conf/conditions/none.yaml"
EVER = 1e9  # [s] longer than any episode


def _require_all(owner: Any, limits: Mapping[str, tuple[float, float, str]]) -> None:
    """Raise InputError unless the fields of `owner` lie in their limits (least, most, unit); None is allowed."""
    for name, (least, most, unit) in limits.items():
        value = getattr(owner, name)
        if value is not None:
            require_number(name, value, least, most, unit=unit, remedy=SEE)


@dataclass(frozen=True, kw_only=True)
class Tyres:
    """How a set of tyres wears and warms up by sliding.

    A car slides 1 m under its weight where its tyres do as much work on the ground as its weight over 1 m.

    life: [m] of sliding under the car's weight that wear a set out; None: tyres don't wear.
    grip_loss: share of its friction that a worn set has lost; what is lost before is in proportion to the wear.
    start_wear: of an episode, share of the life, a number or [low, high].
    optimal_temperature: [degrees C] at which tyres grip best; None: their temperature doesn't matter.
    temperature_window: [K] from there at which they have lost temperature_loss; the loss goes with the square.
    temperature_loss: share of the friction that they lose at the window's ends, and beyond.
    start_temperature: [degrees C] of an episode, a number or [low, high].
    ambient_temperature: [degrees C] towards which tyres cool.
    heating: [K/m] per metre of sliding under the car's weight.
    cooling_time: [s] time constant of cooling.
    Raises InputError for values out of range.
    """

    life: float | None = None
    grip_loss: float = 0.3
    start_wear: Range = 0.0
    optimal_temperature: float | None = None
    temperature_window: float = 50.0
    temperature_loss: float = 0.2
    start_temperature: Range = 60.0
    ambient_temperature: float = 20.0
    heating: float = 1.0
    cooling_time: float = 60.0

    def __post_init__(self) -> None:
        """Refuse what no tyre does."""
        limits = {
            "life": (1e-3, 1e9, "m"),
            "grip_loss": (0.0, 0.9, ""),
            "optimal_temperature": (-50.0, 300.0, "degrees C"),
            "temperature_window": (1.0, 1000.0, "K"),
            "temperature_loss": (0.0, 0.9, ""),
            "ambient_temperature": (-50.0, 80.0, "degrees C"),
            "heating": (0.0, 1000.0, "K/m"),
            "cooling_time": (0.1, 1e6, "s"),
        }
        _require_all(self, limits)
        object.__setattr__(self, "start_wear", require_range("start_wear", self.start_wear, 0, 1, remedy=SEE))
        temperature = require_range("start_temperature", self.start_temperature, -50, 300, unit="degrees C", remedy=SEE)
        object.__setattr__(self, "start_temperature", temperature)

    @property
    def on(self) -> bool:
        """Whether they change."""
        return self.life is not None or self.optimal_temperature is not None


@dataclass(frozen=True, kw_only=True)
class Fuel:
    """Fuel, whose mass comes on top of the vehicle's.

    start: [kg] of an episode, a number or [low, high]; 0: there is none, and none is needed.
    consumption: [kg/MJ] of work that the drive does. A car that has used up its fuel has no drive.
    Raises InputError for values out of range.
    """

    start: Range = 0.0
    consumption: float = 0.1

    def __post_init__(self) -> None:
        """Refuse what no tank holds."""
        object.__setattr__(self, "start", require_range("start", self.start, 0, 1e4, unit="kg", remedy=SEE))
        _require_all(self, {"consumption": (0.0, 1e3, "kg/MJ")})

    @property
    def on(self) -> bool:
        """Whether there is any."""
        return self.start[1] > 0  # type: ignore[index]


@dataclass(frozen=True, kw_only=True)
class Weather:
    """How wet the road is: 0 dry, 1 wet. Cars that start together have the same weather.

    start_wetness: of an episode, a number or [low, high].
    rain_start: [s] into the episode, a number or [low, high]; None: it doesn't rain.
    rain_duration: [s] a number or [low, high]; None: it rains on.
    wetting_time: [s] time constant with which rain wets the road.
    drying_time: [s] time constant with which the road dries when it doesn't rain.
    line_drying_time: [s] likewise, where cars drive: on the line that `env.line` names.
    line_width: [m] from that line's middle at which the road is as wet as half-way between line and elsewhere.
    grip_loss: share of the friction that a wet road has lost, in proportion to how wet it is.
    Raises InputError for values out of range.
    """

    start_wetness: Range = 0.0
    rain_start: Range | None = None
    rain_duration: Range | None = None
    wetting_time: float = 30.0
    drying_time: float = 300.0
    line_drying_time: float = 120.0
    line_width: float = 1.5
    grip_loss: float = 0.35

    def __post_init__(self) -> None:
        """Refuse weather that there is not."""
        together = self.rain_start is not None or self.rain_duration is None
        require(together, f"rain_duration must come with rain_start, got {self.rain_duration}; say when it begins")
        object.__setattr__(self, "start_wetness", require_range("start_wetness", self.start_wetness, 0, 1, remedy=SEE))
        for name in ("rain_start", "rain_duration"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, require_range(name, getattr(self, name), 0, 1e6, unit="s", remedy=SEE))
        limits: dict[str, tuple[float, float, str]] = {
            **dict.fromkeys(("wetting_time", "drying_time", "line_drying_time"), (0.1, 1e6, "s")),
            "line_width": (0.01, 1e3, "m"),
            "grip_loss": (0.0, 0.9, ""),
        }
        _require_all(self, limits)

    @property
    def on(self) -> bool:
        """Whether the road is ever wet."""
        return self.rain_start is not None or self.start_wetness[1] > 0  # type: ignore[index]


@dataclass(frozen=True, kw_only=True)
class Damage:
    """What contacts of races do to a car: (closing speed / closing_speed)^2 of damage each, 1 is all there is.

    closing_speed: [m/s] of the contact that ruins a car; None: cars take no damage.
    power_loss: share of the drive that a ruined car has lost, and in proportion before.
    drag: share by which the drag of a ruined car is greater.
    steering_offset: [rad] by which the wheels of a ruined car point to a side, which is drawn for each episode.
    retires_at: damage from which a car is out; None: never.
    Raises InputError for values out of range.
    """

    closing_speed: float | None = None
    power_loss: float = 0.5
    drag: float = 1.0
    steering_offset: float = 0.05
    retires_at: float | None = 1.0

    def __post_init__(self) -> None:
        """Refuse what breaks no car."""
        limits = {
            "closing_speed": (0.01, 1e3, "m/s"),
            "power_loss": (0.0, 1.0, ""),
            "drag": (0.0, 100.0, ""),
            "steering_offset": (0.0, 0.5, "rad"),
            "retires_at": (1e-3, 1.0, ""),
        }
        _require_all(self, limits)

    @property
    def on(self) -> bool:
        """Whether cars take any."""
        return self.closing_speed is not None


@dataclass(frozen=True, kw_only=True)
class PitStop:
    """Stops for new tyres, fuel and repairs: at the start line, and as long as they last is added to the next lap.

    every: laps from one to the next; 0: there are none. time: [s] of each.
    Raises InputError for values out of range.
    """

    every: int = 0
    time: float = 20.0

    def __post_init__(self) -> None:
        """Refuse stops that cannot be."""
        require_number("every", self.every, 0, 10_000, whole=True, remedy="0: there are none")
        _require_all(self, {"time": (0.0, 1e4, "s")})


@dataclass(frozen=True, kw_only=True)
class ConditionsConfig:
    """What changes while a car drives; nothing by default.

    sensed: those of SENSES that a policy observes, in this order, scaled to about [-1, 1].
    Raises InputError for values out of range.
    """

    tyres: Tyres = field(default_factory=Tyres)
    fuel: Fuel = field(default_factory=Fuel)
    weather: Weather = field(default_factory=Weather)
    damage: Damage = field(default_factory=Damage)
    pit_stop: PitStop = field(default_factory=PitStop)
    sensed: Sequence[str] = ()

    def __post_init__(self) -> None:
        """Read the groups; refuse what nobody can sense."""
        kinds = {"tyres": Tyres, "fuel": Fuel, "weather": Weather, "damage": Damage, "pit_stop": PitStop}
        for name, kind in kinds.items():
            if not isinstance(getattr(self, name), kind):
                object.__setattr__(self, name, read_group(name, getattr(self, name), kind))
        listed = [self.sensed] if isinstance(self.sensed, str) else self.sensed
        known = isinstance(listed, Sequence) and all(name in SENSES for name in listed)
        rule = f"sensed must be a list of {', '.join(SENSES)}, each at most once, got {self.sensed!r}"
        require(known and len(set(listed)) == len(listed), f"{rule}; choose some")
        object.__setattr__(self, "sensed", tuple(name for name in SENSES if name in listed))

    @property
    def on(self) -> bool:
        """Whether anything changes."""
        return self.tyres.on or self.fuel.on or self.weather.on or self.damage.on

    @property
    def least_grip(self) -> float:
        """Factor on the friction of worn tyres, off their temperature, on a wet road, of those that there are."""
        worn = 1 - self.tyres.grip_loss if self.tyres.life is not None else 1.0
        off = 1 - self.tyres.temperature_loss if self.tyres.optimal_temperature is not None else 1.0
        return worn * off * (1 - self.weather.grip_loss if self.weather.on else 1.0)

    def check_vehicle(self, vehicle: Vehicle) -> None:
        """Raise InputError where such a vehicle cannot change so."""
        rule = (
            f"conditions.tyres must be as they are for {vehicle.name}: tyres of its {vehicle.model} model don't slide"
        )
        require(not self.tyres.on or vehicle.model == "saturated", f"{rule}; take a vehicle with saturated tyres")
        resists = vehicle.model == "saturated" or not self.damage.on or self.damage.drag == 0
        require(resists, f"conditions.damage.drag must be 0: the {vehicle.model} model has no drag; set it to 0")
        rule = f"conditions.damage.steering_offset must stay within the {vehicle.max_steer:g} rad that {vehicle.name}"
        within = not self.damage.on or self.damage.steering_offset <= vehicle.max_steer
        require(within, f"{rule} can steer, got {self.damage.steering_offset:g}; lower it")
