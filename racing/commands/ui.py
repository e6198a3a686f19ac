"""`racing ui`: MLflow's web page on the embedded store."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Sequence
from pathlib import Path

from racing.commands.options import key_values
from racing.errors import require
from racing.processes import python
from racing.runs.directory import whole_runs
from racing.runs.metrics import HEADLINE
from racing.runs.paths import where

VIEW = "racing"  # a state of MLflow's table of runs, as its button Share keeps them: a tag of the experiment
COLUMNS = [f"metrics.`eval/{name}`" for name in HEADLINE]
HELP = """usage: racing ui [port=5000] [paths.outputs=outputs]

Opens MLflow's web page on the runs under paths.outputs, on this machine only; Ctrl-C ends it.
Runs that were sent to a server are seen on that server's page.

examples:
  racing ui
  racing ui port=5001 paths.outputs=/data/racing
  ssh -L 5000:localhost:5000 HOST racing ui         # the runs of another machine"""


def main(argv: Sequence[str]) -> int:
    """Entry point of the verb; becomes the server."""
    if set(argv) & {"-h", "--help"}:
        print(HELP)
        return 0
    port, outputs = parse(argv)
    require(
        _free(port), f"port {port} is taken, the page needs a free one; use `racing ui port={port + 1}{where(outputs)}`"
    )
    command, environment, page = server(port, outputs)
    print(f"http://localhost:{port}{page}  shows the runs in {outputs.resolve()}  (Ctrl-C ends it)", flush=True)
    os.execve(command[0], command, environment)  # signals reach the server itself


def parse(argv: Sequence[str]) -> tuple[int, Path]:
    """Port and outputs folder. Raises InputError on anything else."""
    values = key_values(argv, {"port": "5000", "paths.outputs": "outputs"})
    number = values["port"]
    valid = number.isdecimal() and 0 < int(number) < 65536
    require(valid, f"port={number} must be a whole number from 1 to 65535; use port=5000")
    outputs = Path(values["paths.outputs"])
    require(
        outputs.is_dir(),
        f"paths.outputs={outputs} must be a folder with runs; train one first: racing train debug=fast{where(outputs)}",
    )
    return int(number), outputs


def server(port: int, outputs: Path) -> tuple[list[str], dict[str, str], str]:
    """Command and environment of the server, and the page of the newest run's experiment, with laps in its columns.

    Makes the store first, under the lock that trainers use.
    """
    from racing.tracking.store import artifact_root, connect, embedded_uri, environment

    uri = embedded_uri(outputs)
    newest = next(whole_runs(outputs), None)
    experiment = newest.config.get("tracking", {}).get("experiment") if newest else None
    client, experiment_id = connect(uri, experiment or "racing", outputs)
    client.set_experiment_tag(experiment_id, f"mlflow.sharedViewState.{VIEW}", json.dumps({"selectedColumns": COLUMNS}))
    page = f"/#/experiments/{experiment_id}/runs?viewStateShareKey={VIEW}"
    command = python("-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1")
    command += ["--backend-store-uri", uri, "--default-artifact-root", artifact_root(outputs).as_uri()]
    # MLflow's job runner is seven more processes (1.4 GB), for features that are of no use here.
    # PYTHONSAFEPATH: the server starts Pythons of its own, which look for modules in the current folder, too.
    settings = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "PYTHONSAFEPATH": "1"}
    return command, environment(outputs) | settings, page


def _free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
