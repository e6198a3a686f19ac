"""Drive several entrants against each other, from the same start to the same line, and note what they do to each other.

numpy only, and no random number: as in racing.evaluation.evaluate, starts follow from the task's seed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from racing.envs.drivers import LineFollowers
from racing.envs.race import together
from racing.envs.sensors import SensorsTask, evaluation_episodes
from racing.envs.task import StepResult
from racing.envs.vision import VisionTask
from racing.evaluation.evaluate import PATIENCE, Diverged
from racing.evaluation.telemetry import COLUMNS, CONDITION_COLUMNS, row_of
from racing.observations import rows_of
from racing.sim.kernels.rng import Draw, uniform
from racing.sim.records import Ending
from racing.sim.track import Track
from racing.sim.vehicle import Vehicle
from racing.sim.world import World

Array = npt.NDArray[Any]
Task = SensorsTask | VisionTask
ROLLING_SPEED = (0.8, 0.9)  # of the safe speed: as fast as the cars race
JITTER = 1.0  # [car lengths] by which starts differ, so that the same drivers do not drive the same race again
BRAKING = 1.5  # [s] that a surprise lasts
AHEAD_FOR = 1.0  # [s] that a car must be a length ahead of another before it has overtaken it
TOUCH, HEAVY = 1.0, 0.15  # [m/s], [top speeds] of closing: below it a touch, above it a heavy contact
RACE_COLUMNS = {**COLUMNS, "draft": "1"}  # of telemetry; draft: [0, 1] of another car's slipstream
POINTS = {"touch": 1, "contact": 2, "heavy": 4}  # incident points of a contact, a convention


class Drive(Protocol):
    """Who drives some cars of a race's task."""

    def __call__(self, cars: Array, observation: Any) -> Array:
        """(K, 2) actions of the cars (K,), numbers; observation: of all (N, ...)."""


@dataclass(frozen=True, kw_only=True)
class Entrant:
    """Who takes part. make: binds it to the cars (K,) of a task that it drives; drives them from then on."""

    name: str
    make: Callable[[Task, Array], Drive]


def policy_entrant(name: str, predict: Callable[[Any], Array], size: int | None = None) -> Entrant:
    """A policy. size: how many of the observation's values it reads, the first ones; None: all."""

    def make(task: Task, cars: Array) -> Drive:
        def drive(cars: Array, observation: Any) -> Array:
            seen = rows_of(observation, cars)
            return predict(seen if size is None else seen[:, :size])

        return drive

    return Entrant(name=name, make=make)


def line_entrant(pace: float, brakes: tuple[float, float] | None = None) -> Entrant:
    """A follower of the optimal lap's line.

    brakes: [s], [s] between which it begins once to brake fully, for BRAKING; drawn for each race.
    """
    name = f"line {pace:g}"

    def make(task: Task, cars: Array) -> Drive:
        followers = LineFollowers(cars, task.world, np.full(len(cars), pace))
        begin = None if brakes is None else brakes[0] + (brakes[1] - brakes[0]) * _shares(task, cars)

        def drive(cars: Array, observation: Any) -> Array:
            actions = followers.actions(task.world)
            if begin is not None:
                since = task.cars[followers.cars]["steps"] * task.world.step_dt - begin
                actions[(since >= 0) & (since < BRAKING), 1] = -1
            return actions if len(cars) == len(followers.cars) else actions[np.isin(followers.cars, cars)]

        return drive

    return Entrant(name=name, make=make)


