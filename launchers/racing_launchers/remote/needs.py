"""What a job needs where it runs beside the code: runs that it begins from, packages, folders of this machine."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from racing.naming import SEARCH_PATH
from racing.policies import is_driver
from racing.renamed_keys import key_of
from racing.tracking.sinks.configured import wanted_sinks
from racing_launchers.backend import is_loopback
from racing_launchers.remote.code import pinned

KEYS = ("init_from", "algo.teacher")  # that name a run
RUN_ID = re.compile(r"[0-9a-f]{32}")  # of MLflow


def extra_packages(jobs: Sequence[Mapping[str, Any]]) -> list[str]:
    """What racing needs for the settings of these jobs beside what it always needs, in the versions of this machine."""
    sinks = {sink for config in jobs for sink in wanted_sinks(config.get("tracking") or {})}
    return sorted({package for sink in sinks for package in pinned(f"racing[{sink}]")} - {*pinned("racing")})


def needs_own_files(config: Mapping[str, Any]) -> bool:
    """Whether a job composes further runs where it runs, from folders that are on the user's machine alone."""
    teacher = (config.get("algo") or {}).get("teacher")
    further = config.get("phases") or config.get("tuning") or (teacher is not None and not isinstance(teacher, str))
    given = config["hydra"].overrides.hydra if "hydra" in config else []
    return bool(further) and any(key_of(override) == SEARCH_PATH for override in given)


def runs_of_jobs(jobs: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, str, Path, bool]]:
    """Key, run, outputs folder, whether MLflow is asked for runs that are not there; of trainings."""
    for config in jobs:
        if "paths" not in config:
            continue
        outputs = Path(str(config["paths"]["outputs"]))
        reached = is_reached((config.get("tracking") or {}).get("uri"))
        teacher, phases = (config.get("algo") or {}).get("teacher"), config.get("phases") or {}
        own = [config.get("init_from"), teacher]
        found = [(key, spec) for key, spec in zip(KEYS, own, strict=True) if isinstance(spec, str)]
        lists = [teacher, *(phases.values() if isinstance(phases, Mapping) else [])]
        for texts in (texts for texts in lists if texts is not None and not isinstance(texts, str)):
            parts = [(key_of(str(text)), str(text).partition("=")[2].strip("'\"")) for text in texts]
            found += [(key, spec) for key, spec in parts if key in KEYS and spec != "null" and spec[:1] != "["]
        runs = [(key, spec) for key, spec in found if not (key == "algo.teacher" and is_driver(spec))]
        yield from ((key, spec, outputs, reached) for key, spec in runs)


def runs_of_commands(commands: Sequence[Sequence[str]]) -> Iterator[tuple[str, str, Path, bool]]:
    """As `runs_of_jobs`, of verbs, given their arguments."""
    for verb, *arguments in commands:
        given = {key: value for key, _, value in (argument.partition("=") for argument in arguments)}
        needs_none = "run" not in given and given.get("driver", "policy") != "policy"
        if verb in ("evaluate", "export") and not needs_none:
            yield "run", given.get("run", "latest").strip("'\""), Path(given.get("paths.outputs", "outputs")), False


def is_reached(uri: Any) -> bool:
    """Whether another machine reaches that MLflow store."""
    return str(uri).startswith(("http://", "https://")) and not is_loopback(str(uri))
