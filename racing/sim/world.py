"""A batch of races stepped together."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from racing.errors import require, require_number
from racing.sim import records, step
from racing.sim.angles import require_degrees
from racing.sim.conditions.config import ConditionsConfig
from racing.sim.episodes import EpisodeConfig
from racing.sim.packing import (
    Joined,
    pack_conditions,
    pack_gates,
    pack_points,
    pack_race,
    pack_vehicle,
)
from racing.sim.race import step as race_step
from racing.sim.race.config import MOST_CARS, RaceConfig
from racing.sim.track import Raceline, Track
from racing.sim.variation.config import LIMITS, VariationConfig
from racing.sim.variation.kernels import Vary
from racing.sim.vehicle import Vehicle

Array = npt.NDArray[Any]
MIN_CARS_PER_THREAD = 64  # below it handing work to a thread costs more than it saves


@dataclass(frozen=True, kw_only=True)
class RangeFinder:
    """A car's range finder: `rays` rays spread evenly over `field_of_view` [rad], left to right, `range` [m] long.

    Raises InputError for values out of range.
    """

    rays: int = 7
    field_of_view: float = float(np.pi)
    range: float = 120.0

    def __post_init__(self) -> None:
        """Refuse what cannot be measured."""
        require_number("rays", self.rays, 1, 4096, whole=True, remedy="7 is the default")
        require_degrees("field_of_view", self.field_of_view, 1e-3, 360, remedy="180 is the default")
        require_number("range", self.range, 1e-3, 10_000, unit="m", remedy="null: the vehicle's own")


class World:
    """R races of C cars each, on one track or spread over several, float32, bit-identical for any thread count.

    Race r drives on tracks[(first_race + r) % len(tracks)]. Every random number is a function of the seed, the number
    of the car or race counted from first_race on, its episode, and what it is for (racing.sim.kernels.rng.Draw): so
    races k..k+m-1 of a large world are those of a world with races=m, first_race=k. Races share nothing; the cars of
    one see, touch and hold up each other as its RaceConfig says.

    Arrays to read after `step` (views, overwritten by the next step):
      cars (R, C) records (racing.sim.records.car): the state now, after automatic restarts. ranges (R, C, rays) [m].
      final_cars (R, C): the state before restarts. final_ranges: its rays, valid where final_cars["ended"] > 0.
      traffic, final_traffic (R, C) records (racing.sim.records.traffic): what a car has to do with the others of its
      race, now and before restarts; all zero where there are none.
      variations, final_variations (R, C) records (racing.sim.records.variation): what of a car differs from the
      vehicle in its episode, now and before restarts; absent (None) where nothing does.
      conditions, final_conditions (R, C) records (racing.sim.records.condition): in what condition a car is, now and
      before restarts; absent (None) where nothing changes.
    Fixed: points (P,) centreline records of all tracks, track_table (K,) where each track's lie in them.
    """

    def __init__(
        self,
        tracks: Sequence[Track],
        vehicle: Vehicle,
        *,
        races: int,
        cars_per_race: int = 1,
        seed: int = 0,
        first_race: int = 0,
        range_finder: RangeFinder | None = None,
        action_repeat: int = 2,
        episodes: EpisodeConfig | None = None,
        race: RaceConfig | None = None,
        variation: VariationConfig | None = None,
        conditions: ConditionsConfig | None = None,
        start_speeds: Sequence[Array] | None = None,
        racelines: Sequence[Raceline] | None = None,
        threads: int = 1,
    ) -> None:
        """See the class.

        tracks: at least one. vehicle: of all cars.
        races: number of races R, >= 1.
        cars_per_race: number of cars C of each race, 1..16.
        seed: of all random numbers; 31 bits count.
        first_race: number of this world's first race, where several worlds are parts of a larger one.
        range_finder: of every car; default seven rays as long as the vehicle's sensor range.
        action_repeat: control periods of an environment step, >= 1.
        episodes: how they start and end.
        race: rules of races of several cars; default RaceConfig().
        variation: in which ranges cars differ from the vehicle; default not at all.
        conditions: what changes while they drive; default nothing.
        start_speeds: per track (M,) [m/s] at its centreline points: what `episodes.start_speed` is a share of; default
        a tenth of top speed.
        racelines: per track what observers preview and rewards compare speeds with; default the centreline at top
        speed.
        threads: a step is split among so many; results do not depend on it.
        Raises InputError for values out of range.
        """
        require(races >= 1, f"races must be >= 1, got {races}; use at least one")
        require_number("cars_per_race", cars_per_race, 1, MOST_CARS, whole=True, remedy="1: each car alone")
        require_number("action_repeat", action_repeat, 1, 1000, whole=True, remedy="2 is the default")
        require(len(tracks) > 0, "a world needs at least one track, got none; name one")
        self.tracks, self.vehicle = list(tracks), vehicle
        self.range_finder = range_finder or RangeFinder(range=vehicle.sensor_range)
        self.races, self.cars_per_race, self.threads = races, cars_per_race, max(1, threads)
        self.episodes, self.race = episodes or EpisodeConfig(), race or RaceConfig()
        if cars_per_race > 1:
            self.race.check_vehicle(vehicle)
        self.real: Any = np.float32
        substeps = max(1, round(vehicle.control_period / vehicle.physics_step)) * action_repeat
        self.step_dt = float(vehicle.physics_step * substeps)  # [s] of one environment step
        self._pack_tracks(start_speeds, racelines)
        self._vehicle = pack_vehicle(vehicle, self.real)
        self._first_race = first_race
        self._rules = self._pack_rules(substeps, seed)
        self._number_races(first_race, races, None)
        self._race = pack_race(self.race, vehicle, self.real)
        self.variation = variation or VariationConfig()
        self.variation.check_vehicle(vehicle)
        self.condition_rules = conditions or ConditionsConfig()
        self.condition_rules.check_vehicle(vehicle)
        shape = (races, cars_per_race)
        self.cars = np.zeros(shape, records.car(self.real))
        self.cars["episode"] = -1
        self.final_cars = self.cars.copy()
        self.traffic = np.zeros(shape, records.traffic(self.real))
        self.final_traffic = self.traffic.copy()
        self.ranges = np.zeros((*shape, self.range_finder.rays), self.real)
        self.final_ranges = self.ranges.copy()
        self._make_variations(shape)
        self._pool = ThreadPoolExecutor(self.threads) if self.threads > 1 else None

    def _pack_tracks(self, start_speeds: Sequence[Array] | None, racelines: Sequence[Raceline] | None) -> None:
        top = self.vehicle.max_speed
        racelines = racelines or [Raceline(np.zeros(len(t.points)), np.full(len(t.points), top)) for t in self.tracks]
        speeds = start_speeds or [np.full(len(t.points), 0.1 * self.vehicle.max_speed) for t in self.tracks]
        self.track_table = np.zeros(len(self.tracks), records.track(self.real))
        points, gates, grids = Joined(), Joined(), Joined()
        grips = Joined(np.ones(1, np.float32))  # kernels take no empty array
        for row, track, speed, line in zip(self.track_table, self.tracks, speeds, racelines, strict=True):
            row["point_start"] = points.add(pack_points(track, speed, line, self.real))
            row["gate_start"] = gates.add(pack_gates(track, self.real))
            row["grid_start"] = grids.add(track.clearance.values.ravel())
            row["point_count"], row["gate_count"] = len(track.points), len(track.gates)
            row["grid_width"] = track.clearance.values.shape[1]
            row["spacing"], row["length"] = track.spacing, track.length
            row["grid_x"], row["grid_y"] = track.clearance.origin
            row["cell"], row["cells_per_metre"] = track.clearance.resolution, 1 / track.clearance.resolution
            row["last_v"], row["last_u"] = np.array(track.clearance.values.shape) - 1.001
            if track.grip is not None:
                row["grip_start"] = grips.add(track.grip.values.ravel())
                row["grip_width"] = track.grip.values.shape[1]
                row["grip_x"], row["grip_y"] = track.grip.origin
                row["grip_per_metre"] = 1 / track.grip.resolution
                row["grip_last_v"], row["grip_last_u"] = np.array(track.grip.values.shape) - 1.001
        self.points, self._gates = points.whole(), gates.whole()
        self._grid, self._grip = grids.whole().astype(self.real), grips.whole().astype(self.real)

    def _pack_rules(self, substeps: int, seed: int) -> Array:
        rules = np.zeros((), records.rules(self.real))
        episodes = self.episodes
        rules["physics_dt"], rules["substeps"] = self.vehicle.physics_step, substeps
        rules["field_of_view"], rules["range"] = self.range_finder.field_of_view, self.range_finder.range
        rules["margin"] = self.vehicle.width / 2 + episodes.edge_margin
        rules["random_start"] = episodes.random_start
        rules["start_lateral_offset"] = episodes.start_lateral_offset
        rules["start_heading_error"] = episodes.start_heading_error
        rules["start_speed_low"], rules["start_speed_high"] = episodes.start_speed
        rules["standing_start_prob"] = episodes.standing_start_prob
        rules["laps"], rules["stall_speed"] = episodes.laps, episodes.stall_speed
        rules["stall_steps"] = np.ceil(episodes.stall_time / self.step_dt)
        rules["seed"], rules["cars_per_race"] = seed & 0x7FFFFFFF, self.cars_per_race
        return rules

    def _make_variations(self, shape: tuple[int, int]) -> None:
        """What of the cars differs from the vehicle or changes, and their last commands; None where nothing does.

        A slipstream makes their drag differ.
        """
        self.variations: Array | None = None
        self.final_variations: Array | None = None
        self._commands: Array | None = None
        self._vary: Vary | None = None
        self.conditions: Array | None = None
        self.final_conditions: Array | None = None
        drafts = self.cars_per_race > 1 and self.race.slipstream > 0
        if not self.variation.names and not self.condition_rules.on and not drafts:
            return
        low, high = np.array([self.variation.bounds(name) for name in LIMITS], self.real).T.copy()
        longest = int(self.variation.bounds("command_delay")[1] / self.step_dt) + 1  # [environment steps]
        self.variations = np.zeros(shape, records.variation(self.real))
        self.variations["episode"] = -1
        self.final_variations = self.variations.copy()
        self._commands = np.zeros((self.num_cars, longest + 2, 2), self.real)
        cars, final = self.variations.reshape(-1), self.final_variations.reshape(-1)
        drawn = cars.view(self.real).reshape(self.num_cars, -1)[:, : len(LIMITS)]
        condition = np.zeros((2, *shape), records.condition(self.real))
        for name in ("grip", "mass", "drive", "drag"):
            condition[name] = 1
        if self.condition_rules.on:
            self.conditions, self.final_conditions = condition
        changing = [row.reshape(-1) for row in condition]
        living = pack_conditions(self.condition_rules, self.vehicle, self.real)[()]
        self._vary = Vary(cars, final, drawn, self._commands, low, high, changing[0], changing[1], living)

    @property
    def num_cars(self) -> int:
        """Number of cars in all races."""
        return self.races * self.cars_per_race

    def _run(self, function: Any, *arguments: Any) -> None:
        """Call function(first, last, ...) over all cars, or races where they have several."""
        least = max(1, MIN_CARS_PER_THREAD // self.cars_per_race)
        self.spread(function, self.races if self.cars_per_race > 1 else self.num_cars, least, *arguments)

    def spread(self, function: Any, count: int, least: int, *arguments: Any) -> None:
        """Call function(first, last, *arguments) over range(count): in one piece, or one of >= `least` per thread."""
        pieces = min(self.threads, max(1, count // least))
        if self._pool is None or pieces == 1:
            function(0, count, *arguments)
            return
        edges = [count * i // pieces for i in range(pieces + 1)]
        work = [self._pool.submit(function, a, b, *arguments) for a, b in pairwise(edges[1:])]
        function(edges[0], edges[1], *arguments)
        for piece in work:
            piece.result()

    @property
    def window(self) -> float:
        """Distance [m] along the track within which other cars count as near."""
        return float(self._race["window"])

    @property
    def rules(self) -> Array:
        """What holds for every car, as a kernel record (racing.sim.records.rules)."""
        return self._rules[()]

    def reseed(self, seed: int) -> None:
        """Take another seed and begin the sequence of episodes anew, as `restart_all`."""
        self._rules["seed"] = seed & 0x7FFFFFFF
        self.restart_all()

    def restart_all(self, first_race: int | None = None, distinct: int | None = None, steps: int | None = None) -> None:
        """Begin every car's sequence of episodes anew: the next `reset` starts its first one.

        first_race: number of the first race from now on; None: as the world was made.
        distinct: race r is number first_race + r % distinct, with all its draws; None: no two races are the same.
        steps: [environment steps] that an episode lasts at most; None: as `episodes` says.
        """
        self._number_races(self._first_race if first_race is None else first_race, distinct or self.races, steps)
        self.cars["episode"] = -1
        if self.variations is not None:
            self.variations["episode"] = -1

    def _number_races(self, first_race: int, distinct: int, steps: int | None) -> None:
        """See `restart_all`."""
        rules, episodes = self._rules, self.episodes
        rules["first_car"] = self.cars_per_race * first_race
        rules["distinct_cars"] = self.cars_per_race * distinct
        rules["max_steps"] = steps or np.ceil(episodes.time_limit / self.step_dt)
        rules["min_steps"] = 0 if steps else np.ceil(episodes.time_limit_min / self.step_dt)

    def reset(self) -> None:
        """Start the next episode of every car."""
        cars, ranges = self.cars.reshape(-1), self.ranges.reshape(self.num_cars, -1)
        place = (self.points, self._gates, self._grid, self.track_table)
        if self.cars_per_race == 1:
            self._run(step.begin, cars, *place, self._rules[()], ranges, self._vary)
            return
        rules = (self._vehicle[()], self._rules[()], self._race[()])
        self._run(race_step.begin_races, cars, self.traffic.reshape(-1), *place, *rules, ranges, self._vary)

    def start_at(self, along: float, pace: float) -> None:
        """Start the next episode of every car, each alone in its race, in the middle of the road at a place.

        along: arc length [m], in [0, the track's length]. pace: share of what `start_speeds` says of the place.
        """
        if self.cars_per_race > 1:
            raise ValueError("cars of one race start as its rules say; use reset()")
        cars, rules = self.cars.reshape(-1), self._rules[()]
        for i, car in enumerate(cars):
            where = (self.points, self._gates, self.track_table, rules)
            step.put_at(car, i, self.real(along), self.real(0), self.real(0), self.real(pace), *where)
        ranges = self.ranges.reshape(self.num_cars, -1)
        step.sense(np.arange(self.num_cars), cars, self.points, self._grid, self.track_table, rules, ranges, self._vary)

    def step(self, actions: Array) -> None:
        """Advance every car by one environment step.

        actions: (R, C, 2) or (R * C, 2), steering (left positive) and throttle (brake negative), clipped to [-1, 1].
        """
        commands = np.ascontiguousarray(actions, self.real).reshape(self.num_cars, 2)
        cars, final_cars = self.cars.reshape(-1), self.final_cars.reshape(-1)
        place = (self.points, self._gates, self._grid, self._grip, self.track_table, self._vehicle[()], self._rules[()])
        ranges = (self.ranges.reshape(self.num_cars, -1), self.final_ranges.reshape(self.num_cars, -1))
        if self.cars_per_race == 1:
            self._run(step.step, commands, cars, final_cars, *place, *ranges, self._vary)
            return
        traffic = (self.traffic.reshape(-1), self.final_traffic.reshape(-1))
        rest = (self._race[()], *ranges, self._vary)
        self._run(race_step.step_races, commands, cars, final_cars, *traffic, *place, *rest)

    def drawn(self, indices: Array, *, final: bool = False) -> dict[str, Array]:
        """Name -> (n,) values of what of the cars `indices` (n,) of all N differs from the vehicle.

        final: in the episodes of final_cars.
        """
        records = self.final_variations if final else self.variations
        return {} if records is None else {name: records[name].reshape(-1)[indices] for name in self.variation.names}

    def get_state(self) -> dict[str, Array]:
        """Everything that changes while the world runs, as copies."""
        return {name: array.copy() for name, array in self._state().items()}

    def set_state(self, state: dict[str, Array]) -> None:
        """Continue from `get_state()` of a world with the same settings. Raises ValueError if shapes differ."""
        for name, own in self._state().items():
            array = records.with_current_names(state[name])
            if own.shape != array.shape or own.dtype != array.dtype:
                raise ValueError(f"world state {name}: shape {array.shape} does not fit this world's {own.shape}")
            own[...] = array

    def _state(self) -> dict[str, Array]:
        """Views of what changes; the seed does with `reseed`."""
        names = ["cars", "final_cars", "ranges", "final_ranges"]
        names += ["traffic", "final_traffic"] if self.cars_per_race > 1 else []
        names += ["variations", "final_variations", "_commands"] if self._vary is not None else []
        names += ["conditions", "final_conditions"] if self.conditions is not None else []
        return {name.lstrip("_"): getattr(self, name) for name in names} | {"seed": self._rules["seed"]}
