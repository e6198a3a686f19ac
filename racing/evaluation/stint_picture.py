"""Plot a stint: lap times lap by lap, and what became of the car."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from racing import figures
from racing.evaluation import plots
from racing.evaluation.plots import BRAKE, DRIVE
from racing.figures import FAINT, LINE

CHANNELS = {  # column of the telemetry -> label, colour
    "tyre_wear": ("tyre wear", BRAKE),
    "grip": ("grip", LINE),
    "wetness": ("wetness", "#1b9aaa"),
    "damage": ("damage", "#e08a00"),
}


def stint_picture(result: Any, path: Path, *, title: str, facts: Sequence[str] = ()) -> Path:
    """Draw lap times over the laps of all episodes, and channels of the longest one; returns `path`, a PNG.

    result: racing.evaluation.result.Evaluation with telemetry of conditions. facts: short texts under the title.
    """
    episodes = result.episodes
    longest = max(range(len(episodes)), key=lambda i: episodes[i]["progress_m"])
    table = result.telemetry_table(longest)
    figure = figures.new_figure(8.4, 7.2)
    times, channels, fuel = figure.subplots(3, 1, height_ratios=[2.2, 1.4, 0.9])
    _lap_times(times, [episode["lap_times_s"][1:] for episode in episodes])
    minutes = table["time_s"] / 60
    for name, (label, colour) in CHANNELS.items():
        if np.ptp(table[name]) > 0:
            channels.plot(minutes, table[name], color=colour, linewidth=1.6, label=label)
    channels.set(ylim=(-0.04, 1.06), ylabel="share")
    channels.tick_params(labelbottom=False)
    if channels.get_legend_handles_labels()[0]:
        channels.legend(**plots.ABOVE)
    fuel.plot(minutes, table["tyre_temperature"], color=BRAKE, linewidth=1.2)
    fuel.set_ylabel("tyres [°C]", color=BRAKE)
    fuel.set_xlabel(f"time of the episode [min], start {longest}, the furthest")
    right = fuel.twinx()
    right.plot(minutes, table["fuel"], color=DRIVE, linewidth=1.6)
    right.set_ylabel("fuel [kg]", color=DRIVE)
    for axes in (times, channels, fuel):
        axes.grid(color="#e6e7eb", linewidth=0.8)
        axes.set_axisbelow(True)
        axes.spines[["top"]].set_visible(False)
        axes.margins(x=0.01)
    figure.align_ylabels((times, channels, fuel))
    figures.heading(times, title, facts)
    return figures.save(figure, path)


def _lap_times(axes: Any, laps: Sequence[Sequence[float]]) -> None:
    """The median of each lap after the first, with the range of four fifths, and how many cars drove it."""
    most = max(len(times) for times in laps)
    numbers = np.arange(2, most + 2)
    driven = [[times[k] for times in laps if len(times) > k] for k in range(most)]
    low, middle, high = np.array([np.quantile(times, (0.1, 0.5, 0.9)) for times in driven]).T
    axes.fill_between(numbers, low, high, color=LINE, alpha=0.18, linewidth=0, label="four fifths of the cars")
    axes.plot(numbers, middle, color=LINE, linewidth=1.8, marker="o", markersize=4, label="median")
    counts = axes.twinx()
    counts.step(numbers, [len(times) for times in driven], where="mid", color=FAINT, linewidth=1.0)
    counts.set(ylim=(0, 1.08 * len(laps)))
    counts.set_ylabel("cars that drove it", color=FAINT)
    counts.spines[["top"]].set_visible(False)
    axes.set(ylabel="lap time [s]", xlabel="lap")
    axes.legend(**plots.ABOVE)
    axes.xaxis.get_major_locator().set_params(integer=True)
