"""Drive a policy from many starts at once and account for its laps. numpy only: no torch, no files of a run.

Nothing here draws a random number: starts follow from the task's own seed, so an evaluation in the middle of training
leaves every generator as it was.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from racing.config import build
from racing.envs.sensors import TERMS, SensorsTask, evaluation_episodes
from racing.envs.vision import VisionTask
from racing.files import write_atomic
from racing.intervals import mean_interval, wilson
from racing.observations import rows_of
from racing.sim.layout import ENDINGS, LAPS_DONE, OFF_TRACK
from racing.sim.track import Track
from racing.sim.vehicle import GRAVITY, Vehicle
from racing.telemetry import COLUMNS, row_of, write_csv, write_parquet

Array = npt.NDArray[Any]
Task = SensorsTask | VisionTask
Policy = Callable[[Any], npt.NDArray[Any]]  # observations (N, D), or a dict of (N, ...) -> (N, 2) actions

# Added to the seed of an evaluation, so that no start is one that training saw (its seeds are smaller) and the starts
# that a best checkpoint was chosen by are not those that it is reported on.
SELECTION_SEEDS, REPORT_SEEDS = 1 << 29, 1 << 30
PATIENCE = 3.0  # [reference laps] that an evaluation waits for each lap
PER_TRACK = ("finish_rate", "lap_time_s", "lap_ratio")  # what a journal keeps of every single track


class Diverged(RuntimeError):
    """The policy's actions are not numbers."""


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What `drive` measured.

    episodes: one dict per lane, see `drive`. summary: averages with 95 % intervals, see `summarise`.
    telemetry: (T + 1, N, K) float32, K as in racing.telemetry.COLUMNS, row 0 is the start; NaN after a lane's end. None
    if not kept. decision: [s] between two rows.
    """

    episodes: list[dict[str, Any]]
    summary: dict[str, Any]
    telemetry: npt.NDArray[np.float32] | None
    decision: float

    def best_lane(self) -> int:
        """The lane with the best flying lap (least ratio to the reference, or time); without one, the furthest."""

        def rank(lane: int) -> tuple[bool, float]:
            episode = self.episodes[lane]
            lap = episode["lap_ratio"] if episode["lap_ratio"] is not None else episode["lap_time_s"]
            return (lap is None, -episode["progress_m"] if lap is None else lap)

        return min(range(len(self.episodes)), key=rank)

    def telemetry_table(self, lane: int) -> dict[str, Array]:
        """Columns of one lane's drive, start to end: time_s [s] and COLUMNS, each (steps + 1,) float32.

        Raises ValueError if no telemetry was kept.
        """
        if self.telemetry is None:
            raise ValueError("drive(..., telemetry=True) keeps the telemetry; this evaluation has none")
        rows = self.episodes[lane]["steps"] + 1
        table: dict[str, Array] = {"time_s": (np.arange(rows) * self.decision).astype(np.float32)}
        return table | {name: self.telemetry[:rows, lane, k] for k, name in enumerate(COLUMNS)}

    def lap_table(self, lane: int) -> dict[str, Array]:
        """Columns of one lane's flying lap, closed by the first row after it; the whole drive where it has none.

        As `telemetry_table`; `distance` counts from the lap's first row.
        """
        table = self.telemetry_table(lane)
        lap = self.episodes[lane]["flying_lap"]
        if lap is not None:
            rows = np.flatnonzero(table["lap"] == lap)
            last = min(rows[-1] + 2, len(table["lap"]))
            table = {name: values[rows[0] : last] for name, values in table.items()}
        return table | {"distance": table["distance"] - table["distance"][0]}

    def write_laps(self, path: Path) -> None:
        """Write one CSV row per episode; lap_1_s, lap_2_s, ... are its lap times, reward_* its weighted terms."""
        laps = max(len(episode["lap_times_s"]) for episode in self.episodes)
        rows = []
        for episode in self.episodes:
            row = {key: value for key, value in episode.items() if not isinstance(value, list | dict)}
            times = dict(enumerate(episode["lap_times_s"], 1))
            row |= {f"lap_{k}_s": times.get(k) for k in range(1, laps + 1)}
            rows.append(row | {f"reward_{name}": value for name, value in episode["reward_terms"].items()})
        text = io.StringIO()
        writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write_atomic(path, text.getvalue())

    def write_telemetry(self, table: Path, sheet: Path) -> None:
        """Write every lane's drive as the parquet file `table`, the best lane's as the CSV file `sheet`."""
        write_parquet([self.telemetry_table(lane) for lane in range(len(self.episodes))], table)
        write_csv(self.telemetry_table(self.best_lane()), sheet)


@dataclass
class _Account:
    """Sums over the first episode of every lane, kept while it lasts."""

    task: Task
    done: Array = field(init=False)
    reward: Array = field(init=False)
    terms: Array = field(init=False)
    lateral: Array = field(init=False)
    laps: Array = field(init=False)
    final: Array = field(init=False)
    lap_times: list[list[float]] = field(init=False)
    rows: list[npt.NDArray[np.float32]] = field(init=False)

    def __post_init__(self) -> None:
        lanes = self.task.lanes
        self.done, self.reward = np.zeros(lanes, bool), np.zeros(lanes)
        self.terms, self.lateral = np.zeros((lanes, len(TERMS))), np.zeros(lanes)
        self.laps, self.lap_times = np.zeros(lanes, int), [[] for _ in range(lanes)]
        self.final, self.rows = self.task.world.cars.reshape(-1).copy(), []

    def record(self, cars: Array, terms: Array | None = None) -> None:
        """Keep a telemetry row (N, K) of `cars` (N,) and of the decision's unweighted reward terms (N, T)."""
        row = row_of(cars, terms, self.task.weights)
        row[self.done] = np.nan
        self.rows.append(row)

    def add(self, reward: Array, terms: Array, ended: Array) -> None:
        """Account for one decision; reward (N,), terms (N, T), ended (N,)."""
        cars, running = self.task.world.final_cars.reshape(-1), ~self.done
        self.reward[running] += reward[running]
        self.terms[running] += terms[running]
        self.lateral[running] = np.maximum(self.lateral, np.abs(cars["ay"]) / GRAVITY)[running]
        for lane in np.flatnonzero(running & (cars["laps"] > self.laps)):
            self.lap_times[lane].append(float(cars["lap_time"][lane]))
        self.laps[running] = cars["laps"][running]
        new = running & ended
        self.final[new] = cars[new]
        self.done |= new

    def episode(self, lane: int, reference: float | None) -> dict[str, Any]:
        """The dict of one lane."""
        world, car = self.task.world, self.final[lane]
        track, progress, laps = world.tracks[int(car["track"])], float(car["progress"]), self.lap_times[lane]
        flying = _flying_lap(laps, world.episodes.laps)
        lap_time = laps[flying - 1] if flying else None
        lost = max(0.0, world.episodes.laps * track.length - progress) if car["ended"] == OFF_TRACK else 0.0
        duration = int(car["steps"]) * world.decision
        terms = (self.terms[lane] * self.task.weights + 0.0).tolist()  # + 0.0: no -0.0 in reports
        return {
            "episode": lane,
            "track": track.name,
            "ended": ENDINGS[car["ended"]],
            "finished": bool(car["ended"] == LAPS_DONE),
            "laps": len(laps),
            "gates": int(car["gates"]),
            "lap_time_s": lap_time,
            "lap_ratio": lap_time / reference if lap_time and reference else None,
            "flying_lap": flying,
            "lap_times_s": laps,
            "reward": float(self.reward[lane]),
            "reward_terms": dict(zip(TERMS, terms, strict=True)),
            "steps": int(car["steps"]),
            "time_s": duration,
            "progress_m": progress,
            "off_track_m": lost,
            "mean_speed": progress / duration if duration else 0.0,
            "max_lateral_g": float(self.lateral[lane]),
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
) -> Task:
    """A task for `drive`: the environment of a run's config group `env`, random starts, over after `laps` laps.

    A camera is as the config says, without the changes that `env.randomize` makes while training.

    references: reference laps [s]; an episode may last PATIENCE times the longest of them for each lap and one more.
    races: number of episodes. seed: the world's; add SELECTION_SEEDS or REPORT_SEEDS to the user's.
    """
    limit = PATIENCE * (laps + 1) * max(references)
    episodes = evaluation_episodes(laps, limit)
    settings: dict[str, Any] = {"tracks": list(tracks), "vehicle": vehicle, "episodes": episodes}
    plain = {key: value for key, value in env.items() if key != "randomize"}
    make = build({**plain, "_partial_": True})
    return make(**settings, races=races, seed=seed, threads=threads)  # type: ignore[no-any-return]


