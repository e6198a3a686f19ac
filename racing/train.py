"""`racing train`: one experiment, from its configuration to the exported and recorded policy."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from racing.configs import choices, conf_directory, explain, plain, refuse_empty_groups
from racing.errors import InputError, require
from racing.parts import Parts, build_parts, check

HELP = """usage: racing train [group=choice ...] [key=value ...]      (-m for sweeps)

examples:
  racing train                                      the default experiment: a kart on `circuit`, PPO, about a minute
  racing train env=mlp track=oval algo=sac seed=1   other choices; `track` is a name or a path
  racing train experiment=generalist                a named experiment (conf/experiment)
  racing train algo.learning_rate=1e-3 algo.total_timesteps=500000
  racing train -m seed=1,2,3 algo=ppo,sac           a sweep
  racing train debug=fast                           a whole run in seconds, to see that everything works
  racing train --cfg job                            print the composed configuration

groups (details: docs/configuration.md):
"""
HYDRA_OPTIONS = (
    "-m",
    "--multirun",
    "-c",
    "--cfg",
    "--resolve",
    "-p",
    "--package",
    "-i",
    "--info",
    "-cd",
    "--config-dir",
)


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
    own_arguments = sys.argv
    sys.argv = ["racing train", *for_hydra(argv)]
    try:
        hydra.main(version_base="1.3", config_path=str(conf_directory()), config_name="train")(_job)()
    except (HydraException, OmegaConfBaseException) as error:
        raise InputError(explain(error)) from error
    except _Refused as refused:
        raise refused.error from None
    except OSError as error:  # Hydra makes the folder of a sweep before there is a job
        if Path(error.filename or "").name != "sweeps":
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
        known = not argument.startswith("-") or argument.partition("=")[0] in HYDRA_OPTIONS
        require(known, f"{argument!r} is no option of racing train; write key=value, see racing train --help")
    refuse_empty_groups(argv)
    several = [argument for argument in argv if argument in ("-m", "--multirun")]
    rest = [argument for argument in argv if argument not in several]
    return several[:1] + [part for argument in rest for part in track_by_path(argument)]


def track_by_path(argument: str) -> list[str]:
    """`track=/some/map.yaml` means `track=file track.file=/some/map.yaml`: a track argument is a name or a path."""
    key, _, value = argument.partition("=")
    if key != "track" or all(name in choices("track") for name in value.split(",")):
        return [argument]
    return ["track=file", f"track.file={value}"]


def _job(cfg: DictConfig) -> float | None:
    """What Hydra runs for each job: name the run after its choices, then train."""
    from hydra.core.hydra_config import HydraConfig

    chosen: Any = HydraConfig.get().runtime.choices
    if cfg.name is None:
        track = Path(str(cfg.track.file)).stem if chosen.track == "file" else chosen.track
        cfg.name = chosen.experiment or f"{chosen.env}-{track}-{chosen.algo}"
    try:
        return train(cfg, list(HydraConfig.get().overrides.task))
    except InputError as error:
        raise _Refused(error) from error


def train(cfg: DictConfig, overrides: Sequence[str] = ()) -> float | None:
    """Train what `cfg` (conf/train.yaml, composed) describes, in the run directory that it names.

    A run that is finished already is not run again; its summary is printed. Returns the finish rate for sweepers.
    Raises InputError for values that break a rule, before anything is written.
    """
    from racing.runs.directory import open_run
    from racing.runs.provenance import collect
    from racing.runs.sender import Sender

    config = plain(cfg)
    try:
        check(config)
    except KeyError as error:
        raise InputError(f"{error} must be in the configuration, it was removed; leave its ~ away") from error
    outputs = Path(config["paths"]["outputs"]).resolve()
    parts = build_parts(cfg, config)
    provenance = collect(parts.tracks)
    with open_run(outputs, cfg.name, config, list(overrides), provenance, fresh=cfg.fresh) as run:
        if run.finished:
            report(run, config)
            print("This run was finished before; fresh=true trains it anew and keeps the old directory.")
            return float(run.summary["finish_rate"])
        run.journal.replay_from(0)  # of a run that was interrupted, nothing is recorded twice
        sender = Sender.start(run, config["tracking"])
        try:
            run.journal.tags(tags(parts, provenance))
            run.finish(learn(run, parts))
        except BaseException:
            run.journal.end("FAILED", traceback.format_exc())
            raise
        finally:
            complete = sender.close(config["tracking"]["close_timeout"])
        report(run, config)
        if not complete:
            print(f"MLflow does not have all of it yet: racing runs sync {run.name}")
        return float(run.summary["finish_rate"])


def tags(parts: Parts, provenance: Mapping[str, Any]) -> dict[str, str]:
    """What a run is found by in MLflow. The commit's tag is MLflow's own: its pages show it as the version."""
    from racing.runs.provenance import track_sha256

    code = {"mlflow.source.git.commit": provenance["commit"], "racing.git_dirty": str(provenance["dirty"]).lower()}
    return (code if provenance["commit"] else {}) | {
        "racing.vehicle": parts.vehicle.name,
        "racing.tyre_model": parts.vehicle.model,
        "racing.tracks": ", ".join(track.name for track in parts.tracks),
        "racing.track_sha256": ", ".join(track_sha256(track) for track in parts.tracks),
        "racing.algorithm": type(parts.model).__name__,
        "racing.device": f"{parts.hardware.device} ({parts.hardware.reason})",
    }


def learn(run: Any, parts: Parts) -> dict[str, Any]:
    """Learn, keep the best policy, judge it on unseen starts, export it; returns the run's summary."""
    from racing.laps import REPORT_SEEDS, SELECTION_SEEDS, drive, evaluation_task, flat_metrics
    from racing.monitor import Monitor
    from racing.progress import ProgressLine

    config, model, judging = parts.config, parts.model, parts.config["eval"]
    total = config["algo"]["total_timesteps"]

    def judge(offset: int, telemetry: bool) -> Any:
        task = evaluation_task(
            config["env"],
            parts.judged,
            parts.vehicle,
            parts.references,
            races=judging["episodes"],
            laps=judging["laps"],
            seed=offset + config["seed"],
            threads=parts.hardware.sim_threads,
        )
        return drive(greedy(model), task, parts.references, telemetry=telemetry)

    with ProgressLine(total, run.name) as line:
        monitor = Monitor(
            run.journal,
            line,
            lambda _: judge(SELECTION_SEEDS, telemetry=False),
            every=judging["every"],
            begin=int(judging["from"] * total),
            finish_rate=judging["finish_rate"],
        )
        model.learn(total, callback=monitor, log_interval=1)
        learning_s = monitor.learning_s
        if judging["every"]:
            monitor.consider()
            model.policy.load_state_dict(monitor.best_parameters)
    result = judge(REPORT_SEEDS, telemetry=True)
    run.journal.metrics(model.num_timesteps, flat_metrics(result))
    summary = {
        "steps": model.num_timesteps,
        "learning_s": round(learning_s, 2),
        "steps_per_s": round(model.num_timesteps / learning_s),
        "judging_s": round(monitor.judging_s, 2),
        "best_step": monitor.best_step or model.num_timesteps,
        "first_lap": monitor.first_lap,
        **result.summary,
    }
    return summary | record(run, parts, result)


