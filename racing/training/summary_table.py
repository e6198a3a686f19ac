"""The short summary of a finished run."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from racing.tracking.store import embedded_uri, resolve_uri

if TYPE_CHECKING:
    from racing.evaluation.evaluator import Evaluator

KINDS = {".png": "picture", ".mp4": "video", ".html": "replay"}


def print_summary(run: Any, outputs: Path, evaluator: Evaluator) -> None:
    """Print the short summary of a finished run. outputs: root of everything that is written."""
    from rich.console import Console
    from rich.table import Table

    s = run.summary
    table = Table(title=run.name, show_header=False, title_justify="left")
    for name, text in evaluator.lines(s):
        table.add_row(name, text)
    table.add_row("training", f"{s['learning_s']:.1f} s, {s['steps']:,} steps, {s['steps_per_s']:,} steps/s")
    Console(soft_wrap=True).print(table)
    print(f"run      {run.path}")
    for file, name in evaluator.shown.items():
        if name in s and not file.endswith(".csv"):
            print(f"{KINDS[Path(file).suffix]:<8} {s[name]}")
    print(f"onnx     {s['onnx']}")
    if run.mlflow.get("run_id"):
        print(f"mlflow   run {run.mlflow['run_id']}")
    place = where_to_look(run, outputs)
    if place:
        print(f"view     {place}")


def where_to_look(run: Any, outputs: Path) -> str:
    """Return the address of MLflow's page on the run, or the command that opens it; '' where MLflow has no copy."""
    tracking = run.config.get("tracking") or {}
    if not tracking.get("enabled"):
        return ""
    uri = resolve_uri(tracking.get("uri"), outputs)
    if uri.startswith(("http://", "https://")):
        known = run.mlflow if run.mlflow.get("uri") == uri else {}
        page = f"/#/experiments/{known['experiment_id']}/runs/{known['run_id']}" if known else ""
        return uri.rstrip("/") + page
    if not uri.startswith("sqlite"):
        return uri
    if uri != embedded_uri(outputs):
        return shlex.join([sys.executable, "-m", "mlflow", "ui", "--backend-store-uri", uri])
    shown = outputs.relative_to(Path.cwd()) if outputs.is_relative_to(Path.cwd()) else outputs
    return shlex.join([*own_command(), "ui", f"paths.outputs={shown}"])


def own_command() -> list[str]:
    """Return the words that start this racing from a shell: its script where the shell finds it, else its Python's."""
    script = Path(sys.executable).with_name("racing")
    found = shutil.which("racing")
    if found and Path(found).resolve() == script.resolve():
        return ["racing"]
    return [str(script)] if os.access(script, os.X_OK) else [sys.executable, "-m", "racing"]