def drive(
    policy: Policy, task: Task, references: Sequence[float] | None = None, *, telemetry: bool = True
) -> Evaluation:
    """Drive the first episode of every lane of `task` to its end.

    policy: observations of all lanes -> (N, 2) actions, clipped here to [-1, 1]; of those that still drive, where it
    sees frames, which take time. task: made for evaluation (see
    racing.envs.sensors.evaluation_episodes); each call drives the same starts. references: reference lap [s] of each
    of the task's tracks. telemetry: keep the rows of every lane.

    An episode's dict: episode (lane), track, ended (racing.sim.layout.ENDINGS), finished (all laps driven), laps and
    gates passed, lap_times_s of all complete laps, flying_lap (number of the best lap after the first, of the only
    one if one was asked for; None without one), its lap_time_s and lap_ratio to the reference; reward, reward_terms
    (weighted sums by name), steps (decisions), time_s, progress_m (centreline length driven), off_track_m (length of
    the planned laps that was not driven because the car left the road), mean_speed [m/s] along the centreline,
    max_lateral_g [9.81 m/s^2]. Raises Diverged for actions that are NaN, ValueError if the task's episodes have no
    time limit: they might never end.
    """
    world = task.world
    if world.episodes.time_limit <= 0:
        raise ValueError("an evaluation's episodes need a time limit, got 0; use evaluation_episodes()")
    world.cars["episode"] = -1  # begin with the first episode of every lane, whatever was driven before
    observation = task.reset()
    account = _Account(task)
    if telemetry:
        account.record(world.cars.reshape(-1))
    while not account.done.all():
        actions = _actions(policy, observation, ~account.done)
        if np.isnan(actions).any():
            raise Diverged("the policy's actions are not numbers (NaN): its training diverged; lower the learning rate")
        step = task.step(np.clip(actions, -1.0, 1.0))
        if telemetry:
            account.record(world.final_cars.reshape(-1), step.terms)
        account.add(step.reward, step.terms, step.terminated | step.truncated)
        observation = step.observation
    known = list(references) if references is not None else [None] * len(world.tracks)
    episodes = [account.episode(lane, known[int(account.final["track"][lane])]) for lane in range(task.lanes)]
    return Evaluation(
        episodes=episodes,
        summary=_identity(task, known) | summarise(episodes),
        telemetry=np.stack(account.rows) if telemetry else None,
        decision=world.decision,
    )


