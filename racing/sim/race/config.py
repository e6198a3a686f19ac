"""How the cars of a race start, touch each other, and what becomes of those that are out."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from racing.errors import require, require_number
from racing.sim.vehicle import Vehicle

MOST_CARS = 16  # of a race
DRAFT_SPEED = 10.0  # [m/s] above which there is slipstream; of slower vehicles two sevenths of top speed, as of a kart
DRAFT_LENGTHS = 4.5  # [car lengths] behind a car at top speed it has fallen to 1/e; in proportion to its speed


class Start(IntEnum):
    """Where the cars of a race start."""

    SCATTERED = 0  # one behind the other over a quarter of the lap
    GRID = 1  # from standing behind the start line, in two staggered columns; the rows' order changes with every race
    ROLLING = 2  # likewise, with twice the distance, at speed, anywhere on the lap
    MIXED = 3  # one of these two, drawn for each race


class Wreck(IntEnum):
    """What becomes of a car whose episode ended."""

    RESPAWN = 0  # it starts its next one at once, where there is room
    REMOVE = 1  # it is gone until the race is over
    OBSTACLE = 2  # it stands where it stopped until the race is over


@dataclass(frozen=True, kw_only=True)
class RaceConfig:
    """Rules of races of several cars.

    start: see Start.
    wreck: see Wreck; with respawn each car has episodes of its own, else a race is over when all its cars are.
    contact: whether cars touch; otherwise they drive through each other.
    restitution: 0: they go on together after a blow, 1: they bounce off; [0, 1].
    body_friction: coefficient of body against body, >= 0.
    rays_see_cars: whether range finders measure to other cars, too.
    near: probability that a car that respawns does so behind another one, within `window`, [0, 1].
    window: [m] along the track within which others count as near; 0: a third of the vehicle's sensor_range.
    disqualify: [m/s] closing speed of a contact, at least in part by its own fault, that ends the episode of a car that
    would respawn; 0: none does.
    spacing: [car lengths] from a place of the grid to the next one, on the other side, >= 1; twice that when rolling.
    jitter: [car lengths] that a car of a grid stands behind its place, at most; how far is drawn.
    slipstream: share of the airspeed that a car is spared straight behind another one's tail, [0, 1]; its drag goes
    with the square of the rest. 0: none, 0.3 is usual.
    grace: share of the winner's time that the others still have when it has finished, >= 0.
    Raises InputError for values out of range.
    """

    start: Start = Start.SCATTERED
    wreck: Wreck = Wreck.RESPAWN
    contact: bool = True
    restitution: float = 0.1
    body_friction: float = 0.3
    rays_see_cars: bool = True
    near: float = 0.7
    window: float = 0.0
    disqualify: float = 0.0
    spacing: float = 1.25
    jitter: float = 0.0
    slipstream: float = 0.0
    grace: float = 0.2

    def __post_init__(self) -> None:
        """Refuse what no race can have."""
        for name, kind in (("start", Start), ("wreck", Wreck)):
            value = getattr(self, name)
            known = {member.name.lower(): member for member in kind}
            found = known.get(value) if isinstance(value, str) else value
            names = ", ".join(known)
            require(isinstance(found, kind), f"{name} must be one of {names}, got {value!r}; choose one")
            object.__setattr__(self, name, found)
        for name in ("contact", "rays_see_cars"):
            value = getattr(self, name)
            require(isinstance(value, bool), f"{name} must be true or false, got {value!r}; choose one")
        require_number("restitution", self.restitution, 0, 1, remedy="0.1 is the default")
        require_number("body_friction", self.body_friction, 0, 10, remedy="0.3 is the default")
        require_number("near", self.near, 0, 1, remedy="it is a probability")
        require_number("window", self.window, 0, 10_000, unit="m", remedy="0: a third of the sensor range")
        require_number("disqualify", self.disqualify, 0, 1000, unit="m/s", remedy="0: never, 1 is usual")
        require_number("spacing", self.spacing, 1, 100, unit="car lengths", remedy="1.25 is the default")
        require_number("jitter", self.jitter, 0, 1, remedy="it is a share of a car's length")
        require_number("slipstream", self.slipstream, 0, 1, remedy="0: none, 0.3 is usual")
        require_number("grace", self.grace, 0, 100, remedy="0.2 is the default")

    @property
    def together(self) -> bool:
        """Whether the cars of a race start together, when all are out."""
        return self.wreck != Wreck.RESPAWN

    def check_vehicle(self, vehicle: Vehicle) -> None:
        """Raise InputError where such cars cannot race so."""
        drags = vehicle.model == "saturated" and vehicle.drag > 0
        rule = f"race.slipstream must be 0 for {vehicle.name}, which has no drag"
        require(drags or self.slipstream == 0, f"{rule}, got {self.slipstream}; set it to 0, or take another vehicle")
        if not self.contact:
            return
        rubs = vehicle.model == "kinematic" and self.body_friction > 0
        rule = "race.body_friction must be 0 for cars of the kinematic model, which can't slide"
        require(not rubs, f"{rule}, got {self.body_friction}; set it to 0, or take another vehicle")
        jump = 2 * vehicle.max_speed * vehicle.physics_step
        rule = f"cars must not pass through each other within a physics step: two of {vehicle.name} that meet move"
        require(jump < vehicle.length + vehicle.width, f"{rule} {jump:.2f} m; lower vehicle.physics_step")
