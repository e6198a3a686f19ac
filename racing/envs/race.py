"""`env=race`: driving among others. Some cars are the learner's, opponents drive the rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from gymnasium import spaces

from racing.envs.drivers import Drivers, HasOptimalDriver, LineFollowers, PolicyDrivers, spread_paces
from racing.envs.pool.mix import ALONE, LINE, OPPONENTS, POOL, SELF, races_of_mix
from racing.envs.pool.pool import Pool, PoolConfig, make_pool
from racing.envs.pool.standing import Standing
from racing.envs.sensors import SensorsTask, values_alone
from racing.envs.task import StepResult
from racing.envs.vision import VisionTask
from racing.errors import is_number, read_group, require, require_number
from racing.observations import VECTOR, rows_of, shapes_of
from racing.sim.camera.camera import Camera
from racing.sim.race.config import MOST_CARS, RaceConfig, Wreck
from racing.sim.track import Track
from racing.sim.vehicle import Vehicle
from racing.sim.world import World

F = npt.NDArray[np.float32]
Array = npt.NDArray[Any]
SENSES = {"sensors": SensorsTask, "vision": VisionTask}
# Keys of env that are not handed on to SensorsTask or VisionTask as they are.
NOT_OF_SENSES = ("mix", "pool", "league", "pace", "senses", "cars", "race")


class Opponent(Protocol):
    """A policy that drives and does not learn. shapes: of what it observes, by name."""

    name: str
    shapes: dict[str, tuple[int, ...]]

    def predict(self, observation: Any) -> Array:
        """Observations (N, ...) -> actions (N, 2)."""


class RaceTask(HasOptimalDriver):
    """Cars among others; a racing.envs.task.DrivingTask whose N rows are the learner's cars.

    Observation and action, rewards, start and end of episodes: those of SensorsTask or VisionTask with `cars` cars a
    race. Each car that is out starts anew alone, where there is room.

    Against whom a car of the learner races stays the same; `mix` says how many of them race against whom:

    kind   the cars of a race
    alone  all are the learner's, and neither see nor touch each other
    self   all are the learner's
    line   one is the learner's, the others follow the optimal lap's line at a pace of their own and brake behind others
    pool   one is the learner's, a policy of `opponents` drives the others: each as often as any other, or those more
           often that `league` says; snapshots of the learner may be among them
    """

    def __init__(
        self,
        tracks: Sequence[Track],
        vehicle: Vehicle,
        *,
        races: int,
        cars: int = 4,
        senses: str = "sensors",
        mix: Mapping[str, float] | None = None,
        pace: Sequence[float] = (0.7, 0.95),
        pool: Sequence[str] = (),
        league: Mapping[str, Any] | None = None,
        opponents: Sequence[Opponent] = (),
        race: Mapping[str, Any] | None = None,
        seed: int = 0,
        first_race: int = 0,
        threads: int = 1,
        **settings: Any,
    ) -> None:
        """Arguments that are not listed here are keys of conf/env/race.yaml, which says what they mean.

        races: number of the learner's cars N, a multiple of `cars`; a single one races against opponents.
        senses: what is observed: sensors | vision.
        pool: names of the policies of which `opponents` are those.
        league: the fields of racing.envs.pool.pool.PoolConfig that differ from its defaults.
        settings: arguments of SensorsTask or VisionTask.
        Raises InputError for values out of range, and for opponents that observe something else.
        """
        require(senses in SENSES, f"senses must be one of {', '.join(SENSES)}, got {senses!r}; choose one")
        require_number("cars", cars, 1, MOST_CARS, whole=True, remedy="1: each car alone")
        fits = races == 1 or races % cars == 0
        require(fits, f"algo.n_envs must be a multiple of env.cars={cars}, got {races}; it counts the learner's cars")
        rules = _rules_while_training(race or {})
        _require_paces(pace)
        rule = f"pool must name as many policies as drive, {len(opponents)}, got {list(pool)!r}"
        require(len(pool) == len(opponents), f"{rule}; only `racing train` finds them")
        choice = read_group("league", league or {}, PoolConfig)
        fits = not choice.on or (mix or {}).get("pool", 0) != 0
        require(fits, "league must be left as it is without mix.pool; raise that, or choice=equal and snapshots=0")
        policies = len(pool) or int(choice.snapshots > 0)  # the learner itself will be the first one
        kinds = np.repeat(np.arange(len(OPPONENTS)), list(races_of_mix(mix or {"alone": 1}, races, cars, policies)))
        self.task: SensorsTask | VisionTask = SENSES[senses](
            tracks,
            vehicle,
            races=len(kinds),
            cars=1 if races == 1 and kinds[0] == ALONE else cars,
            race=rules,
            seed=seed,
            first_race=first_race,
            threads=threads,
            **settings,
        )
        self.tracks, self.vehicle, self.weights = self.task.tracks, vehicle, self.task.weights
        self.reward_terms, self.frame_stack = self.task.reward_terms, self.task.frame_stack
        self.privileged_size, self.action_space = self.task.privileged_size, self.task.action_space
        self.world.traffic["alone"] = (kinds == ALONE)[:, None]
        number = np.arange(self.task.num_cars).reshape(len(kinds), -1)
        whole = kinds <= SELF
        self.seats = np.sort(np.concatenate([number[whole].ravel(), number[~whole, 0]]))  # (N,) the learner's cars
        self.drivers = self._drivers(number[:, 1:], kinds, pace, opponents, pool, choice)
        own = len(kinds) == races and len(set(kinds.tolist())) == 1  # all have the same race, each a race of its own
        self.starts_alike = own and senses == "sensors" and self.league is None
        self.standing: Standing | None = None  # since `reset_alike`

    def _drivers(
        self,
        number: Array,
        kinds: Array,
        pace: Sequence[float],
        opponents: Sequence[Opponent],
        names: Sequence[str],
        league: PoolConfig,
    ) -> list[Drivers]:
        """Who drives the cars that are not the learner's. number: (R, C - 1) cars; kinds: (R,) of their races."""
        drivers: list[Drivers] = []
        following = number[kinds == LINE]
        if following.size:
            paces = np.repeat(spread_paces(pace, len(following)), following.shape[1])
            drivers.append(LineFollowers(following.ravel(), self.world, paces))
        against = number[kinds == POOL]
        if league.on and against.size:
            policies = [PolicyDrivers(against[0, :0], one.predict, self._size_for(one)) for one in opponents]
            return [*drivers, make_pool(league, against, np.flatnonzero(kinds == POOL), names, policies)]
        for k, opponent in enumerate(opponents):
            cars = against[k :: len(opponents)].ravel()
            if cars.size:
                drivers.append(PolicyDrivers(cars, opponent.predict, self._size_for(opponent)))
        return drivers

    def _size_for(self, opponent: Opponent) -> int | None:
        """How many of the observation's values it reads, see PolicyDrivers. Raises InputError where it can't."""
        given = shapes_of(self.task.observation_space)
        if opponent.shapes == given:
            return None
        sensors = getattr(self.task, "size_alone", 0)
        rule = (
            f"pool: {opponent.name} must observe what env gives, {given}, or its sensors alone, got {opponent.shapes}"
        )
        require(opponent.shapes == {VECTOR: (sensors,)}, f"{rule}; take a policy that was trained with these sensors")
        return sensors

    @property
    def league(self) -> Pool | None:
        """Who drives in races against the pool, where `league` says so; None: each policy has its own."""
        return next((driver for driver in self.drivers if isinstance(driver, Pool)), None)

    @property
    def world(self) -> World:
        """All cars."""
        return self.task.world

    @property
    def num_cars(self) -> int:
        """Number of the learner's cars N."""
        return len(self.seats)

    @property
    def turns(self) -> Array:
        """See RacingVecEnv.turns."""
        count = self.world.cars_per_race
        turns: Array = self.seats // count + self.seats % count
        return turns

    @property
    def cars(self) -> Any:
        """Records of the learner's cars (N,), as they are now."""
        return self.task.cars[self.seats]

    @property
    def final_cars(self) -> Any:
        """As `cars`, after the last step and before restarts."""
        return self.task.final_cars[self.seats]

    @property
    def observation_space(self) -> spaces.Space[Any]:
        """Of the learner's cars."""
        return self.task.observation_space

    @property
    def observation_names(self) -> list[str]:
        """Names of the observation's numbers, in order."""
        return self.task.observation_names

    def reseed(self, seed: int) -> None:
        """Take another seed; the next `reset` starts every car's first episode."""
        self.task.reseed(seed)

    def reset(self) -> tuple[Any, F | None]:
        """Start every car's next episode; returns (observation (N, ...), privileged (N, P) or None)."""
        observation, privileged = self.task.reset()
        if self.league is not None:
            self.league.begin(self.world)
        return rows_of(observation, self.seats), rows_of(privileged, self.seats)

    def reset_alike(self, first: int, distinct: int, steps: int) -> tuple[Any, F | None]:
        """Start new episodes, of at most `steps`; race i is as race first + i % distinct of a larger batch.

        Its opponents, too: paces or policies go round. Of tasks that are `starts_alike`. See `standing`.
        """
        number = first + np.arange(self.num_cars) % distinct
        cars = np.arange(self.task.num_cars).reshape(len(number), -1)[:, 1:]
        policies = [driver for driver in self.drivers if isinstance(driver, PolicyDrivers)]
        for k, policy in enumerate(policies):
            policy.cars = cars[number % len(policies) == k].ravel()
        for driver in self.drivers:
            if isinstance(driver, LineFollowers):
                driver.deal(np.repeat(number, cars.shape[1]))
        self.task.world.restart_all(first, distinct, steps)
        started = self.reset()
        self.standing = Standing(self.world)
        return started

    def step_batch(self, actions: Array) -> StepResult:
        """Advance all cars by one environment step. actions (N, 2): of the learner's."""
        asked = np.empty((self.task.num_cars, 2), np.float32)
        asked[self.seats] = actions
        observation = self.task.observe() if any(driver.looks for driver in self.drivers) else None
        for driver in self.drivers:
            asked[driver.cars] = driver.actions(self.world, observation)
        step = self.task.step_batch(asked)
        if self.standing is not None:
            self.standing.add(self.world)
        if self.league is not None:
            self.league.after(self.world)
        return StepResult(**{field.name: rows_of(getattr(step, field.name), self.seats) for field in fields(step)})

    def last_episode(self, i: int) -> dict[str, Any]:
        """As in SensorsTask."""
        return self.task.last_episode(int(self.seats[i]))

    def render(self) -> npt.NDArray[np.uint8]:
        """As in SensorsTask."""
        return self.task.render()

    def driver_camera(self, height: int) -> Camera:
        """As in VisionTask."""
        return self.task.driver_camera(height)  # type: ignore[union-attr]

    def get_state(self) -> dict[str, Any]:
        """Everything that changes, as copies."""
        return {**self.task.get_state(), "drivers": [driver.get_state() for driver in self.drivers]}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Continue from `get_state()`."""
        self.task.set_state(state)
        for driver, one in zip(self.drivers, state["drivers"], strict=True):
            driver.set_state(one)


def _rules_while_training(race: Mapping[str, Any]) -> RaceConfig:
    rules = read_group("race", race, RaceConfig)
    again = rules.wreck == Wreck.RESPAWN
    require(again, f"race.wreck must be respawn while training, got {rules.wreck.name.lower()}; leave it away")
    return rules


def _require_paces(pace: Any) -> None:
    pair = isinstance(pace, Sequence) and len(pace) == 2 and all(is_number(share) for share in pace)
    rule = f"pace must be two shares of the optimal lap's speed, 0.3 <= low <= high <= 1, got {pace!r}"
    require(pair and 0.3 <= pace[0] <= pace[1] <= 1, f"{rule}; e.g. [0.7, 0.95]")


def senses_of(task: SensorsTask | VisionTask | RaceTask) -> SensorsTask | VisionTask:
    """The task that says what cars sense: itself, or the one among whose cars the learner's are."""
    return task.task if isinstance(task, RaceTask) else task


