"""`racing train`: compose an experiment with Hydra, and train it."""

from __future__ import annotations

import functools
import os
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import yaml
from omegaconf import DictConfig

from racing.commands import command_line, own_files
from racing.config import (
    added_directories,
    choices,
    composed_from,
    conf_directory,
    config_directories,
    default_choices,
    explain,
    register_resolvers,
)
from racing.errors import ExitCode, InputError
from racing.naming import run_name
from racing.runs.metrics import SCORE

HELP = """usage: racing train [group=choice ...] [key=value ...] [options]

examples:
  racing train                                      the default experiment: a kart on `circuit`, PPO, about a minute
  racing train env=mlp track=oval algo=sac seed=1   other choices; `track` is a name or a path
  racing train experiment=generalist                a named experiment (conf/experiment)
  racing train algo.learning_rate=1e-3 algo.total_timesteps=500000
  racing train -m seed=1,2,3 algo=ppo,sac           a sweep
  racing train -m 'track=glob(*)' 'seed=range(0,3)' every track, three seeds
  racing train tuning=tpe tuning.n_trials=40        a search for better values (docs/tuning.md)
  racing train debug=fast                           a whole run in seconds, to see that everything works
  racing train -cd FOLDER experiment=mine           with your own groups, choices and experiments
  racing train --cfg job                            print the composed configuration
  eval "$(racing train -sc install=bash)"           completion in this shell; also zsh, fish

options, those of Hydra, in any place of the line (--hydra-help says more; several -cd add up):
  -m --multirun  -c --cfg job|hydra|all  --resolve  -p --package NAME  -i --info [{info}]
  -cd --config-dir FOLDER  -cn --config-name NAME  -sc --shell-completion install|uninstall=bash|zsh|fish  --hydra-help

groups (details: docs/configuration.md):
"""


def main(argv: Sequence[str]) -> int:
    """Compose the configuration with Hydra and train; returns the exit code."""
    line = command_line.parse(argv)
    if "--help" in line.options:
        info = "|".join(command_line.OPTIONS["--info"] or ())
        print(HELP.replace("{info}", info) + groups(command_line.with_sources(line)))
        return ExitCode.DONE
    if "--shell-completion" in line.options:
        from racing.commands.completion import shell_completion

        return shell_completion(line.overrides, functools.partial(run_hydra, _job))
    arguments = command_line.hydra_arguments(line)
    own_files.check(command_line.with_sources(line))
    return run_hydra(_job, arguments)


def groups(overrides: Sequence[str]) -> str:
    """A line for each group that offers a choice, in the order of conf/train.yaml; those of added folders last."""
    directories, default = config_directories(overrides), default_choices()
    added = [path.name for folder in added_directories(overrides) for path in sorted(folder.iterdir()) if path.is_dir()]
    lines = []
    for group in dict.fromkeys([*default, *added]):
        names = choices(group, directories)
        if names and names != [default.get(group)]:
            lines.append(f"  {group:<11} {' | '.join(names)}")
    return "\n".join(lines)


def run_hydra(task: Callable[[DictConfig], float | None], argv: Sequence[str]) -> int:
    """Run Hydra's main function with these arguments, which compose what `task` gets; returns the exit code.

    Hydra reads sys.argv and the environment: both are changed here alone, and put back. Raises InputError for what
    Hydra refuses, and what the task raises.
    """
    import hydra
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    register_resolvers()
    arguments, full_error = sys.argv, os.environ.get("HYDRA_FULL_ERROR")
    sys.argv = ["racing train", *argv]
    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors come to us, and become one line
    try:
        hydra.main(version_base="1.3", config_path=str(conf_directory()), config_name="train")(task)()
    except (HydraException, OmegaConfBaseException, yaml.YAMLError) as error:
        raise InputError(explain(error, config_directories(argv))) from error
    except ValueError as error:
        if str(error).startswith("Config group override"):
            raise InputError(f"{error}; ~group takes one away") from error
        if "omegaconf" not in str(traceback.extract_tb(error.__traceback__)[-1].filename) or not _is_of_hydra(error):
            raise
        raise InputError(explain(error, config_directories(argv))) from error
    except _Refused as refused:
        raise refused.error from None
    except SystemExit as left:  # Hydra has printed what was asked for, or what it misses
        return ExitCode.WRONG_INPUT if left.code else ExitCode.DONE
    except OSError as error:  # Hydra makes hydra.run.dir before there is a job
        if not _is_of_hydra(error):
            raise
        raise InputError(f"{error.filename}: {error.strerror}; set hydra.run.dir=FOLDER to a writable one") from error
    finally:
        sys.argv = arguments
        os.environ.pop("HYDRA_FULL_ERROR", None)
        if full_error is not None:
            os.environ["HYDRA_FULL_ERROR"] = full_error
    return ExitCode.DONE


def _is_of_hydra(error: BaseException) -> bool:
    """Whether Hydra raised an error itself, not what it called."""
    modules = [str(frame.f_globals.get("__name__")) for frame, _ in traceback.walk_tb(error.__traceback__)]
    theirs = [name for name in modules if name.partition(".")[0] in ("hydra", "racing", "racing_launchers")]
    return bool(theirs) and theirs[-1].startswith("hydra.")


class _Refused(BaseException):
    """Carries an InputError past Hydra, which prints a line of its own about every Exception of a job.

    See https://github.com/facebookresearch/hydra/issues/2590.
    """

    def __init__(self, error: InputError) -> None:
        super().__init__(error)
        self.error = error


def notes_on(cfg: DictConfig, chosen: Mapping[str, str | None]) -> list[str]:
    """What is worth saying of the choices, by group, when a training begins."""
    algo, fit = chosen.get("algo"), f"{chosen.get('algo')}_cnn"
    if "frame_stack" not in cfg.env or fit not in choices("algo"):
        return []
    rule = f"note: env={chosen.get('env')} observes frames, and the settings of algo={algo} are for sensors"
    return [f"{rule}; algo={fit} has those for frames"]


def _job(cfg: DictConfig) -> float | None:
    """What Hydra runs for each job: name the run after its choices, then train, phase by phase if it has phases."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    from racing.training.curriculum import train_phases
    from racing.training.observer import TrainingObserver
    from racing.training.teacher import train_with_teacher
    from racing_launchers.job import JobFolder, JobObserver

    overrides = composed_from(HydraConfig.get().overrides)
    if HydraConfig.get().mode == RunMode.RUN and cfg.launcher.get("wait") is False:
        rule = "launcher.wait=false must come with -m, a single run is trained in this process"
        raise _Refused(InputError(f"{rule}; add -m, or leave it away"))
    if HydraConfig.get().job.chdir:  # what is relative is relative to the folder of the command
        os.chdir(HydraConfig.get().runtime.cwd)
    cfg.name = run_name(cfg, HydraConfig.get().runtime.choices)
    job = JobFolder.current()
    observer = TrainingObserver() if job is None else JobObserver(job, Path(cfg.paths.outputs))
    try:
        if "tuning" in cfg:
            from racing.tuning.worker import work

            multirun = HydraConfig.get().mode == RunMode.MULTIRUN
            return work(cfg, overrides, Path(HydraConfig.get().sweep.dir).resolve() if multirun else None, observer)
        train = train_with_teacher if cfg.phases is None else train_phases
        observer.notes = notes_on(cfg, HydraConfig.get().runtime.choices)
        run = train(cfg, overrides, observer=observer)
    except InputError as error:
        raise _Refused(error) from error
    return float(run.summary[SCORE if SCORE in run.summary else "finish_rate"])
