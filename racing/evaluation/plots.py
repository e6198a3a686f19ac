"""Plot a lap: the driven line coloured by speed, and telemetry channels along the lap. matplotlib without pyplot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from racing import figures
from racing.figures import FAINT, INK, LINE, heading, new_figure
from racing.sim.track import Track
from racing.tracks.reference_lap import ReferenceLap, stations

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Array = npt.NDArray[Any]

ROAD, EDGE = "#e3e4e8", "#8b8e98"
BRAKE, DRIVE = "#d62839", "#2a9d4b"
COLOURS = (LINE, BRAKE, "#e08a00", "#8a4fb5", DRIVE, FAINT, INK)  # of reward terms
ABOVE: dict[str, Any] = {  # legend between two panels, where it covers no data
    "loc": "lower right",
    "bbox_to_anchor": (1, 1),
    "borderaxespad": 0.0,
    "ncols": len(COLOURS),
    "frameon": False,
    "fontsize": 9,
}
FAST = 15.0  # [m/s] laps that reach it are shown in km/h, slower ones in m/s
BRAKING = -0.1  # throttle command below which the car brakes
BLINK = 0.3  # [s] shorter zones are dropped, shorter gaps between zones are closed
PAD = 0.04  # margin around the road, as a share of the longer side


def lap_picture(
    track: Track,
    lap: Mapping[str, Array],
    title: str,
    path: Path,
    *,
    facts: Sequence[str] = (),
    reference: ReferenceLap | None = None,
) -> Path:
    """Draw the driven line on the track, coloured by speed; returns `path`, a PNG.

    lap: columns of racing.evaluation.result.Evaluation.lap_table. facts: short texts under the title (lap time, ratio,
    tyre model). Braking zones are highlighted in red, with a marker at each braking point.
    """
    from matplotlib.collections import LineCollection

    low, high = track.points.min(axis=0), track.points.max(axis=0)
    reach = max(track.left.max(), track.right.max()) + PAD * (high - low).max()
    low, high = low - reach, high + reach
    width, height = size_for(high - low)
    figure = new_figure(width + 1.4, height + 1.5)  # [inch] colour bar, title, legend
    axes = figure.add_subplot()
    draw_road(axes, track)
    if reference is not None:
        points = np.vstack([reference.points, reference.points[:1]])
        axes.plot(*points.T, color=INK, linewidth=0.8, linestyle=(0, (5, 3)), label="reference line", zorder=4)
    scale, unit = speed_unit(lap["v"])
    points = np.stack([lap["x"], lap["y"]], axis=1)
    _braking(axes, points, braking_zones(lap["throttle_command"], lap["time_s"]))
    pieces = list(np.stack([points[:-1], points[1:]], axis=1))
    line = LineCollection(pieces, cmap="turbo", linewidth=2.4, capstyle="round")
    line.set_array((lap["v"][:-1] + lap["v"][1:]) / 2 * scale)
    line.set_zorder(5)
    axes.add_collection(line)
    if not _complete(track, lap):
        x, y = points[-1]
        axes.scatter(x, y, s=70, marker="X", color=INK, edgecolor="white", label="end of the drive", zorder=7)
    _scale_bar(axes, low, high)
    axes.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), aspect="equal")
    axes.set_axis_off()
    bar = figure.colorbar(line, ax=axes, shrink=0.75, aspect=28, pad=0.02)
    bar.set_label(f"speed [{unit}]", color=INK)
    bar.outline.set_visible(False)
    if axes.get_legend_handles_labels()[0]:
        figure.legend(loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    heading(axes, title, facts)
    return figures.save(figure, path)


def channels_picture(
    track: Track,
    lap: Mapping[str, Array],
    title: str,
    path: Path,
    *,
    facts: Sequence[str] = (),
    reference: ReferenceLap | None = None,
) -> Path:
    """Draw speed, steering, throttle/brake, accelerations and reward terms along the lap; returns `path`, a PNG.

    Arguments as in `lap_picture`. A complete lap is drawn from the start line, an incomplete one from its first row.
    """
    complete = _complete(track, lap)
    if complete:
        order = np.argsort(lap["s"][:-1], kind="stable")
        lap = {name: values[:-1][order] for name, values in lap.items()}
    at = lap["s"] if complete else lap["distance"]
    scale, unit = speed_unit(lap["v"])
    figure = new_figure(11.0, 9.6)
    speed, steering, pedals, forces, rewards = figure.subplots(5, 1, sharex=True, height_ratios=[2.2, 1, 1, 1, 1.2])
    if reference is not None:
        places, _ = stations(track, reference.points)
        ideal = np.interp(lap["s"], places, reference.speed, period=track.length)
        speed.plot(at, ideal * scale, color=FAINT, linewidth=1.2, linestyle=(0, (5, 3)), label="reference lap")
    speed.plot(at, lap["v"] * scale, color=LINE, linewidth=1.8, label="driven")
    speed.set_ylabel(f"speed\n[{unit}]")
    speed.set_ylim(bottom=0)
    speed.legend(loc="lower right", ncols=2, frameon=True, framealpha=0.9, edgecolor="none", fontsize=9)
    steering.plot(at, np.degrees(lap["steer"]), color=LINE, linewidth=1.4)
    steering.set_ylabel("steering, left +\n[°]")
    pedal = lap["throttle_command"] * 100
    pedals.fill_between(at, np.maximum(pedal, 0), step="pre", color=DRIVE, alpha=0.85, linewidth=0)
    pedals.fill_between(at, np.minimum(pedal, 0), step="pre", color=BRAKE, alpha=0.85, linewidth=0)
    pedals.set(ylim=(-109, 109), yticks=(-100, 0, 100), ylabel="throttle / brake\n[%]")
    forces.plot(at, lap["lateral_g"], color=LINE, linewidth=1.4, label="lateral, left +")
    forces.plot(at, lap["longitudinal_g"], color=FAINT, linewidth=1.1, label="longitudinal")
    forces.set_ylabel("acceleration\n[g]")
    forces.legend(**ABOVE)
    _rewards(rewards, at, lap)
    where = "distance from the start line" if complete else "distance driven"
    rewards.set_xlabel(f"{where} [m]")
    rewards.set_xlim(float(at[0]), float(at[-1]))
    for axes in figure.axes:
        axes.grid(color="#e6e7eb", linewidth=0.8)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        if axes is not speed:
            axes.axhline(0, color=FAINT, linewidth=0.7)
    figure.align_ylabels()
    heading(speed, title, facts)
    return figures.save(figure, path)


def _rewards(axes: Axes, at: Array, lap: Mapping[str, Array]) -> None:
    """Plot the reward terms along the lap; terms that are zero throughout are omitted."""
    terms = [name for name in lap if name.startswith("reward_") and np.any(lap[name])]
    for name, colour in zip(terms, COLOURS, strict=False):
        axes.plot(at, lap[name], color=colour, linewidth=1.3, label=name.removeprefix("reward_"))
    axes.set_ylabel("reward\nper step")
    if terms:
        axes.legend(**ABOVE)
        # Leaving the road and finishing a lap are single spikes that would flatten the rest: clip to percentiles.
        low, high = np.percentile([lap[name] for name in terms], [1, 99])
        axes.set_ylim(min(low, 0) - 0.1 * (high - low) - 1e-6, max(high, 0) + 0.1 * (high - low) + 1e-6)


def _complete(track: Track, lap: Mapping[str, Array]) -> bool:
    """Check whether the rows cover one lap; an episode without a flying lap may be shorter or longer."""
    return abs(float(lap["distance"][-1]) - track.length) < 0.02 * track.length


def speed_unit(speeds: Array) -> tuple[float, str]:
    """Choose the factor and unit in which `speeds` [m/s] are shown."""
    return (3.6, "km/h") if float(np.nanmax(speeds)) > FAST else (1.0, "m/s")


def braking_zones(throttle: Array, times: Array) -> list[tuple[int, int]]:
    """Find the first and last row of each braking zone; gaps and zones shorter than BLINK are ignored.

    throttle: (T,) commands, in the row that they led to. times: (T,) [s].
    """
    edges = np.flatnonzero(np.diff(np.concatenate([[0], throttle < BRAKING, [0]])))
    joined: list[list[int]] = []
    for begin, end in edges.reshape(-1, 2):
        first, last = max(0, int(begin) - 1), int(end) - 1  # the command of row n was given at row n - 1
        if joined and times[first] - times[joined[-1][1]] < BLINK:
            joined[-1][1] = last
        else:
            joined.append([first, last])
    return [(first, last) for first, last in joined if times[last] - times[first] >= BLINK]


def size_for(extent: Array) -> tuple[float, float]:
    """Compute width and height [inch] for an area `extent` (2,) [m], at most 11 wide or 8 high."""
    scale = min(11.0 / extent[0], 8.0 / extent[1])
    return max(5.0, float(extent[0] * scale)), max(2.0, float(extent[1] * scale))


def draw_road(axes: Axes, track: Track) -> None:
    """Draw surface, edges, start line and driving direction, from the clearance grid that the simulator uses."""
    grid = track.clearance
    rows, columns = grid.values.shape
    x, y = grid.origin[0] + np.arange(columns) * grid.resolution, grid.origin[1] + np.arange(rows) * grid.resolution
    axes.contourf(x, y, grid.values, levels=[0, np.inf], colors=[ROAD], zorder=1)
    axes.contour(x, y, grid.values, levels=[0], colors=[EDGE], linewidths=0.9, zorder=2)
    left, right = track.left_edge[0], track.right_edge[0]
    axes.plot([left[0], right[0]], [left[1], right[1]], color=INK, linewidth=3.2, solid_capstyle="butt", zorder=4)
    width = float(np.linalg.norm(left - right))
    beside = [track.points[0] + side * (0.5 * width + _arrow(track) / 3) * track.normals[0] for side in (1, -1)]
    place = min(beside, key=lambda point: float(grid.at(point[None])[0]))  # away from the rest of the road
    ahead = np.array([np.cos(track.heading[0]), np.sin(track.heading[0])]) * _arrow(track)
    arrow = {"arrowstyle": "-|>", "color": INK, "linewidth": 1.6, "mutation_scale": 14, "shrinkA": 0, "shrinkB": 0}
    axes.annotate("", xy=tuple(place + ahead), xytext=tuple(place), arrowprops=arrow, zorder=4)


def _arrow(track: Track) -> float:
    """Return the length [m] of the arrow beside the start line."""
    return 0.06 * float(np.ptp(track.points, axis=0).max())


def _braking(axes: Axes, points: Array, zones: Sequence[tuple[int, int]]) -> None:
    """Highlight the zones, first and last row of `points` (T, 2), and mark the start of each."""
    for n, (first, last) in enumerate(zones):
        label = "braking" if n == 0 else None
        axes.plot(*points[first : last + 1].T, color=BRAKE, alpha=0.35, linewidth=7, label=label, zorder=3)
    starts = points[[first for first, _ in zones]]
    if len(starts):
        x, y = starts.T
        axes.scatter(x, y, s=30, color=BRAKE, edgecolor="white", linewidth=0.8, label="braking point", zorder=6)


def _scale_bar(axes: Axes, low: Array, high: Array) -> None:
    """Draw a scale bar of a round length in the lower left corner; the axes have no ticks."""
    target = 0.15 * float(high[0] - low[0])
    power = 10.0 ** np.floor(np.log10(target))
    length = power * max(step for step in (1, 2, 5) if step * power <= target)
    x, y = low[0] + 0.01 * (high[0] - low[0]), low[1] + 0.012 * (high[1] - low[1])
    axes.plot([x, x + length], [y, y], color=FAINT, linewidth=2, solid_capstyle="butt")
    text = f"{length:g} m"
    axes.annotate(text, (x + length / 2, y), (0, 4), textcoords="offset points", ha="center", color=FAINT, fontsize=9)
