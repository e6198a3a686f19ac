"""The replay of an evaluation: its best lap, others for comparison, and the reference lap."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from racing.evaluation.comparing.lap import Lap, lap_of
from racing.evaluation.replay.replay import CHANNELS, ReplayCar, write_replay
from racing.figures import DRIVERS, FAINT, LINE
from racing.sim.track import Track
from racing.tracks.reference_lap import ReferenceLap

Array = npt.NDArray[Any]
SLOWER = {"median lap": 0.5, "slowest lap": 1.0}  # shown beside the best one: quantile of the flying laps


def write_laps_replay(
    path: Path, result: Any, track: Track, reference: ReferenceLap, facts: Sequence[str] = ()
) -> Path:
    """Write the replay of the best lap, of slower ones and of the reference lap; returns `path`.

    Laps begin on the start line, see racing.evaluation.comparing.lap. Without a flying lap: the drive that came
    furthest, as it was. result: racing.evaluation.result.Evaluation with telemetry. track, reference: those of its
    best episode.
    """
    best = result.best_episode()
    lap = _flying(result, best, track)
    if lap is None:
        table = result.lap_table(best)
        columns = {name: table[name] for name in CHANNELS if name != "s"}
        columns |= {"time_s": table["time_s"] - table["time_s"][0], "yaw": np.unwrap(table["yaw"])}
        return write_replay(path, track, [ReplayCar(name="furthest", colour=LINE, columns=columns)], track.name, facts)
    cars = [lap_car("best lap", LINE, lap)]
    for (name, quantile), colour in zip(SLOWER.items(), DRIVERS[1:], strict=False):
        other = _at_quantile(result, track, quantile)
        if other is not None and other != best:
            slower = _flying(result, other, track)
            cars += [] if slower is None else [lap_car(f"{name}, start {other}", colour, slower)]
    return write_replay(path, track, [*cars, reference_car(track, reference)], track.name, facts)


def _flying(result: Any, episode: int, track: Track) -> Lap | None:
    number = result.episodes[episode]["flying_lap"]
    return None if number is None else lap_of(result.telemetry_table(episode), number, track)


def _at_quantile(result: Any, track: Track, quantile: float) -> int | None:
    """Number of the episode whose flying lap on the track is at a quantile of their times; None without any."""
    timed = [one for one in result.episodes if one["lap_time_s"] is not None and one["track"] == track.name]
    order = sorted(timed, key=lambda one: (one["lap_time_s"], one["episode"]))
    return int(order[round(quantile * (len(order) - 1))]["episode"]) if order else None


def lap_car(name: str, colour: str, lap: Lap) -> ReplayCar:
    """A lap as a replay shows it, from the start line."""
    columns = {"s": lap.s, **{channel: lap.columns[channel] for channel in CHANNELS if channel != "s"}}
    return ReplayCar(name=name, colour=colour, columns=columns, note=f"{lap.time_s:.2f} s")


def reference_car(track: Track, reference: ReferenceLap) -> ReplayCar:
    """The reference lap as if it had been driven, from the start line; its distance is that of its own line, scaled."""
    start = int(np.argmin(np.sum((reference.points - track.points[0]) ** 2, axis=1)))
    points, speed = np.roll(reference.points, -start, axis=0), np.roll(reference.speed, -start)
    points, speed = np.vstack([points, points[:1]]), np.append(speed, speed[0])
    ways = np.linalg.norm(np.diff(points, axis=0), axis=1)
    clock = np.concatenate([[0.0], np.cumsum(2 * ways / (speed[1:] + speed[:-1]))])
    arc = np.concatenate([[0.0], np.cumsum(ways)])
    ahead = np.roll(points[:-1], -1, axis=0) - points[:-1]
    yaw = np.unwrap(np.arctan2(ahead[:, 1], ahead[:, 0]))
    columns = {
        "time_s": clock * reference.time_s / clock[-1],
        "s": arc * track.length / arc[-1],
        "x": points[:, 0],
        "y": points[:, 1],
        "yaw": np.append(yaw, yaw[-1]),
        "v": speed,
    }
    note = f"{reference.time_s:.2f} s"
    return ReplayCar(name="reference lap", colour=FAINT, columns=columns, note=note, dashed=True)
