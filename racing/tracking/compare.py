"""Are two runs the same run? Bit for bit in their weights and in every number that they measured."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

from racing.runs.identity import flatten
from racing.runs.journal import as_text
from racing.runs.metrics import HEADLINE
from racing.runs.status import RunStatus

if TYPE_CHECKING:
    from racing.tracking.run_record import RunRecord

Series = Mapping[str, Sequence[tuple[int, float]]]  # metric name -> (step, value) in the order of the steps
CHECKSUMS = {"racing.weights_sha256": "policy", "racing.final_sha256": "policy and optimizer after the last update"}
RESULTS = (*HEADLINE, "off_track_m", "max_lateral_g", "mean_speed", "reward")


@dataclass(frozen=True)
class Difference:
    """Where two runs part: the metric's value at `step` in each of them, None where it has no such point."""

    step: int
    metric: str
    original: float | None
    again: float | None


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What is equal in two runs and what is not.

    checksums: what was compared -> True (equal), False, or None where one of the runs did not record it. first: the
    first point that differs, None if none does. metrics, points: how many were compared. until: the last step compared
    if the original ended before its end, else None. results: name -> (original, again) of the final evaluation.
    """

    checksums: dict[str, bool | None]
    first: Difference | None
    metrics: int
    points: int
    until: int | None
    results: dict[str, tuple[float | None, float | None]]

    @property
    def equal(self) -> bool:
        """Whether everything that both runs recorded is the same, and there is something at all."""
        return self.points > 0 and self.first is None and False not in self.checksums.values()

    @property
    def verdict(self) -> str:
        """EQUAL or DIFFERENT."""
        return "EQUAL" if self.equal else "DIFFERENT"

    def lines(self) -> list[str]:
        """Put the comparison in words."""
        counted = f"{self.metrics} metrics, {self.points:,} points"
        if self.points == 0:
            return [f"{self.verdict}: the original recorded no metric to compare with"]
        if self.first is None:
            reach = "" if self.until is None else f" up to step {self.until:,}, where the original ended"
            found = [f"{self.verdict}: {counted}{reach}, all {'equal' if self.equal else 'equal, but not the weights'}"]
        else:
            own, other = ("no point" if v is None else repr(v) for v in (self.first.original, self.first.again))
            place = f"step {self.first.step:,}: {self.first.metric} was {own} and is {other}"
            found = [f"{self.verdict} from {place} ({counted} compared)"]
        words = {True: "equal", False: "different", None: "not recorded"}
        return found + [f"{what}: {words[state]}" for what, state in self.checksums.items()]

    def as_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return {"verdict": self.verdict, **asdict(self)}


def compare(original: RunRecord, again: RunRecord) -> Comparison:
    """Compare two runs; of an original that did not reach its end, only as far as it went."""
    before, after = _comparable(original.series()), _comparable(again.series())
    until = None
    if original.status != RunStatus.FINISHED:
        until = max((step for points in before.values() for step, _ in points), default=0)
        after = {name: cut for name, points in after.items() if (cut := [p for p in points if p[0] <= until])}
    checksums: dict[str, bool | None] = {}
    for tag, what in CHECKSUMS.items():
        own, other = original.tags.get(tag), again.tags.get(tag)
        checksums[what] = None if None in (own, other) else own == other
    return Comparison(
        checksums=checksums,
        first=first_difference(before, after),
        metrics=len(before),
        points=sum(len(points) for points in before.values()),
        until=until,
        results=results(original.summary, again.summary),
    )


def _comparable(series: Series) -> dict[str, Any]:
    """Without what depends on whether a machine knows the physical limit."""
    return {name: points for name, points in series.items() if "limit_ratio" not in name}


def first_difference(original: Series, again: Series) -> Difference | None:
    """Find the differing point with the lowest step; of several the first metric by name. None if none differs."""
    found = []
    for metric in original.keys() | again.keys():
        for own, other in zip_longest(original.get(metric, ()), again.get(metric, ())):
            if own is None or other is None or own[0] != other[0] or not same(own[1], other[1]):
                step = min(point[0] for point in (own, other) if point is not None)
                values = (point[1] if point is not None and point[0] == step else None for point in (own, other))
                found.append(Difference(step, metric, *values))
                break
    return min(found, key=lambda difference: (difference.step, difference.metric), default=None)


def same(a: float, b: float) -> bool:
    """Whether two values are one double; NaN is equal to NaN, and -0.0, which sqlite does not keep, to 0.0."""
    return a == b or (math.isnan(a) and math.isnan(b))


def results(original: Mapping[str, Any], again: Mapping[str, Any]) -> dict[str, tuple[float | None, float | None]]:
    """Put two runs' final evaluations side by side; None where a run has no such result."""
    return {name: (original.get(name), again.get(name)) for name in RESULTS if name in original or name in again}


def config_differences(was: Mapping[str, Any], now: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """List the dotted keys in which two configurations differ: (key, was, now) as texts."""
    texts = [{key: as_text(value) for key, value in flatten(config).items()} for config in (was, now)]
    rows = [(key, *(config.get(key, "no such key") for config in texts)) for key in texts[0] | texts[1]]
    return [(key, own, other) for key, own, other in rows if own != other]


def print_results(
    pairs: Mapping[str, tuple[float | None, float | None]], titles: tuple[str, str] = ("original", "again")
) -> None:
    """Print `results` as a table with their distance."""
    from rich.console import Console
    from rich.table import Table

    table = Table("", *titles, "distance", box=None, pad_edge=False)
    for column in table.columns[1:]:
        column.justify = "right"
    for name, (own, other) in pairs.items():
        distance = "-" if own is None or other is None else f"{other - own:+.4g}"
        table.add_row(name, *("-" if value is None else f"{value:.6g}" for value in (own, other)), distance)
    Console(soft_wrap=True).print(table)
