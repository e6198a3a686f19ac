"""Plot who wins how often against whom."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from racing import figures
from racing.figures import FAINT, INK
from racing.league.table import Shares

CELL = 1.15  # [inch]
LABEL = 0.085  # [inch] a letter of a name
DARK = 0.3  # distance of a share from a half, from which on its text is white


def matrix_picture(
    rows: Sequence[Mapping[str, Any]],
    shares: Shares,
    path: Path,
    *,
    facts: Sequence[str] = (),
) -> Path:
    """Draw win shares of rows against columns with their 95 % intervals; returns `path`, a PNG.

    rows: of racing.league.table.standings. shares: by names of row and column. facts: short texts under the title.
    """
    names = [str(row["name"]) for row in rows]
    values = np.array([[shares.get((a, b), (np.nan,))[0] for b in names] for a in names])
    beside = LABEL * max(len(name) for name in names) + 0.6
    figure = figures.new_figure(max(beside + CELL * len(names) + 1.3, 7.0), CELL * len(names) + beside + 0.7)
    axes = figure.add_subplot()
    image = axes.imshow(values, cmap="RdYlGn", vmin=0, vmax=1)
    for (i, j), share in np.ndenumerate(values):
        if np.isnan(share):
            continue
        _, low, high = shares[names[i], names[j]]
        colour = "white" if abs(share - 0.5) > DARK else INK
        axes.text(j, i - 0.08, f"{share:.2f}", ha="center", va="center", fontsize=13, color=colour)
        axes.text(j, i + 0.22, f"{low:.2f} .. {high:.2f}", ha="center", va="center", fontsize=7.5, color=colour)
    texts = [f"{row['name']}\n{row['rating']:.0f}" for row in rows]
    for k, row in enumerate(rows):
        low, high = row["rating_low"], row["rating_high"]
        texts[k] += f"  ({low:.0f} .. {high:.0f})" if low < high else ""  # the anchor has none
    axes.set_yticks(range(len(names)), texts, fontsize=9, color=INK)
    axes.set_xticks(range(len(names)), names, fontsize=9, color=INK, rotation=30, ha="right", rotation_mode="anchor")
    axes.set_xticks(np.arange(len(names) - 1) + 0.5, minor=True)
    axes.set_yticks(np.arange(len(names) - 1) + 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=2)
    axes.tick_params(which="both", length=0)
    axes.spines[:].set_visible(False)
    bar = figure.colorbar(image, ax=axes, shrink=0.8, aspect=28, pad=0.02)
    bar.set_label("win share of the row against the column, with its 95 % interval", color=FAINT)
    bar.outline.set_visible(False)
    figures.heading(axes, "matches", facts)
    return figures.save(figure, path)
