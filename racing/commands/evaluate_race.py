"""`racing evaluate env=race`: drive trained policies against others and report places, overtakes and contacts."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from racing.errors import InputError, require, require_number
from racing.evaluation.seeds import SUITES, TEST_SEEDS
from racing.sim.race.config import MOST_CARS

if TYPE_CHECKING:
    from racing.evaluation.race.driving import Entrant
    from racing.evaluation.race.suites import Driven, Place
    from racing.policies.loading import LoadedPolicy

ALONE = "alone"
ROWS = {  # of the table -> digits
    "win_share": 2,
    "rating": 0,  # where several entrants are in one race
    "position": 2,
    "finish_rate": 3,
    "overtake_rate": 2,
    "clean_rate": 2,
    "overtakes": 2,
    "overtaken": 2,
    "lap_ratio": 3,
    "time_lost_s": 2,
    "contacts_per_km": 3,
    "faults_per_km": 3,
    "incidents_per_km": 3,
    "closing_p95": 2,
    "presence": 2,
    "damage": 2,  # this and below: where cars take damage
    "retired_rate": 2,
}


def check_race(options: Mapping[str, Any], runs: Sequence[Any]) -> None:
    """Raise InputError unless the options that env=race adds are in their ranges. runs: what `run` names."""
    suites, cars, all_suites = options["suites"], options["cars"], (ALONE, *SUITES)
    known = f"suites must be one or several of {', '.join(all_suites)}, got {suites!r}; choose some"
    require(isinstance(suites, list) and suites != [] and all(suite in all_suites for suite in suites), known)
    if cars is not None:
        remedy = "null: one for each run, four for a single one"
        require_number("cars", cars, 2, MOST_CARS, whole=True, remedy=remedy)
    few = len(runs) <= (cars or MOST_CARS)
    require(few, f"cars={cars or MOST_CARS} must seat all {len(runs)} runs; name fewer, or raise cars")
    if options["env"] != "race":
        return
    for name, usual in (("driver", "policy"), ("sweep", None)):
        require(options[name] == usual, f"{name}={options[name]} must be left away with env=race; it does not race")
    require(
        options["format"] != "csv", "format must be table or json with env=race, got csv; tables are written anyway"
    )


def evaluate_races(options: Mapping[str, Any], policies: Sequence[LoadedPolicy], place: Place, folder: Path) -> None:
    """Drive the suites, report, write files. Raises InputError for policies that cannot race each other."""
    from racing.evaluation.evaluate import Diverged

    entrants = entrants_of(policies, place)
    found: dict[str, Any] = {}
    files: list[Path] = []
    laps: dict[str, list[float]] = {}  # alone
    for suite in sorted(options["suites"], key=lambda suite: suite != ALONE):
        try:
            if suite == ALONE:
                found[suite], laps = alone(options, entrants, policies, place)
            else:
                found[suite], written = drive(suite, options, entrants, laps, place, folder)
                files += written
        except Diverged as error:
            raise InputError(f"suite {suite}: {error}") from error
    found = {suite: found[suite] for suite in options["suites"]}
    if options["format"] == "json":
        print(json.dumps({"suites": found, "files": [str(path) for path in files]}))
        return
    for suite, summary in found.items():
        print_suite(suite, summary)
    for path in files:
        print(path)


def entrants_of(policies: Sequence[LoadedPolicy], place: Place) -> list[Entrant]:
    """The policies as entrants with different names. Raises InputError where one observes something else."""
    from racing.envs.race import sensors_alone
    from racing.evaluation.race.driving import policy_entrant
    from racing.observations import VECTOR
    from racing.policies.opponents import check_sensors

    first, names, out = policies[0], [], []
    for policy in policies:
        size = None
        if policy.shapes != first.shapes:
            check_sensors(policy, place.env, "run")
            size = policy.shapes.get(VECTOR, (0,))[0]
            fits = size == sensors_alone(place.env)
            rule = f"run: {policy.name} must observe what {first.name} does, or its sensors alone, got {policy.shapes}"
            require(fits, f"{rule}; name the one that observes most first, or race others")
        names.append(policy.name)
        again = names.count(policy.name)
        out.append(policy_entrant(f"{policy.name} #{again}" if again > 1 else policy.name, policy.predict, size))
    return out


def drive(
    suite: str,
    options: Mapping[str, Any],
    entrants: Sequence[Entrant],
    laps: Mapping[str, Sequence[float]],
    place: Place,
    folder: Path,
) -> tuple[dict[str, Any], list[Path]]:
    """The summary of each entrant in a suite, and the files that were written. laps: [s] of each alone."""
    from racing.evaluation.race.suites import drive_suite

    size = {"races": options["episodes"], "laps": options["laps"], "seed": TEST_SEEDS + options["seed"]}
    driven = drive_suite(suite, entrants, place, cars=options["cars"], **size)
    summary: dict[str, Any] = {}
    files: list[Path] = []
    for number, one in enumerate(driven):
        label = suite if len(driven) == 1 else f"{suite}-{number + 1}"
        found, written = report_of(label, one, laps, place, folder, options)
        summary |= {name: values for name, values in found.items() if name in {e.name for e in one.tested}}
        files += written
    return summary, files


def report_of(
    label: str,
    driven: Driven,
    laps: Mapping[str, Sequence[float]],
    place: Place,
    folder: Path,
    options: Mapping[str, Any],
) -> tuple[dict[str, Any], list[Path]]:
    """Summary by entrant, and the files of a suite: its table, telemetry and pictures of its liveliest race."""
    from racing.evaluation.race.files import write_race_files
    from racing.evaluation.race.result import car_rows, summarise_races
    from racing.league.table import race_ratings

    names = [entrant.name for entrant in driven.entrants]
    rows = car_rows(driven.log, names, place.reference)
    files = write_race_files(label, driven.log, rows, names, place.track, folder, telemetry=options["telemetry"])
    if options["video"]:
        from racing.evaluation.race.video import write_race_video

        files.append(write_race_video(folder / f"{label}.mp4", driven.task, driven.log, names, label))
    found = summarise_races(rows, laps)
    if len(driven.tested) > 1:
        ratings = race_ratings(rows, names)
        found = {name: values | ratings[name] for name, values in found.items()}
    return found, files


def alone(
    options: Mapping[str, Any], entrants: Sequence[Entrant], policies: Sequence[LoadedPolicy], place: Place
) -> tuple[dict[str, Any], dict[str, list[float]]]:
    """What `racing evaluate` says of each entrant, and its flying laps [s], one mean for each start that had any."""
    from racing.evaluation.evaluate import evaluate
    from racing.policies.loading import evaluation_task_for
    from racing.tracks.optimal_lap.lap import limits

    size = {"races": options["episodes"], "laps": options["laps"], "seed": TEST_SEEDS + options["seed"]}
    size["randomize"] = place.randomize
    least, out, laps = limits([place.track], place.vehicle), {}, {}
    for entrant, policy in zip(entrants, policies, strict=True):
        task = evaluation_task_for(policy, [place.track], place.vehicle, [place.reference], **size)
        found = evaluate(policy.predict, task, [place.reference], least, telemetry=False)
        out[entrant.name] = {key: value for key, value in found.summary.items() if not isinstance(value, dict | list)}
        flying = [episode["lap_times_s"][1:] for episode in found.episodes]
        laps[entrant.name] = [sum(times) / len(times) for times in flying if times]
    return out, laps


def print_suite(suite: str, summary: Mapping[str, Mapping[str, Any]]) -> None:
    """A suite as a table: a column for each entrant, means with their 95 % intervals."""
    from rich.console import Console
    from rich.table import Table

    first = next(iter(summary.values()))
    count = first.get("races", first.get("episodes"))
    table = Table(suite, *summary, title=f"{suite}: {count} {'starts' if suite == ALONE else 'races'}")
    table.title_justify = "left"
    rows = {"finish_rate": 3, "lap_time_s": 2, "lap_ratio": 3, "limit_ratio": 3} if suite == ALONE else ROWS
    for key, digits in rows.items():
        if key not in first:
            continue
        table.add_row(key, *(_cell(values, key, digits) for values in summary.values()))
    Console(soft_wrap=True).print(table)


def _cell(values: Mapping[str, Any], key: str, digits: int) -> str:
    if values.get(key) is None:
        return "-"
    low, high = values.get(f"{key}_low"), values.get(f"{key}_high")
    span = "" if low is None or high is None else f" ({low:.{digits}f}..{high:.{digits}f})"
    return f"{values[key]:.{digits}f}{span}"
