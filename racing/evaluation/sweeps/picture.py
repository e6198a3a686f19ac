"""Plot what an evaluation reports over the values of one parameter."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from racing import figures
from racing.evaluation.sweeps.sweep import Sweep
from racing.figures import FAINT, INK, LINE
from racing.sim.variation.config import LIMITS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FACTORS = ("mass", "friction", "stiffness", "power", "drag")


def sweep_picture(sweep: Sweep, path: Path, *, facts: Sequence[str] = ()) -> Path:
    """Draw finish rate and lap ratio with their 95 % intervals over the parameter's values; returns `path`, a PNG.

    A dashed line stands at the vehicle's own value, where that lies among them. facts: short texts under the title.
    """
    figure = figures.new_figure(7.2, 6.4)
    finishes, laps = figure.subplots(2, 1, sharex=True)
    rows = sweep.rows()
    _curve(finishes, rows, "finish_rate")
    finishes.set(ylim=(-0.04, 1.04), ylabel="finish rate")
    _curve(laps, rows, "lap_ratio")
    laps.set_ylabel("lap time / reference lap")
    laps.set_xlabel(axis_label(sweep.parameter))
    own = LIMITS[sweep.parameter][2] if sweep.parameter in LIMITS else 0.0
    among = min(sweep.values) <= own <= max(sweep.values)
    for axes in figure.axes:
        if among:
            axes.axvline(own, color=FAINT, linewidth=1.0, linestyle=(0, (5, 3)), zorder=1)
        axes.grid(color="#e6e7eb", linewidth=0.8)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    if among:
        beside = {"textcoords": "offset points", "color": FAINT, "fontsize": 9, "va": "bottom"}
        finishes.annotate("as the vehicle", (own, 0.0), (5, 0), **beside)
    figure.align_ylabels()
    figures.heading(finishes, sweep.parameter.replace("_", " "), facts)
    return figures.save(figure, path)


def axis_label(parameter: str) -> str:
    """The parameter with its unit, or with what its numbers are."""
    name = parameter.replace("_", " ")
    if parameter in FACTORS:
        return f"{name}, factor on the vehicle's"
    unit = LIMITS[parameter][3] if parameter in LIMITS else ""
    return f"{name} [{unit}]" if unit else name


def _curve(axes: Axes, rows: Sequence[dict[str, Any]], name: str) -> None:
    """Plot the values that there are, each with its interval; say so where there are none."""
    known = [row for row in rows if row[name] is not None]
    if not known:
        axes.text(0.5, 0.5, "no lap was finished", transform=axes.transAxes, ha="center", color=INK)
        axes.set_yticks([])
        return
    at, mean = [row["value"] for row in known], [row[name] for row in known]
    ends = [(row[f"{name}_low"], row[f"{name}_high"]) for row in known]
    spread = [
        (row[name], row[name]) if low is None else (low, high) for row, (low, high) in zip(known, ends, strict=True)
    ]
    below = [max(0.0, value - low) for value, (low, _) in zip(mean, spread, strict=True)]
    above = [max(0.0, high - value) for value, (_, high) in zip(mean, spread, strict=True)]
    axes.errorbar(at, mean, (below, above), color=LINE, linewidth=1.6, marker="o", markersize=5, capsize=4, zorder=3)
