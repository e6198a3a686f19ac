"""One evaluation for each value of one parameter of `env.randomize`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table

    from racing.evaluation.result import Evaluation

# What is driven where no values are named, the vehicle's own among them. Of a camera there are none: it has amplitudes.
VALUES: dict[str, tuple[float, ...]] = {
    "mass": (0.6, 0.8, 1.0, 1.2, 1.5, 2.0),
    "friction": (0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1),
    "stiffness": (0.4, 0.6, 0.8, 1.0, 1.25, 1.6),
    "power": (0.4, 0.6, 0.8, 1.0, 1.2),
    "drag": (0.0, 0.5, 1.0, 2.0, 4.0),
    "steering_offset": (-0.1, -0.05, -0.02, 0.0, 0.02, 0.05, 0.1),
    "command_delay": (0.0, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3),
    "throttle_lag": (0.0, 0.05, 0.1, 0.2, 0.4, 0.8),
    "ray_bias": (-0.2, -0.1, -0.05, 0.0, 0.05, 0.1, 0.2),
    "ray_noise": (0.0, 0.05, 0.1, 0.2, 0.5, 1.0),
    "ray_dropout": (0.0, 0.02, 0.05, 0.1, 0.2, 0.4),
}
SHOWN = ("finish_rate", "lap_ratio")  # in tables and pictures, with their intervals
KEPT = (
    "lap_time_s",
    "limit_ratio",
    "off_track_rate",
    "off_track_m",
    "max_lateral_g",
    "mean_speed",
    "steering_change",
    "reward",
)


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """Summaries of the evaluations at the values of one parameter, which is a key of `env.randomize`."""

    parameter: str
    values: Sequence[float]
    summaries: Sequence[Mapping[str, Any]]

    def rows(self) -> list[dict[str, Any]]:
        """The numbers by value, one dict each."""
        names = [name + end for name in SHOWN for end in ("", "_low", "_high")]
        return [
            {"parameter": self.parameter, "value": value, "episodes": summary["episodes"]}
            | {name: summary[name] for name in (*names, *KEPT)}
            for value, summary in zip(self.values, self.summaries, strict=True)
        ]

    def table(self, title: str) -> Table:
        """The numbers of SHOWN, a row for each value."""
        from rich.table import Table

        table = Table(title=title, title_justify="left")
        for heading in (self.parameter, *(text for name in SHOWN for text in (name, "95 % interval"))):
            table.add_column(heading, justify="right", no_wrap=True)
        for row in self.rows():
            table.add_row(f"{row['value']:g}", *(text for name in SHOWN for text in _with_interval(row, name)))
        return table


def _with_interval(row: Mapping[str, Any], name: str) -> tuple[str, str]:
    value, low, high = (row[name + end] for end in ("", "_low", "_high"))
    mean = "-" if value is None else f"{value:.3f}"
    return mean, "" if low is None else f"{low:.3f} .. {high:.3f}"


def sweep(parameter: str, values: Sequence[float], drive: Callable[[Mapping[str, Any]], Evaluation]) -> Sweep:
    """Evaluate at each value. drive: evaluates with these keys of `env.randomize`."""
    return Sweep(parameter=parameter, values=values, summaries=[drive({parameter: v}).summary for v in values])
