"""What a job needs in its container beside the code: runs that it begins from, packages, a study that others see.

All of it is known here: what is missing is said before anything is started or charged.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from racing.errors import InputError, require
from racing.files import is_there
from racing.runs.directory import RUNS, find_run
from racing.runs.paths import IN_RUN, where
from racing_launchers.modal.app import ResourceRequest, passed_on
from racing_launchers.modal.volume import Volume
from racing_launchers.remote.needs import RUN_ID, is_reached, runs_of_commands, runs_of_jobs

_STEP = re.compile(r"(?P<run>.+)@(?P<what>policy|\d+)")  # see racing.policies.init_from


class Place:
    """What jobs see of the volume that they work on."""

    def __init__(self, resources: ResourceRequest, volume: Volume | None) -> None:
        """volume: None where it is not made yet."""
        self.name, self.mounted, self._volume = resources.runs_volume, resources.runs_path, volume

    def files(self, folder: str) -> list[str]:
        """Every file below a folder of it."""
        return [file.path for file in self._volume.files(folder)] if self._volume else []


def check_needs(
    jobs: Sequence[Mapping[str, Any]],
    commands: Sequence[Sequence[str]],
    resources: ResourceRequest,
    volume: Callable[[], Volume | None],
) -> None:
    """Raise InputError if a job could not do its work for want of a run, or of a study.

    jobs: their configurations. commands: arguments of verbs. volume: opens the one that jobs work on,
    None where there is none yet.
    """
    for storage in [(config.get("tuning") or {}).get("storage") for config in jobs]:
        if storage is None:
            continue
        from racing.tuning.storage import MODAL  # with all of Optuna

        rule = f"tuning.storage={storage} is a file, which containers do not share; leave it null, or write {MODAL}NAME"
        require(str(storage).startswith(MODAL), rule)
    for key, spec, outputs, tracked in [*runs_of_jobs(jobs), *runs_of_commands(commands)]:
        reached = tracked or "MLFLOW_TRACKING_URI" in {**resources.env, **passed_on(resources.env_passthrough)}
        _require_run(key, spec, outputs, Place(resources, volume()), tracked=reached)


def _require_run(key: str, spec: str, outputs: Path, place: Place, *, tracked: bool) -> None:
    """Raise InputError unless a container finds the run `spec`: on the volume, or where `tracked` in MLflow."""
    there, base = f"modal://{place.name}", spec.partition("#")[0]
    if base.startswith("models:/") or RUN_ID.fullmatch(base):
        remedy = "set MLFLOW_TRACKING_URI to one that it reaches, or name a run that is on the volume"
        require(tracked, f"{key}={spec} is asked of MLflow, which a container does not reach; {remedy}")
        return
    if base.startswith(f"{place.mounted}/"):
        rule = f"{key}={spec} is not on {there}; racing runs artifacts --from {there} lists what is"
        require(bool(place.files(base.removeprefix(f"{place.mounted}/"))), rule)
        return
    step = _STEP.fullmatch(base)
    name = step["run"] if step else base
    try:
        run = find_run(name, outputs) if name != "latest" else None
    except (InputError, OSError, ValueError):
        run = None
    if run is None and name != "latest" and is_there(name):
        remedy = f"name a run that is on {there}; racing runs artifacts --from {there} lists them"
        raise InputError(f"{key}={spec} lies on this machine only, a container does not see it; {remedy}")
    if run is not None and name != run.name:
        wanted = f"{run.name}@{step['what']}" if step else run.name
        raise InputError(f"{key}={spec} is a folder of this machine, a container knows names; write {key}={wanted}")
    files = place.files(RUNS if name == "latest" else f"{RUNS}/{name}")
    if name == "latest":
        require(bool(files), f"{key}=latest: no run is on {there}; train one there, or name one of MLflow")
        return
    wanted = str(IN_RUN.checkpoint(int(step["what"]))) if step and step["what"] != "policy" else str(IN_RUN.export)
    sent = tracked and (run is None or is_reached(run.mlflow.get("uri")))
    if sent or any(path.startswith(f"{RUNS}/{name}/{wanted}/") for path in files):
        return
    require(run is not None, f"{key}={spec} is neither here nor on {there}; racing runs artifacts --from {there}")
    assert run is not None
    wanted = spec if step and step["what"].isdigit() else name
    bring = f"racing runs push {wanted} --to {there}{where(outputs)}"
    raise InputError(f"{key}={spec} lies on this machine only, a container does not see it; bring it there: {bring}")
