"""The files of an evaluation: tables, telemetry, pictures, video."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from racing.evaluation.replay.replay import REPLAY
from racing.evaluation.stint import LEAST_LAPS
from racing.files import write_atomic

FILES = ("laps.csv", "telemetry.parquet", "telemetry.csv", "lap.png", "lap_channels.png")
VIDEO, STINT = "lap.mp4", "stint.png"


def write_files(result: Any, folder: Path, policy: str, track: Any, reference: Any, task: Any = None) -> list[Path]:
    """Write laps.csv and, if telemetry was kept, its files, the pictures and the replay of the best lap; of longer
    drives in which something changes, lap times and how the car was.

    result: racing.evaluation.result.Evaluation. track, reference: those of its best episode. task: what was driven,
    for a video of that lap; None: none. Returns the paths.
    """
    laps, table, sheet, lap, channels = (folder / name for name in FILES)
    result.write_laps(laps)
    if result.telemetry is None:
        return [laps]
    from racing.evaluation.plots import channels_picture, lap_picture
    from racing.evaluation.replay.laps import write_laps_replay

    result.write_telemetry(table, sheet)
    driven = result.lap_table(result.best_episode())
    facts = facts_of(result, policy, reference)
    lap_picture(track, driven, track.name, lap, facts=facts, reference=reference)
    channels_picture(track, driven, track.name, channels, facts=facts, reference=reference)
    replay = write_laps_replay(folder / REPLAY, result, track, reference, facts)
    files = [laps, table, sheet, lap, channels, replay]
    if any(len(episode["lap_times_s"]) >= LEAST_LAPS and "tyre_wear" in episode for episode in result.episodes):
        from racing.evaluation.stint_picture import stint_picture

        files.append(stint_picture(result, folder / STINT, title=f"{track.name}: lap by lap", facts=facts[-3:]))
    if task is not None:
        from racing.evaluation.video import write_video

        files.append(write_video(folder / VIDEO, task, track, driven, track.name, facts))
    return files


def facts_of(result: Any, policy: str, reference: Any) -> list[str]:
    """Short texts about the best lap, to stand above its pictures."""
    episode, summary = result.episodes[result.best_episode()], result.summary
    if episode["lap_time_s"] is None:
        facts = [f"no complete flying lap: {episode['ended'].replace('_', ' ')} after {episode['progress_m']:.0f} m"]
    else:
        facts = [
            f"lap {episode['lap_time_s']:.2f} s",
            f"{episode['lap_ratio']:.3f} x reference {reference.time_s:.2f} s",
        ]
        if episode["limit_ratio"] is not None:
            facts.append(f"{episode['limit_ratio']:.3f} x limit {episode['lap_time_s'] / episode['limit_ratio']:.2f} s")
    car = f"{summary['vehicle']}, {summary['tyre_model']} tyres"
    return [*facts, car, f"max {episode['max_lateral_g']:.2f} g", policy]


def write_sweeps(sweeps: Sequence[Any], folder: Path, facts: Sequence[str]) -> list[Path]:
    """Write sweep_NAME.csv, a row for each value, and sweep_NAME.png of each; returns the paths.

    sweeps: racing.evaluation.sweeps.sweep.Sweep. facts: short texts under the pictures' titles.
    """
    from racing.evaluation.sweeps.picture import sweep_picture

    paths = []
    for one in sweeps:
        table, picture = (folder / f"sweep_{one.parameter}.{kind}" for kind in ("csv", "png"))
        write_atomic(table, csv_text(one.rows()))
        paths += [table, sweep_picture(one, picture, facts=facts)]
    return paths


def csv_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows of the same names as comma-separated values, under a line with the names."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