def greedy(model: Any) -> Any:
    """The model's deterministic policy as a plain function of observations."""
    return lambda observation: model.predict(observation, deterministic=True)[0]


def record(run: Any, parts: Parts, result: Any) -> dict[str, Any]:
    """Save the policy, its ONNX file, and the evaluation's tables and pictures; journal them all; returns the paths."""
    from racing.evaluate import write_files
    from racing.export import describe, export_policy, record_observations
    from racing.tracks.reference import reference_lap

    step = parts.model.num_timesteps
    saved = run.path / "export" / "policy.zip"
    parts.model.save(saved)
    observations = record_observations(greedy(parts.model), parts.env.task)
    metadata = describe(parts.env.task, parts.config, run.name)
    parity = export_policy(
        parts.model, run.path / "export" / "policy.onnx", metadata=metadata, observations=observations
    )
    run.journal.metrics(step, {"export/max_difference": parity.max_difference})
    folder = run.path / "evaluations" / f"{step:09d}"
    folder.mkdir(parents=True, exist_ok=True)
    track = parts.judged[result.best_lane() % len(parts.judged)]
    files = write_files(result, folder, run.name, track, reference_lap(track, parts.vehicle))
    for path in files:
        run.journal.artifact(path, f"evaluations/{step:09d}")
    run.journal.artifact(saved, "export")
    run.journal.artifact(parity.path, "export")
    run.journal.model(parity.path, "policy")
    names = {".onnx": "onnx", ".csv": "laps"}
    paths = {"lap_picture": str(next(path for path in files if path.name == "lap.png")), "onnx": str(parity.path)}
    return paths | {names[path.suffix]: str(path) for path in files if path.suffix in names}


def report(run: Any, config: Mapping[str, Any]) -> None:
    """Print the short summary of a finished run."""
    from rich.console import Console
    from rich.table import Table

    s = run.summary
    lap = "none finished" if s["lap_time_s"] is None else f"{s['lap_time_s']:.2f} s"
    ratio = "" if s["lap_ratio"] is None else f", lap_ratio {s['lap_ratio']:.3f} (1 = reference lap)"
    table = Table(title=run.name, show_header=False, title_justify="left")
    table.add_row(
        "finish rate", f"{s['finish_rate']:.2f} of {s['episodes']} unseen starts x {s['laps_per_episode']} laps"
    )
    table.add_row("lap time", f"{lap}{ratio}, {s['vehicle']} with {s['tyre_model']} tyres")
    table.add_row("learning", f"{s['learning_s']:.1f} s, {s['steps']:,} steps, {s['steps_per_s']:,} steps/s")
    Console(soft_wrap=True).print(table)
    print(f"run      {run.path}")
    print(f"picture  {s['lap_picture']}")
    print(f"onnx     {s['onnx']}")
    if run.mlflow.get("run_id"):
        print(f"mlflow   run {run.mlflow['run_id']}")
    command = Path(sys.executable).with_name("racing")  # on a PATH or not, this one works
    if command.is_relative_to(Path.cwd()):
        command = command.relative_to(Path.cwd())
    print(f"look     {command} ui paths.outputs={config['paths']['outputs']}")
