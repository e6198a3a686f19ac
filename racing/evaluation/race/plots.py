"""Pictures of races: positions over time, and where cars touched."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from racing import figures
from racing.evaluation.plots import COLOURS, PAD, draw_road, size_for
from racing.evaluation.race.driving import RaceLog
from racing.evaluation.race.result import OUT
from racing.evaluation.telemetry import COLUMNS
from racing.figures import FAINT, INK, heading, new_figure
from racing.sim.track import Track

Array = npt.NDArray[Any]
BEHIND_TEXT = {"facecolor": "white", "edgecolor": "none", "pad": 1.0, "alpha": 0.85}
X, Y = list(COLUMNS).index("x"), list(COLUMNS).index("y")


def positions_over_time(log: RaceLog, race: int) -> npt.NDArray[np.float32]:
    """(T + 1, C) positions from 1 of the cars of a race after each step, NaN when they are out.

    Those who have come home keep their places before those that still race.
    """
    distance = log.distance[:, race]
    far = np.where(np.isnan(distance), -np.inf, distance)
    for car in np.flatnonzero(np.isfinite(log.time[race])):
        home = np.isnan(distance[:, car])
        far[home, car] = 1e9 - log.time[race, car]
    positions: npt.NDArray[np.float32] = 1 + (far[:, None, :] > far[:, :, None]).sum(axis=2).astype(np.float32)
    positions[np.isnan(distance)] = np.nan
    return positions


def positions_picture(log: RaceLog, race: int, names: Sequence[str], title: str, path: Path) -> Path:
    """Draw the positions of a race's cars and their gaps to the leader over time; returns `path`, a PNG.

    names: of the entrants.
    """
    figure = new_figure(11.0, 6.5)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[3, 2])
    positions, distance = positions_over_time(log, race), log.distance[:, race]
    time = np.arange(len(positions)) * log.step_dt
    leads = np.max(np.where(np.isnan(distance), -np.inf, distance), axis=1)
    leads[time > np.min(log.time[race])] = np.nan  # the winner is home: there is nobody to measure from
    last = 0
    for car in range(positions.shape[1]):
        colour, entrant = COLOURS[car % len(COLOURS)], names[int(log.who[race, car])]
        racing = np.flatnonzero(~np.isnan(positions[:, car]))
        end = racing[-1]
        last = max(last, end)
        above.step(time, positions[:, car], where="post", color=colour, linewidth=2.4)
        below.plot(time, leads - distance[:, car], color=colour, linewidth=1.6)
        out = log.ended[race, car] in OUT
        above.scatter(time[end], positions[end, car], marker="X" if out else "o", s=70, color=colour, zorder=5)
        when = float(log.time[race, car])
        result = "out" if out else f"{when:.1f} s" if np.isfinite(when) else "flagged"
        text = {"textcoords": "offset points", "va": "center", "color": colour, "bbox": BEHIND_TEXT, "zorder": 7}
        above.annotate(f"{entrant} ({result})", (time[end], positions[end, car]), (8, 0), **text)
    touches = log.contacts[log.contacts["race"] == race]
    for touch in touches:
        at = positions[touch["step"], touch["car"]]
        above.scatter(time[touch["step"]], at, s=28, color=INK, marker="|", zorder=6)
    count = positions.shape[1]
    above.set(ylim=(count + 0.5, 0.5), yticks=range(1, count + 1), ylabel="position", xlim=(0, time[last] * 1.14))
    below.set(xlabel="time [s]", ylabel="behind the leader [m]")
    below.invert_yaxis()
    for axes in (above, below):
        axes.grid(color="#e6e7eb", linewidth=0.8)
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(colors=FAINT)
    heading(above, title, [f"race {race + 1} of {len(log.who)}", "strokes: contacts", "X: out"])
    return figures.save(figure, path)


def contacts_picture(track: Track, log: RaceLog, title: str, path: Path) -> Path:
    """Draw where the cars of all races touched on the track, coloured by blame; returns `path`, a PNG."""
    low, high = track.points.min(axis=0), track.points.max(axis=0)
    reach = max(track.left.max(), track.right.max()) + PAD * (high - low).max()
    low, high = low - reach, high + reach
    width, height = size_for(high - low)
    figure = new_figure(width + 1.4, height + 1.3)
    axes = figure.add_subplot()
    draw_road(axes, track)
    for race, car in np.ndindex(*log.who.shape):
        way = log.telemetry[:, race, car]
        axes.plot(way[:, X], way[:, Y], color=FAINT, alpha=0.12, linewidth=0.5, zorder=3)
    touches = log.contacts
    dots = axes.scatter(
        touches["x"],
        touches["y"],
        c=touches["blame"],
        s=14 + 12 * touches["closing"],
        cmap="coolwarm",
        vmin=0,
        vmax=1,
        edgecolor="white",
        linewidth=0.5,
        zorder=6,
    )
    axes.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), aspect="equal")
    axes.set_axis_off()
    bar = figure.colorbar(dots, ax=axes, shrink=0.75, aspect=28, pad=0.02)
    bar.set_label("blame of the car that is drawn (a convention)", color=INK)
    bar.outline.set_visible(False)
    heading(axes, title, [f"{len(touches) // 2} contacts in {len(log.who)} races", "larger: faster"])
    return figures.save(figure, path)
