"""A comparison of drivers in MLflow: a run of its own, which the same comparison finds again."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from racing.runs.metrics import NOTE_TAG
from racing.runs.status import RunStatus
from racing.tracking.client import KIND_TAG, Store
from racing.tracking.store import ADDRESS, connect, embedded_uri, open_client, resolve_uri

if TYPE_CHECKING:
    from mlflow import MlflowClient

COMPARISON_TAG = "racing.comparison"  # name of its folder; without JOURNAL_TAG it is no training


def log_comparison(
    outputs: Path,
    experiment: str,
    name: str,
    *,
    tags: Mapping[str, str],
    metrics: Mapping[str, float],
    note: str,
    files: Sequence[Path],
) -> str:
    """Put a comparison into the store of MLFLOW_TRACKING_URI, else the embedded one; returns the id of its run.

    name: of the comparison; one that is there already is replaced. tags, metrics: by names that MLflow takes.
    note: in Markdown. Raises InputError where the store does not answer.
    """
    name = re.sub(r"[^\w.+\-]", "_", name)  # a track may be called anything
    uri = resolve_uri(os.environ.get(ADDRESS), outputs)
    if uri == embedded_uri(outputs):
        outputs.mkdir(parents=True, exist_ok=True)
        open_client(uri, outputs)  # makes it, if it is not there yet
    store = Store(uri, outputs)
    client, experiment_id = store.ask(lambda: connect(uri, experiment, outputs))
    told = {KIND_TAG: "comparison", COMPARISON_TAG: name, NOTE_TAG: note, **tags}
    return store.ask(lambda: _log(client, experiment_id, name, told, metrics, files))


def _log(
    client: MlflowClient,
    experiment_id: str,
    name: str,
    tags: Mapping[str, str],
    metrics: Mapping[str, float],
    files: Sequence[Path],
) -> str:
    same = f"tags.`{COMPARISON_TAG}` = '{name}'"
    before = client.search_runs([experiment_id], same, max_results=1)
    run = before[0] if before else client.create_run(experiment_id, run_name=name)
    run_id = str(run.info.run_id)
    for key, text in tags.items():
        client.set_tag(run_id, key, text)
    for key, value in metrics.items():
        client.log_metric(run_id, key, value)
    for path in files:
        client.log_artifact(run_id, str(path))
    client.set_terminated(run_id, RunStatus.FINISHED)
    return run_id
