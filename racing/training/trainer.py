"""`racing train`: one experiment, from its configuration to the exported and recorded policy."""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from omegaconf import DictConfig

from racing.errors import InputError, Stopped
from racing.runs.directory import RunDirectory, open_run, run_path
from racing.runs.provenance import collect, facts, track_sha256
from racing.tracking.sender import Sender
from racing.training.build import Parts, build_parts
from racing.training.checks import checked
from racing.training.stop_flag import StopFlag
from racing.training.summary_table import report
from racing_launchers.job import job_of

if TYPE_CHECKING:
    from racing.evaluation.result import Evaluation
    from racing.training.session import Session


class Watch(Protocol):
    """Who follows a training, such as the search that it is a trial of."""

    stop: StopFlag  # entered; asks the training to leave
    tags: Mapping[str, str]  # more of them for the run

    def opened(self, run: RunDirectory) -> None:
        """The training begins, or goes on, in this directory."""

    def judged(self, step: int, result: Evaluation) -> None:
        """A policy on the way was judged after `step` decisions of this run."""


def train(
    cfg: DictConfig,
    overrides: Sequence[str] = (),
    *,
    suffix: str = "",
    tags: Mapping[str, str] | None = None,
    watch: Watch | None = None,
) -> RunDirectory:
    """Train what `cfg` (conf/train.yaml, composed) describes, in the run directory that it names; returns that.

    A run that was interrupted goes on from its newest checkpoint; one that is finished is not run again, its summary is
    printed. overrides: what was typed, for the record. suffix: after the directory's name. tags: more of them. watch:
    follows it.
    Raises InputError for values that break a rule, before anything is written, and Stopped after a signal.
    """
    from racing.training.session import prepare
    from racing.training.teacher import train_teacher

    config = checked(cfg)
    outputs = Path(config["paths"]["outputs"]).resolve()
    if isinstance(config["algo"].get("teacher"), list):
        settings, config["algo"]["teacher"] = config["algo"]["teacher"], None
        build_parts(cfg, config)  # what is wrong with the pupil is said before its teacher learns
        config["algo"]["teacher"] = train_teacher(settings, overrides, train)
    parts = build_parts(cfg, config)
    provenance = collect(parts.tracks) | ({"ancestor": parts.ancestor.provenance()} if parts.ancestor else {})
    job = job_of(config)
    place = run_path(outputs, cfg.name, config, suffix).relative_to(outputs).as_posix()
    # A job that is continued has moved the old directory aside already.
    fresh = cfg.fresh and not (job and place in job.runs)
    with open_run(outputs, cfg.name, config, list(overrides), provenance, fresh=fresh, suffix=suffix) as run:
        if job:
            job.note(place)
        if watch:
            watch.opened(run)
        if run.finished:
            report(run, config)
            print("This run was finished before; fresh=true trains it anew and keeps the old directory.")
            return run
        with contextlib.nullcontext(watch.stop) if watch else StopFlag() as stop:
            try:
                now, judged = facts(provenance) | parts.hardware.facts(), watch.judged if watch else None
                session = prepare(run, parts, stop, now, judged)
                sender = Sender.start(run, config["tracking"])
            except InputError:
                run.journal.end("STOPPED")  # refused before anything was done
                raise
            try:
                more = (job.tags if job else {}) | dict(tags or {}) | dict(watch.tags if watch else {})
                _learn(session, stop, all_tags(parts, provenance) | more)
            finally:
                complete = sender.close(config["tracking"]["close_timeout"])
        report(run, config)
        if not complete:
            print(f"{', '.join(sender.incomplete)} did not get all of it yet: racing runs sync {run.name}")
        return run


def _learn(session: Session, stop: StopFlag, tags: Mapping[str, str]) -> None:
    """Learn to the end. The journal says how it ended, whatever happens. Raises what learning raises."""
    from racing.runs.meta import write_meta
    from racing.training.session import learn

    run = session.run
    try:
        run.journal.tags(tags)
        summary = learn(session)
        write_meta(run, "FINISHED", summary)
        run.finish(summary)
    except Stopped:
        if stop.pruned:
            run.journal.tags({"racing.pruned": "true"})
        write_meta(run, "STOPPED", {})
        run.journal.end("STOPPED")
        raise
    except Exception:  # a second Ctrl-C is none: such a run counts as killed
        failure = traceback.format_exc()
        with contextlib.suppress(OSError):  # a full disk must not hide what failed
            write_meta(run, "FAILED", {})
        run.journal.end("FAILED", failure)
        raise


def all_tags(parts: Parts, provenance: Mapping[str, Any]) -> dict[str, str]:
    """What a run is found by in MLflow. The commit's tag is MLflow's own: its pages show it as the version."""
    code = {"mlflow.source.git.commit": provenance["commit"], "racing.git_dirty": str(provenance["dirty"]).lower()}
    return (code if provenance["commit"] else {}) | {
        "racing.vehicle": parts.vehicle.name,
        "racing.tyre_model": parts.vehicle.model,
        "racing.tracks": ", ".join(track.name for track in parts.tracks),
        "racing.track_sha256": ", ".join(track_sha256(track) for track in parts.tracks),
        "racing.algorithm": type(parts.model).__name__,
        "racing.device": f"{parts.hardware.device} ({parts.hardware.reason})",
        **(parts.ancestor.tags() if parts.ancestor else {}),
    }