def _actions(policy: Policy, observation: Any, driving: Array) -> Array:
    if not isinstance(observation, dict) or driving.all():
        return policy(observation)
    actions = np.zeros((len(driving), 2), np.float32)
    actions[driving] = policy(rows_of(observation, driving))
    return actions


def _identity(task: Task, references: Sequence[float | None]) -> dict[str, Any]:
    return {
        "vehicle": task.vehicle.name,
        "tyre_model": task.vehicle.model,
        "tracks": [track.name for track in task.tracks],
        "reference_s": list(references),
        "laps_per_episode": task.world.episodes.laps,
    }


def summarise(episodes: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Averages over episodes; NAME_low and NAME_high bound a 95 % interval; None where there is nothing to average.

    episodes, finished; finish_rate (Wilson interval); lap_time_s and lap_ratio (mean over the episodes that have a
    flying lap, Student's t) and their best; off_track_rate, off_track_m (mean over all episodes, see `drive`),
    max_lateral_g (greatest), mean_speed, reward (mean, t), reward_terms (means); endings (count by name); per_track:
    the same for each track, if there are several.
    """
    count, finished = len(episodes), sum(episode["finished"] for episode in episodes)
    out: dict[str, Any] = {"episodes": count, "finished": finished, "finish_rate": finished / count}
    out["finish_rate_low"], out["finish_rate_high"] = wilson(finished, count)
    for name in ("lap_time_s", "lap_ratio"):
        values = [episode[name] for episode in episodes if episode[name] is not None]
        out |= _mean(name, values) | {f"{name}_best": min(values, default=None)}
    out["off_track_rate"] = sum(episode["ended"] == ENDINGS[OFF_TRACK] for episode in episodes) / count
    out["off_track_m"] = float(np.mean([episode["off_track_m"] for episode in episodes]))
    out["max_lateral_g"] = max(episode["max_lateral_g"] for episode in episodes)
    out["mean_speed"] = float(np.mean([episode["mean_speed"] for episode in episodes]))
    out |= _mean("reward", [episode["reward"] for episode in episodes])
    out["reward_terms"] = {
        name: float(np.mean([episode["reward_terms"][name] for episode in episodes]))
        for name in episodes[0]["reward_terms"]
    }
    endings = [episode["ended"] for episode in episodes]
    out["endings"] = {name: endings.count(name) for name in ENDINGS if name in endings}
    tracks = list(dict.fromkeys(episode["track"] for episode in episodes))
    if len(tracks) > 1:
        out["per_track"] = {t: summarise([e for e in episodes if e["track"] == t]) for t in tracks}
    return out


def _mean(name: str, values: Sequence[float]) -> dict[str, float | None]:
    mean, low, high = mean_interval(values)
    return {name: mean, f"{name}_low": low, f"{name}_high": high}


def flat_metrics(evaluation: Evaluation, prefix: str = "eval/") -> dict[str, float]:
    """The summary's numbers by name, for the journal: eval/finish_rate, eval/reward_terms/progress, ...

    What could not be measured (None, such as a lap time without a lap) is left out. Of the single tracks there are
    PER_TRACK only: eval/per_track/NAME/lap_ratio; characters that no metric name may hold become "_".
    """
    summary = dict(evaluation.summary)
    tracks = {t: {key: v[key] for key in PER_TRACK} for t, v in summary.pop("per_track", {}).items()}
    return _flatten(summary | ({"per_track": tracks} if tracks else {}), prefix)


def _flatten(values: dict[str, Any], prefix: str) -> dict[str, float]:
    out: dict[str, float] = {}
    for key, value in values.items():
        name = prefix + re.sub(r"[^A-Za-z0-9_.\-]", "_", key)
        if isinstance(value, dict):
            out |= _flatten(value, f"{name}/")
        elif isinstance(value, int | float) and math.isfinite(value):
            out[name] = float(value)
    return out