def alone(env: Mapping[str, Any]) -> dict[str, Any]:
    """A config group `env` whose cars have the road for themselves; one of such cars as it is."""
    kept = {key: value for key, value in env.items() if key not in ("mix", "pool", "league", "pace")}
    return {**kept, "cars": 1} if "cars" in env else kept


def has_others(env: Mapping[str, Any]) -> bool:
    """Whether cars of a config group `env` race against anybody: alone, or of one car a race, they don't."""
    mix = env.get("mix") or {"alone": 1}
    return env.get("cars", 1) > 1 and any(share > 0 for kind, share in mix.items() if kind != "alone")


def _senses(env: Mapping[str, Any]) -> str:
    """Key of SENSES of a config group `env`, of races or of a lone car."""
    return str(env.get("senses", "vision" if "frame_stack" in env else "sensors"))


def sensors_alone(env: Mapping[str, Any]) -> int:
    """How many values of the observation in a config group `env` are not of the opponents; 0: it is no vector."""
    return values_alone(**env) if _senses(env) == "sensors" else 0


def together(
    env: Mapping[str, Any],
    tracks: Sequence[Track],
    vehicle: Vehicle,
    *,
    races: int,
    cars: int,
    rules: Mapping[str, Any],
    **settings: Any,
) -> SensorsTask | VisionTask:
    """Make races whose cars start together, and whose rows are all of them, of a config group `env`.

    rules: fields of racing.sim.race.config.RaceConfig that differ from those of `env`; wreck is remove by default.
    settings: arguments of SensorsTask or VisionTask that differ.
    Raises InputError for values out of range.
    """
    kept = {key: value for key, value in env.items() if key not in NOT_OF_SENSES and not key.startswith("_")}
    race = read_group("race", {"wreck": "remove", **(env.get("race") or {}), **rules}, RaceConfig)
    given: dict[str, Any] = {**kept, **settings, "race": race}
    made: SensorsTask | VisionTask = SENSES[_senses(env)](tracks, vehicle, races=races, cars=cars, **given)
    return made
