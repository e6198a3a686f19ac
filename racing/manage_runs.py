"""`racing runs`: what was trained here, and bringing a journal to MLflow."""

from __future__ import annotations

import argparse
import sys
import textwrap
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from racing.errors import require
from racing.runs.directory import RunDirectory, all_runs, find_run, flatten, read_json
from racing.runs.journal import read_journal

EXAMPLES = """examples:
  racing runs list                      every run under outputs/, newest first
  racing runs show latest               one run: settings, results, files
  racing runs sync latest               bring what MLflow lacks to the store that the run was made with
  racing runs sync --all --uri http://localhost:5000

RUN is a run directory, its name, an MLflow run id, or latest."""
TAIL = 1 << 20  # [bytes] of a journal that a table reads: hours of training, milliseconds of reading
RESULTS = {"finish_rate": "finish rate", "lap_time_s": "lap [s]", "lap_ratio": "lap ratio"}


def main(argv: Sequence[str]) -> int:
    """Entry point of the verb; returns the exit code."""
    options = _parser().parse_args(list(argv))
    if options.action == "list":
        return list_runs(options.outputs)
    if options.action == "show":
        return show(find_run(options.run, options.outputs))
    require((options.run is None) == options.all, "racing runs sync needs one RUN or --all; say which")
    runs = all_runs(options.outputs) if options.all else [find_run(options.run, options.outputs)]
    return max([sync(run, options.uri) for run in runs], default=0)


def list_runs(outputs: Path) -> int:
    """Print a table of all runs under `outputs`."""
    from rich.console import Console
    from rich.table import Table

    runs = all_runs(outputs)
    if not runs:
        print(f"no runs under {outputs / 'runs'}; train one: racing train debug=fast")
        return 0
    table = Table(box=None, pad_edge=False)
    for column in ("name", "status", "steps", *RESULTS.values(), "started (UTC)", "MLflow run"):
        table.add_column(column, overflow="fold")  # names and ids are there to be copied: never cut
    for run in runs:
        step, values = last_values(run, TAIL)
        results = [_number(values.get(name)) for name in RESULTS]
        table.add_row(run.name, run.status, f"{step:,}", *results, _clock(run.started), run.mlflow.get("run_id", "-"))
    Console(width=None if sys.stdout.isatty() else 200).print(table)
    return 0


def show(run: RunDirectory) -> int:
    """Print one run: where it is, how far it came, its results and settings."""
    step, values = last_values(run)
    facts = {
        "directory": run.path,
        "status": run.status,
        "started": _clock(run.started) + " UTC",
        "steps": f"{step:,}",
        "MLflow": " ".join(run.mlflow.get(key, "") for key in ("uri", "run_id")) or "not sent yet",
        "delivered": f"{_delivered(run):.0%} of the journal",
    }
    for title, section in (("run", facts), ("results", values), ("config", flatten(run.config))):
        print(title)
        for name, value in section.items():
            text = _number(value) if isinstance(value, float) else str(value)
            print(f"  {name:<32} {textwrap.shorten(text, 200)}")
    return 0


def sync(run: RunDirectory, uri: str | None = None) -> int:
    """Send what MLflow lacks of this run, in the foreground; 0 if its copy is complete, 1 if not (yet)."""
    from racing.runs.delivery import REJECTED, Delivery
    from racing.runs.failures import Refused, Unreachable

    delivery = Delivery(run, target_uri(run, uri), run.config.get("tracking", {}).get("experiment", "racing"))
    if not delivery.lock.acquire():
        print(f"{run.name}: is being sent by {delivery.lock.owner}; look again when that one is done")
        return 1
    problem = ""
    try:
        while delivery.deliver():
            pass
        if run.status == "KILLED":
            delivery.mark_killed()
    except (Unreachable, Refused) as error:
        problem = textwrap.shorten(str(error), 200)
    finally:
        delivery.lock.release()
    sent = ", ".join(f"{number:,} {what}" for what, number in delivery.sent.items()) or "nothing new"
    if problem:
        print(f"{run.name}: sent {sent}; not complete: {problem}; run the command again when the server answers")
    else:
        print(f"{run.name}: sent {sent}; {delivery.uri} is complete")
    if delivery.sent["rejected"]:
        print(f"{run.name}: MLflow refused {delivery.sent['rejected']} entries; see {run.path / REJECTED}")
    return 1 if problem else 0


def target_uri(run: RunDirectory, uri: str | None) -> str:
    """Where a run's copy belongs: `uri`, else the server that has it, else the configured one, else the embedded store.

    A database file that the run was sent to before does not count: the directory may come from another machine.
    """
    from racing.runs.store import resolve_uri

    known = str(run.mlflow.get("uri", ""))
    remote = known if not known.startswith("sqlite") else ""
    return resolve_uri(uri or remote or run.config.get("tracking", {}).get("uri"), run.path.parents[1])


def last_values(run: RunDirectory, tail: int = 0) -> tuple[int, dict[str, Any]]:
    """Last step, and the last value of every measured name; a summary's values stand above the journal's.

    tail: look only at so many last bytes of the journal; 0: at all of it.

    Names are cut to their last part (`eval/lap_time_s` gives `lap_time_s`) only where the summary has none.
    """
    step, values = 0, {}
    journal = run.path / "journal.jsonl"
    begin = max(0, journal.stat().st_size - tail) if tail else 0  # what is left of a line cut in two is no record
    for line in read_journal(journal, begin):
        record = line.record or {}
        if record.get("kind") == "metrics":
            step = max(step, int(record["step"]))
            values.update(record["values"])
    short = {name.rsplit("/", 1)[-1]: value for name, value in values.items() if name.rsplit("/", 1)[-1] in RESULTS}
    return step, values | short | flatten(run.summary)


def _delivered(run: RunDirectory) -> float:
    size = (run.path / "journal.jsonl").stat().st_size
    return int(read_json(run.path / "journal.cursor").get("offset", 0)) / max(1, size)


def _clock(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%Y-%m-%d %H:%M")


def _number(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, int | float) else "-"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="racing runs", description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--outputs", type=Path, default=Path("outputs"), help="paths.outputs of the runs (default: outputs)"
    )
    actions = parser.add_subparsers(dest="action", required=True, metavar="list | show | sync")
    actions.add_parser("list", parents=[common], help="a table of all runs, newest first")
    actions.add_parser("show", parents=[common], help="one run: settings, results, files").add_argument(
        "run", metavar="RUN"
    )
    send = actions.add_parser(
        "sync", parents=[common], help="bring what MLflow lacks; exit code 1 if it does not answer"
    )
    send.add_argument("run", metavar="RUN", nargs="?")
    send.add_argument("--all", action="store_true", help="every run under --outputs")
    send.add_argument("--uri", help="MLflow's tracking URI; default: where the run's copy is")
    return parser
