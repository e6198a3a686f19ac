"""`racing compare log=true`: the results in MLflow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from racing.config import compose_run
from racing.evaluation.result import flatten_numbers
from racing.runs.paths import where
from racing.tracking.comparison_run import log_comparison


def log_results(
    options: Mapping[str, Any],
    name: str,
    title: str,
    rows: Sequence[Mapping[str, Any]],
    keys: Sequence[str],
    files: Sequence[Path],
) -> None:
    """Put results into MLflow, as a run of their own, and say where; nothing where log=false.

    name: of the comparison. title: what was compared, in a line. rows: of the drivers, each with its `name`.
    keys: what of them becomes metrics, key/NAME. Raises InputError where the store does not answer.
    """
    if not options["log"]:
        return
    outputs = Path(options["paths"]["outputs"])
    names = [str(row["name"]) for row in rows]
    told = {key: {str(row["name"]): row[key] for row in rows if row[key] is not None} for key in keys}
    lines = [f"| {row['name']} | " + " | ".join(_text(row[key]) for key in keys) + " |" for row in rows]
    head = ["| | " + " | ".join(keys) + " |", "|---" * (1 + len(keys)) + "|"]
    run_id = log_comparison(
        outputs,
        compose_run([])["tracking"]["experiment"],
        name,
        tags={"racing.compared": ", ".join(names)},
        metrics=flatten_numbers(told, ""),
        note="\n".join([title, "", *head, *lines]),
        files=files,
    )
    print(f"mlflow   run {run_id}: racing ui{where(outputs)}")


def _text(value: Any) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)
