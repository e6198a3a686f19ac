"""What was trained: `racing runs list | show`."""

from __future__ import annotations

import json
import sys
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from racing.errors import InputError
from racing.reading import read_regular
from racing.renamed_keys import key_of
from racing.runs.directory import MOST_DOCUMENT, RunDirectory, all_runs
from racing.runs.identity import NOT_IDENTITY, flatten
from racing.runs.journal import newest_metrics, utc_text
from racing.runs.metrics import HEADLINE, SCORE
from racing.runs.paths import where
from racing.tracking.address import masked
from racing.tracking.run_record import RunRecord

if TYPE_CHECKING:
    from mlflow.entities import Run
    from rich.table import Table

TAIL = 1 << 20  # [bytes] of a journal that a table reads: hours of training, milliseconds of reading
DAMAGED = "DAMAGED"  # instead of a status
MOST_TYPED = 40  # characters of what was typed for a run that a table shows; format=json has all
LEFT_AWAY = ("MLflow run", "limit ratio", "started (UTC)", "lap ratio", "typed")  # in this order, in a narrow terminal
LABELS = {
    "finish_rate": "finish rate",
    "lap_time_s": "lap [s]",
    "lap_ratio": "lap ratio",
    "limit_ratio": "limit ratio",
    "score": "score",
}


def list_runs(outputs: Path, uri: str | None = None, *, as_json: bool = False) -> int:
    """Print a table of the runs under `outputs`, or with `uri` of those in that store, newest first.

    A run that is damaged is shown as such, with the reason; the others are shown as ever.
    """
    if uri:
        from racing.tracking.client import KIND_TAG, Store

        rows = [_remote_row(run) for run in Store(uri, outputs).runs() if KIND_TAG not in run.data.tags]
    else:
        rows = [_local_row(run) for run in all_runs(outputs)]
    if as_json:
        print(json.dumps(rows, indent=2))
        return 0
    if not rows:
        place = f"in {uri}" if uri else f"under {outputs / 'runs'}"
        print(f"no runs {place}; train one: racing train debug=fast{where(outputs)}")
        return 0
    from rich.console import Console

    console = Console(width=None if sys.stdout.isatty() else 200, markup=False)
    unbounded = console.options.update(width=10_000)
    cells = [_cells(row) for row in rows]
    left_away = [LABELS[SCORE]] if all(row[SCORE] is None for row in rows) else []
    table = _table(cells, left_away)
    for column in LEFT_AWAY:
        if console.measure(table, options=unbounded).maximum <= console.width:
            break
        left_away.append(column)
        table = _table(cells, left_away)
    console.print(table)
    for problem in filter(None, (row.get("damage") for row in rows)):
        print(problem)
    return 0


def _cells(row: Mapping[str, Any]) -> dict[str, str]:
    """The texts of a run by the column that they stand in."""
    return {
        "name": row["name"],
        "status": row["status"],
        "steps": f"{row['steps']:,}",
        **{LABELS[name]: number(row[name]) for name in HEADLINE},
        "started (UTC)": (row["started"] or "-")[:16].replace("T", " "),
        "typed": textwrap.shorten(" ".join(row.get("overrides") or []), MOST_TYPED, placeholder=" ...") or "-",
        "MLflow run": row["run_id"] or "-",
    }


