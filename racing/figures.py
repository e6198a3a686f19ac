"""Figures that all pictures share: their frame, their colours, how they are written. matplotlib without pyplot."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from racing.files import atomic_path

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DPI = 150
INK, FAINT, LINE = "#22252b", "#6b6f7a", "#2456c9"
# Of drivers who are compared: told apart also by who is colour-blind (Okabe & Ito 2008).
DRIVERS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")


def new_figure(width: float, height: float) -> Figure:
    """Make an empty figure; width, height [inch]."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def heading(axes: Axes, title: str, facts: Sequence[str]) -> None:
    """Write a title, and short texts under it, above the axes."""
    axes.set_title(title, loc="left", fontsize=14, fontweight="bold", color=INK, pad=30)
    text = "   ·   ".join(facts)
    axes.annotate(text, (0, 1), (0, 12), "axes fraction", "offset points", fontsize=10, color=FAINT)


def save(figure: Figure, path: Path) -> Path:
    """Write the figure as PNG, whole or not at all; returns `path`."""
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=DPI, format="png", bbox_inches="tight", pad_inches=0.2)
    return path
