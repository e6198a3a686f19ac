"""What an evaluation measured: the episodes, their averages, their telemetry."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from racing.evaluation.intervals import named_mean, wilson
from racing.evaluation.stint import stint_means
from racing.evaluation.telemetry import columns_of, write_csv, write_parquet
from racing.files import write_atomic
from racing.runs.metrics import LAPS, SMOOTHNESS, rank
from racing.sim.records import Ending

Array = npt.NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What `evaluate` measured.

    episodes: one dict each, see `evaluate`. summary: averages with 95 % intervals, see `summarise`.
    telemetry: (T + 1, N, K) float32, K as racing.evaluation.telemetry.columns_of names them, row 0 is the start; NaN
    after an episode's end. None if not kept. step_dt: [s] between two rows.
    """

    episodes: list[dict[str, Any]]
    summary: dict[str, Any]
    telemetry: npt.NDArray[np.float32] | None
    step_dt: float

    def key(self, target_finish_rate: float = 1.0) -> tuple[float, ...]:
        """What sorts policies, see racing.runs.metrics.rank; the better one is greater."""
        return rank(self.summary, target_finish_rate)

    def best_episode(self) -> int:
        """Number of the episode with the best flying lap (least lap ratio, or time); without one, of the furthest."""

        def order(i: int) -> tuple[bool, float]:
            episode = self.episodes[i]
            lap = episode["lap_ratio"] if episode["lap_ratio"] is not None else episode["lap_time_s"]
            return (lap is None, -episode["progress_m"] if lap is None else lap)

        return min(range(len(self.episodes)), key=order)

    def telemetry_table(self, i: int) -> dict[str, Array]:
        """Columns of episode `i`, start to end: time_s [s] and those of the telemetry, each (steps + 1,) float32.

        Raises ValueError if no telemetry was kept.
        """
        if self.telemetry is None:
            raise ValueError("evaluate(..., telemetry=True) keeps the telemetry; this evaluation has none")
        rows = self.episodes[i]["steps"] + 1
        table: dict[str, Array] = {"time_s": (np.arange(rows) * self.step_dt).astype(np.float32)}
        return table | columns_of(self.telemetry[:rows, i])

    def lap_table(self, i: int) -> dict[str, Array]:
        """Columns of the flying lap of episode `i`, closed by the first row after it; the whole drive without one.

        As `telemetry_table`; `distance` counts from the lap's first row.
        """
        table = self.telemetry_table(i)
        lap = self.episodes[i]["flying_lap"]
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
        """Write every episode as the parquet file `table`, the best one as the CSV file `sheet`."""
        write_parquet([self.telemetry_table(i) for i in range(len(self.episodes))], table)
        write_csv(self.telemetry_table(self.best_episode()), sheet)


def summarise(episodes: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Averages over episodes; NAME_low and NAME_high bound a 95 % interval; None where there is nothing to average.

    episodes, finished; finish_rate (Wilson interval); lap_time_s, lap_ratio and limit_ratio (mean over the episodes
    that have a flying lap, Student's t) and their best; off_track_rate, off_track_m (mean over all episodes, see
    `evaluate`), max_lateral_g (greatest), mean_speed, mean_steps, mean_gates, SMOOTHNESS (means), reward (mean, t),
    reward_terms (means); endings (count by name); the means of racing.evaluation.stint.MEANS where something changes
    while cars drive; per_track: the same for each track, if there are several.
    """
    count, finished = len(episodes), sum(episode["finished"] for episode in episodes)
    out: dict[str, Any] = {"episodes": count, "finished": finished, "finish_rate": finished / count}
    out["finish_rate_low"], out["finish_rate_high"] = wilson(finished, count)
    for name in ("lap_time_s", "lap_ratio", "limit_ratio"):
        values = [episode[name] for episode in episodes if episode[name] is not None]
        out |= named_mean(name, values) | {f"{name}_best": min(values, default=None)}
    out["off_track_rate"] = sum(episode["ended"] == Ending.OFF_TRACK.label for episode in episodes) / count
    out["off_track_m"] = float(np.mean([episode["off_track_m"] for episode in episodes]))
    out["max_lateral_g"] = max(episode["max_lateral_g"] for episode in episodes)
    for name in ("mean_speed", *SMOOTHNESS):
        out[name] = float(np.mean([episode[name] for episode in episodes]))
    for name in ("steps", "gates"):
        out[f"mean_{name}"] = float(np.mean([episode[name] for episode in episodes]))
    out |= named_mean("reward", [episode["reward"] for episode in episodes])
    out["reward_terms"] = {
        name: float(np.mean([episode["reward_terms"][name] for episode in episodes]))
        for name in episodes[0]["reward_terms"]
    }
    out |= stint_means(episodes)
    endings = [episode["ended"] for episode in episodes]
    out["endings"] = {e.label: endings.count(e.label) for e in Ending if e.label in endings}
    tracks = list(dict.fromkeys(episode["track"] for episode in episodes))
    if len(tracks) > 1:
        out["per_track"] = {t: summarise([e for e in episodes if e["track"] == t]) for t in tracks}
    return out


def flat_metrics(evaluation: Evaluation, prefix: str = "eval/") -> dict[str, float]:
    """The summary's numbers by name, for the journal: eval/finish_rate, eval/reward_terms/progress, ...

    What could not be measured (None, such as a lap time without a lap) is left out. Of the single tracks there are
    LAPS only: eval/per_track/NAME/lap_ratio; characters that no metric name may hold become "_".
    """
    summary = dict(evaluation.summary)
    tracks = {t: {key: v[key] for key in LAPS} for t, v in summary.pop("per_track", {}).items()}
    return flatten_numbers(summary | ({"per_track": tracks} if tracks else {}), prefix)


def flatten_numbers(values: dict[str, Any], prefix: str) -> dict[str, float]:
    """The finite numbers in nested dicts by name, its parts joined by /; other characters than names have become _."""
    out: dict[str, float] = {}
    for key, value in values.items():
        name = prefix + re.sub(r"[^A-Za-z0-9_.\-]", "_", key)
        if isinstance(value, dict):
            out |= flatten_numbers(value, f"{name}/")
        elif isinstance(value, int | float) and math.isfinite(value):
            out[name] = float(value)
    return out
