"""TODO."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig

from racing.config import (
    choices,
    conf_directory,
    default_name,
    explain,
    refuse_empty_groups,
    register_resolvers,
    track_by_path,
)
from racing.errors import InputError, require

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
        from racing.tuning.space import typed_search

        rest = [part for argument in rest for part in typed_search(argument)]
    return several[:1] + [part for argument in rest for part in track_by_path(argument)]


def _job(cfg: DictConfig) -> float | None:
    """What Hydra runs for each job: name the run after its choices, then train, phase by phase if it has phases."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    from racing.training.curriculum import train_phases
    from racing.training.observer import TrainingObserver
    from racing.training.teacher import train_with_teacher
    from racing_launchers.job import JobFolder, JobObserver

    settings = list(HydraConfig.get().overrides.task)
    if HydraConfig.get().mode == RunMode.RUN and cfg.launcher.get("wait") is False:
        rule = "launcher.wait=false must come with -m, a single run is trained in this process"
        raise _Refused(InputError(f"{rule}; add -m, or leave it away"))
    cfg.name = cfg.name or default_name(cfg, HydraConfig.get().runtime.choices)
    job = JobFolder.current()
    observer = TrainingObserver() if job is None else JobObserver(job, Path(cfg.paths.outputs))
    try:
        if "sweep" in cfg:
            from racing.tuning.worker import work

            several = HydraConfig.get().mode == RunMode.MULTIRUN
            return work(cfg, settings, Path(HydraConfig.get().sweep.dir).resolve() if several else None, observer)
        train = train_with_teacher if cfg.phases is None else train_phases
        run = train(cfg, settings, observer=observer)
    except InputError as error:
        raise _Refused(error) from error
    return float(run.summary["finish_rate"])
