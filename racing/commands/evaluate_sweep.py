"""`racing evaluate` with cars and cameras that differ: `randomize`, `sweep`, `values`."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from racing.errors import is_number, require
from racing.evaluation.files import csv_text, write_sweeps
from racing.evaluation.sweeps.sweep import VALUES, Sweep, sweep
from racing.sim.variation.config import LIMITS, make_variation

if TYPE_CHECKING:
    from racing.evaluation.result import Evaluation


def check_randomize(options: Mapping[str, Any]) -> None:
    """Raise InputError unless `randomize`, `sweep` and `values` say what is to differ."""
    group, values = options["randomize"], options["values"]
    require(isinstance(group, dict), f"randomize must be a group of keys, got {group!r}; see racing evaluate --help")
    make_variation({name: value for name, value in group.items() if name in LIMITS})
    swept = swept_parameters(options)
    for name in swept:
        known = isinstance(name, str) and name in group
        require(known, f"sweep must name keys of randomize, got {name!r}; they are {', '.join(group)}")
        rule = f"sweep={name} must not stand beside randomize.{name}"
        require(group[name] is None, f"{rule}={group[name]}; leave one of them away")
    numbers = isinstance(values, list) and len(values) > 0 and all(is_number(value) for value in values)
    require(values is None or numbers, f"values must be a list of numbers, got {values!r}; e.g. values=[0.8,0.9,1]")
    alone = values is None or len(swept) == 1
    require(alone, f"values={values} must come with one parameter, got sweep={options['sweep']}; name one in sweep")
    for name in swept:
        rule = f"sweep={name} must come with values=[...]: a camera's amplitudes have no usual ones"
        require(values is not None or name in VALUES, f"{rule}; name some")
        for value in (values or []) if name in LIMITS else []:
            make_variation({name: value})
    pictured = not (swept and options["video"])
    require(pictured, "video=true must come without sweep, which keeps no laps; leave one of them away")


def swept_parameters(options: Mapping[str, Any]) -> list[Any]:
    """What `sweep` names, as a list."""
    named = options["sweep"]
    return [] if named is None else named if isinstance(named, list) else [named]


def given_ranges(options: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of `randomize` that say something."""
    return {name: value for name, value in options["randomize"].items() if value is not None}


def evaluate_sweeps(options: Mapping[str, Any], drive: Callable[[Mapping[str, Any]], Evaluation]) -> list[Sweep]:
    """Drive all that `sweep` names. drive: evaluates with these keys of `randomize` beside those of the options."""
    return [sweep(name, options["values"] or VALUES[name], drive) for name in swept_parameters(options)]


def report_sweeps(sweeps: Sequence[Sweep], options: Mapping[str, Any], policy: str, folder: Path) -> None:
    """Write the files of sweeps and print them in the wanted format."""
    from rich.console import Console

    summary = sweeps[0].summaries[0]
    car = f"{summary['vehicle']}, {summary['tyre_model']} tyres"
    facts = [policy, ", ".join(summary["tracks"][:3]), car, f"{summary['episodes']} starts"]
    files = write_sweeps(sweeps, folder, facts)
    rows = [row for one in sweeps for row in one.rows()]
    if options["format"] == "json":
        print(json.dumps({"policy": policy, "sweep": rows, "files": [str(path) for path in files]}))
    elif options["format"] == "csv":
        print(csv_text(rows), end="")
    else:
        for one in sweeps:
            Console(soft_wrap=True).print(one.table(", ".join(facts)))
        for path in files:
            print(path)
