"""One training: prepare or resume it, learn, evaluate what was learnt on the test starts, export and record it."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stable_baselines3.common.callbacks import CallbackList
from stable_baselines3.common.logger import Logger
from torch.backends import cudnn

from racing.algos.common import BatchAlgorithm, of_each
from racing.algos.extractors import use_float32
from racing.algos.state import weights_sha256
from racing.envs.race import RaceTask
from racing.evaluation.evaluator import Result
from racing.evaluation.seeds import TEST_SEEDS
from racing.files import atomic_path
from racing.policies.export import describe, export_policy, record_observations
from racing.policies.init_from import shape_text
from racing.policies.snapshots import SnapshotCallback
from racing.runs.checkpoints import Checkpoint, Checkpoints
from racing.runs.directory import RunDirectory
from racing.runs.metrics import of_agent
from racing.runs.paths import IN_RUN
from racing.training.build import Experiment
from racing.training.checkpoint_callback import CheckpointCallback
from racing.training.evaluation_callback import EvaluationCallback, JournalWriter, set_loggers
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
    progress = ProgressBar(cfg.algo.total_timesteps, run.name, where=experiment.hardware.where)
    evaluations = EvaluationCallback(
        run.journal,
        progress,
        lambda learner, seeds: evaluate_policy(experiment, learner, seeds, telemetry=cfg.eval.video),
        experiment.evaluator,
        cfg.eval,
        total_steps=cfg.algo.total_timesteps,
        steps_before=experiment.config.steps_before,
        observer=Observers(BestVideo(run, experiment), observer) if cfg.eval.video else observer,
    )
    spaces = {"observation": shape_text(model.observation_space), "action": shape_text(model.action_space)}
    notes = {"config": experiment.config.values, "facts": dict(facts), **spaces}
    checkpoints = CheckpointCallback(run, evaluations, progress, cfg.checkpoint, stop, notes)
    set_loggers(model, Logger(None, [JournalWriter(run.journal, experiment.config.steps_before)]))
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
    take_best_policies(session)
    with cudnn.flags(enabled=True, allow_tf32=False):  # as the exported file computes
        results = {
            name: evaluate_policy(experiment, learner, TEST_SEEDS, telemetry=True)
            for name, learner in model.learners.items()
        }
    leader = evaluations.leader
    result = results[leader]
    session.run.journal.metrics(evaluations.step, experiment.evaluator.metrics(result))
    summary = {
        "steps": model.num_timesteps,
        "total_steps": evaluations.step,
        "learning_s": round(learning_s, 2),
        "steps_per_s": round(model.num_timesteps / learning_s),
        "eval_time_s": round(evaluations.eval_time_s, 2),
        "best_step": evaluations.kept[leader].step or evaluations.step,
        **evaluations.milestones,
        **result.summary,
    }
    files = record_policy(session, leader, result)
    if leader:
        summary |= {"leader": leader, "agents": {name: one.summary for name, one in results.items()}}
        for name, one in results.items():
            metrics = experiment.evaluator.metrics(one)
            named = {of_agent(name, metric): value for metric, value in metrics.items()}
            session.run.journal.metrics(evaluations.step, named)
            record_policy(session, name, one, agent=name)
    for checkpoint in session.checkpoints.worth_uploading():
        session.run.journal.artifact(checkpoint.path, str(IN_RUN.checkpoint(checkpoint.step)))
    return summary | files


def _pool_callbacks(session: Session) -> list[SnapshotCallback]:
    """What looks after the pool that the learner races against, where it is one whose policies are chosen."""
    task, config = session.experiment.task, session.experiment.config
    if not isinstance(task, RaceTask) or task.league is None:
        return []
    note, steps = session.run.journal.event, int(config.tree.algo.total_timesteps)
    return [SnapshotCallback(task, task.league, steps, config.steps_before, note)]


def take_best_policies(session: Session) -> None:
    """Give each learner the weights of its best policy, in full precision: what is reported is what is exported."""
    model = session.experiment.model
    checksums = {"racing.final_sha256": weights_sha256(of_each(model, lambda one: one.get_parameters()))}
    for name, learner in model.learners.items():
        best = session.evaluations.kept[name].parameters
        if best is not None:
            learner.policy.load_state_dict(best)
    checksums["racing.weights_sha256"] = weights_sha256(of_each(model, lambda one: one.policy.state_dict()))
    session.run.journal.tags(checksums)
    for learner in model.learners.values():
        use_float32(learner.policy)


def evaluate_policy(experiment: Experiment, learner: BatchAlgorithm, seeds: int, *, telemetry: bool) -> Result:
    """Drive a learner's policy as it is from starts that training never has. seeds: see Evaluator.evaluate."""
    return experiment.evaluator.evaluate(greedy(learner), seeds, telemetry=telemetry)


