"""The short summary of a finished run."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any


def print_summary(run: Any, outputs: Path) -> None:
    """Print the short summary of a finished run. outputs: root of everything that is written."""
    from rich.console import Console
    from rich.table import Table

    s = run.summary
    lap = "none finished" if s["lap_time_s"] is None else f"{s['lap_time_s']:.2f} s"
    ratio = "" if s["lap_ratio"] is None else f", lap_ratio {s['lap_ratio']:.3f} (1 = reference lap)"
    table = Table(title=run.name, show_header=False, title_justify="left")
    table.add_row(
        "finish rate", f"{s['finish_rate']:.2f} of {s['episodes']} unseen starts x {s['laps_per_episode']} laps"
    )
    table.add_row("lap time", f"{lap}{ratio}, {s['vehicle']} with {s['tyre_model']} tyres")
    table.add_row("training", f"{s['learning_s']:.1f} s, {s['steps']:,} steps, {s['steps_per_s']:,} steps/s")
    Console(soft_wrap=True).print(table)
    print(f"run      {run.path}")
    print(f"picture  {s['lap_picture']}")
    if "lap_video" in s:
        print(f"video    {s['lap_video']}")
    print(f"onnx     {s['onnx']}")
    if run.mlflow.get("run_id"):
        print(f"mlflow   run {run.mlflow['run_id']}")
    command = Path(sys.executable).with_name("racing")  # on a PATH or not, this one works
    if command.is_relative_to(Path.cwd()):
        command = command.relative_to(Path.cwd())
    shown = outputs.relative_to(Path.cwd()) if outputs.is_relative_to(Path.cwd()) else outputs
    print(f"view     {command} ui paths.outputs={shown}")
