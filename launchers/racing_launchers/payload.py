"""What a job calls. Payloads travel as pickles: to another process, a compute node, a container."""

from __future__ import annotations

import contextlib
import copy
import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from hydra import version
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobRuntime, run_job, setup_globals
from hydra.core.utils import JobStatus as HydraStatus
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from racing.errors import InputError, Stopped
from racing.naming import MORE
from racing.processes import STOP_SIGNALS, import_path, python, run_child
from racing.runs.directory import find_run
from racing.runs.identity import config_hash
from racing_launchers.job import JobFolder


class Payload(Protocol):
    """A call that may be made in another process, on another machine."""

    def move(self, outputs: Path, sweep: Path) -> None:
        """Work below these folders: where the job runs they have other names than where it was made."""

    def call(self, job: Path) -> Any:
        """Do the job, whose folder is `job`; returns what is to be known of its result, as JSON can hold it.

        Raises what the job raises.
        """


@dataclass
class HydraJob:
    """One job of a Hydra sweep: its composed configuration, and the function that takes it."""

    context: HydraContext
    function: TaskFunction
    config: DictConfig  # with `hydra`, which needs Hydra's own types: not a plain dict
    state: Any = field(default_factory=lambda: copy.copy(Singleton.get_state()))  # Hydra's singletons, resolvers

    def move(self, outputs: Path, sweep: Path) -> None:
        """See Payload."""
        with open_dict(self.config):
            self.config.hydra.sweep.dir = str(sweep)
            if is_racing(self.config):
                self.config.paths.outputs = str(outputs)

    def call(self, job: Path) -> Any:
        """See Payload. Hydra's own result is made of it where somebody waits for it, see `hydra_return`."""
        setup_globals()
        Singleton.set_state(self.state)
        done = run_job(
            hydra_context=self.context,
            task_function=self.function,
            config=self.config,
            job_dir_key="hydra.sweep.dir",
            job_subdir_key="hydra.sweep.subdir",
        )
        return as_json(done.return_value)  # raises what the function raised

    def hydra_return(self, value: Any) -> JobReturn:
        """Hydra's result of this job, which ended well, with what it returned; as Hydra's run_job makes it.

        Nothing that the job has left is needed for it but that value.
        """
        config = copy.deepcopy(self.config)
        folder = Path(config.hydra.sweep.dir, config.hydra.sweep.subdir)
        with read_write(config), open_dict(config):
            config.hydra.runtime.output_dir = str(folder.absolute())
        changes = config.hydra.job.chdir
        changes = not version.base_at_least("1.2") if changes is None else changes
        done = JobReturn(
            overrides=OmegaConf.to_container(config.hydra.overrides.task),  # type: ignore[arg-type]
            hydra_cfg=copy.deepcopy(config),
            working_dir=str(folder if changes else Path.cwd()),
            task_name=JobRuntime.instance().get("name"),
            status=HydraStatus.COMPLETED,
        )
        with read_write(config), open_dict(config):
            del config["hydra"]
        done.cfg, done.return_value = config, value
        return done


def as_json(value: Any) -> Any:
    """What a job has returned as JSON can hold it: what else it holds as its text."""
    if isinstance(value, Mapping):
        return {str(key): as_json(inside) for key, inside in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(inside) for inside in value]
    if hasattr(value, "item") and not getattr(value, "ndim", 0):  # a number of numpy or torch
        return as_json(value.item())
    return value if isinstance(value, int | float | str | bool | None) else repr(value)


def computed(payload: Payload) -> str | None:
    """A checksum of what a Hydra job computes, also of what stands in files of conf/; None for other payloads."""
    if not isinstance(payload, HydraJob):
        return None
    names = [str(key) for key in payload.config if key != "hydra"]
    config: Any = OmegaConf.to_container(OmegaConf.masked_copy(payload.config, names))
    if is_racing(payload.config):
        search = {key: value for key, value in (config.get("tuning") or {}).items() if f"tuning.{key}" not in MORE}
        config |= {"followed by": config.get("phases"), "searched": search}  # a run's own identity is without them
    return config_hash(config)


def is_racing(config: DictConfig) -> bool:
    """Whether the configuration is one of racing train, not of another program."""
    return all(key in config for key in ("paths", "launcher", "algo"))


@dataclass
class CommandJob:
    """A verb of the command line."""

    arguments: list[str]

    def move(self, outputs: Path, sweep: Path) -> None:
        """See Payload."""
        kept = [argument for argument in self.arguments if not argument.startswith("paths.outputs=")]
        self.arguments = [*kept, f"paths.outputs={outputs}"]

    def call(self, job: Path) -> Any:
        """See Payload. A process of its own: what it leaves with, or dies of, becomes what this one does."""
        self._note(job)
        environment = os.environ | {"PYTHONPATH": import_path()}
        code = run_child(python("-m", "racing", *self.arguments), env=environment, shares_terminal=False)
        if code < 0:
            _end_as_killed(signal.Signals(-code))
        if code:
            raise SystemExit(code)
        return JobFolder(job).left

    def _note(self, job: Path) -> None:
        """Remember which run is meant: what is written there belongs to the job."""
        if self.arguments[0] == "train":  # it notes which one it opens
            return
        given = {key: value for key, _, value in (argument.partition("=") for argument in self.arguments[1:])}
        outputs = Path(given["paths.outputs"])
        with contextlib.suppress(InputError):  # an ONNX file, or a run of a server
            run = find_run(given.get("run", "latest"), outputs)
            JobFolder(job).note(run.path.relative_to(outputs.resolve()).as_posix())


def _end_as_killed(by: signal.Signals) -> None:
    """End as a child that a signal has killed. Raises Stopped if that one asks for a stop."""
    if by in STOP_SIGNALS:
        raise Stopped(f"stopped on {by.name} before it had a state to save; the same command begins anew")
    if by != signal.SIGKILL:
        signal.signal(by, signal.SIG_DFL)
    os.kill(os.getpid(), by)  # whoever started us sees what happened, such as a lack of memory
