"""Plot laps against each other: channels over distance, mini-sectors on the map, accelerations."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from racing import figures
from racing.evaluation.comparing.comparison import Comparison
from racing.evaluation.plots import PAD, draw_road, size_for, speed_unit
from racing.figures import DRIVERS, FAINT, INK, heading, new_figure
from racing.sim.track import Track

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Array = npt.NDArray[Any]

GRID = "#e6e7eb"
STYLES = ("-", (0, (4, 1.2)), (0, (1.5, 1)))  # of drivers beyond the colours, again and again
EQUAL = 0.0005  # [s] by which a mini-sector's times may differ and still be equal
BEHIND = {"facecolor": "white", "edgecolor": "none", "pad": 1.5, "alpha": 0.85}  # texts
BESIDE = 0.9  # [widths of the road] from the centreline to the numbers of mini-sectors


def style_of(number: int) -> dict[str, Any]:
    """Colour and line of the driver of that number: none is another's."""
    return {"color": DRIVERS[number % len(DRIVERS)], "linestyle": STYLES[number // len(DRIVERS) % len(STYLES)]}


def channels_picture(comparison: Comparison, title: str, path: Path, *, facts: Sequence[str] = ()) -> Path:
    """Draw speed, delta, steering, pedals and offset over distance; returns `path`, a PNG. facts: under the title."""
    figure = new_figure(12.0, 10.4)
    panels = figure.subplots(5, 1, sharex=True, height_ratios=[2.2, 1.3, 1.1, 1.1, 1.1])
    scale, unit = speed_unit(comparison.channels["v"])
    drawn = {
        f"speed\n[{unit}]": comparison.channels["v"] * scale,
        "behind\nthe first [s]": comparison.delta,
        "steering, left +\n[°]": np.degrees(comparison.channels["steer"]),
        "throttle / brake\n[%]": comparison.channels["throttle_command"] * 100,
        "beside the\ncentreline, left +\n[m]": comparison.channels["lateral"],
    }
    for axes, (label, values) in zip(panels, drawn.items(), strict=True):
        for k, name in enumerate(comparison.names):
            lap = comparison.laps[name]
            text = f"{_short(name)}  {lap.time_s:.2f} s"
            axes.plot(comparison.distance, values[k], linewidth=1.5, label=text, zorder=5 - 0.01 * k, **style_of(k))
        axes.set_ylabel(label, color=INK)
        axes.grid(axis="y", color=GRID, linewidth=0.8)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(colors=FAINT)
        for place in comparison.distance[comparison.bounds]:
            axes.axvline(place, color=GRID, linewidth=0.7, zorder=0)
        if label[:5] != "speed":
            axes.axhline(0, color=FAINT, linewidth=0.7, zorder=1)
    slowest, fastest = (float(end(comparison.channels["v"])) * scale for end in (np.min, np.max))
    panels[0].set_ylim(bottom=max(0.0, slowest - 0.15 * (fastest - slowest)))
    panels[3].set(ylim=(-109, 109), yticks=(-100, 0, 100))
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    panels[-1].set_xlabel("distance from the start line [m]; strokes: mini-sectors", color=INK)
    panels[-1].set_xlim(0, comparison.distance[-1])
    figure.align_ylabels()
    heading(panels[0], title, facts)
    return figures.save(figure, path)


def map_picture(comparison: Comparison, track: Track, title: str, path: Path, *, facts: Sequence[str] = ()) -> Path:
    """Draw who is fastest in each mini-sector, on the track and as gains below it; returns `path`, a PNG."""
    low, high = track.points.min(axis=0), track.points.max(axis=0)
    width = float(np.mean(track.left + track.right))
    reach = max(track.left.max(), track.right.max()) + BESIDE * width + PAD * (high - low).max()
    low, high = low - reach, high + reach
    wide, tall = size_for(high - low)
    figure = new_figure(max(wide + 0.6, 9.0), tall + 4.2)
    above, below = figure.subplots(2, 1, height_ratios=[tall, 2.6])
    draw_road(above, track)
    fastest = _fastest(comparison.sectors)
    for k, (first, last) in enumerate(zip(comparison.bounds[:-1], comparison.bounds[1:], strict=True)):
        leader = fastest[k]
        colour = FAINT if leader is None else DRIVERS[leader % len(DRIVERS)]
        there = slice(first, last + 1)
        x, y = (comparison.channels[name][leader or 0, there] for name in ("x", "y"))
        above.plot(x, y, color=colour, linewidth=3.6, solid_capstyle="butt", zorder=5)
        _number(above, track, float(comparison.distance[(first + last) // 2]), str(k + 1), width)
        _stroke(above, track, float(comparison.distance[first]))
    above.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), aspect="equal")
    above.set_axis_off()
    _gains(below, comparison)
    labels = [f"{_short(name)}  {lap.time_s:.2f} s" for name, lap in comparison.laps.items()]
    handles = [_handle(k) for k in range(len(labels))] + ([_handle(None)] if None in fastest else [])
    labels += ["equal"] if None in fastest else []
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    heading(above, title, ["line: whoever is fastest in the mini-sector", *facts])
    return figures.save(figure, path)


def forces_picture(comparison: Comparison, title: str, path: Path, *, facts: Sequence[str] = ()) -> Path:
    """Draw each driver's accelerations, longitudinal over lateral; returns `path`, a PNG."""
    names = comparison.names
    columns = min(len(names), 3)
    lines = -(-len(names) // columns)
    figure = new_figure(max(4.4 * columns, 7.0), 4.3 * lines + 1.0)
    panels = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False).ravel()
    forces = [[lap.columns[f"{way}_g"] for way in ("lateral", "longitudinal")] for lap in comparison.laps.values()]
    most = 1.08 * max(float(np.abs(values).max()) for both in forces for values in both)
    rings = _rings(most)
    turn = np.linspace(0, 2 * np.pi, 200)
    for k, axes in enumerate(panels):
        axes.set_axis_off()
        if k >= len(names):
            continue
        axes.set_axis_on()
        for ring in rings:
            axes.plot(ring * np.cos(turn), ring * np.sin(turn), color=GRID, linewidth=1.0, zorder=1)
        for other in range(len(names)):
            if other != k:
                axes.scatter(*forces[other], s=7, color="#d6d8de", linewidth=0, zorder=2)
        axes.scatter(*forces[k], s=9, color=style_of(k)["color"], alpha=0.75, linewidth=0, zorder=3)
        total = float(np.hypot(*forces[k]).max())
        text = f"{_short(names[k], 24)}: up to {total:.2f} g"
        at = ((0, 1), (6, -6), "axes fraction", "offset points")
        axes.annotate(text, *at, color=INK, va="top", zorder=6, bbox=BEHIND)
        axes.axhline(0, color=FAINT, linewidth=0.6, zorder=1)
        axes.axvline(0, color=FAINT, linewidth=0.6, zorder=1)
        axes.set(xlim=(-most, most), ylim=(-most, most), aspect="equal", xlabel="lateral, left + [g]")
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(colors=FAINT)
    panels[0].set_ylabel("longitudinal, drive + [g]", color=INK)
    heading(panels[0], title, facts)
    return figures.save(figure, path)


def _fastest(sectors: Array) -> list[int | None]:
    """Number of the driver who is fastest in each mini-sector; None where all are equal."""
    equal = np.ptp(sectors, axis=0) < EQUAL
    return [None if same else int(k) for same, k in zip(equal, sectors.argmin(axis=0), strict=True)]


def _gains(axes: Axes, comparison: Comparison) -> None:
    """Draw how much longer than the first driver the others take in each mini-sector."""
    sectors = comparison.sectors
    numbers, others = np.arange(1, sectors.shape[1] + 1), len(sectors) - 1
    each = 0.8 / max(others, 1)
    for k in range(1, len(sectors)):
        at = numbers + (k - 1 - (others - 1) / 2) * each
        axes.bar(at, sectors[k] - sectors[0], width=0.92 * each, color=style_of(k)["color"], zorder=3)
    axes.axhline(0, color=style_of(0)["color"], linewidth=1.6, zorder=4)
    axes.set_xticks(numbers)
    axes.set(xlim=(0.4, numbers[-1] + 0.6), xlabel="mini-sector")
    axes.set_ylabel("slower than\nthe first [s]", color=INK)
    axes.grid(axis="y", color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(colors=FAINT)


def _number(axes: Axes, track: Track, place: float, text: str, width: float) -> None:
    """Write the number of a mini-sector beside the road, on the side that is farther from the rest of it."""
    k = round(place / track.spacing) % len(track.points)
    beside = [track.points[k] + side * BESIDE * width * track.normals[k] for side in (1, -1)]
    x, y = min(beside, key=lambda point: float(track.clearance.at(point[None])[0]))
    axes.text(x, y, text, ha="center", va="center", fontsize=8, color=INK, zorder=6)


def _stroke(axes: Axes, track: Track, place: float) -> None:
    """Draw where a mini-sector begins."""
    k = round(place / track.spacing) % len(track.points)
    axes.plot(*np.stack([track.left_edge[k], track.right_edge[k]]).T, color="white", linewidth=1.4, zorder=3)


def _handle(number: int | None) -> Any:
    from matplotlib.lines import Line2D

    return Line2D([], [], linewidth=3.6, **({"color": FAINT} if number is None else style_of(number)))


def _rings(most: float) -> Array:
    """Radii [g] of circles to read by: of a round step, at most six."""
    step = next(step for step in (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0) if most / step <= 6 or step == 10.0)
    return np.arange(step, most * np.sqrt(2), step)


def _short(name: str, most: int = 42) -> str:
    """A name that fits beside others: its beginning and its end."""
    return name if len(name) <= most else f"{name[: most // 2]}…{name[-(most // 2 - 1) :]}"