def _table(cells: Sequence[Mapping[str, str]], left_away: Sequence[str]) -> Table:
    """Columns of these cells but for those that are left away; nothing is cut: names and ids are there to be copied."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    columns = [name for name in cells[0] if name not in left_away]
    for name in columns:
        table.add_column(name, overflow="fold")
    for row in cells:
        table.add_row(*(row[name] for name in columns))
    return table


def _local_row(run: RunDirectory) -> dict[str, Any]:
    damage = None if run.exists else run.damage  # of those that exist it would read each file a second time
    try:
        started, status, summary, mlflow, _ = run.started, run.status, run.summary, run.mlflow, run.sent
    except InputError as error:
        damage = damage or str(error)
    if damage is not None:
        nothing = dict.fromkeys((*HEADLINE, "started", "run_id"))
        return {"name": run.name, "status": DAMAGED, "steps": 0} | nothing | {"damage": damage}
    step, values = newest_metrics(run.paths.journal, TAIL)
    results = {name: summary.get(name, values.get(f"eval/{name}")) for name in HEADLINE}
    identity = {"name": run.name, "status": status, "steps": step or 0}
    more = {"started": utc_text(started), "run_id": mlflow.get("run_id"), "overrides": _typed(run)}
    return identity | results | more


def _typed(run: RunDirectory) -> list[str]:
    """What was typed for a run of what makes it another one than its neighbours; nothing where that cannot be read."""
    try:
        found = yaml.safe_load(read_regular(run.paths.overrides, MOST_DOCUMENT))
    except (OSError, ValueError, yaml.YAMLError):
        return []
    texts = [str(text) for text in found] if isinstance(found, list) else []
    return [text for text in texts if key_of(text).partition(".")[0] not in (*NOT_IDENTITY, "name")]


def _remote_row(run: Run) -> dict[str, Any]:
    # The public dictionary of metrics has no steps.
    steps = max((int(point.step) for point in run.data._metric_objs), default=0)
    from racing.tracking.client import name_of

    results = {name: run.data.metrics.get(f"eval/{name}") for name in HEADLINE}
    identity = {"name": name_of(run), "status": run.info.status, "steps": steps}
    return identity | results | {"started": utc_text(run.info.start_time), "run_id": run.info.run_id}


def show(record: RunRecord, how: str = "table") -> int:
    """Print one run: where it is, how far it came, its results; on one screen.

    how: table, full (with every metric and setting) or json (that, as one value).
    """
    series = record.series()
    values = {name: points[-1][1] for name, points in series.items()} | flatten(record.summary)
    facts: dict[str, Any] = {
        "name": record.name,
        "status": record.status,
        "steps": max((points[-1][0] for points in series.values()), default=0),
        "directory": str(record.directory.path) if record.directory else None,
        "uri": record.uri,
        "run_id": record.run_id,
    }
    if record.directory is not None:
        facts["started"] = utc_text(record.directory.started)
        facts["delivered"] = record.directory.sent / max(1, record.directory.paths.journal.stat().st_size)
    if how == "json":
        sections = {"results": values, "tags": record.tags, "config": record.config, "overrides": record.overrides}
        print(masked(json.dumps(facts | sections | {"provenance": record.provenance}, indent=2)))
        return 0
    shown = facts | {"steps": f"{facts['steps']:,}", "uri": record.uri or "not sent yet"}
    if "delivered" in facts:
        shown["delivered"] = f"{facts['delivered']:.0%} of the journal"
    typed = {"overrides": " ".join(record.overrides)} if record.overrides else {}
    _section("run", {name: value for name, value in (shown | typed).items() if value is not None})
    if how == "full":
        _section("results", values)
        _section("config", flatten(record.config))
        return 0
    _section("results", short(record.summary or values))
    place = where(record.directory.paths.outputs) if record.directory else ""
    print(f"everything: racing runs show {record.name} format=full{place}")
    return 0


def short(values: Mapping[str, Any]) -> dict[str, Any]:
    """Single numbers and texts of a run's results, an interval beside the value that it is of; no files, no parts."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        path = isinstance(value, str) and "/" in value
        if name.endswith(("_low", "_high")) or isinstance(value, Mapping | list) or value is None or path:
            continue
        low, high = values.get(f"{name}_low"), values.get(f"{name}_high")
        interval = "" if low is None or high is None else f" ({number(low)} .. {number(high)})"
        found[name] = (
            number(value) if isinstance(value, float) else f"{value:,}" if type(value) is int else value
        ) + interval
    return found


def _section(title: str, values: Mapping[str, Any]) -> None:
    print(title)
    for name, value in values.items():
        text = number(value) if isinstance(value, float) else str(value)
        print(f"  {name:<32} {textwrap.shorten(masked(text), 200)}")  # masked: of an earlier version's records


def number(value: object) -> str:
    """Write a number as tables show it, `-` where there is none."""
    return f"{value:.6g}" if isinstance(value, int | float) else "-"
