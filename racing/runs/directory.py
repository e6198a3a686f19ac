"""The run directory: everything that one training leaves behind, in a place that its configuration names."""

from __future__ import annotations

import contextlib
import glob
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import yaml

from racing.errors import InputError, is_file, is_number, require
from racing.files import move_aside, read_json, write_atomic, write_json
from racing.reading import read_regular
from racing.renamed_keys import RENAMED_KEYS, upgraded
from racing.runs.identity import config_hash, differing_keys, flatten, listing, recorded_hash
from racing.runs.journal import Journal, first_record, last_end, read_cursor, read_journal
from racing.runs.lock import FileLock
from racing.runs.metrics import HEADLINE
from racing.runs.paths import IN_RUN, RunPaths, require_name
from racing.runs.status import ENDS, RunStatus

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast, where it was built
RUNS = "runs"  # folder of the run directories in the outputs folder
MOST_DOCUMENT = 16 << 20  # [bytes] of a file that describes a run
FOLDERS = (IN_RUN.checkpoints, IN_RUN.evaluations, IN_RUN.export)


class RunDirectory:
    """A run on disk. Reading needs nothing else; only the one that `open_run` returns can write (`journal`)."""

    def __init__(self, path: Path) -> None:
        """Make a view of the run at `path`; nothing is created."""
        self.path = path.resolve()
        self.paths = RunPaths(self.path)
        self._journal: Journal | None = None
        self._lock = FileLock(self.paths.lock)

    @property
    def journal(self) -> Journal:
        """The journal, for writing. Raises RuntimeError unless the directory came from `open_run` and is open."""
        if self._journal is None:
            raise RuntimeError(f"{self.path} is open for reading only; get it from open_run() to write")
        return self._journal

    @property
    def name(self) -> str:
        """The directory's name, `<name>-<hash8>`: also the run's name in MLflow."""
        return self.path.name

    @property
    def config(self) -> dict[str, Any]:
        """The resolved configuration that began the run, with today's names of its keys; empty where there is none.

        Raises InputError where the file is damaged.
        """
        with self._reading(self.paths.config):
            return upgraded(read_config(self.paths.config))

    @property
    def summary(self) -> dict[str, Any]:
        """The result of a finished run; empty before. Raises InputError where the file is damaged."""
        with self._reading(self.paths.summary):
            return check_summary(read_json(self.paths.summary, MOST_DOCUMENT))

    @property
    def mlflow(self) -> dict[str, Any]:
        """`uri`, `experiment_id`, `run_id` of the run's copy in MLflow; empty before there is one. As `summary`."""
        with self._reading(self.paths.mlflow):
            return check_texts(read_json(self.paths.mlflow, MOST_DOCUMENT), ("uri", "experiment_id", "run_id"))

    @property
    def sent(self) -> int:
        """How many bytes of the journal MLflow has. As `summary`."""
        with self._reading(self.paths.cursor):
            return read_cursor(self.paths.cursor)

    @property
    def started(self) -> int:
        """When the run began, UTC milliseconds; 0 without a journal. Raises InputError where that is damaged."""
        with self._reading(self.paths.journal):
            return first_record(self.paths.journal)[1] if self.exists else 0

    @property
    def damage(self) -> str | None:
        """What keeps the run from being read, for people; None where nothing does."""
        try:
            with self._reading(self.paths.journal):
                first_record(self.paths.journal)
            _ = self.status, self.summary, self.mlflow, self.sent
        except InputError as error:
            return str(error)
        return None

    @contextlib.contextmanager
    def _reading(self, path: Path) -> Iterator[None]:
        """Turn what is wrong with a file of the run into InputError."""
        try:
            yield
        except (OSError, ValueError, yaml.YAMLError) as error:
            problem = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            short = " ".join(problem.replace(f"{path} ", "").split())[:200]
            raise InputError(
                f"run {self.name}: {path.name} is damaged, {short}; restore it, or move {path} away"
            ) from error

    @property
    def exists(self) -> bool:
        """Whether this is a run directory."""
        return is_file(self.paths.journal)

    @property
    def finished(self) -> bool:
        """Whether the run reached its end: its journal says FINISHED and its summary is there."""
        return bool(self.summary) and self.last_end() == RunStatus.FINISHED

    @property
    def status(self) -> RunStatus:
        """How the run is, by its journal and its lock."""
        return self.last_end() or (RunStatus.RUNNING if self.in_use else RunStatus.KILLED)

    def last_end(self) -> RunStatus | None:
        """Return the status of the last `end` line, None if the run started again since or never ended."""
        with self._reading(self.paths.journal):
            status = last_end(self.paths.journal) if self.exists else None
        return RunStatus(status) if status in ENDS else None

    @property
    def in_use(self) -> bool:
        """Whether a trainer has this directory open now."""
        return self._lock.held

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Write summary.json, then the journal's FINISHED: in this order a finished run always has its summary."""
        write_json(self.paths.summary, summary)
        self.journal.artifact(self.paths.summary)
        self.journal.end(RunStatus.FINISHED)

    def close(self) -> None:
        """Close the journal and let others have the directory; idempotent."""
        if self._journal is not None:
            self._journal.close()
            self._journal = None
        self._lock.release()

    def __enter__(self) -> RunDirectory:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def _acquire(self) -> None:
        if not self._lock.acquire():
            owner = f"{self.path} is in use by {self._lock.owner}"
            raise InputError(f"{owner}, one directory has one trainer; stop that process or change the run's name")

    def _begin(self, config: dict[str, Any], overrides: list[str], provenance: dict[str, Any]) -> None:
        """Open the journal and begin the run, or continue it; a finished run is left as it is."""
        self._refuse_foreign()
        for folder in FOLDERS:
            (self.path / folder).mkdir(exist_ok=True)
        self._journal = Journal(self.paths.journal)
        if self.finished:
            return
        continued = any((line.record or {}).get("kind") == "start" for line in read_journal(self._journal.path))
        if continued:
            self._refuse_other(config)
        else:
            for path, text in _documents(self.paths, config, overrides, provenance).items():
                write_atomic(path, text)
                self._journal.artifact(path)
            self._journal.params(flatten(config))
            self._journal.tags({"racing.config_hash": config_hash(config), "racing.run": self.name})
        self._journal.start(pid=os.getpid(), overrides=list(overrides), continued=continued)

    def _refuse_foreign(self) -> None:
        """Raise InputError if the directory has no journal but files: somebody else's, or a run's that lost it."""
        strangers = sorted({path.name for path in self.path.iterdir()} - {*map(str, FOLDERS), self.paths.lock.name})
        rule = (
            f"{self.path} must be a run directory or empty, it has no {IN_RUN.journal} but {', '.join(strangers[:3])}"
        )
        require(self.exists or not strangers, f"{rule}; restore the journal, or move it aside with fresh=true")

    def _refuse_other(self, config: dict[str, Any]) -> None:
        """Raise InputError if config.yaml is not the configuration that names this directory: it was edited."""
        path = self.paths.config
        try:
            recorded = self.config
        except (yaml.YAMLError, ValueError) as error:
            raise InputError(f"{path} must be YAML, it was damaged; restore it, or use fresh=true") from error
        others = differing_keys(recorded, config)
        remedy = "restore the file, or use fresh=true"
        require(path.exists(), f"{path} must be what the run began with, it was removed; {remedy}")
        require(not others, f"{path} must be what the run began with, it was edited: {listing(others)}; {remedy}")


