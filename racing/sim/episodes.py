"""How episodes start and end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from racing.errors import is_number, require, require_number


@dataclass(frozen=True, kw_only=True)
class EpisodeConfig:
    """How episodes start and end. A limit of 0 never ends them.

    random_start: start anywhere on the lap, else on the start line.
    start_lateral_offset: start off the centreline by at most this share of the room to the road's edge, [0, 1].
    start_heading_error: [rad] start turned from the track's direction by at most this.
    start_speed: (lowest, highest) share of the speed that the world's `start_speeds` hold for the place, [0, 1.5].
    standing_start_prob: probability that a start stands instead, [0, 1].
    laps: an episode ends after so many.
    time_limit: [s] an episode ends after so long.
    time_limit_min: [s] if > 0, each episode's limit is drawn between this and time_limit.
    edge_margin: [m] a car whose side comes so near to the road's edge has left the road already.
    stall_speed: [m/s] slower counts as standing.
    stall_time: [s] an episode ends after standing so long.
    Raises InputError for values out of range.
    """

    random_start: bool = True
    start_lateral_offset: float = 0.5
    start_heading_error: float = 0.1
    start_speed: Sequence[float] = (0.3, 0.9)
    standing_start_prob: float = 0.0
    laps: int = 0
    time_limit: float = 0.0
    time_limit_min: float = 0.0
    edge_margin: float = 0.0
    stall_speed: float = 0.5
    stall_time: float = 0.0

    def __post_init__(self) -> None:
        """Refuse starts and limits that cannot be."""
        rule = f"random_start must be true or false, got {self.random_start!r}; choose one"
        require(isinstance(self.random_start, bool), rule)
        for name in ("start_lateral_offset", "standing_start_prob"):
            require_number(name, getattr(self, name), 0, 1, remedy="it is a share")
        for name in ("laps", "time_limit", "time_limit_min", "stall_time", "stall_speed", "start_heading_error"):
            require_number(name, getattr(self, name), 0, 1e6, whole=name == "laps", remedy="0 switches it off")
        require_number("edge_margin", self.edge_margin, 0, 100, unit="m", remedy="0: the road ends at its edge")
        speed = self.start_speed
        pair = isinstance(speed, Sequence) and len(speed) == 2 and all(is_number(share) for share in speed)
        require(pair, f"start_speed must be two numbers, got {speed!r}; e.g. [0.3, 0.9]")
        low, high = speed
        rule = f"start_speed must be 0 <= low <= high <= 1.5, got [{low}, {high}]; shares of the safe speed"
        require(0 <= low <= high <= 1.5, rule)
        object.__setattr__(self, "start_speed", (low, high))
        rule = f"time_limit_min must be <= time_limit {self.time_limit}, got {self.time_limit_min}; lower it"
        require(self.time_limit_min <= self.time_limit, rule)
