"""`env=mlp`: driving by sensors. Observations, actions and episodes on top of a world; no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from gymnasium import spaces

from racing.envs.conditions import condition_facts, sense_conditions
from racing.envs.drivers import HasOptimalDriver
from racing.envs.opponents import ObservedOpponents, observe_opponents
from racing.envs.racelines import LINES, centre_line, lines_of
from racing.envs.rendering import top_down
from racing.envs.rewards import (
    CONDITION_TERMS,
    RACE_TERMS,
    REWARD_TERMS,
    condition_terms,
    race_terms,
    reward_terms_and_dones,
    reward_weights,
)
from racing.envs.senses import MOTIONS, motion_scale, motions_of, observe_road
from racing.envs.task import StepResult
from racing.errors import read_group, require, require_number
from racing.sim.angles import radians
from racing.sim.conditions.config import ConditionsConfig
from racing.sim.episodes import EpisodeConfig
from racing.sim.race.config import RaceConfig
from racing.sim.records import Ending
from racing.sim.track import Track
from racing.sim.variation.config import VariationConfig, make_variation
from racing.sim.vehicle import Vehicle
from racing.sim.world import RangeFinder, World

F = npt.NDArray[np.float32]


class SensorsTask(HasOptimalDriver):
    """Driving by range finders and what the car feels of its motion; a racing.envs.task.DrivingTask.

    Action Space: Box(-1, 1, (2,), float32); what lies outside is clipped.

    index  action                                   -1                        1
    0      steering: road-wheel angle asked for     greatest to the right     greatest to the left
    1      throttle / brake: acceleration           vehicle.max_brake         vehicle.max_drive

    Observation Space: Box(-10, 10, (D,), float32), D = R + 2 + M + 2 P + S + 7 O, 10 by default. Scaled by hand to
    about [-1, 1], so that there are no statistics to lose; only a spin takes yaw rate and slip beyond.

    index           value                          range        scaling
    0 .. R-1        ray i of R, left to right      [-1, 1]      2 * sqrt(distance / range) - 1
    R               speed                          [-1, 1]      v / top speed
    R+1             heading error, left positive   [-1, 1]      angle to the track's direction / 1 rad, clipped
    R+2 .. R+1+M    M values of `motion`           about 1      yaw_rate: / (friction * g / quarter of top speed)
                                                                steering: road-wheel angle / greatest one
                                                                slip: angle from the car to its velocity / 0.2 rad
                                                                acceleration: longitudinal one / (friction * g)
                                                                line_offset: raceline's left of the car / 2 widths
                                                                standing_time: [s] below the stall speed, <= 2
                                                                speed_error: raceline's speed here minus the car's
                                                                / (top speed / 10), clipped to [-2, 2]
    next P          bearings of preview points     [-1, 1]      lateral / straight distance, in the car's frame, of the
                    (optional)                                  point k * preview_spacing ahead on the raceline:
                                                                line of the centre, the reference or the optimal lap
    next P          speeds at these points         [0, 1]       the raceline's speed / top speed
    next S          what `conditions` lets the car    about 1      see racing.envs.conditions.sense_conditions
                    sense
    last 7 O, 9 O   of each of the O `observed`    about 1      along the track / window; ahead, left in the car's frame
                    opponents, those ahead first,               / window; speed relative to the car's, likewise, / (top
                    the nearest first: zeros where              speed / 4); further left on the road / 2 widths; 1 where
                    there is none                               there is one; with `observed.motion` its acceleration /
                                                                greatest braking, speed / that of the line there, less 1

    Rewards: the sum of REWARD_TERMS, with several cars a race of RACE_TERMS, too, and of CONDITION_TERMS where
    `conditions` change, each weighted by its number in `reward`.

    Starting State: somewhere on the lap, or on the start line, off the centreline, turned and at a speed as
    `episodes` (racing.sim.episodes.EpisodeConfig) says; wheels straight ahead, no slip.

    Episode End: terminated when the car leaves the road, stands for `episodes.stall_time`, goes back 20 m (a tenth of a
    short lap) from where it got to, or is too damaged; truncated after `episodes.laps` laps or at the time limit. A car
    whose episode ended starts its next one in the same step, in races where `race` says so.
    """

    def __init__(
        self,
        tracks: Sequence[Track],
        vehicle: Vehicle,
        *,
        races: int,
        cars: int = 1,
        race: Mapping[str, Any] | None = None,
        observed: Mapping[str, Any] | None = None,
        seed: int = 0,
        first_race: int = 0,
        rays: int = 7,
        field_of_view: float = 180.0,
        range: float | None = None,
        motion: str | Sequence[str] = "yaw_rate",
        preview: int = 0,
        line: Literal["centre", "reference", "optimal", "best"] = "centre",
        preview_spacing: float | None = None,
        action_repeat: int = 2,
        reward: Mapping[str, float] | None = None,
        episodes: Mapping[str, Any] | EpisodeConfig | None = None,
        randomize: Mapping[str, Any] | VariationConfig | None = None,
        conditions: Mapping[str, Any] | ConditionsConfig | None = None,
        threads: int = 1,
    ) -> None:
        """Arguments that are not listed here are keys of conf/env/mlp.yaml, which says what they mean.

        tracks: race r drives on number (first_race + r) % len(tracks).
        vehicle: of all cars.
        races: number of races R.
        cars: of each of them, 1..16; N = R * cars.
        race: the fields of racing.sim.race.config.RaceConfig that differ from its defaults.
        observed: the fields of racing.envs.opponents.ObservedOpponents that are not 0.
        seed, first_race, threads: as in racing.sim.world.World.
        field_of_view: [degrees].
        range: [m]; None: the vehicle's sensor_range.
        motion: one of MOTIONS, or a list of them.
        preview_spacing: [m]; None: a fifteenth of the vehicle's sensor_range.
        reward: weights by term; None: progress 0.1, off_track -5.
        episodes: how they start and end, or the keys of `EpisodeConfig` that differ from its defaults.
        randomize: how far cars differ from the vehicle, or the keys of `VariationConfig` that are not None.
        conditions: what changes while they drive, or the keys of `ConditionsConfig` that are not its defaults.
        Raises InputError for values out of range, unknown reward terms and unknown keys.
        """
        require(line in LINES, f"line must be {' or '.join(LINES)}, got {line!r}; choose one")
        self.motion = motions_of(motion)
        require_number("preview", preview, 0, 64, whole=True, remedy="0 switches it off")
        spacing = vehicle.sensor_range / 15 if preview_spacing is None else preview_spacing
        require_number("preview_spacing", spacing, 1e-3, 10_000, unit="m", remedy="null: the default")
        finder = RangeFinder(
            rays=rays,
            field_of_view=radians("field_of_view", field_of_view),
            range=vehicle.sensor_range if range is None else range,
        )
        weights = reward_weights(reward)
        self.preview_spacing = float(spacing)
        living = read_group("conditions", conditions or {}, ConditionsConfig)
        self.reward_terms = REWARD_TERMS + (RACE_TERMS if cars > 1 else ()) + (CONDITION_TERMS if living.on else ())
        self.weights = np.array([weights.get(name, 0.0) for name in self.reward_terms], np.float32)
        self.observed = read_group("observed", observed or {}, ObservedOpponents)
        self.vehicle, self.tracks, self.preview = vehicle, list(tracks), preview
        centre = [centre_line(track, vehicle) for track in tracks]
        self.world = World(
            tracks,
            vehicle,
            races=races,
            cars_per_race=cars,
            seed=seed,
            first_race=first_race,
            range_finder=finder,
            action_repeat=action_repeat,
            episodes=read_group("episodes", episodes or {}, EpisodeConfig),
            race=read_group("race", race or {}, RaceConfig),
            variation=randomize if isinstance(randomize, VariationConfig) else make_variation(randomize or {}),
            conditions=living,
            start_speeds=[raceline.speed for raceline in centre],
            racelines=centre if line == "centre" else lines_of(line, tracks, vehicle),
            threads=threads,
        )
        self.size_alone = values_alone(rays=rays, motion=motion, preview=preview, conditions=living)
        self.size = self.size_alone + len(self.observed.names)
        self.action_space = spaces.Box(-1.0, 1.0, (2,), np.float32)
        self.privileged_size: int | None = None
        self.frame_stack = 1
        per_metre = 1 / (vehicle.max_speed * self.world.step_dt)
        scale = [1 / finder.range, 1 / vehicle.max_speed, per_metre, self.preview_spacing]
        self._scale = np.array(scale, np.float32)
        self._motion = np.array([MOTIONS.index(name) for name in self.motion], np.int64)
        self._motion_scale = motion_scale(self.motion, vehicle, self.world.step_dt)

    @property
    def num_cars(self) -> int:
        """Number of cars N."""
        return self.world.num_cars

    @property
    def observation_names(self) -> list[str]:
        """Names of the D observation values, in order."""
        rays = [f"ray_{i}" for i in np.arange(self.world.range_finder.rays)]
        previews = [f"preview_{what}_{i + 1}" for what in ("bearing", "speed") for i in np.arange(self.preview)]
        return [
            *rays,
            "speed",
            "heading_error",
            *self.motion,
            *previews,
            *self.world.condition_rules.sensed,
            *self.observed.names,
        ]

    @property
    def cars(self) -> Any:
        """Records of the cars (N,), racing.sim.records.car: a view of how they are now."""
        return self.world.cars.reshape(-1)

    @property
    def final_cars(self) -> Any:
        """As `cars`, after the last step and before restarts."""
        return self.world.final_cars.reshape(-1)

    @property
    def observation_space(self) -> spaces.Box:
        """See the class."""
        return spaces.Box(-10.0, 10.0, (self.size,), np.float32)

    def get_state(self) -> dict[str, Any]:
        """Everything that changes, as copies."""
        return {"world": self.world.get_state()}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Continue from `get_state()`."""
        self.world.set_state(state["world"])

    def observe(self, chosen: npt.NDArray[Any] | None = None, *, final: bool = False) -> F:
        """What the cars `chosen` (n,) observe, all by default: (n, D).

        final: before the restarts of the last step, not now.
        """
        world = self.world
        cars, rays = (self.final_cars, world.final_ranges) if final else (self.cars, world.ranges)
        ranges = rays.reshape(self.num_cars, -1)
        if chosen is not None:
            cars, ranges = cars[chosen], ranges[chosen]
        out = np.empty((len(cars), self.size), np.float32)
        place = (world.points, world.track_table)
        observe_road(cars, ranges, *place, self._scale, self._motion, self._motion_scale, self.preview, out)
        numbers = np.arange(self.num_cars) if chosen is None else chosen
        sensed = len(world.condition_rules.sensed)
        if sensed:
            there = world.final_conditions if final else world.conditions
            records = None if there is None else there.reshape(-1)[numbers]
            here = out[:, self.size_alone - sensed : self.size_alone]
            here[...] = sense_conditions(records, world.condition_rules, self.vehicle)
        block = len(self.observed.names)
        if block:
            observe_opponents(world, self.observed, numbers, final, out[:, self.size_alone : self.size_alone + block])
        return out

    def reseed(self, seed: int) -> None:
        """Take another seed; the next `reset` starts every car's first episode."""
        self.world.reseed(seed)

    def reset_alike(self, first: int, distinct: int, steps: int) -> tuple[F, None]:
        """Start new episodes, of at most `steps`; car i starts as car first + i % distinct of a larger batch.

        Returns (observation (N, D), None). With several cars a race, it is races that are counted.
        """
        self.world.restart_all(first, distinct, steps)
        return self.reset()

    def reset(self) -> tuple[F, None]:
        """Start every car's next episode; returns (observation (N, D), None)."""
        self.world.reset()
        return self.observe(), None

    def start_at(self, along: float, pace: float) -> tuple[F, None]:
        """As `reset`, of cars alone on the road, at a place of its middle; arguments as in World.start_at."""
        self.world.start_at(along, pace)
        return self.observe(), None

    def step_batch(self, actions: npt.NDArray[Any]) -> StepResult:
        """Advance all cars by one environment step. actions (N, 2)."""
        world = self.world
        world.step(actions)
        terms = np.empty((self.num_cars, len(self.reward_terms)), np.float32)
        terminated = np.empty(self.num_cars, np.bool_)
        truncated = np.empty(self.num_cars, np.bool_)
        reward_terms_and_dones(self.final_cars, self._scale[2], terms, terminated, truncated)
        if world.cars_per_race > 1:
            per_brake = np.float32(1 / self.vehicle.max_brake)
            columns = terms[:, len(REWARD_TERMS) :]
            race_terms(world.final_traffic.reshape(-1), self._scale[2], self._scale[1], per_brake, columns)
        if world.final_conditions is not None:
            condition_terms(world.final_conditions.reshape(-1), terms[:, -len(CONDITION_TERMS) :])
        observation = self.observe()
        ended = np.flatnonzero(terminated | truncated)
        last = observation
        if len(ended):
            last = observation.copy()
            last[ended] = self.observe(ended, final=True)
        return StepResult(
            observation=observation,
            reward=terms @ self.weights,
            terms=terms,
            terminated=terminated,
            truncated=truncated,
            final_observation=last,
        )

    def last_episode(self, i: int) -> dict[str, Any]:
        """Facts of the episode that car i ended in the last step; lap_time [s] of its best lap, 0: none.

        With several cars a race: contacts; faults, the sum of the blame for them; steps_near, with another car within
        the window; and `alone`, whether it drove as if there were no others. randomize: what was drawn for it, if
        anything is. conditions: how it was at the end, if anything changes, in the words of SENSES
        (racing.sim.conditions.config), temperature in degrees C, fuel in kg.
        """
        car = self.final_cars[i]
        facts = {
            "steps": int(car["steps"]),
            "progress": float(car["progress"]),
            "laps": int(car["laps"]),
            "lap_time": float(car["best_lap"]),
            "ended": Ending(car["ended"]).label,
            **randomized(self.drawn(np.array([i]), final=True)),
        }
        if self.world.final_conditions is not None:
            facts["conditions"] = condition_facts(self.world.final_conditions.reshape(-1)[i])
        if self.world.cars_per_race > 1:
            here = self.world.final_traffic.reshape(-1)[i]
            counts = {name: int(here[name]) for name in ("contacts", "steps_near")}
            facts |= {**counts, "faults": float(here["faults"]), "alone": bool(here["alone"])}
        return facts

    @property
    def randomize(self) -> dict[str, Any]:
        """Name -> [low, high] of what is drawn."""
        variation = self.world.variation
        return {name: list(variation.bounds(name)) for name in variation.names}

    def drawn(self, indices: npt.NDArray[Any], *, final: bool = False) -> dict[str, npt.NDArray[Any]]:
        """Name -> (n,) values of what `randomize` has drawn for the cars `indices` (n,).

        final: for the episodes that ended in the last step.
        """
        return self.world.drawn(indices, final=final)

    def render(self) -> npt.NDArray[np.uint8]:
        """Draw the first car's track with its cars, as seen from above: (480, 480, 3) uint8."""
        return top_down(self.world, 0)


