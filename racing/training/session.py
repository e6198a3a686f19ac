"""One training: learn, keep the best policy, judge it on unseen starts, export and record it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from stable_baselines3.common.callbacks import CallbackList
from stable_baselines3.common.logger import Logger
from torch.backends import cudnn

from racing.algos.extractors import use_float32
from racing.algos.state import weights_sha256
from racing.evaluation.evaluate import drive, evaluation_task
from racing.evaluation.files import VIDEO, facts_of, write_files
from racing.evaluation.result import Evaluation, flat_metrics
from racing.evaluation.seeds import REPORT_SEEDS, SELECTION_SEEDS
from racing.policies.export import describe, export_policy, record_observations
from racing.policies.init_from import shape_text
from racing.runs.checkpoints import Checkpoint, Checkpoints
from racing.runs.directory import RunDirectory
from racing.tracks.reference_lap import reference_lap
from racing.training.build import Parts
from racing.training.checkpoint_callback import Keeper
from racing.training.evaluation_callback import JournalWriter, Monitor
from racing.training.progress_bar import ProgressLine
from racing.training.stop_flag import StopFlag


@dataclass(kw_only=True)
class Session:
    """A training that is ready to begin, or to go on from `checkpoint`."""

    run: RunDirectory
    parts: Parts
    line: ProgressLine
    monitor: Monitor
    keeper: Keeper
    checkpoint: Checkpoint | None


def prepare(
    run: RunDirectory,
    parts: Parts,
    stop: StopFlag,
    facts: Mapping[str, str],
    judged: Callable[[int, Evaluation], None] | None = None,
) -> Session:
    """Put a run where its newest checkpoint left it; one without any begins at its start.

    facts: code, packages and machine of this process (racing.runs.provenance.facts); where the checkpoint was made by
    others, that is said and becomes a tag. judged: called with the steps of this run and what was driven, at every
    judgement before the last one. Raises InputError if what is there cannot be continued.
    """
    config, model, judging = parts.config, parts.model, parts.config["eval"]
    total = config["algo"]["total_timesteps"]
    before = parts.ancestor.steps if parts.ancestor else 0
    line = ProgressLine(total, run.name)
    monitor = Monitor(
        run.journal,
        line,
        lambda _: judge(parts, SELECTION_SEEDS, telemetry=judging["video"]),
        every=judging["every_steps"],
        begin=int(judging["start_fraction"] * total),
        finish_rate=judging["target_finish_rate"],
        before=before,
        improved=lambda step, result: film(run, parts, step, result) if step < before + total else None,
        judged=lambda step, result: judged(step - before, result) if judged and step < before + total else None,
    )
    spaces = {"observation": shape_text(model.observation_space), "action": shape_text(model.action_space)}
    notes = {"config": config, "facts": dict(facts), **spaces}
    keeper = Keeper(run, monitor, line, config["checkpoint"], stop, notes)
    model.set_logger(Logger(None, [JournalWriter(run.journal, before)]))
    checkpoint, problems = Checkpoints(run.path).newest()
    for problem in problems:
        line.say(f"{run.name}: {problem}; the one before it is used")
        run.journal.event("checkpoint damaged", problem=problem)
    if checkpoint is None:
        run.journal.replay_from(0)
    else:
        keeper.resume(checkpoint, model)
        changed = changes(checkpoint.notes["facts"], facts)
        line.say(f"{run.name}: continues at step {checkpoint.step:,}")
        if changed:
            line.say(f"{run.name}: the same bits are not promised, the checkpoint was made with other {changed}")
            run.journal.tags({"racing.continued_with": changed})
    return Session(run=run, parts=parts, line=line, monitor=monitor, keeper=keeper, checkpoint=checkpoint)


def changes(before: Mapping[str, str], now: Mapping[str, str]) -> str:
    """`package torch: 2.12 -> 2.13; ...` for all facts that differ; empty if none does."""
    names = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    return "; ".join(f"{name}: {before.get(name, 'none')} -> {now.get(name, 'none')}" for name in names)


def learn(session: Session) -> dict[str, Any]:
    """Learn to the end, record the result; returns the run's summary. Raises Stopped after a signal, state saved."""
    parts, monitor, model = session.parts, session.monitor, session.parts.model
    with session.line:
        model.learn(
            parts.config["algo"]["total_timesteps"] - model.num_timesteps,
            callback=CallbackList([monitor, session.keeper]),
            log_interval=1,
            reset_num_timesteps=session.checkpoint is None,
        )
    learning_s = monitor.learning_s
    checksums = {"racing.final_sha256": weights_sha256(model.get_parameters())}
    if monitor.best_parameters is not None:
        model.policy.load_state_dict(monitor.best_parameters)
    checksums["racing.weights_sha256"] = weights_sha256(model.policy.state_dict())
    session.run.journal.tags(checksums)
    use_float32(model.policy)  # what is reported is what the exported file drives
    with cudnn.flags(enabled=True, allow_tf32=False):
        result = judge(parts, REPORT_SEEDS, telemetry=True)
    session.run.journal.metrics(monitor.step, flat_metrics(result))
    summary = {
        "steps": model.num_timesteps,
        "total_steps": monitor.step,
        "learning_s": round(learning_s, 2),
        "steps_per_s": round(model.num_timesteps / learning_s),
        "judging_s": round(monitor.judging_s, 2),
        "best_step": monitor.best_step or monitor.step,
        "first_lap": monitor.first_lap,
        **result.summary,
    }
    return summary | record(session, result)


