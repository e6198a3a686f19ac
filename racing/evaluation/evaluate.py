"""Drive a policy from many starts at once and recorder for its laps. numpy only: no torch, no files of a run.

Nothing here draws a random number: starts follow from the task's own seed, so an evaluation in the middle of training
leaves every generator as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from racing.config import build
from racing.envs.race import alone, senses_of
from racing.envs.sensors import SensorsTask, evaluation_episodes
from racing.envs.task import NonFiniteAction
from racing.envs.vision import VisionTask
from racing.evaluation.result import Array, Evaluation, summarise
from racing.evaluation.stint import stint_facts
from racing.evaluation.telemetry import row_of
from racing.observations import rows_of
from racing.sim.records import Ending
from racing.sim.track import Track
from racing.sim.vehicle import GRAVITY, Vehicle

Task = SensorsTask | VisionTask
Policy = Callable[[Any], npt.NDArray[Any]]  # observations (N, D), or a dict of (N, ...) -> (N, 2) actions

SMOOTHNESS_STEPS = 2048  # of an episode, that are judged by how they are steered: memory must not grow without end
PATIENCE = 3.0  # [reference laps] that an evaluation waits for each lap


class Diverged(NonFiniteAction):
    """The policy's actions are not numbers."""


@dataclass
class EpisodeRecorder:
    """Sums over the first episode of every car, kept while it lasts."""

    task: Task
    done: Array = field(init=False)
    reward: Array = field(init=False)
    terms: Array = field(init=False)
    lateral: Array = field(init=False)
    steering: list[Array] = field(init=False)  # commands (N,) of the first SMOOTHNESS_STEPS
    laps: Array = field(init=False)
    final: Array = field(init=False)
    conditions: Array | None = field(init=False)  # (N,) records at the end, where something changes
    drawn: dict[str, Array] = field(init=False)  # (N,) what `randomize` has drawn for each car, by name
    lap_times: list[list[float]] = field(init=False)
    rows: list[npt.NDArray[np.float32]] = field(init=False)

    def __post_init__(self) -> None:
        cars = self.task.num_cars
        self.done, self.reward = np.zeros(cars, bool), np.zeros(cars)
        self.terms, self.lateral = np.zeros((cars, len(self.task.reward_terms))), np.zeros(cars)
        self.steering = []
        self.laps, self.lap_times = np.zeros(cars, int), [[] for _ in range(cars)]
        self.final, self.rows = self.task.cars.copy(), []
        there = self.task.world.conditions
        self.conditions = None if there is None else there.reshape(-1).copy()
        self.drawn = self.task.drawn(np.arange(cars))

    def record(self, cars: Array, conditions: Array | None, terms: Array | None = None) -> None:
        """Keep a telemetry row (N, K) of `cars` (N,), their condition records and the step's reward terms (N, T)."""
        row = row_of(cars, terms, self.task.weights, conditions)
        row[self.done] = np.nan
        self.rows.append(row)

    def add(self, reward: Array, terms: Array, ended: Array) -> None:
        """Account for one step; reward (N,), terms (N, T), ended (N,)."""
        cars, running = self.task.final_cars, ~self.done
        self.reward[running] += reward[running]
        self.terms[running] += terms[running]
        self.lateral[running] = np.maximum(self.lateral, np.abs(cars["ay"]) / GRAVITY)[running]
        if len(self.steering) < SMOOTHNESS_STEPS:
            self.steering.append(cars["steering_command"].copy())
        for i in np.flatnonzero(running & (cars["laps"] > self.laps)):
            self.lap_times[i].append(float(cars["lap_time"][i]))
        self.laps[running] = cars["laps"][running]
        new = running & ended
        self.final[new] = cars[new]
        if self.conditions is not None:
            self.conditions[new] = self.task.world.final_conditions.reshape(-1)[new]  # type: ignore[union-attr]
        self.done |= new

    def episode(self, i: int, reference: float | None, limit: float | None) -> dict[str, Any]:
        """The episode of car `i` as a dict, see `evaluate`."""
        world, car = self.task.world, self.final[i]
        track, progress, laps = world.tracks[int(car["track"])], float(car["progress"]), self.lap_times[i]
        flying = _flying_lap(laps, world.episodes.laps)
        lap_time = laps[flying - 1] if flying else None
        lost = max(0.0, world.episodes.laps * track.length - progress) if car["ended"] == Ending.OFF_TRACK else 0.0
        duration = int(car["steps"]) * world.step_dt
        terms = (self.terms[i] * self.task.weights + 0.0).tolist()  # + 0.0: no -0.0 in reports
        return {
            "episode": i,
            "track": track.name,
            "ended": Ending(car["ended"]).label,
            "finished": bool(car["ended"] == Ending.LAPS_DONE),
            "laps": len(laps),
            "gates": int(car["gates"]),
            "lap_time_s": lap_time,
            "lap_ratio": lap_time / reference if lap_time and reference else None,
            "limit_ratio": lap_time / limit if lap_time and limit else None,
            "flying_lap": flying,
            "lap_times_s": laps,
            "reward": float(self.reward[i]),
            "reward_terms": dict(zip(self.task.reward_terms, terms, strict=True)),
            "steps": int(car["steps"]),
            "time_s": duration,
            "progress_m": progress,
            "off_track_m": lost,
            "mean_speed": progress / duration if duration else 0.0,
            "max_lateral_g": float(self.lateral[i]),
            **smoothness(np.array([commands[i] for commands in self.steering[: int(car["steps"])]])),
            **({} if self.conditions is None else stint_facts(self.conditions[i], laps)),
            **{f"randomize_{name}": float(values[i]) for name, values in self.drawn.items()},
        }


