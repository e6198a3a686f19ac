"""The trainer: one run, from its configuration to the exported and recorded policy."""

from __future__ import annotations

import contextlib
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from racing.errors import InputError, JobsFailed, Stopped
from racing.runs.directory import RunDirectory, open_run, run_path
from racing.runs.meta import write_meta
from racing.runs.metrics import NOTE_TAG
from racing.runs.paths import where
from racing.runs.provenance import collect, facts
from racing.tracking.sender import Sender
from racing.tracking.store import resolve_uri, silent
from racing.training.build import Experiment, build_experiment
from racing.training.observer import TrainingObserver
from racing.training.resolve import resolve
from racing.training.stop_flag import StopFlag
from racing.training.summary_table import print_summary

if TYPE_CHECKING:
    from racing.training.session import Session


def train(
    cfg: DictConfig,
    overrides: Sequence[str] = (),
    *,
    observer: TrainingObserver | None = None,
    stop: StopFlag | None = None,
    suffix: str = "",
) -> RunDirectory:
    """Train what `cfg` (conf/train.yaml, composed) describes, or resume it, or report that it is finished.

    overrides: what was typed, for the record.
    observer: follows the training.
    stop: an entered flag that asks the training to stop; None: signals do.
    suffix: after the run directory's name, for a second run of the same configuration.
    Returns the run directory. Raises InputError for values that break a rule, before anything is written, and Stopped
    after a signal, with the state saved.
    """
    observer = observer or TrainingObserver()
    config = resolve(cfg)
    experiment = build_experiment(config)
    values, provenance = config.values, collect(experiment.evaluator.tracks) | config.provenance()
    if provenance.get("git_problem"):
        print(f"warning: the commit is not recorded, {provenance['git_problem']}", file=sys.stderr)
    path = run_path(config.outputs, values["name"], values, suffix)
    fresh = values["fresh"] and not observer.resumes(path)
    with open_run(
        config.outputs, values["name"], values, list(overrides), provenance, fresh=fresh, suffix=suffix
    ) as run:
        observer.opened(run)
        if run.finished:
            print_summary(run, config.outputs, experiment.evaluator)
            print("already finished; use fresh=true to retrain (the old directory is kept)")
            return run
        with contextlib.nullcontext(stop) if stop else StopFlag() as stop:
            session = _prepare(run, experiment, observer, stop, facts(provenance) | experiment.facts)
            tags = {**run_tags(experiment, provenance), **observer.tags()}
            for note in observer.notes:
                print(note, file=sys.stderr, flush=True)
            warn_of_silence(run, values["tracking"], config.outputs)
            sender = Sender.start(run, values["tracking"])
            with sender.attending(values["tracking"]["close_timeout"]):
                _learn(session, stop, tags)
        print_summary(run, config.outputs, experiment.evaluator)
        send_it = f"racing runs sync {run.name}{where(config.outputs)}"
        if sender.incomplete:
            print(f"upload to {', '.join(sender.incomplete)} incomplete: {send_it}")
        if sender.died:
            raise JobsFailed(f"racing: {sender.died}; {run.name} itself is done: {send_it}")
        return run


def _prepare(
    run: RunDirectory,
    experiment: Experiment,
    observer: TrainingObserver,
    stop: StopFlag,
    machine: Mapping[str, str],
) -> Session:
    """`session.prepare`; what is refused there has ended before anything was done."""
    from racing.training.session import prepare

    try:
        return prepare(run, experiment, observer, stop, machine)
    except InputError:
        run.journal.end("STOPPED")
        raise


def _learn(session: Session, stop: StopFlag, tags: Mapping[str, str]) -> None:
    """Learn to the end and finish the run."""
    from racing.training.session import learn

    with _ending_recorded(session.run, stop):
        session.run.journal.tags(tags)
        summary = learn(session)
        session.run.journal.tags({NOTE_TAG: description(session, summary)})
        write_meta(session.run, "FINISHED", summary)
        session.run.finish(summary)


def description(session: Session, summary: Mapping[str, Any]) -> str:
    """What MLflow's page of the run begins with: its results in words, and how to have it again; Markdown."""
    results = [f"- **{name}**: {text}" for name, text in session.experiment.evaluator.lines(summary)]
    return "\n".join([*results, "", f"Again, and compared: `racing reproduce run={session.run.name}`"])


@contextlib.contextmanager
def _ending_recorded(run: RunDirectory, stop: StopFlag) -> Iterator[None]:
    """Let the journal say how the run ended, whatever happens inside; raises what is raised there."""
    try:
        yield
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


def warn_of_silence(run: RunDirectory, tracking: Mapping[str, Any], outputs: Path) -> None:
    """Say now, and not only at the end, where the MLflow server that is to get the record does not answer."""
    uri = resolve_uri(tracking["uri"], outputs) if tracking["enabled"] else ""
    why = silent(uri) if uri else None
    if why:
        later = f"the record is sent when it does, or by racing runs sync {run.name}{where(outputs)}"
        print(f"warning: MLflow at {uri} does not answer ({why}); {later}", file=sys.stderr, flush=True)


def run_tags(experiment: Experiment, provenance: Mapping[str, Any]) -> dict[str, str]:
    """What a run is found by in MLflow. The commit's tag is MLflow's own: its pages show it as the version."""
    initial = experiment.config.initial_weights
    code = {"mlflow.source.git.commit": provenance["commit"], "racing.git_dirty": str(provenance["dirty"]).lower()}
    return (code if provenance["commit"] else {}) | {
        **experiment.evaluator.tags(),
        "racing.algorithm": type(experiment.model).__name__,
        "racing.device": f"{experiment.hardware.device} ({experiment.hardware.reason})",
        **(initial.tags() if initial else {}),
    }
