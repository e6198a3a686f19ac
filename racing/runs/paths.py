"""Where everything lies in a run directory: the only place that knows the names of its files.

    <outputs>/runs/<name>-<hash8>/
      config.yaml overrides.yaml provenance.json diff.patch     what began the run
      journal.jsonl  journal.cursor  journal.rejected.jsonl     the record; how far MLflow has it; what MLflow refused
      mlflow.json  summary.json  <directory>.meta.json          its copy in MLflow; its result; the run on one page
      result.png                                                a copy of the reported evaluation's picture
      run.lock  sender.lock  sender.log                         who trains, who sends
      checkpoints/<step>/  replay/                              saved states
      evaluations/<step>/  export/policy.{onnx,zip}             results
      evaluations/<step>/<agent>/  export/<agent>/              those of each of several agents; half.zip: half-trained
      tensorboard/  wandb/                                      other trackers' files

MLflow keeps a run's files under the same names: `IN_RUN.config` is the path of its configuration there.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from racing.errors import InputError, require
from racing.files import cache_root, is_file_name

OUTPUTS = "outputs"  # as conf/paths/default.yaml has it
MAX_NAME = 128  # characters: with a hash, a suffix and the ending of a temporary file it stays a file's name


def require_name(key: str, value: Any) -> None:
    """Raise InputError unless `value`, of the configuration's `key`, can name a folder and a run."""
    if not isinstance(value, str):
        raise InputError(f"{key} must be a text, got {value!r}; write {key}=TEXT")
    long = f"{key} {value[:40]!r}... must have at most {MAX_NAME} characters, got {len(value)}; shorten it"
    require(len(value) <= MAX_NAME, long)
    rule = f"{key} {value!r} must be letters, digits and _-. and not begin with a dot"
    require(is_file_name(value), f"{rule}; rename it")


def step_name(step: int) -> str:
    """Name what belongs to `step`: in the order of names as in that of steps, up to a billion."""
    return f"{step:09d}"


@dataclass(frozen=True)
class RunPaths:
    """The paths in the run directory `folder`; nothing is looked up on the disk but by `of`."""

    folder: Path

    @classmethod
    def of(cls, file: Path) -> RunPaths | None:
        """Find the run directory that `file`, or a folder such as a checkpoint, lies in; None if it is in none."""
        for folder in file.resolve().parents[:3]:
            paths = cls(folder)
            if paths.journal.is_file() or paths.config.is_file():
                return paths
        return None

    @classmethod
    def of_checkpoint(cls, checkpoint: Path) -> RunPaths:
        """Give the paths of the run whose checkpoint lies at `checkpoint`."""
        return cls(checkpoint.parents[1])

    @property
    def outputs(self) -> Path:
        """Root of everything that the run's command wrote."""
        return self.folder.parents[1]

    @property
    def config(self) -> Path:
        """The resolved configuration."""
        return self.folder / "config.yaml"

    @property
    def overrides(self) -> Path:
        """What was typed."""
        return self.folder / "overrides.yaml"

    @property
    def provenance(self) -> Path:
        """Code, packages, machine, tracks; see `racing.runs.provenance.collect`."""
        return self.folder / "provenance.json"

    @property
    def patch(self) -> Path:
        """Uncommitted changes of the code; absent without any."""
        return self.folder / "diff.patch"

    @property
    def journal(self) -> Path:
        """The record: every metric, parameter and event."""
        return self.folder / "journal.jsonl"

    @property
    def cursor(self) -> Path:
        """How far MLflow has the journal; see `racing.runs.journal.read_cursor`."""
        return self.folder / "journal.cursor"

    @property
    def rejected(self) -> Path:
        """Lines of the journal that MLflow refused."""
        return self.folder / "journal.rejected.jsonl"

    @property
    def mlflow(self) -> Path:
        """Which run of which MLflow store is the copy."""
        return self.folder / "mlflow.json"

    @property
    def summary(self) -> Path:
        """The result of a finished run."""
        return self.folder / "summary.json"

    @property
    def meta(self) -> Path:
        """The run on one page."""
        return self.folder / f"{self.folder.name}.meta.json"

    @property
    def picture(self) -> Path:
        """A copy of the picture of what is reported, such as the best lap: in every run, and in MLflow, one path."""
        return self.folder / "result.png"

    @property
    def lock(self) -> Path:
        """Held by the process that trains."""
        return self.folder / "run.lock"

    @property
    def sender_lock(self) -> Path:
        """Held by the process that sends to MLflow."""
        return self.folder / "sender.lock"

    @property
    def sender_log(self) -> Path:
        """What the senders have to say."""
        return self.folder / "sender.log"

    @property
    def checkpoints(self) -> Path:
        """Folder of the saved states."""
        return self.folder / "checkpoints"

    def checkpoint(self, step: int) -> Path:
        """Return the folder of the state saved at `step`."""
        return self.checkpoints / step_name(step)

    @property
    def replay(self) -> Path:
        """Folder of the replay buffer's rows, which checkpoints share."""
        return self.folder / "replay"

    def replay_rows(self, begin: int, end: int, owner: str = "") -> Path:
        """Return the file of a replay buffer's rows from `begin` up to `end`. owner: whose, of several."""
        return self.replay / "-".join([*([owner] if owner else []), step_name(begin), f"{step_name(end)}.npz"])

    @property
    def evaluations(self) -> Path:
        """Folder of all evaluations."""
        return self.folder / "evaluations"

    def evaluation(self, step: int, agent: str = "") -> Path:
        """Return the folder of the evaluation after `step`. agent: whose, of several."""
        return self.evaluations / step_name(step) / agent

    @property
    def export(self) -> Path:
        """Folder of the policy as it is shipped."""
        return self.folder / "export"

    @property
    def policy_onnx(self) -> Path:
        """The policy for whoever drives."""
        return self.of_agent("").policy_onnx

    @property
    def policy_zip(self) -> Path:
        """The policy for whoever trains on; Stable-Baselines3's file."""
        return self.of_agent("").policy_zip

    def exported_as(self, form: str) -> Path:
        """Return the folder of a policy that is exported for other programs; form: whose."""
        return self.export / form

    def of_agent(self, name: str) -> AgentPaths:
        """Return the paths of one of several agents' policies; of no name, those of the run's own."""
        return AgentPaths(self.export / name)

    def sink(self, name: str) -> Path:
        """Return the folder of the tracker `name` beside MLflow, such as tensorboard."""
        return self.folder / name

    def sink_lock(self, name: str) -> Path:
        """Return the lock of the process that sends to the tracker `name`."""
        return self.folder / f"{name}.lock"

    def sink_cursor(self, name: str) -> Path:
        """Return the file that says how far the tracker `name` has the journal."""
        return self.sink(name) / "journal.cursor"


