"""What a past run is run again with: the original, its settings and configuration, and what has changed since."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from omegaconf import OmegaConf

from racing.config import (
    build,
    choices,
    compose,
    compose_run,
    key_of,
    plain,
    refuse_empty_groups,
    upgraded_overrides,
)
from racing.errors import InputError, require
from racing.runs.directory import RUNS, RunDirectory
from racing.runs.identity import NOT_IDENTITY, flatten, identity
from racing.runs.paths import IN_RUN
from racing.runs.provenance import collect, differences
from racing.tracking.compare import config_differences
from racing.tracking.run_record import RunRecord, find_record, local_record

# Where a run is executed and who watches it: may be chosen anew without making it another run.
PLACE = tuple(key for key in NOT_IDENTITY if key not in ("phases", "hydra", "fresh", "debug", "run"))
_SETTING = re.compile(r"(\+\+?)?[A-Za-z_][\w./@]*=.*|~[A-Za-z_][\w./@]*(=.*)?", re.DOTALL)
Rows = list[tuple[str, str, str]]  # what, as recorded, as it is now


@dataclass(frozen=True, kw_only=True)
class Task:
    """What is to be done: the original, the folder for all that is written, and the settings typed after it.

    place: those that only say where it runs and who watches. changes: all others.
    """

    original: RunRecord
    outputs: Path
    place: list[str]
    changes: list[str]
    fresh: bool

    @property
    def reference(self) -> str:
        """How the original is found again: its MLflow run id, else its name."""
        return self.original.run_id or self.original.name

    def overrides(self, *, upgrade: bool = True) -> list[str]:
        """What was typed for the original, with the same keys replaced; without where it was written and launched.

        upgrade: whether to give keys that were renamed since their names of today, not those of the original's code.
        """
        typed = {key_of(setting) for setting in [*self.place, *self.changes]}
        if "track" in typed:  # `track=FILE` is two settings: the second one must go with the first
            typed.add("track.file")
        gone = ("paths", "launcher", "fresh")
        recorded = upgraded_overrides(self.original.overrides) if upgrade else self.original.overrides
        old = [setting for setting in recorded if root_of(setting) not in gone]
        return [setting for setting in old if key_of(setting) not in typed] + self.place + self.changes


def plan(options: Mapping[str, Any], settings: Sequence[str], outputs_given: bool) -> Task:
    """Find the original and sort the settings. Raises InputError."""
    from racing.config import track_by_path

    for setting in settings:
        require(bool(_SETTING.fullmatch(setting)), f"{setting!r} must be key=value; see racing reproduce --help")
        require(root_of(setting) != "hydra", f"{setting!r} cannot be changed here; leave it away")
    refuse_empty_groups(settings)
    settings = [part for setting in settings for part in track_by_path(setting)]
    uri = next((setting.partition("=")[2] for setting in settings if key_of(setting) == "tracking.uri"), None)
    outputs = Path(options["paths"]["outputs"])
    original = find_original(str(options["run"]), list(dict.fromkeys([outputs, Path("outputs")])), uri)
    here = original.directory
    require(here is None or not here.in_use, f"run {original.name} is being trained now; wait for its end")
    if here is not None and here.path.parent.name == RUNS and not outputs_given:
        outputs = here.paths.outputs
    place = [setting for setting in settings if root_of(setting) in PLACE]
    changes = [setting for setting in settings if setting not in place]
    return Task(original=original, outputs=outputs.resolve(), place=place, changes=changes, fresh=options["fresh"])


def find_original(spec: str, folders: Sequence[Path], uri: str | None) -> RunRecord:
    """The run meant by `spec` in the first folder that has it; a reproduction stands for its original.

    Raises the InputError of the first folder if none has it.
    """
    problems = []
    for folder in folders:
        try:
            record = find_record(spec, folder, uri)
        except InputError as error:
            problems.append(error)
            continue
        of = record.tags.get("racing.reproduces")
        if of is None:
            return record
        print(f"{record.name} is itself a reproduction of {of}: that one is meant")
        return find_original(of, folders, uri)
    raise problems[0]


def root_of(setting: str) -> str:
    """The group that an override belongs to: algo of algo.gamma=1."""
    return key_of(setting).split(".")[0]


def recorded_config(task: Task) -> dict[str, Any]:
    """The recorded configuration, with the place of the new run."""
    recorded = task.original.config
    require("name" in recorded, f"run {task.original.name} has no name in its {IN_RUN.config}; it is damaged")
    composed = plain(compose("train", [setting for setting in task.overrides() if root_of(setting) in PLACE]))
    chosen = {root_of(setting) for setting in task.place} | {"launcher"}
    new = [key for key in NOT_IDENTITY if key in composed and (key in chosen or key not in recorded)]
    places = {key: composed[key] for key in new}
    places |= {"paths": composed["paths"] | {"outputs": str(task.outputs)}, "fresh": task.fresh}
    return {"init_from": None, **recorded, **places}


def beginning(original: RunRecord) -> str | None:
    """The `init_from` that means the weights which the original began with, wherever the new run lies."""
    spec: str | None = original.config.get("init_from")
    name, at, weights = (spec or "").rpartition("@")
    if not at:
        return spec
    beside = original.directory.path.with_name(name) if original.directory else None
    if beside is not None and RunDirectory(beside).exists:
        return f"{beside}@{weights}"
    run_id = (original.provenance.get("ancestor") or {}).get("run_id")
    return f"{run_id}@{weights}" if run_id else spec


def fitting_settings(task: Task) -> list[str]:
    """All settings of a variation, without those of the original that its new choices have no key for; says which."""
    settings = task.overrides()
    if not any(choices(key_of(change)) for change in task.changes):
        return settings
    own = upgraded_overrides(task.original.overrides)
    doubtful = [setting for setting in settings if "." in key_of(setting) and setting in own]
    composed = compose("train", [setting for setting in settings if setting not in doubtful])
    keys = flatten(cast(dict[str, Any], OmegaConf.to_container(composed)))
    gone = [s for s in doubtful if s[0].isalpha() and not any(f"{key}.".startswith(f"{key_of(s)}.") for key in keys)]
    if gone:
        print(f"of the original, without a meaning now: {' '.join(gone)}")
    return [setting for setting in settings if setting not in gone]


def conf_differences(original: RunRecord) -> Rows:
    """Where conf/ composes another configuration now from what was typed then."""
    try:
        composed = compose_run(upgraded_overrides(original.overrides))
        if composed["init_from"] is not None:  # the record names exactly those weights
            composed["init_from"] = original.config.get("init_from")
        return config_differences(identity(original.config), identity(composed))
    except InputError as error:
        return [("all", "composed", f"refused: {error}")]


def code_differences(task: Task, config: Mapping[str, Any], finished: RunDirectory | None) -> Rows:
    """Where code, packages, machine and tracks differ from the record. Raises InputError if a track is missing.

    finished: the reproduction that is there already; then it is the one to look at.
    """
    from racing.training.hardware import choose

    original = task.original
    if finished is not None:
        found = local_record(finished)
        config, device = found.config, found.tags.get("racing.device")
        present = found.provenance | {"diff": found.patch}
    else:
        present = collect(build(OmegaConf.create(dict(config)).track))
        hardware = choose(config["hardware"])
        device = f"{hardware.device} ({hardware.reason})"
    rows = differences(original.provenance | {"diff": original.patch}, present)
    before = original.tags.get("racing.device")
    if before is not None and device is not None and before != device:
        rows.append(("device", before, device))
    return rows + config_differences(*({"hardware": run.get("hardware", {})} for run in (original.config, config)))
