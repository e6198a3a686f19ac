"""One training: prepare or resume it, learn, evaluate what was learnt on the test starts, export and record it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from stable_baselines3.common.callbacks import CallbackList
from stable_baselines3.common.logger import Logger
from torch.backends import cudnn

from racing.algos.extractors import use_float32
from racing.algos.state import weights_sha256
from racing.envs.race import RaceTask, has_others
from racing.evaluation.evaluate import Policy, evaluate, evaluation_task
from racing.evaluation.files import VIDEO, facts_of, write_files
from racing.evaluation.race.driving import policy_entrant
from racing.evaluation.race.suites import Place, overtaking
from racing.evaluation.result import Evaluation, flat_metrics
from racing.evaluation.seeds import TEST_SEEDS, VALIDATION_SEEDS
from racing.policies.export import describe, export_policy, record_observations
from racing.policies.init_from import shape_text
from racing.policies.snapshots import SnapshotCallback
from racing.runs.checkpoints import Checkpoint, Checkpoints
from racing.runs.directory import RunDirectory
from racing.runs.paths import IN_RUN
from racing.tracks.reference_lap import reference_lap
from racing.training.build import Experiment
from racing.training.checkpoint_callback import CheckpointCallback
from racing.training.evaluation_callback import EvaluationCallback, JournalWriter
from racing.training.observer import Observers, TrainingObserver
from racing.training.progress_bar import ProgressBar
from racing.training.stop_flag import StopFlag


@dataclass(frozen=True, kw_only=True)
class Session:
    """A training that is ready to begin, or to resume from `checkpoint`."""

    run: RunDirectory
    experiment: Experiment
    progress: ProgressBar
    evaluations: EvaluationCallback
    checkpoints: CheckpointCallback
    checkpoint: Checkpoint | None


def prepare(
    run: RunDirectory,
    experiment: Experiment,
    observer: TrainingObserver,
    stop: StopFlag,
    facts: Mapping[str, str],
) -> Session:
    """Put a run where its newest checkpoint left it; one without any begins at its start.

    facts: code, packages and machine of this process (racing.runs.provenance.facts); where the checkpoint was made by
    others, that is logged and becomes a tag.
    Raises InputError if what is there cannot be resumed.
    """
    cfg, model = experiment.config.tree, experiment.model
    progress = ProgressBar(cfg.algo.total_timesteps, run.name)
    evaluations = EvaluationCallback(
        run.journal,
        progress,
        lambda: evaluate_policy(experiment, VALIDATION_SEEDS, telemetry=cfg.eval.video),
        cfg.eval,
        total_steps=cfg.algo.total_timesteps,
        steps_before=experiment.config.steps_before,
        observer=Observers(BestLapVideo(run, experiment), observer) if cfg.eval.video else observer,
    )
    spaces = {"observation": shape_text(model.observation_space), "action": shape_text(model.action_space)}
    notes = {"config": experiment.config.values, "facts": dict(facts), **spaces}
    checkpoints = CheckpointCallback(run, evaluations, progress, cfg.checkpoint, stop, notes)
    model.set_logger(Logger(None, [JournalWriter(run.journal, experiment.config.steps_before)]))
    checkpoint = _newest_checkpoint(run, progress)
    if checkpoint is None:
        run.journal.replay_from(0)
    else:
        checkpoints.resume(checkpoint, model)
        progress.log(f"{run.name}: resuming from step {checkpoint.step:,}")
        _warn_of_changes(run, progress, changes(checkpoint.notes["facts"], facts))
    return Session(
        run=run,
        experiment=experiment,
        progress=progress,
        evaluations=evaluations,
        checkpoints=checkpoints,
        checkpoint=checkpoint,
    )


def _newest_checkpoint(run: RunDirectory, progress: ProgressBar) -> Checkpoint | None:
    checkpoint, problems = Checkpoints(run.path).newest()
    for problem in problems:
        progress.log(f"{run.name}: {problem}; the one before it is used")
        run.journal.event("checkpoint damaged", problem=problem)
    return checkpoint


def _warn_of_changes(run: RunDirectory, progress: ProgressBar, changed: str) -> None:
    if not changed:
        return
    rule = "warning: results may not be bit-identical, the checkpoint was made with another"
    progress.log(f"{run.name}: {rule} {changed}")
    run.journal.tags({"racing.continued_with": changed})


def changes(before: Mapping[str, str], now: Mapping[str, str]) -> str:
    """`package torch: 2.12 -> 2.13; ...` for all facts that differ; empty if none does."""
    names = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    return "; ".join(f"{name}: {before.get(name, 'none')} -> {now.get(name, 'none')}" for name in names)


def learn(session: Session) -> dict[str, Any]:
    """Learn to the end, record the result; returns the run's summary. Raises Stopped after a signal, state saved."""
    experiment, evaluations, model = session.experiment, session.evaluations, session.experiment.model
    with session.progress:
        model.learn(
            experiment.config.tree.algo.total_timesteps - model.num_timesteps,
            callback=CallbackList([evaluations, *_pool_callbacks(session), session.checkpoints]),
            log_interval=1,
            reset_num_timesteps=session.checkpoint is None,
        )
    learning_s = evaluations.learning_s
    take_best_policy(session)
    with cudnn.flags(enabled=True, allow_tf32=False):  # as the exported file computes
        result = evaluate_policy(experiment, TEST_SEEDS, telemetry=True)
    session.run.journal.metrics(evaluations.step, flat_metrics(result))
    summary = {
        "steps": model.num_timesteps,
        "total_steps": evaluations.step,
        "learning_s": round(learning_s, 2),
        "steps_per_s": round(model.num_timesteps / learning_s),
        "eval_time_s": round(evaluations.eval_time_s, 2),
        "best_step": evaluations.best_step or evaluations.step,
        **evaluations.milestones,
        **result.summary,
    }
    return summary | record(session, result)


