"""How routes were followed, drawn: lateral acceleration against its target, and the steering."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from racing import figures

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TARGET, STEER = "#9aa0ac", "#e08a00"
LEAST_STEER = 0.2  # [-] that the axis of the steering reaches
HEIGHT, WIDTH = 2.3, 11.0  # [inch] of a route


def routes_picture(
    tables: Sequence[Mapping[str, Any]], labels: Sequence[str], title: str, facts: Sequence[str], path: Path
) -> Path:
    """Draw routes below each other, each with target, lateral acceleration and steering; returns `path`, a PNG.

    tables: of racing.envs.lateral.task.LateralTask.telemetry. labels: above each. facts: short texts under the title.
    """
    figure = figures.new_figure(WIDTH, HEIGHT * len(tables) + 1.2)
    panels = figure.subplots(len(tables), 1, sharex=True, squeeze=False)[:, 0]
    for number, (axes, table, label) in enumerate(zip(panels, tables, labels, strict=True)):
        _route(axes, table, names=number == 0)
        axes.set_title(label, fontsize=10, color=figures.INK, loc="right")
    panels[-1].set_xlabel("time [s]")
    figures.heading(panels[0], title, facts)
    return figures.save(figure, path)


def _route(axes: Axes, table: Mapping[str, Any], *, names: bool) -> None:
    """Draw one route; the steering has an axis of its own, to the right. names: write a legend."""
    time = table["time_s"]
    right: Any = axes.twinx()
    axes.set_zorder(right.get_zorder() + 1)
    axes.patch.set_visible(False)
    right.plot(time, table["steer"], color=STEER, linewidth=1.0, alpha=0.75, label="steering")
    right.axhline(0, color=STEER, linewidth=0.6, alpha=0.5)
    most = max(1.2 * float(np.abs(table["steer"]).max()), LEAST_STEER)
    right.set(ylim=(-most, most), ylabel="steering\nright +")
    right.yaxis.label.set_color(STEER)
    right.tick_params(colors=STEER)
    right.spines[["top", "left"]].set_visible(False)
    axes.plot(time, table["target"], color=TARGET, linewidth=2.4, label="target")
    axes.plot(time, table["lataccel"], color=figures.LINE, linewidth=1.2, label="lateral acceleration")
    axes.set_ylabel("lateral\n[m/s²]")
    axes.set_xlim(float(time[0]), float(time[-1]))
    axes.grid(color="#e6e7eb", linewidth=0.8)
    axes.spines[["top", "right"]].set_visible(False)
    if names:
        lines = [*axes.get_lines()[:2], right.get_lines()[0]]
        axes.legend(lines, [line.get_label() for line in lines], loc="upper left", ncols=3, frameon=False, fontsize=9)
