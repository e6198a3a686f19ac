"""What was trained and driven under an outputs folder, for the page of runs: cheap enough to be asked for all the time.

Of each run the end of its journal is read, again only when it has grown; nothing is written, no network is used.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from time import monotonic
from typing import Any

from racing.errors import InputError, is_number
from racing.files import is_file_name, read_json
from racing.runs.checkpoints import MARKER
from racing.runs.directory import RunDirectory, all_runs
from racing.runs.journal import metric_points, read_journal, utc_text
from racing.runs.metrics import SCORE, current_name
from racing.runs.paths import DrivePaths
from racing.runs.status import RunStatus
from racing.tracks.lap_files import read_lap
from racing.viewer.cars.lap_trace import LapTrace

MOST_RUNS = 100  # the newest ones
MOST_LAPS = 10  # of runs on a circuit in a vehicle, the quickest ones
MOST_POINTS = 60  # of a run's course
TAIL = 1 << 20  # [bytes] of a journal: hours of training, some milliseconds of reading
FRESH = 1.0  # [s] for which what was found is answered again
POLICY_FILES = (".onnx", ".zip")  # such a name would mean a file
DAMAGED = "DAMAGED"  # instead of a status
RESULTS = ("finish_rate", "lap_time_s", "lap_ratio", SCORE)
COURSE = {f"validation/{name}": name for name in ("finish_rate", "lap_ratio", SCORE)}


class Overview:
    """Runs, newest first, and the quickest laps of runs and people, by circuit and vehicle."""

    def __init__(self, outputs: Path) -> None:
        self._outputs = outputs
        self._lock = threading.Lock()
        self._rows: dict[str, tuple[Any, dict[str, Any], list[dict[str, Any]]]] = {}  # by name: files' stamp, row, laps
        self._found: tuple[float, dict[str, Any]] = (-math.inf, {})

    def facts(self) -> dict[str, Any]:
        """Plain values for JSON: `runs` (`_row`), `boards` (`leaderboards`), `more` runs that are not shown."""
        with self._lock:
            when, found = self._found
            if monotonic() - when > FRESH:
                self._found = monotonic(), (found := self._look())
            return found

    def _look(self) -> dict[str, Any]:
        runs = all_runs(self._outputs)
        shown = runs[:MOST_RUNS]
        self._rows = {run.name: self._of(run) for run in shown}
        laps = [lap for _, _, of_run in self._rows.values() for lap in of_run]
        rows = [row for _, row, _ in self._rows.values()]
        return {
            "runs": rows,
            "boards": leaderboards([*laps, *driven_laps(self._outputs)]),
            "more": len(runs) - len(shown),
        }

    def _of(self, run: RunDirectory) -> tuple[Any, dict[str, Any], list[dict[str, Any]]]:
        stamp = [_stamp(path) for path in (run.paths.journal, run.paths.summary, run.paths.policy_onnx)]
        known = self._rows.get(run.name)
        try:
            if known is not None and known[0] == stamp:
                row = known[1]
                if row["status"] in (RunStatus.RUNNING, RunStatus.KILLED):  # which a lock tells, not a file
                    row = row | {"status": run.status}
                return stamp, row, known[2]
            return stamp, _row(run), laps_of(run.name, run.summary, run.config)
        except (InputError, OSError, ValueError) as error:
            return stamp, {"name": run.name, "status": DAMAGED, "damage": str(error)[:300]}, []


def _row(run: RunDirectory) -> dict[str, Any]:
    """One run: name, status, started (UTC), steps of total, rate [steps/s], its results, and their course.

    course: [steps, finish rate, lap ratio, score] of each validation, None for what it has not. opens: whether it may
    be watched.
    """
    step, values, course = read_course(run.paths.journal)
    summary, algo = run.summary, run.config.get("algo")
    total = algo.get("total_timesteps") if isinstance(algo, dict) else None
    results = {name: _number(summary.get(name, values.get(f"validation/{name}"))) for name in RESULTS}
    return {
        "name": run.name,
        "status": run.status,
        "started": utc_text(run.started),
        "steps": step,
        "total": _number(total),
        "rate": _number(values.get("time/fps")),
        **results,
        "course": course,
        "opens": _opens(run),
    }


def read_course(journal: Path, tail: int = TAIL) -> tuple[int, dict[str, float], list[list[float | None]]]:
    """The greatest step, the last value of each metric, and the validations in the last `tail` bytes of a journal."""
    step, values = 0, dict[str, float]()
    met: dict[int, dict[str, float]] = {}
    for line in read_journal(journal, max(0, journal.stat().st_size - tail)):
        for at, recorded, value in metric_points(line):
            name = current_name(recorded)
            step, values[name] = max(step, at), value
            if name in COURSE:
                met.setdefault(at, {})[COURSE[name]] = value
    course = [[at, *(_number(met[at].get(name)) for name in COURSE.values())] for at in sorted(met)]
    every = math.ceil(len(course) / MOST_POINTS) or 1
    return step, values, course[::-every][::-1]  # the last one is among them


def laps_of(name: str, summary: Mapping[str, Any], config: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A finished run's quickest lap of its final evaluation, and the physical limit there; none of several circuits."""
    track, reference, limit = (_only(summary.get(key)) for key in ("tracks", "reference_s", "lap_limit_s"))
    if not isinstance(track, str) or not isinstance(summary.get("vehicle"), str) or not is_number(reference):
        return []
    group = config.get("track")
    turned = isinstance(group, dict) and group.get("reverse") is True
    place = {"track": track_label(track, turned=turned), "vehicle": summary["vehicle"]}
    place["reference_s"] = round(reference, 2)
    best = summary.get("lap_time_s_best")
    laps = [("run", name, best, _number(summary.get("finish_rate"))), ("limit", "physical limit", limit, None)]
    return [
        place | {"kind": kind, "who": who, "time_s": round(time_s, 3), "finish_rate": rate}
        for kind, who, time_s, rate in laps
        if is_number(time_s) and time_s > 0
    ]