def smoothness(steering: Array) -> dict[str, float]:
    """How nervously a car was steered; 0 for a wheel that is held.

    steering: (T,) commands, -1 .. 1, one a step. steering_change: mean |change| from step to step, the first one from
    0. steering_spectrum: mean of the spectrum's amplitudes, each weighted by its frequency in steps^-1, of what is left
    without the mean command: the measure Sm of Mysore et al. 2021 (arXiv 2012.06644, eq. 4).
    """
    amplitudes = np.abs(np.fft.rfft(steering - steering.mean())) * 2 / len(steering)
    frequencies = np.fft.rfftfreq(len(steering))
    return {
        "steering_change": float(np.abs(np.diff(steering, prepend=0.0)).mean()),
        "steering_spectrum": float(2 * (amplitudes * frequencies).mean()),
    }


def _flying_lap(laps: Sequence[float], planned: int) -> int | None:
    """Number (from 1) of the best lap that began at speed: not the first one, unless only one lap was asked for."""
    if planned == 1:
        return 1 if laps else None
    return 2 + int(np.argmin(laps[1:])) if len(laps) > 1 else None


def evaluation_task(
    env: Mapping[str, Any],
    tracks: Sequence[Track],
    vehicle: Vehicle,
    references: Sequence[float],
    *,
    races: int,
    laps: int,
    seed: int,
    threads: int = 1,
    randomize: Mapping[str, Any] | None = None,
) -> Task:
    """A task for `evaluate`: the environment of a run's config group `env`, random starts, over after `laps` laps.

    Each car has the road for itself: against others they are driven by racing.evaluation.race.driving.

    Cars and cameras are as the config says, without the changes that `env.randomize` makes while training.

    references: reference laps [s]; an episode may last PATIENCE times the longest of them for each lap and one more.
    races: number of episodes. seed: the world's; add VALIDATION_SEEDS or TEST_SEEDS to the user's.
    randomize: keys of `env.randomize` that the evaluation is about.
    """
    limit = PATIENCE * (laps + 1) * max(references)
    episodes = evaluation_episodes(laps, limit)
    settings: dict[str, Any] = {"tracks": list(tracks), "vehicle": vehicle, "episodes": episodes}
    plain = {key: value for key, value in alone(env).items() if key != "randomize"}
    if randomize:
        settings["randomize"] = dict(randomize)
    make = build({**plain, "_partial_": True})
    return senses_of(make(**settings, races=races, seed=seed, threads=threads))