def open_run(
    outputs: Path,
    name: str,
    config: dict[str, Any],
    overrides: list[str],
    provenance: dict[str, Any],
    *,
    fresh: bool = False,
    suffix: str = "",
) -> RunDirectory:
    """Open the run directory of this configuration, locked for this process: new, to be continued, or finished.

    outputs: root of everything that is written. name: the experiment's name. config: the resolved configuration as
    plain data. overrides: what was typed. provenance: `racing.runs.provenance.collect`. fresh: an existing directory
    is moved aside to `<directory>.1`, `.2`, ... first. suffix: after the directory's name, for a second run of the same
    configuration beside the first. The files that describe the run are those of its first start.
    Raises InputError if `outputs` cannot be written, the name is no file name, or another process has the directory.
    """
    require_name("name", name)
    run = RunDirectory(run_path(outputs, name, config, suffix))
    try:
        run.path.mkdir(parents=True, exist_ok=True)
        if fresh and any(run.path.iterdir()):
            run._acquire()
            move_aside(run.path)
            run.close()
            run = RunDirectory(run_path(outputs, name, config, suffix))  # another name, where keys were renamed
            run.path.mkdir(exist_ok=True)
        run._acquire()
        run._begin(config, overrides, provenance)
    except OSError as error:
        run.close()
        problem = f"{error.filename or run.path}: {error.strerror}"
        raise InputError(f"{problem}; paths.outputs must be a writable folder: set paths.outputs=FOLDER") from error
    except BaseException:
        run.close()
        raise
    return run


def run_path(outputs: Path, name: str, config: Mapping[str, Any], suffix: str = "") -> Path:
    """Find where the run of this configuration lies, or is to lie; see `open_run`.

    A run that began under earlier names of its keys bears their hash; it stays where it is, and is found there.
    """
    path = Path(outputs) / RUNS / f"{name}-{config_hash(config)[:8]}{suffix}"
    return path if path.exists() or not RENAMED_KEYS else _renamed(path, name, config, suffix) or path


