"""What a past run is run again with: the original, its overrides and configuration, and what has changed since."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from omegaconf import OmegaConf

from racing.config import (
    added_directories,
    build,
    choices,
    compose,
    compose_run,
    config_directories,
    for_hydra,
    plain,
)
from racing.errors import InputError, require
from racing.naming import SEARCH_PATH, SOURCES
from racing.policies.foreign_code import TARGETS, refuse_foreign_code
from racing.renamed_keys import key_of, upgraded_overrides
from racing.runs.directory import RUNS, RunDirectory
from racing.runs.identity import NOT_IDENTITY, flatten, identity
from racing.runs.paths import IN_RUN
from racing.runs.provenance import collect, differences
from racing.tracking.compare import config_differences
from racing.tracking.fetch import is_fetched
from racing.tracking.run_record import RunRecord, find_record, local_record

# Where a run is executed and who watches it: may be chosen anew without making it another run.
PLACE = tuple(key for key in NOT_IDENTITY if key not in ("phases", "hydra", "fresh", "debug", "run"))
_OVERRIDE = re.compile(r"(\+\+?)?[A-Za-z_][\w./@]*=.*|~[A-Za-z_][\w./@]*(=.*)?", re.DOTALL)
Rows = list[tuple[str, str, str]]  # what, as recorded, as it is now


@dataclass(frozen=True, kw_only=True)
class Task:
    """What is to be done: the original, the folder for all that is written, and the overrides typed after it.

    place: those that only say where it runs and who watches. changes: all others. trust: run what code the record
    names.
    """

    original: RunRecord
    outputs: Path
    place: list[str]
    changes: list[str]
    fresh: bool
    trust: bool = False

    def require_own(self, config: Mapping[str, Any]) -> None:
        """Raise InputError where a configuration that came of the record would have foreign code run."""
        if not self.trust:
            refuse_foreign_code(config, f"run {self.original.name}", tuple(TARGETS))

    @property
    def trained_here(self) -> bool:
        """Whether the original lies where runs of this machine are, and is no copy."""
        directory = self.original.directory
        here = directory is not None and directory.path.parent == self.outputs / RUNS
        return here and not is_fetched(directory)  # type: ignore[arg-type]

    @property
    def reference(self) -> str:
        """How the original is found again: its MLflow run id, else its name."""
        return self.original.run_id or self.original.name

    def overrides(self, *, upgrade: bool = True) -> list[str]:
        """What was typed for the original, with the same keys replaced; without where it was written and launched.

        Where the original comes from elsewhere, also without the server that it was recorded on: it would be sent the
        credentials of this machine.

        upgrade: whether to give keys that were renamed since their names of today, not those of the original's code.
        """
        typed = {key_of(override) for override in [*self.place, *self.changes]}
        if "track" in typed:  # `track=FILE` is two overrides: the second one must go with the first
            typed.add("track.file")
        gone = ("paths", "launcher", "fresh", *(["tracking"] if "tracking" in typed else []))  # who watched then
        recorded = upgraded_overrides(self.original.overrides) if upgrade else self.original.overrides
        old = [override for override in recorded if root_of(override) not in gone]
        if not self.trained_here:
            old = [override for override in old if key_of(override) != "tracking.uri"]
        return [override for override in old if key_of(override) not in typed] + self.place + self.changes


def plan(options: Mapping[str, Any], overrides: Sequence[str], outputs_given: bool) -> Task:
    """Find the original and sort the overrides. Raises InputError."""
    for override in overrides:
        require(bool(_OVERRIDE.fullmatch(override)), f"{override!r} must be key=value; see racing reproduce --help")
        fixed = root_of(override) == "hydra" and key_of(override) != SEARCH_PATH
        require(not fixed, f"{override!r} cannot be changed here; leave it away")
    uri = next((override.partition("=")[2] for override in overrides if key_of(override) == "tracking.uri"), None)
    outputs = Path(options["paths"]["outputs"])
    original = find_original(str(options["run"]), list(dict.fromkeys([outputs, Path("outputs")])), uri)
    here = original.directory
    require(here is None or not here.in_use, f"run {original.name} is being trained now; wait for its end")
    if here is not None and here.path.parent.name == RUNS and not outputs_given:
        outputs = here.paths.outputs
    directories = config_directories(overrides if added_directories(overrides) else reachable(original.overrides))
    overrides = [part for override in overrides for part in for_hydra(override, directories)]
    place = [override for override in overrides if root_of(override) in (*PLACE, "hydra")]
    changes = [override for override in overrides if override not in place]
    switches = {name: options[name] for name in ("fresh", "trust")}
    return Task(original=original, outputs=outputs.resolve(), place=place, changes=changes, **switches)


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


def root_of(override: str) -> str:
    """The group that an override belongs to: algo of algo.gamma=1."""
    return key_of(override).split(".")[0]


def reachable(overrides: Sequence[str]) -> list[str]:
    """The overrides; where a folder that they were composed from is gone, without it: the record is resolved."""
    try:
        added_directories(overrides)
    except InputError:
        return [override for override in overrides if key_of(override) not in SOURCES]
    return list(overrides)


def recorded_config(task: Task) -> dict[str, Any]:
    """The recorded configuration, with the place of the new run."""
    recorded = task.original.config
    require("name" in recorded, f"run {task.original.name} has no name in its {IN_RUN.config}; it is damaged")
    chosen = {root_of(override) for override in task.place} | {"launcher"}
    wanted = [o for o in task.overrides() if root_of(o) in chosen or key_of(o) in SOURCES]
    composed = plain(compose("train", reachable(wanted)))
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


def fitting_overrides(task: Task) -> list[str]:
    """All overrides of a variation, without those of the original that its new choices have no key for; says which."""
    overrides = task.overrides()
    directories = config_directories(overrides)
    if not any(choices(key_of(change), directories) for change in task.changes):
        return overrides
    own = upgraded_overrides(task.original.overrides)
    doubtful = [o for o in overrides if "." in key_of(o) and root_of(o) != "hydra" and o in own]
    composed = compose("train", [override for override in overrides if override not in doubtful])
    keys = flatten(cast(dict[str, Any], OmegaConf.to_container(composed)))
    gone = [s for s in doubtful if s[0].isalpha() and not any(f"{key}.".startswith(f"{key_of(s)}.") for key in keys)]
    if gone:
        print(f"of the original, without a meaning now: {' '.join(gone)}")
    return [override for override in overrides if override not in gone]


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
