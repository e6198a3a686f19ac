"""What people drive, on the disk: each drive as an evaluation's tables, and the best lap of a circuit and vehicle."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import astuple, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from racing.evaluation.files import FILES
from racing.evaluation.result import Evaluation
from racing.files import atomic_path, write_json
from racing.runs.paths import DrivePaths
from racing.sim.track import Track
from racing.sim.vehicle import Vehicle
from racing.tracks.lap_files import lap_path, read_lap
from racing.viewer.cars.car import Episode
from racing.viewer.cars.drivers import Place
from racing.viewer.cars.lap_trace import LapTrace
from racing.viewer.overview import track_label

LAPS, TELEMETRY, SHEET = FILES[:3]


class Records:
    """The drives of a person at one place.

    They are written with each lap and at the end. What cannot be written is said once, by `problem`, and driving goes
    on.
    """

    def __init__(self, outputs: Path, place: Place) -> None:
        turned = bool(place.track.source.get("reverse"))
        self._facts: dict[str, Any] = {"track": track_label(place.track.name, turned=turned)}
        self._facts |= {"vehicle": place.vehicle.name, "reference_s": place.reference_s}
        self._paths = paths_at(outputs, place.track, place.vehicle)
        self._folder: Path | None = None
        self.problem = ""

    def best_lap(self) -> LapTrace | None:
        """The quickest lap of all drives here; None without one, and where its file is damaged."""
        lap = read_lap(LapTrace, self._paths.best_lap)
        if lap is None:
            return None
        columns = [np.asarray(column) for column in (lap.along, lap.clock, lap.x, lap.y, lap.yaw, lap.speed, lap.steer)]
        alike = len({column.shape for column in columns}) == 1 and columns[0].ndim == 1 and len(columns[0]) > 1
        sound = alike and all(np.isfinite(column).all() for column in columns) and 0 < lap.time_s < np.inf
        return lap if sound else None

    def keep_best(self, lap: LapTrace) -> None:
        """Write a lap that is quicker than all before, and than what another page may have written meanwhile."""
        before = self.best_lap()
        if before is None or lap.time_s < before.time_s:
            try:
                self._paths.folder.mkdir(parents=True, exist_ok=True)
                write_json(self._paths.facts, self._facts)
                with atomic_path(self._paths.best_lap) as temporary:
                    np.savez_compressed(temporary, **{field.name: getattr(lap, field.name) for field in fields(lap)})
            except OSError as error:
                self.problem = f"the best lap is not kept: {error.strerror}"

    def write(self, episodes: Sequence[Episode], step_dt: float) -> Path | None:
        """Write all that was driven since `begin`, again; returns the folder, None where there is nothing to write.

        step_dt: [s] between two rows.
        """
        if not episodes:
            return None
        longest = max(len(episode.rows) for episode in episodes)
        rows = np.full((longest, len(episodes), episodes[0].rows.shape[1]), np.nan, np.float32)
        for number, episode in enumerate(episodes):
            rows[: len(episode.rows), number] = episode.rows
        facts = [{**episode.facts, "episode": number} for number, episode in enumerate(episodes)]
        result = Evaluation(episodes=facts, summary={}, telemetry=rows, step_dt=step_dt)
        folder = self._folder or self._paths.drive(f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(2)}")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            result.write_laps(folder / LAPS)
            result.write_telemetry(folder / TELEMETRY, folder / SHEET)
        except OSError as error:
            self.problem = f"the drive is not recorded: {error.strerror}"
            return None
        self._folder = folder
        return folder


def paths_at(outputs: Path, track: Track, vehicle: Vehicle) -> DrivePaths:
    """Where that lies which people have driven on a track in a vehicle."""
    identity = lap_path("driven", 1, track, astuple(vehicle)).stem[:8]
    return DrivePaths(outputs, f"{_plain(track.name)}-{_plain(vehicle.name)}-{identity}")


def drives_at(outputs: Path, track: Track, vehicle: Vehicle) -> list[Path]:
    """The telemetry of each drive there, the newest first."""
    return sorted(paths_at(outputs, track, vehicle).folder.glob(f"*/{TELEMETRY}"), reverse=True)


def _plain(name: str) -> str:
    """A name as part of a folder's."""
    return "".join(letter if letter.isalnum() or letter in "_." else "_" for letter in name)[:64].lstrip(".") or "track"