def _renamed(path: Path, name: str, config: Mapping[str, Any], suffix: str) -> Path | None:
    """Find the directory beside `path` of the run of this configuration under the hash of earlier names of its keys."""
    for other in sorted(path.parent.glob(f"{glob.escape(name)}-????????{glob.escape(suffix)}")):
        try:
            recorded = read_config(RunPaths(other).config)
        except (OSError, ValueError, yaml.YAMLError):
            continue
        own_name = other.name == f"{name}-{recorded_hash(recorded)[:8]}{suffix}"  # not edited, not renamed by hand
        if own_name and config_hash(recorded) == config_hash(config):
            return other
    return None


def read_config(path: Path) -> dict[str, Any]:
    """Read the configuration in `path` as it was recorded; {} where there is none. Raises YAMLError, ValueError."""
    if not path.exists():
        return {}
    try:
        config = yaml.load(read_regular(path, MOST_DOCUMENT).decode(), Loader=LOADER) or {}
        if not isinstance(config, dict):
            raise ValueError(f"{path} must hold a mapping")
        require_small(config, str(path))
    except RecursionError:
        raise ValueError(f"{path} is nested too deeply") from None
    return config


def require_small(value: Any, name: str, most: int = 1_000_000) -> None:
    """Raise ValueError where `value` has more than `most` parts: in YAML, a few references can make billions."""
    waiting, seen = [value], 0
    while waiting:
        node = waiting.pop()
        children = list(node.values()) if isinstance(node, dict) else node if isinstance(node, list) else ()
        seen += len(children)
        if seen > most:
            raise ValueError(f"{name} holds more than {most:,} values")
        waiting.extend(children)


def check_summary(summary: dict[str, Any]) -> dict[str, Any]:
    """Raise ValueError unless what others compute with are numbers. Returns it."""
    for name in (*HEADLINE, "total_steps", "best_step"):
        value = summary.get(name)
        if value is not None and not (is_number(value) or isinstance(value, float)):
            raise ValueError(f"{name} must be a number, it is {str(value)[:40]!r}")
    return summary


def check_texts(content: dict[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """Raise ValueError where one of `names` is there and no text. Returns the content."""
    for name in names:
        if not isinstance(content.get(name, ""), str | None):
            raise ValueError(f"{name} must be a text, it is {str(content[name])[:40]!r}")
    return content


def reopen_run(path: Path) -> RunDirectory:
    """Lock a run that has ended for this process, to add to its record. Raises InputError if another has it."""
    run = RunDirectory(path)
    run._acquire()
    run._journal = Journal(run.paths.journal)
    return run


def all_runs(outputs: Path) -> list[RunDirectory]:
    """Return the run directories under `outputs`, newest first, and at the end the damaged ones (`damage`)."""
    runs = [RunDirectory(path.parent) for path in (Path(outputs) / RUNS).glob(f"*/{IN_RUN.journal}")]

    def age(run: RunDirectory) -> int:
        try:
            return run.started
        except InputError:
            return -1

    return sorted(runs, key=lambda run: (age(run), run.name), reverse=True)


def whole_runs(outputs: Path) -> Iterator[RunDirectory]:
    """Yield `all_runs` that are not damaged."""
    return (run for run in all_runs(outputs) if run.damage is None)


def find_run(spec: str, outputs: Path) -> RunDirectory:
    """Find the run meant by `spec`: a directory, the name of one, an MLflow run id, or `latest` (the newest).

    The name may lack its hash, where one run alone is called so. Raises InputError if there is none.
    """
    for path in (Path(outputs) / RUNS / spec, Path(spec)):
        if RunDirectory(path).exists:
            return RunDirectory(path)
    called = []
    for run in whole_runs(outputs):
        if spec == "latest" or run.mlflow.get("run_id") == spec:
            return run
        if run.name.rpartition("-")[0] == spec:
            called.append(run)
    if called:
        several = f"run {spec!r} must be one, {len(called)} are called so; say which: "
        require(len(called) == 1, several + ", ".join(run.name for run in called[:8]))
        return called[0]
    rule = "must be a run directory, its name, an MLflow run id of a run here, or latest"
    raise InputError(f"run {spec!r} {rule}; see `racing runs list paths.outputs={outputs}`")


def _documents(
    paths: RunPaths, config: dict[str, Any], overrides: list[str], provenance: dict[str, Any]
) -> dict[Path, str]:
    """Return the files that describe the run, with their texts. The patch is a file of its own: it can be applied."""
    rest = {key: value for key, value in provenance.items() if key != "diff"}
    texts = {
        paths.config: yaml.safe_dump(config, sort_keys=False),
        paths.overrides: yaml.safe_dump(list(overrides)),
        paths.provenance: json.dumps(rest, indent=2) + "\n",
    }
    return texts | ({paths.patch: provenance["diff"]} if provenance.get("diff") else {})
