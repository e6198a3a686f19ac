"""How what episodes cost is distributed, beside the references."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from racing import figures
from racing.figures import FAINT, INK, LINE

COLOURS = ("#8a4fb5", "#e08a00", "#2a9d4b")  # of the references
BINS = 30
CUT = 97  # percentile of all costs at which the axis ends: the rest is in the last bar


def costs_picture(result: Any, cost: Any, path: Path, *, facts: Sequence[str] = ()) -> Path:
    """Draw the histogram of a cost over the episodes, and below it policy and references in order of their costs.

    result: racing.evaluation.scores.evaluator.Scored. cost: racing.envs.task.Cost. Returns `path`, a PNG.
    """
    own = np.array([episode[cost.name] for episode in result.episodes])
    others = {name: np.array([row[cost.name] for row in rows]) for name, rows in result.references.items()}
    most = float(np.percentile(np.concatenate([own, *others.values()]), CUT))
    edges = np.linspace(0, max(most, 1e-6), BINS + 1)
    figure = figures.new_figure(9.0, 6.4)
    counts, sorted_costs = figure.subplots(2, 1)
    counts.hist(np.minimum(own, edges[-1]), bins=edges, color=LINE, alpha=0.85, label=_label("policy", own, cost))
    for (name, values), colour in zip(others.items(), COLOURS, strict=False):
        clipped = np.minimum(values, edges[-1])
        label = _label(name, values, cost)
        counts.hist(clipped, bins=edges, histtype="step", linewidth=1.6, color=colour, label=label)
    counts.set(ylabel="episodes", xlabel=f"{cost.name} (above {edges[-1]:.0f}: in the last bar)", xlim=(0, edges[-1]))
    counts.legend(frameon=False, fontsize=9, title="mean, median", title_fontsize=9)
    place = np.argsort(own)
    sorted_costs.plot(own[place], color=LINE, linewidth=2.2)
    for values, colour in zip(others.values(), COLOURS, strict=False):
        sorted_costs.plot(values[place], color=colour, linewidth=1.0, marker=".", markersize=4, alpha=0.9)
    top = float(np.max([values.max() for values in (own, *others.values())]))
    sorted_costs.set(ylabel=cost.name, xlabel="episode, in the order of the policy's cost", ylim=(0, 1.05 * top))
    for axes in (counts, sorted_costs):
        axes.grid(color="#e6e7eb", linewidth=0.8)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(colors=FAINT)
        axes.xaxis.label.set_color(INK)
    figures.heading(counts, f"{cost.name} of {len(own)} episodes", facts)
    return figures.save(figure, path)


def _label(name: str, values: Any, cost: Any) -> str:
    return f"{name}: {values.mean():.{cost.digits}f}, {np.median(values):.{cost.digits}f}"