def _only(values: Any) -> Any:
    """The one value of a list; None of another."""
    return values[0] if isinstance(values, list) and len(values) == 1 else None


def driven_laps(outputs: Path) -> list[dict[str, Any]]:
    """The quickest lap that people have driven, of each circuit and vehicle."""
    laps = []
    for paths in DrivePaths.of_all(outputs):
        lap = read_lap(LapTrace, paths.best_lap)
        try:
            place = read_json(paths.facts)
        except (OSError, ValueError):
            continue
        named = all(isinstance(place.get(key), str) for key in ("track", "vehicle"))
        if lap is None or not named or not is_number(place.get("reference_s")) or not is_number(lap.time_s):
            continue
        kept = {"track": place["track"], "vehicle": place["vehicle"], "reference_s": round(place["reference_s"], 2)}
        who = {"kind": "human", "who": "people", "time_s": round(lap.time_s, 3), "finish_rate": None}
        laps.append(kept | who)
    return laps


def leaderboards(laps: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Laps by circuit, vehicle and reference lap, quickest first; the physical limit of each is there once.

    The reference lap tells circuits apart that are called the same.
    """
    boards: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for lap in laps:
        board = boards.setdefault((lap["track"], lap["vehicle"], lap["reference_s"]), [])
        if lap["kind"] != "limit" or all(other["kind"] != "limit" for other in board):
            board.append(lap)
    found = []
    for (track, vehicle, reference), board in sorted(boards.items()):
        ordered = sorted(board, key=lambda lap: (lap["time_s"], lap["who"]))
        entries, place = [], 0
        for lap in ordered:
            place += lap["kind"] != "limit"
            entry = {key: lap[key] for key in ("kind", "who", "time_s", "finish_rate")}
            entries.append(entry | {"place": place if lap["kind"] != "limit" else None})
        shown = [entry for entry in entries if entry["kind"] != "run" or entry["place"] <= MOST_LAPS]
        if place:
            found.append({"track": track, "vehicle": vehicle, "reference_s": reference, "laps": shown})
    return found


def track_label(name: str, *, turned: bool) -> str:
    """A circuit's name, and whether it is driven the other way round."""
    return f"{name}, reversed" if turned else name


def listed_run(outputs: Path, name: str) -> RunDirectory | None:
    """The run directory under `outputs` that is called exactly so; None: there is none, whatever else `name` means."""
    if not _is_plain(name):
        return None
    return next((run for run in all_runs(outputs) if run.name == name), None)


def _opens(run: RunDirectory) -> bool:
    """Whether there is something to watch: a policy, or a checkpoint of a training that goes on."""
    there = run.paths.policy_onnx.is_file() or any(run.paths.checkpoints.glob(f"*/{MARKER}"))
    return there and _is_plain(run.name)


def _is_plain(name: str) -> bool:
    """Whether a directory's name means its run and nothing else, such as RUN@AGENT or a file."""
    return is_file_name(name) and Path(name).suffix not in POLICY_FILES


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns


def _number(value: Any) -> float | None:
    """A finite number, to six digits; None for anything else: JSON has neither NaN nor infinity."""
    if not is_number(value):
        return None
    return value if isinstance(value, int) else float(f"{value:.6g}")