def judge(parts: Parts, offset: int, *, telemetry: bool) -> Evaluation:
    """Drive the policy as it is from starts that training never has. offset: SELECTION_SEEDS or REPORT_SEEDS."""
    judging = parts.config["eval"]
    task = evaluation_task(
        parts.config["env"],
        parts.judged,
        parts.vehicle,
        parts.references,
        races=judging["episodes"],
        laps=judging["laps"],
        seed=offset + parts.config["seed"],
        threads=parts.hardware.sim_threads,
    )
    return drive(greedy(parts.model), task, parts.references, telemetry=telemetry)


def film(run: RunDirectory, parts: Parts, step: int, result: Evaluation) -> None:
    """Write and journal the video of a best lap on the way, if the configuration wants it."""
    if not parts.config["eval"]["video"]:
        return
    from racing.evaluation.video import write_video

    lane = result.best_lane()
    track = parts.judged[lane % len(parts.judged)]
    facts = facts_of(result, f"{run.name} after {step:,} decisions", reference_lap(track, parts.vehicle))
    folder = run.path / "evaluations" / f"{step:09d}"
    folder.mkdir(parents=True, exist_ok=True)
    path = write_video(folder / VIDEO, parts.env.task, track, result.lap_table(lane), track.name, facts)
    run.journal.artifact(path, f"evaluations/{step:09d}")


def greedy(model: Any) -> Any:
    """The model's deterministic policy as a plain function of observations."""
    return lambda observation: model.predict(observation, deterministic=True)[0]


def record(session: Session, result: Evaluation) -> dict[str, Any]:
    """Save the policy, its ONNX file, and the evaluation's tables and pictures; journal them all; returns the paths."""
    run, parts, step = session.run, session.parts, session.monitor.step
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
    filmed = parts.env.task if parts.config["eval"]["video"] else None
    files = write_files(result, folder, run.name, track, reference_lap(track, parts.vehicle), filmed)
    for path in files:
        run.journal.artifact(path, f"evaluations/{step:09d}")
    run.journal.artifact(saved, "export")
    run.journal.artifact(parity.path, "export")
    run.journal.model(parity.path, "policy")
    for checkpoint in session.keeper.worth_uploading():
        run.journal.artifact(checkpoint.path, f"checkpoints/{checkpoint.path.name}")
    names = {"laps.csv": "laps", "lap.png": "lap_picture", "lap.mp4": "lap_video"}
    return {"onnx": str(parity.path)} | {names[path.name]: str(path) for path in files if path.name in names}