class BestVideo(TrainingObserver):
    """Writes and journals a video of the best episode of every policy that is the best so far."""

    def __init__(self, run: RunDirectory, experiment: Experiment) -> None:
        """run: open for writing."""
        super().__init__()
        self.run, self.experiment = run, experiment

    def best(self, step: int, evaluation: Result) -> None:
        """See TrainingObserver."""
        experiment, run, step = self.experiment, self.run, step + self.experiment.config.steps_before
        folder, name = run.paths.evaluation(step), f"{run.name} after {step:,} steps"
        folder.mkdir(parents=True, exist_ok=True)
        for path in experiment.evaluator.write_video(evaluation, folder, name, experiment.task):
            run.journal.artifact(path, str(IN_RUN.evaluation(step)))


def greedy(model: Any) -> Any:
    """The model's deterministic policy as a plain function of observations."""
    return lambda observation: model.predict(observation, deterministic=True)[0]


def record_policy(session: Session, learner: str, result: Result, agent: str = "") -> dict[str, Any]:
    """Save a learner's policy, its ONNX file, and the evaluation's tables and pictures; journal them all.

    agent: as whose they are kept; '': as the run's. Returns the paths for the summary.
    """
    run, experiment, step = session.run, session.experiment, session.evaluations.step
    model, paths, folder = experiment.model.learners[learner], run.paths.of_agent(agent), IN_RUN.of_agent(agent).folder
    paths.folder.mkdir(parents=True, exist_ok=True)
    model.save(paths.policy_zip)
    parity = export_policy(
        model,
        paths.policy_onnx,
        metadata=describe(experiment.task, experiment.config.values, f"{run.name}@{agent}" if agent else run.name),
        observations=record_observations(greedy(model), experiment.task),
    )
    run.journal.metrics(step, {of_agent(agent, "export/max_difference"): parity.max_difference})
    files = _write_evaluation(session, result, agent)
    if agent:
        _save_half(session, agent, paths.half_zip)
        run.journal.artifact(paths.half_zip, str(folder))
    run.journal.artifact(paths.policy_zip, str(folder))
    run.journal.artifact(parity.path, str(folder))
    run.journal.model(parity.path, of_agent(agent, "policy").replace("/", "_"))
    return {"onnx": str(parity.path)} | files


def _save_half(session: Session, agent: str, path: Path) -> None:
    """Save an agent as it was when half of the training was done."""
    model = session.experiment.model.learners[agent]
    now = {name: tensor.clone() for name, tensor in model.policy.state_dict().items()}
    model.policy.load_state_dict(session.evaluations.kept[agent].half or now)
    model.save(path)
    model.policy.load_state_dict(now)


def _write_evaluation(session: Session, result: Result, agent: str) -> dict[str, str]:
    """Write the evaluation's tables and pictures and journal them; returns the paths for the summary."""
    run, experiment, step = session.run, session.experiment, session.evaluations.step
    folder = run.paths.evaluation(step, agent)
    folder.mkdir(parents=True, exist_ok=True)
    driven = experiment.task if experiment.config.tree.eval.video else None
    files = experiment.evaluator.write(result, folder, run.name, driven)
    for path in files:
        run.journal.artifact(path, str(IN_RUN.evaluation(step, agent)))
    names = experiment.evaluator.shown
    shown = {names[path.name]: path for path in files if path.name in names}
    picture = next((path for path in shown.values() if path.suffix == run.paths.picture.suffix), None)
    if picture is not None and not agent:
        with atomic_path(run.paths.picture) as temporary:
            shutil.copyfile(picture, temporary)
        run.journal.artifact(run.paths.picture)
    return {name: str(path) for name, path in shown.items()}
