"""`racing train`: one experiment, from its configuration to the exported and recorded policy."""

from __future__ import annotations

import contextlib
import os
import sys
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from omegaconf import DictConfig

from racing.checks import checked
from racing.config import (
    choices,
    conf_directory,
    default_name,
    explain,
    refuse_empty_groups,
    register_resolvers,
    track_by_path,
)
from racing.errors import InputError, Stopped, require
from racing.parts import Parts, build_parts
from racing.report import report
from racing.runs.directory import RunDirectory, open_run, run_path
from racing.runs.provenance import collect, facts, track_sha256
from racing.stopping import StopFlag
from racing.tracking.sender import Sender
from racing_launchers.job import job_of

if TYPE_CHECKING:
    from racing.evaluation.result import Evaluation
    from racing.learning import Session

HELP = """usage: racing train [group=choice ...] [key=value ...]      (-m for sweeps)

examples:
  racing train                                      the default experiment: a kart on `circuit`, PPO, about a minute
  racing train env=mlp track=oval algo=sac seed=1   other choices; `track` is a name or a path
  racing train experiment=generalist                a named experiment (conf/experiment)
  racing train algo.learning_rate=1e-3 algo.total_timesteps=500000
  racing train -m seed=1,2,3 algo=ppo,sac           a sweep
  racing train sweep=tpe sweep.n_trials=40          a search for better values (docs/tuning.md)
  racing train debug=fast                           a whole run in seconds, to see that everything works
  racing train --cfg job                            print the composed configuration

groups (details: docs/configuration.md):
"""
# Hydra's.
OPTIONS = ("-m", "--multirun", "-c", "--cfg", "--resolve", "-p", "--package", "-i", "--info", "-cd", "--config-dir")


def main(argv: Sequence[str]) -> int:
    """Compose the configuration with Hydra and train; returns the exit code."""
    if any(argument in ("-h", "--help") for argument in argv):
        groups = [path.name for path in sorted(conf_directory().iterdir()) if path.is_dir() and choices(path.name)]
        print(HELP + "\n".join(f"  {name:<11} {' | '.join(choices(name))}" for name in groups))
        return 0
    import hydra
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors come to us, and are said in one line
    register_resolvers()
    own_arguments = sys.argv
    sys.argv = ["racing train", *for_hydra(argv)]
    try:
        hydra.main(version_base="1.3", config_path=str(conf_directory()), config_name="train")(_job)()
    except (HydraException, OmegaConfBaseException) as error:
        raise InputError(explain(error)) from error
    except _Refused as refused:
        raise refused.error from None
    except OSError as error:  # Hydra makes the folder of a sweep before there is a job
        if "sweeps" not in Path(error.filename or "").parts:
            raise
        raise InputError(f"{error.filename}: {error.strerror}; set paths.outputs=FOLDER to a writable one") from error
    finally:
        sys.argv = own_arguments
    return 0


class _Refused(BaseException):
    """Carries an InputError past Hydra, which prints a line of its own about every Exception of a job."""

    def __init__(self, error: InputError) -> None:
        super().__init__(error)
        self.error = error


def for_hydra(argv: Sequence[str]) -> list[str]:
    """The arguments as Hydra takes them: -m first (it accepts it nowhere else), tracks by path.

    Raises InputError for an option that it does not know, or a group without a choice.
    """
    for argument in argv:
        known = not argument.startswith("-") or argument.partition("=")[0] in OPTIONS
        require(known, f"{argument!r} is no option of racing train; write key=value, see racing train --help")
    refuse_empty_groups(argv)
    several = [argument for argument in argv if argument in ("-m", "--multirun")]
    rest = [argument for argument in argv if argument not in several]
    if any(argument.startswith("sweep.") for argument in rest):
        from racing.tune.space import typed_search

        rest = [part for argument in rest for part in typed_search(argument)]
    return several[:1] + [part for argument in rest for part in track_by_path(argument)]


def _job(cfg: DictConfig) -> float | None:
    """What Hydra runs for each job: name the run after its choices, then train, phase by phase if it has phases."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    from racing.phases import train_phases

    settings = list(HydraConfig.get().overrides.task)
    if HydraConfig.get().mode == RunMode.RUN and cfg.launcher.get("wait") is False:
        rule = "launcher.wait=false must come with -m, a single run is trained in this process"
        raise _Refused(InputError(f"{rule}; add -m, or leave it away"))
    cfg.name = cfg.name or default_name(cfg, HydraConfig.get().runtime.choices)
    try:
        if "sweep" in cfg:
            from racing.tune.worker import work

            several = HydraConfig.get().mode == RunMode.MULTIRUN
            return work(cfg, settings, Path(HydraConfig.get().sweep.dir).resolve() if several else None)
        run = train(cfg, settings) if cfg.phases is None else train_phases(cfg, settings)
    except InputError as error:
        raise _Refused(error) from error
    return float(run.summary["finish_rate"])


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
    from racing.learning import prepare
    from racing.teacher import train_teacher

    config = checked(cfg)
    outputs = Path(config["paths"]["outputs"]).resolve()
    if isinstance(config["algo"].get("teacher"), list):
        settings, config["algo"]["teacher"] = config["algo"]["teacher"], None
        build_parts(cfg, config)  # what is wrong with the pupil is said before its teacher learns
        config["algo"]["teacher"] = train_teacher(settings, overrides, train)
    parts = build_parts(cfg, config)
    provenance = collect(parts.tracks) | ({"ancestor": parts.ancestor.provenance()} if parts.ancestor else {})
    job = job_of(config)
    if job:
        config["launcher"]["job"] = None  # where it is noted is of no interest later
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
    from racing.learning import learn
    from racing.runs.meta import write_meta

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
