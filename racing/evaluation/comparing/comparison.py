"""Laps of several drivers at the same places: channels over distance, time deltas, mini-sectors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from racing.evaluation.comparing.lap import Lap
from racing.files import write_atomic

F = npt.NDArray[np.float64]

CHANNELS = ("v", "steer", "throttle_command", "lateral", "longitudinal_g", "lateral_g", "x", "y")
PLACES = 1000  # at least, that channels are taken at; on long tracks one a metre


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Laps of N drivers at S places of one track.

    laps: by name of the driver; the first one is what the others are compared with. distance: (S,) [m] from the start
    line, both ends included. elapsed: (N, S) [s] since the start line. channels: (N, S) each, as
    racing.evaluation.telemetry has them. bounds: (M + 1,) numbers of the places where the mini-sectors begin, and the
    last one.
    """

    laps: Mapping[str, Lap]
    distance: F
    elapsed: F
    channels: dict[str, F]
    bounds: npt.NDArray[np.int64]

    @property
    def names(self) -> list[str]:
        """Of the drivers."""
        return list(self.laps)

    @property
    def delta(self) -> F:
        """(N, S) [s] behind the first driver at the same place; at the line it is the difference of lap times."""
        return self.elapsed - self.elapsed[:1]

    @property
    def sectors(self) -> F:
        """(N, M) [s] that each driver takes for each mini-sector; they add up to the lap times."""
        return np.diff(self.elapsed[:, self.bounds], axis=1)

    def summary(self) -> list[dict[str, Any]]:
        """One dict for each driver: name, lap_time_s, gap_s to the first, fastest_in so many mini-sectors, ...

        top_speed, least_speed [m/s], max_lateral_g [9.81 m/s^2], braking_share of the distance.
        """
        sectors = self.sectors
        fastest = np.bincount(sectors.argmin(axis=0), minlength=len(sectors))
        rows = []
        for k, (name, lap) in enumerate(self.laps.items()):
            speed = lap.columns["v"]
            rows.append(
                {
                    "name": name,
                    "lap_time_s": lap.time_s,
                    "gap_s": float(self.delta[k, -1]),
                    "fastest_in": int(fastest[k]),
                    "top_speed": float(speed.max()),
                    "least_speed": float(speed.min()),
                    "max_lateral_g": float(np.abs(lap.columns["lateral_g"]).max()),
                    "braking_share": float(np.mean(self.channels["throttle_command"][k] < 0)),
                }
            )
        return rows

    def write(self, path: Path) -> Path:
        """Write channels as CSV, a row for each driver and place; returns `path`."""
        head = ["driver", "distance_m", "elapsed_s", "delta_s", *CHANNELS]
        lines = [",".join(head)]
        for k, name in enumerate(self.names):
            columns = [self.distance, self.elapsed[k], self.delta[k], *(self.channels[name][k] for name in CHANNELS)]
            told = _quoted(name)
            lines += [",".join([told, *(f"{value:.7g}" for value in row)]) for row in np.stack(columns, axis=1)]
        write_atomic(path, "\n".join(lines) + "\n")
        return path

    def write_sectors(self, path: Path) -> Path:
        """Write the mini-sectors as CSV: where they begin and end, each driver's time [s]; returns `path`."""
        lines = [",".join(["sector", "from_m", "to_m", *(_quoted(f"{name}_s") for name in self.names)])]
        ends = self.distance[self.bounds]
        for k, times in enumerate(self.sectors.T):
            lines.append(",".join([str(k + 1), f"{ends[k]:.1f}", f"{ends[k + 1]:.1f}", *(f"{t:.6f}" for t in times)]))
        write_atomic(path, "\n".join(lines) + "\n")
        return path


def compare_laps(laps: Mapping[str, Lap], sectors: int) -> Comparison:
    """Lay laps of one track on each other.

    laps: by name of the driver, at least one. sectors: number of mini-sectors, all of one length.
    """
    length = float(next(iter(laps.values())).s[-1])
    each = -(-max(PLACES, int(length)) // sectors)
    distance = np.linspace(0.0, length, sectors * each + 1)
    return Comparison(
        laps=dict(laps),
        distance=distance,
        elapsed=np.stack([lap.elapsed(distance) for lap in laps.values()]),
        channels={name: np.stack([lap.at(name, distance) for lap in laps.values()]) for name in CHANNELS},
        bounds=np.arange(0, sectors * each + 1, each),
    )


def _quoted(text: str) -> str:
    """A text as a cell of a CSV file."""
    return '"' + text.replace('"', '""') + '"' if set(text) & set(',"\n') else text
