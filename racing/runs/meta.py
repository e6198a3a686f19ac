"""<name>.meta.json: a run on one page, for people and scripts that know neither the journal nor MLflow."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from racing.files import read_json, write_json
from racing.runs.checkpoints import MARKER, Checkpoints
from racing.runs.directory import RunDirectory
from racing.runs.identity import flatten
from racing.runs.journal import read_journal, utc_text


def write_meta(run: RunDirectory, status: str, summary: Mapping[str, Any]) -> Path:
    """Write the page from the run's own record, and journal it; returns its path.

    status: that the run is about to have. summary: of a finished run, else empty.
    """
    write_json(run.paths.meta, describe(run, status, summary))
    run.journal.artifact(run.paths.meta)
    return run.paths.meta


def complete_meta(run: RunDirectory) -> None:
    """Put on the page where the run is in MLflow: a short one has ended before that is known."""
    page: dict[str, Any] = {}
    with contextlib.suppress(ValueError):  # damaged: it is sent as it is
        page = read_json(run.paths.meta)
    if page and page.get("mlflow") != run.mlflow:
        write_json(run.paths.meta, page | {"mlflow": run.mlflow})


def describe(run: RunDirectory, status: str, summary: Mapping[str, Any]) -> dict[str, Any]:
    """Collect what stands on the page; times are UTC in ISO 8601."""
    provenance = read_json(run.paths.provenance)
    starts: list[int] = []
    pruned: list[int] = []
    hardware = ""
    now = 0
    for line in read_journal(run.paths.journal):
        record = line.record or {}
        now = max(now, int(record.get("ts", 0)))
        if record.get("kind") == "start":
            starts.append(record["ts"])
        elif record.get("name") == "checkpoint pruned":
            pruned.append(int(record["step"]))
        elif record.get("kind") == "tags":
            hardware = record["values"].get("racing.device", hardware)
    kept = Checkpoints(run.path).all()
    return {
        "name": run.name,
        "status": status,
        "mlflow": run.mlflow,
        "started": utc_text(run.started) if starts else None,
        "continued": [utc_text(start) for start in starts[1:]],
        "written": utc_text(now),
        "hardware": {"device": hardware, "cpu": provenance.get("cpu"), "cores": provenance.get("cores")},
        "code": {key: provenance.get(key) for key in ("racing", "commit", "dirty", "python")},
        "tracks": provenance.get("tracks"),
        "ancestor": provenance.get("ancestor"),
        "parameters": flatten(run.config),
        "checkpoints": {
            "kept": {str(c.step): sorted([*c.notes["files"], MARKER]) for c in kept},
            "pruned": sorted(set(pruned) - {c.step for c in kept}),
            "replay": sorted({name for checkpoint in kept for name in checkpoint.log_files}),
        },
        "result": dict(summary),
    }