def _shares(task: Task, cars: Array) -> Array:
    """(K,) numbers in [0, 1) that are drawn for the races of cars (K,), the same whenever these are driven."""
    seed, count = int(task.world.rules["seed"]), task.world.cars_per_race
    return np.array([float(uniform(seed, int(car) // count, 0, Draw.BRAKING)) for car in cars])


def race_task(
    env: Mapping[str, Any],
    track: Track,
    vehicle: Vehicle,
    *,
    races: int,
    cars: int,
    start: str,
    laps: int,
    reference: float,
    seed: int,
    spacing: float = 2.0,
    randomize: Mapping[str, Any] | None = None,
    first_race: int = 0,
    threads: int = 1,
) -> Task:
    """The environment of a run's config group `env`, of races that start together and are over after `laps` laps.

    start: as in RaceConfig, grid (standing, behind the start line), rolling (anywhere) or mixed. spacing: likewise.
    reference: reference lap [s]; a race may last PATIENCE times that for each lap and one more.
    randomize: keys of `env.randomize` that the races are about, for all cars; what training has does not count.
    first_race: number of the first race, where these are some of a larger number: its start is the same as there.
    A car that is out is removed.
    """
    own = {**env, "randomize": dict(randomize or {})}
    episodes = replace(evaluation_episodes(laps, PATIENCE * (laps + 1) * reference), start_speed=ROLLING_SPEED)
    size = {"races": races, "cars": cars, "seed": seed, "first_race": first_race, "threads": threads}
    rules = {"start": start, "spacing": spacing, "jitter": JITTER}
    return together(own, [track], vehicle, rules=rules, episodes=episodes, **size)


@dataclass(frozen=True, kw_only=True)
class RaceLog:
    """What happened in R races of C cars over T steps.

    who: (R, C) number of each car's entrant. place: (R, C) on the grid, from 0.
    distance: (T + 1, R, C) [m] from the start line after each step, NaN when the car is out.
    telemetry: (T + 1, R, C, K) likewise, K as `race_columns` names them.
    ended: (R, C) Endings. time: (R, C) [s] when it crossed the finish line, infinite if it did not.
    laps: flying laps [s], of each car (R, C) a list.
    driven: (R, C) [m]. steps, near: (R, C) steps raced, and with another car within the window.
    contacts: all, one record per car and contact, CONTACT; `other` is the slot of the other car.
    drawn: (R, C) each, what `randomize` has drawn, by name.
    """

    who: Array
    place: Array
    distance: npt.NDArray[np.float32]
    telemetry: npt.NDArray[np.float32]
    ended: Array
    time: Array
    laps: list[list[list[float]]]
    driven: Array
    steps: Array
    near: Array
    contacts: npt.NDArray[np.void]
    drawn: Mapping[str, Array]
    step_dt: float
    length: float  # [m] of a car
    top_speed: float  # [m/s]


CONTACT = np.dtype(
    [(name, int) for name in ("step", "race", "car", "other")]
    + [(name, float) for name in ("x", "y", "closing", "blame")]
)


def drive_races(
    task: Task, entrants: Sequence[Entrant], who: Array, watch: Callable[[int], None] | None = None
) -> RaceLog:
    """Drive one race in each of the task's R. who: (R, C) numbers of `entrants`.

    watch: is told after each step how many cars drove; what it raises ends the races.
    Raises Diverged for actions that are NaN or infinite.
    """
    races = Races(task, entrants, who)
    while not races.recorder.done.all():
        driving = int((~races.recorder.done).sum())
        races.step()
        if watch is not None:
            watch(driving)
    return races.recorder.log()


class Races:
    """Races of a task, driven step by step from their start on."""

    def __init__(self, task: Task, entrants: Sequence[Entrant], who: Array) -> None:
        """The task's first races. who: (R, C) numbers of `entrants`."""
        task.world.restart_all()
        self.task, self._who = task, who
        self.observation: Any = task.reset()[0]
        self._drives = [entrant.make(task, np.flatnonzero(who.ravel() == k)) for k, entrant in enumerate(entrants)]
        self.recorder = RaceRecorder(task, who)

    def again(self, *, over: bool) -> None:
        """The next races. over: the present ones are, which has begun the next ones."""
        if not over:
            self.observation = self.task.reset()[0]
        self.recorder = RaceRecorder(self.task, self._who)

    def step(self) -> StepResult:
        """Drive one step. Raises Diverged for actions that are NaN or infinite."""
        task, recorder = self.task, self.recorder
        actions = np.zeros((task.num_cars, 2), np.float32)
        for k, drive in enumerate(self._drives):
            mine = np.flatnonzero((self._who.ravel() == k) & ~recorder.done.ravel())
            if len(mine):
                actions[mine] = drive(mine, self.observation)
        if not np.isfinite(actions).all():
            raise Diverged("an entrant's actions are not numbers (NaN): its training diverged; leave it out")
        step = task.step_batch(np.clip(actions, -1.0, 1.0))
        self.observation = step.observation
        recorder.add(step.terms)
        return step


class RaceRecorder:
    """Notes what happens in the races of a task while they are driven, from their start on."""

    def __init__(self, task: Task, who: Array) -> None:
        """who: (R, C) numbers of the entrants."""
        world, shape = task.world, who.shape
        self.task, self.who, self.done = task, who, np.zeros(shape, bool)
        self._steps, self._near, self._ended = (np.zeros(shape, int) for _ in range(3))
        self.time, self._driven = np.full(shape, np.inf), np.zeros(shape)
        self._known = np.zeros(shape, int)  # laps
        self._touching = np.zeros(shape, int)  # bit per slot
        self._laps: list[list[list[float]]] = [[[] for _ in range(shape[1])] for _ in range(shape[0])]
        self.contacts: list[tuple[Any, ...]] = []  # CONTACT
        self._place = np.argsort(np.argsort(-world.traffic["distance"], axis=1), axis=1)
        self._distance = [_kept(world.traffic["distance"], self.done)]
        self._telemetry = [_kept(_rows(task, task.cars, world.traffic, world.conditions), self.done)]
        drawn = task.drawn(np.arange(task.num_cars))
        self._drawn = {name: values.reshape(shape) for name, values in drawn.items()}

    def add(self, terms: Array) -> None:
        """Note a step. terms: (N, T) unweighted reward terms."""
        world, racing = self.task.world, ~self.done
        final, traffic = world.final_cars, world.final_traffic
        self._distance.append(_kept(traffic["distance"], self.done))
        rows = _rows(self.task, self.task.final_cars, traffic, world.final_conditions, terms)
        self._telemetry.append(_kept(rows, self.done))
        self._steps[racing] += 1
        self._near[racing] += (np.minimum(traffic["gap_ahead"], traffic["gap_behind"]) <= world.window)[racing]
        for r, c in np.argwhere(racing & (traffic["contact_with"] & ~self._touching != 0)):
            self._touch(int(r), int(c), final[r, c], traffic[r])
        self._touching = np.where(racing, traffic["contact_with"], 0)
        for r, c in np.argwhere(racing & (final["laps"] > self._known)):
            if final["laps"][r, c] > 1:
                self._laps[r][c].append(float(final["lap_time"][r, c]))
        self._known = np.where(racing, final["laps"], self._known)
        over = racing & (final["ended"] != Ending.RUNNING)
        self._ended[over], self._driven[over] = final["ended"][over], final["progress"][over]
        home = over & (final["ended"] == Ending.LAPS_DONE)
        self.time[home] = (final["lap_started"] + _stood(world))[home]
        self.done |= over

    def _touch(self, race: int, car: int, there: Any, traffic: Array) -> None:
        """Note each contact that has begun at a car. there: its record. traffic: (C,) of the race.

        The simulator keeps the fastest contact of a step and the greatest blame at each car. Of a car that touches
        several, the others know their contact with it better, unless they touch several, too.
        """
        here, slots = traffic[car], range(len(traffic))
        partners = [k for k in slots if int(here["contact_with"]) >> k & 1]
        for other in partners:
            if self._touching[race, car] >> other & 1:
                continue
            its = traffic[other]
            closing, blame = min(here["closing"], its["closing"]), here["blame"]
            if len(partners) > 1 and int(its["contact_with"]).bit_count() == 1:
                blame = min(blame, 1 - its["blame"]) if closing > 0 else 0.0
            self.contacts.append((len(self._distance) - 1, race, car, other, there["x"], there["y"], closing, blame))

    def log(self) -> RaceLog:
        """All that was noted."""
        world = self.task.world
        return RaceLog(
            who=self.who,
            place=self._place,
            distance=np.stack(self._distance),
            telemetry=np.stack(self._telemetry),
            ended=self._ended,
            time=self.time,
            laps=self._laps,
            driven=self._driven,
            steps=self._steps,
            near=self._near,
            contacts=np.array(self.contacts, CONTACT),
            drawn=self._drawn,
            step_dt=world.step_dt,
            length=self.task.vehicle.length,
            top_speed=self.task.vehicle.max_speed,
        )


def _stood(world: World) -> Array:
    """(R, C) [s] that the cars stood at the pit."""
    stops = 0 if world.final_conditions is None else world.final_conditions["stops"]
    return np.asarray(stops * world.condition_rules.pit_stop.time)


def _rows(task: Task, cars: Array, traffic: Array, conditions: Array | None, terms: Array | None = None) -> Array:
    """(R, C, K) telemetry of all cars (N,). traffic: (R, C). conditions: (R, C) or None."""
    row = row_of(cars, terms, task.weights, conditions).reshape(*traffic.shape, -1)
    own, changing = np.split(row, [len(COLUMNS)], axis=2)
    return np.concatenate([own, traffic["draft"][..., None], changing], axis=2)


def race_columns(rows: Array) -> dict[str, Array]:
    """Telemetry of races (..., K) by the names of its columns."""
    return {name: rows[..., k] for k, name in enumerate([*RACE_COLUMNS, *CONDITION_COLUMNS][: rows.shape[-1]])}


def _kept(values: Array, done: Array) -> npt.NDArray[np.float32]:
    """Values (R, C, ...) with NaN for the cars that are out."""
    out = values.astype(np.float32)
    out[done] = np.nan
    return out


def order_of(log: RaceLog) -> Array:
    """(R, C) finishing positions from 1: those who came home by their time, then the others by how far they came."""
    far = np.nanmax(np.where(np.isnan(log.distance), -np.inf, log.distance), axis=0)
    best = np.array([np.lexsort((-far[r], log.time[r])) for r in range(len(far))])
    return np.argsort(best, axis=1) + 1


def overtakes(log: RaceLog) -> tuple[Array, Array]:
    """(R, C) overtakes that each car made, and that it suffered.

    A car has overtaken another when, having been behind, it has been a length or more ahead for AHEAD_FOR: what is less
    may be taken back at once. Counted while both race.
    """
    steps = max(1, round(AHEAD_FOR / log.step_dt))
    races, cars = log.who.shape
    made, lost = np.zeros((races, cars), int), np.zeros((races, cars), int)
    for a in range(cars):
        for b in range(a + 1, cars):
            leads = np.where(log.place[:, a] < log.place[:, b], 1, -1)
            held = np.zeros((2, races), int)  # steps that a, that b has been ahead
            lead = log.distance[:, :, a] - log.distance[:, :, b]
            for row in lead:
                for side, sign in ((0, 1), (1, -1)):
                    held[side] = np.where(sign * row >= log.length, held[side] + 1, 0)
                    new = (held[side] >= steps) & (leads == -sign)
                    leads[new] = sign
                    winner, loser = (a, b) if sign == 1 else (b, a)
                    made[new, winner] += 1
                    lost[new, loser] += 1
    return made, lost


def incident_points(log: RaceLog) -> Array:
    """Incident points of each of the log's contacts."""
    closing = log.contacts["closing"]
    heavy = np.where(closing > HEAVY * log.top_speed, POINTS["heavy"], POINTS["contact"])
    return np.where(closing < TOUCH, POINTS["touch"], heavy)