def _pool_callbacks(session: Session) -> list[SnapshotCallback]:
    """What looks after the pool that the learner races against, where it is one whose policies are chosen."""
    task, config = session.experiment.task, session.experiment.config
    if not isinstance(task, RaceTask) or task.league is None:
        return []
    note, steps = session.run.journal.event, int(config.tree.algo.total_timesteps)
    return [SnapshotCallback(task, task.league, steps, config.steps_before, note)]


def take_best_policy(session: Session) -> None:
    """Give the model the weights of its best policy, in full precision: what is reported is what is exported."""
    model, best = session.experiment.model, session.evaluations.best_parameters
    checksums = {"racing.final_sha256": weights_sha256(model.get_parameters())}
    if best is not None:
        model.policy.load_state_dict(best)
    checksums["racing.weights_sha256"] = weights_sha256(model.policy.state_dict())
    session.run.journal.tags(checksums)
    use_float32(model.policy)


def evaluate_policy(experiment: Experiment, seeds: int, *, telemetry: bool) -> Evaluation:
    """Drive the policy as it is from starts that training never has. seeds: VALIDATION_SEEDS or TEST_SEEDS."""
    config = experiment.config.values
    task = evaluation_task(
        config["env"],
        experiment.eval_tracks,
        experiment.vehicle,
        experiment.references,
        races=config["eval"]["episodes"],
        laps=config["eval"]["laps"],
        seed=seeds + config["seed"],
        threads=experiment.hardware.sim_threads,
    )
    driver = greedy(experiment.model)
    result = evaluate(driver, task, experiment.references, experiment.limits, telemetry=telemetry)
    if not has_others(config["env"]):
        return result
    return replace(result, summary={**result.summary, "race": _overtaking(experiment, driver, seeds)})


def _overtaking(experiment: Experiment, driver: Policy, seeds: int) -> dict[str, Any]:
    """What the policy does behind a slower car on the first of the tracks that it is evaluated on."""
    config = experiment.config.values
    place = Place(
        track=experiment.eval_tracks[0],
        vehicle=experiment.vehicle,
        reference=experiment.references[0],
        env=config["env"],
    )
    return overtaking(
        policy_entrant("policy", driver),
        place,
        races=config["eval"]["episodes"],
        laps=config["eval"]["laps"],
        seed=seeds + config["seed"],
        threads=experiment.hardware.sim_threads,
    )


class BestLapVideo(TrainingObserver):
    """Writes and journals a video of the best lap of every policy that is the best so far."""

    def __init__(self, run: RunDirectory, experiment: Experiment) -> None:
        """run: open for writing."""
        super().__init__()
        self.run, self.experiment = run, experiment

    def best(self, step: int, evaluation: Evaluation) -> None:
        """See TrainingObserver."""
        from racing.evaluation.video import write_video

        experiment, run, step = self.experiment, self.run, step + self.experiment.config.steps_before
        best = evaluation.best_episode()
        track = experiment.eval_tracks[best % len(experiment.eval_tracks)]
        facts = facts_of(evaluation, f"{run.name} after {step:,} steps", reference_lap(track, experiment.vehicle))
        folder = run.paths.evaluation(step)
        folder.mkdir(parents=True, exist_ok=True)
        lap = evaluation.lap_table(best)
        path = write_video(folder / VIDEO, experiment.task, track, lap, track.name, facts)
        run.journal.artifact(path, str(IN_RUN.evaluation(step)))


def greedy(model: Any) -> Any:
    """The model's deterministic policy as a plain function of observations."""
    return lambda observation: model.predict(observation, deterministic=True)[0]


def record(session: Session, result: Evaluation) -> dict[str, Any]:
    """Save the policy, its ONNX file, and the evaluation's tables and pictures; journal them all; returns the paths."""
    run, experiment, step = session.run, session.experiment, session.evaluations.step
    saved = run.paths.policy_zip
    experiment.model.save(saved)
    parity = export_policy(
        experiment.model,
        run.paths.policy_onnx,
        metadata=describe(experiment.task, experiment.config.values, run.name),
        observations=record_observations(greedy(experiment.model), experiment.task),
    )
    run.journal.metrics(step, {"export/max_difference": parity.max_difference})
    files = _write_evaluation(session, result)
    run.journal.artifact(saved, str(IN_RUN.export))
    run.journal.artifact(parity.path, str(IN_RUN.export))
    run.journal.model(parity.path, "policy")
    for checkpoint in session.checkpoints.worth_uploading():
        run.journal.artifact(checkpoint.path, str(IN_RUN.checkpoint(checkpoint.step)))
    return {"onnx": str(parity.path)} | files


def _write_evaluation(session: Session, result: Evaluation) -> dict[str, str]:
    """Write the evaluation's tables and pictures and journal them; returns the paths for the summary."""
    run, experiment, step = session.run, session.experiment, session.evaluations.step
    folder = run.paths.evaluation(step)
    folder.mkdir(parents=True, exist_ok=True)
    track = experiment.eval_tracks[result.best_episode() % len(experiment.eval_tracks)]
    driven = experiment.task if experiment.config.tree.eval.video else None
    files = write_files(result, folder, run.name, track, reference_lap(track, experiment.vehicle), driven)
    for path in files:
        run.journal.artifact(path, str(IN_RUN.evaluation(step)))
    names = {"laps.csv": "laps", "lap.png": "lap_picture", "lap.mp4": "lap_video"}
    return {names[path.name]: str(path) for path in files if path.name in names}
