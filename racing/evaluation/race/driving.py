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
from racing.envs.vision import VisionTask
from racing.evaluation.evaluate import PATIENCE, Diverged
from racing.evaluation.telemetry import COLUMNS, row_of
from racing.observations import rows_of
from racing.sim.records import Ending
from racing.sim.track import Track
from racing.sim.vehicle import Vehicle

Array = npt.NDArray[Any]
Task = SensorsTask | VisionTask
ROLLING_SPEED = (0.8, 0.9)  # of the safe speed: as fast as the cars race
JITTER = 0.25  # [car lengths] by which starts differ, so that the same drivers do not drive the same race again
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


def line_entrant(pace: float, brakes_at: tuple[float, float] | None = None) -> Entrant:
    """A follower of the optimal lap's line. brakes_at: [s], [s] when it begins to brake fully, and when it lets go."""
    name = f"line {pace:g}"

    def make(task: Task, cars: Array) -> Drive:
        followers = LineFollowers(cars, task.world, np.full(len(cars), pace))

        def drive(cars: Array, observation: Any) -> Array:
            actions = followers.actions(task.world)
            if brakes_at is not None:
                now = task.cars[followers.cars]["steps"] * task.world.step_dt
                actions[(now >= brakes_at[0]) & (now < brakes_at[1]), 1] = -1
            return actions if len(cars) == len(followers.cars) else actions[np.isin(followers.cars, cars)]

        return drive

    return Entrant(name=name, make=make)


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
    spacing: float = 1.25,
    threads: int = 1,
) -> Task:
    """The environment of a run's config group `env`, of races that start together and are over after `laps` laps.

    start: grid (standing, behind the start line) or rolling (anywhere). spacing: as in RaceConfig.
    reference: reference lap [s]; a race may last PATIENCE times that for each lap and one more.
    A car that is out is removed.
    """
    plain = {key: value for key, value in env.items() if key != "randomize"}
    episodes = replace(evaluation_episodes(laps, PATIENCE * (laps + 1) * reference), start_speed=ROLLING_SPEED)
    size = {"races": races, "cars": cars, "seed": seed, "threads": threads}
    rules = {"start": start, "spacing": spacing, "jitter": JITTER}
    return together(plain, [track], vehicle, rules=rules, episodes=episodes, **size)


@dataclass(frozen=True, kw_only=True)
class RaceLog:
    """What happened in R races of C cars over T steps.

    who: (R, C) number of each car's entrant. place: (R, C) on the grid, from 0.
    distance: (T + 1, R, C) [m] from the start line after each step, NaN when the car is out.
    telemetry: (T + 1, R, C, K) likewise, K as in RACE_COLUMNS.
    ended: (R, C) Endings. time: (R, C) [s] when it crossed the finish line, infinite if it did not.
    laps: flying laps [s], of each car (R, C) a list.
    driven: (R, C) [m]. steps, near: (R, C) steps raced, and with another car within the window.
    contacts: all, one record per car and contact, CONTACT.
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
    step_dt: float
    length: float  # [m] of a car
    top_speed: float  # [m/s]


CONTACT = np.dtype(
    [("step", int), ("race", int), ("car", int), ("x", float), ("y", float), ("closing", float), ("blame", float)]
)


def drive_races(task: Task, entrants: Sequence[Entrant], who: Array) -> RaceLog:
    """Drive one race in each of the task's R. who: (R, C) numbers of `entrants`.

    Raises Diverged for actions that are NaN or infinite.
    """
    world = task.world
    world.restart_all()
    observation, _ = task.reset()
    races, cars = who.shape
    drives = [entrant.make(task, np.flatnonzero(who.ravel() == k)) for k, entrant in enumerate(entrants)]
    done, steps, near = np.zeros((races, cars), bool), np.zeros((races, cars), int), np.zeros((races, cars), int)
    ended, time, driven = np.zeros((races, cars), int), np.full((races, cars), np.inf), np.zeros((races, cars))
    known, counted = np.zeros((races, cars), int), np.zeros((races, cars), int)
    laps: list[list[list[float]]] = [[[] for _ in range(cars)] for _ in range(races)]
    distance, telemetry = [_kept(world.traffic["distance"], done)], [_kept(_rows(task, task.cars, world.traffic), done)]
    touches: list[tuple[Any, ...]] = []
    place = np.argsort(np.argsort(-world.traffic["distance"], axis=1), axis=1)
    while not done.all():
        actions = np.zeros((task.num_cars, 2), np.float32)
        for k, drive in enumerate(drives):
            mine = np.flatnonzero((who.ravel() == k) & ~done.ravel())
            if len(mine):
                actions[mine] = drive(mine, observation)
        if not np.isfinite(actions).all():
            raise Diverged("an entrant's actions are not numbers (NaN): its training diverged; leave it out")
        step = task.step_batch(np.clip(actions, -1.0, 1.0))
        observation = step.observation
        final, traffic, racing = world.final_cars, world.final_traffic, ~done
        distance.append(_kept(traffic["distance"], done))
        telemetry.append(_kept(_rows(task, task.final_cars, traffic, step.terms), done))
        steps[racing] += 1
        near[racing] += (np.minimum(traffic["gap_ahead"], traffic["gap_behind"]) <= world.window)[racing]
        for r, c in np.argwhere(racing & (traffic["contacts"] > counted)):
            here = final[r, c]
            touches.append(
                (len(distance) - 1, r, c, here["x"], here["y"], traffic["closing"][r, c], traffic["blame"][r, c])
            )
        counted = np.where(racing, traffic["contacts"], counted)
        for r, c in np.argwhere(racing & (final["laps"] > known)):
            if final["laps"][r, c] > 1:
                laps[r][c].append(float(final["lap_time"][r, c]))
        known = np.where(racing, final["laps"], known)
        over = racing & (final["ended"] != Ending.RUNNING)
        ended[over], driven[over] = final["ended"][over], final["progress"][over]
        home = over & (final["ended"] == Ending.LAPS_DONE)
        time[home] = final["lap_started"][home]
        done |= over
    return RaceLog(
        who=who,
        place=place,
        distance=np.stack(distance),
        telemetry=np.stack(telemetry),
        ended=ended,
        time=time,
        laps=laps,
        driven=driven,
        steps=steps,
        near=near,
        contacts=np.array(touches, CONTACT),
        step_dt=world.step_dt,
        length=task.vehicle.length,
        top_speed=task.vehicle.max_speed,
    )


def _rows(task: Task, cars: Array, traffic: Array, terms: Array | None = None) -> Array:
    """(R, C, K) telemetry of all cars (N,). traffic: (R, C)."""
    row = row_of(cars, terms, task.weights)
    return np.concatenate([row.reshape(*traffic.shape, -1), traffic["draft"][..., None]], axis=2)


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