def evaluate(
    policy: Policy,
    task: Task,
    references: Sequence[float] | None = None,
    limits: Sequence[float | None] | None = None,
    *,
    telemetry: bool = True,
) -> Evaluation:
    """Drive the first episode of every car of `task` to its end.

    policy: observations of all cars -> (N, 2) actions, clipped here to [-1, 1]; of those that still drive, where it
    sees frames, which take time. task: made for evaluation (see
    racing.envs.sensors.evaluation_episodes); each call drives the same starts. references: reference lap [s] of each
    of the task's tracks. limits: least lap time that physics allow [s] of each, None where it is not known. telemetry:
    keep the rows of every car.

    An episode's dict: episode (number), track, ended (racing.sim.records.Ending.label), finished (all laps driven),
    laps and gates passed, lap_times_s of all complete laps, flying_lap (number of the best lap after the first, of the
    only one if one was asked for; None without one), its lap_time_s, lap_ratio to the reference and limit_ratio to the
    limit; reward,
    reward_terms (weighted sums by name), steps, time_s, progress_m (centreline length driven), off_track_m (length of
    the planned laps that was not driven because the car left the road), mean_speed [m/s] along the centreline,
    max_lateral_g [9.81 m/s^2], steering_change and steering_spectrum (see `smoothness`); where something changes while
    cars drive, what racing.evaluation.stint.stint_facts names; randomize_NAME of what was drawn for the car.
    Raises Diverged for actions that are NaN or infinite, ValueError if the task's episodes have no time limit: they
    might never end.
    """
    world = task.world
    if world.episodes.time_limit <= 0:
        raise ValueError("an evaluation's episodes need a time limit, got 0; use evaluation_episodes()")
    world.restart_all()  # begin with the first episode of every car, whatever was driven before
    observation, _ = task.reset()
    recorder = EpisodeRecorder(task)
    if telemetry:
        recorder.record(task.cars, world.conditions)
    while not recorder.done.all():
        actions = _actions(policy, observation, ~recorder.done)
        if not np.isfinite(actions).all():
            raise Diverged("the policy's actions are not numbers (NaN): its training diverged; lower the learning rate")
        step = task.step_batch(np.clip(actions, -1.0, 1.0))
        if telemetry:
            recorder.record(task.final_cars, world.final_conditions, step.terms)
        recorder.add(step.reward, step.terms, step.terminated | step.truncated)
        observation = step.observation
    known = list(references) if references is not None else [None] * len(world.tracks)
    least = list(limits) if limits is not None else [None] * len(world.tracks)
    numbers = recorder.final["track"].astype(int)
    episodes = [recorder.episode(i, known[n], least[n]) for i, n in enumerate(numbers)]
    return Evaluation(
        episodes=episodes,
        summary=_identity(task, known, least) | summarise(episodes),
        telemetry=np.stack(recorder.rows) if telemetry else None,
        step_dt=world.step_dt,
    )


def _actions(policy: Policy, observation: Any, driving: Array) -> Array:
    if not isinstance(observation, dict) or driving.all():
        return policy(observation)
    actions = np.zeros((len(driving), 2), np.float32)
    actions[driving] = policy(rows_of(observation, driving))
    return actions


def _identity(task: Task, references: Sequence[float | None], limits: Sequence[float | None]) -> dict[str, Any]:
    return ({"randomize": task.randomize} if task.randomize else {}) | {
        "vehicle": task.vehicle.name,
        "tyre_model": task.vehicle.model,
        "tracks": [track.name for track in task.tracks],
        "reference_s": list(references),
        "lap_limit_s": list(limits),
        "laps_per_episode": task.world.episodes.laps,
    }