@dataclass(frozen=True)
class AgentPaths:
    """The files in `folder` of what an agent has learnt."""

    folder: Path

    @property
    def policy_onnx(self) -> Path:
        """The policy for whoever drives."""
        return self.folder / "policy.onnx"

    @property
    def policy_zip(self) -> Path:
        """The policy for whoever trains on; Stable-Baselines3's file."""
        return self.folder / "policy.zip"

    @property
    def half_zip(self) -> Path:
        """What it was when half of the training was done."""
        return self.folder / "half.zip"


@dataclass(frozen=True)
class ComparisonPaths:
    """The files in `folder` of drivers whose laps were compared."""

    folder: Path

    @classmethod
    def named(cls, outputs: Path, name: str) -> ComparisonPaths:
        """Give the paths of the comparison `name`, below the root of everything that is written."""
        return cls(outputs / "compare" / name)

    @property
    def results(self) -> Path:
        """Drivers, lap times, mini-sectors, differing keys of the configurations."""
        return self.folder / "comparison.json"

    @property
    def channels(self) -> Path:
        """The aligned channels: a row for each driver and place."""
        return self.folder / "channels.csv"

    @property
    def sectors(self) -> Path:
        """The times of the mini-sectors."""
        return self.folder / "sectors.csv"

    @property
    def channels_picture(self) -> Path:
        """Speed, delta, steering, pedals, offset over distance."""
        return self.folder / "channels.png"

    @property
    def map_picture(self) -> Path:
        """Who is fastest where."""
        return self.folder / "map.png"

    @property
    def forces_picture(self) -> Path:
        """Each driver's accelerations."""
        return self.folder / "forces.png"

    @property
    def replay(self) -> Path:
        """The laps side by side, in motion."""
        return self.folder / "replay.html"


@dataclass(frozen=True)
class DrivePaths:
    """Where in the folder `outputs` it lies what people have driven on the page of `racing play`.

    place: name of the circuit and the vehicle, with a hash of their shape and numbers.
    """

    outputs: Path
    place: str

    @classmethod
    def of_all(cls, outputs: Path) -> list[DrivePaths]:
        """Find all places where somebody has driven a lap."""
        best = sorted(cls(outputs, "*").folder.parent.glob(f"*/{cls(outputs, '').best_lap.name}"))
        return [cls(outputs, path.parent.name) for path in best]

    @property
    def folder(self) -> Path:
        """Folder of all drives there."""
        return self.outputs / "drives" / self.place

    @property
    def facts(self) -> Path:
        """Which circuit and vehicle that is, in words."""
        return self.folder / "place.json"

    @property
    def best_lap(self) -> Path:
        """The quickest lap that was driven there."""
        return self.folder / "best_lap.npz"

    def drive(self, name: str) -> Path:
        """Return the folder of one drive: tables and telemetry as those of an evaluation."""
        return self.folder / name


def certificate_path() -> Path:
    """Return the file of the certificate, with its key, that `racing play ssl=true` makes: one for all outputs."""
    return cache_root() / "play.pem"


IN_RUN = RunPaths(Path())  # paths relative to the run directory, as the journal and MLflow name them


def where(outputs: Path) -> str:
    """Return what a command must be given to look in `outputs`: ` paths.outputs=FOLDER`, '' where it does anyway."""
    folder, here = outputs.resolve(), Path.cwd()
    if folder == (here / OUTPUTS).resolve():
        return ""
    shown = folder.relative_to(here) if folder.is_relative_to(here) else folder
    return f" {shlex.quote(f'paths.outputs={shown}')}"