def randomized(drawn: Mapping[str, npt.NDArray[Any]]) -> dict[str, Any]:
    """What was drawn for one car, name -> (1,), as a fact of its episode; empty where nothing was."""
    return {"randomize": {name: float(values[0]) for name, values in drawn.items()}} if drawn else {}


def values_alone(
    *,
    rays: int = 7,
    motion: str | Sequence[str] = "yaw_rate",
    preview: int = 0,
    conditions: Mapping[str, Any] | ConditionsConfig | None = None,
    **others: Any,
) -> int:
    """How many values a car observes of itself and the road. others: keys of the group `env` that do not matter."""
    sensed = read_group("conditions", conditions or {}, ConditionsConfig).sensed
    return rays + 2 + len(motions_of(motion)) + 2 * preview + len(sensed)


def evaluation_episodes(laps: int, time_limit: float) -> EpisodeConfig:
    """Episodes for evaluating a policy, the same for all: rolling starts anywhere, over after `laps` or `time_limit`.

    Starts are at 0.3 to 0.7 of the safe speed, off the centreline by up to half of the room, turned by up to 0.1 rad.
    time_limit [s].
    """
    return EpisodeConfig(
        start_lateral_offset=0.5,
        start_heading_error=0.1,
        start_speed=(0.3, 0.7),
        laps=laps,
        time_limit=time_limit,
        stall_time=5.0,
    )
