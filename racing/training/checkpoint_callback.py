"""Callback: when a training's state is saved, which checkpoints are kept, how a training resumes from one."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from stable_baselines3.common.callbacks import BaseCallback

from racing.algos.common import BatchAlgorithm
from racing.algos.state import capture, replay_buffers, restore
from racing.errors import InputError, Stopped, require
from racing.runs.checkpoints import Checkpoint, Checkpoints, Log, milestones
from racing.runs.directory import RunDirectory
from racing.runs.identity import differing_keys, identity, listing
from racing.training.evaluation_callback import EvaluationCallback
from racing.training.progress_bar import ProgressBar
from racing.training.stop_flag import StopFlag

PARTS = ("policy", "optimizer", "rng", "world", "counters", "monitor")


class CheckpointCallback(BaseCallback):
    """Saves the state of a training between two rollouts: by rule, at a new best policy, on request, and at its end.

    Stands after the EvaluationCallback in the list of callbacks, whose state is part of the checkpoint.
    """

    def __init__(
        self,
        run: RunDirectory,
        evaluations: EvaluationCallback,
        progress: ProgressBar,
        rules: Mapping[str, Any],
        stop: StopFlag,
        notes: Mapping[str, Any],
    ) -> None:
        """rules: config group `checkpoint`. notes: for the record in each checkpoint; `config`: the run's."""
        super().__init__()
        self._run, self._evaluations, self._progress, self._rules, self._stop = run, evaluations, progress, rules, stop
        self._notes = {**notes, "config": identity(notes["config"])}
        self._checkpoints = Checkpoints(run.path)
        self._last = 0
        self._saved_at = 0.0
        self._announced = False

    def _on_training_start(self) -> None:
        self._last = self._evaluations.step
        self._saved_at = time.monotonic()

    def _on_step(self) -> bool:
        self._stop_requested()
        return True

    def _on_rollout_start(self) -> None:
        asked = self._stop_requested()  # asked once: a signal from here on waits for the next update
        if self._due() or asked:
            self.save()
        if asked:
            self._leave()

    def _on_training_end(self) -> None:
        asked = self._stop_requested()
        self.save()
        if asked:
            self._leave()

    def _leave(self) -> None:
        where = f"{self._run.name} stopped at step {self._evaluations.step:,} on {self._stop.reason}"
        raise Stopped(f"{where}, checkpoint saved; run the same command to resume")

    def _stop_requested(self) -> bool:
        """Whether the run was asked to stop; the first time, also log that it will."""
        if self._stop.reason and not self._announced:
            self._announced = True
            self._progress.log(f"{self._stop.reason}: will checkpoint after this update and exit")
        return self._announced

    def _due(self) -> bool:
        step, rules = self._evaluations.step, self._rules
        if step == self._last:
            return False
        crossed = [n for n in (rules["every"], rules["milestone_every"]) if n and step // n > self._last // n]
        late = rules["every_minutes"] and time.monotonic() - self._saved_at > 60 * rules["every_minutes"]
        return bool(crossed or late or step in self._evaluations.best_steps)

    def save(self) -> None:
        """Write a checkpoint now, unless there is one of this step, and remove those that are not to be kept."""
        step, journal = self._evaluations.step, self._run.journal
        if step == self._last:
            return
        journal.sync()  # a checkpoint must not survive a power cut that takes lines before it
        state = {**capture(self.model), "monitor": self._evaluations.get_state()}
        place = {"journal": journal.position, "journal_end": journal.ending_at(journal.position)}
        notes = {**self._notes, **place, "created_ms": time.time_ns() // 1_000_000}
        saved = self._checkpoints.save(step, state, notes, replay_logs(self.model))
        size = sum(path.stat().st_size for path in saved.path.iterdir())
        journal.event("checkpoint", step=step, bytes=size, best=step in self._evaluations.best_steps)
        self._last, self._saved_at = step, time.monotonic()
        rules = {name: self._rules[name] for name in ("keep_last", "milestone_every")}
        for gone in self._checkpoints.prune(**rules, keep=self._evaluations.best_steps):
            journal.event("checkpoint pruned", step=gone)

    def worth_uploading(self) -> list[Checkpoint]:
        """The last checkpoint, those of the best policies and the milestones."""
        found = self._checkpoints.all()
        steps = {*self._evaluations.best_steps, *milestones([c.step for c in found], self._rules["milestone_every"])}
        return [checkpoint for checkpoint in found if checkpoint.step in steps or checkpoint is found[-1]]

    def resume(self, checkpoint: Checkpoint, model: BatchAlgorithm) -> None:
        """Put the state of `checkpoint` into the model, its environment and the evaluations; the journal follows on it.

        Raises InputError if the checkpoint is of another configuration, naming the keys, or the journal was cut.
        """
        notes, journal = checkpoint.notes, self._run.journal
        others = differing_keys(notes["config"], self._notes["config"])
        rule = "must be of the configuration that is to be continued, it differs in"
        require(not others, f"{checkpoint.path} {rule} {listing(others)}; use fresh=true, or init_from for a new run")
        require(
            notes["journal_end"] == journal.ending_at(notes["journal"]),
            f"{journal.path} must hold the {notes['journal']} bytes that it held at checkpoint {checkpoint.step}; "
            "it was truncated or changed: restore it, or use fresh=true",
        )
        try:
            restore(model, {part: checkpoint.load(part) for part in PARTS[:-1]})
            self._evaluations.set_state(checkpoint.load("monitor"))
            for name, buffer in replay_buffers(model).items():
                buffer.restore(*checkpoint.load_log(name))
        except (KeyError, ValueError, RuntimeError) as error:  # made by other code
            raise InputError(f"{checkpoint.path} does not fit this code: {error}; use fresh=true") from error
        journal.replay_from(notes["journal"])


def replay_logs(model: BatchAlgorithm) -> dict[str, Log]:
    """The model's replay buffers as logs to be saved, by the names of their learners."""
    found = replay_buffers(model).items()
    return {name: Log(buffer.added, buffer.buffer_size, buffer.rows) for name, buffer in found}
